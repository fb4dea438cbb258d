"""Parts of image files that Pillow does not write."""

import struct
import zlib


def png_chunk(kind, content):
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def tiff_of_strips(count, sample_format=1, order="<", big=False, tags=()):
    """A TIFF file of lines of 8 gray pixels, each a strip of its own at one place.

    ``tags``: further ones, as (tag, type, number of values, value).
    """
    head, pixels = (16 if big else 8), b"\x80" * 8
    at = head + len(pixels)
    directory_at = at + 8 * count
    values = {
        256: 8, 257: count, 258: 8, 259: 1, 262: 1, 273: at, 277: 1, 278: 1, 279: at + 4 * count,
        339: sample_format,
    }  # fmt: skip
    of_all, entry = ("Q", "HHQQ") if big else ("H", "HHII")
    directory = struct.pack(order + of_all, len(values) + len(tags))
    for tag, value in values.items():
        directory += struct.pack(order + entry, tag, 4, count if tag in (273, 279) else 1, value)
    directory += b"".join(struct.pack(order + entry, *one) for one in tags)
    places = struct.pack(order + "I", head) * count
    sizes = struct.pack(order + "I", len(pixels)) * count
    start = b"II" if order == "<" else b"MM"
    if big:
        start += struct.pack(order + "HHHQ", 43, 8, 0, directory_at)
    else:
        start += struct.pack(order + "HI", 42, directory_at)
    return start + pixels + places + sizes + directory + bytes(8)
