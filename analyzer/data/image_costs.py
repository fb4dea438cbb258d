"""What an image file may ask for before its pixels are decoded, and while they are.

Pillow goes through the parts of a file one by one, and some of its decoders are slow.
"""

import math
import re
import struct
from collections.abc import Iterator
from itertools import chain

from PIL import Image, TiffImagePlugin

from analyzer.errors import DataError
from analyzer.input_budgets import Budgets

__all__ = ["JPEG2000_STREAM", "hold_pixels", "refuse_many_parts"]

_LONG, _NARROW = 1 << 16, 1000  # pixels: a line takes time and memory of its own, too
_JPEG_SCAN, _MANY_SCANS = b"\xff\xda", 16  # what each begins with; progressive files have 10
_BYTES_COUNT = {"JPEG": 1, "AVIF": 3, "JPEG2000": 5}  # pixels that a byte takes as long as
_ARITHMETIC = {bytes([0xC0 + kind]) for kind in (9, 10, 11, 13, 14, 15)}  # kinds of frames
_MANY_ARITHMETIC = 4  # scans
_RUNS_DECODER = "bmp_rle"  # Pillow's in Python
_RUNS, _RUN = "a run-length encoded BMP file", 4  # bytes; a pixel takes two, a line one or two more
_PNM = re.compile(rb"P[1-6]")
_PLAIN = (b"P1", b"P2", b"P3")  # PBM, PGM and PPM whose pixels are written in digits
_PNM_HEADER = re.compile(rb"P(?:[14]|[2356]\s+\d+)\s+\d+\s+\d+\s")  # without its comments
_PNM_COMMENT = re.compile(rb"#[^\r\n]*")
_MOST_COMMENTS = 10_000
_MOST_PARTS = 100_000
_GIF, _GIF_HEADER, _GIF_EXTENSION = b"GIF8", 13, 0x21
_GIF_ENDS = b",;"  # what an image begins with, and the end of the file
_WEBP = b"RIFF", b"WEBP"
_BOXES = (b"jP  ", b"ftyp")  # the first of JPEG 2000 and of AVIF
JPEG2000_STREAM = b"\xff\x4f\xff\x51"  # what the codestream and its first segment begin with
_FIRST_SEGMENT, _TILE = 2, b"\xff\x90"  # where that segment is; what a tile begins with
_DESCRIBING = {b"jp2h": 0, b"meta": 4}  # boxes with boxes in them, after so many bytes
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_FILLING = 0xFF
# By how TIFF files begin: the order of bytes; where the place of the first page's entries is, and
# its type; the type of their number; the bytes of one; and its tag, the type of its values, and how
# many they are.
_TIFF = {
    b"II*\0": ("<", 4, "I", "H", 12, "HHI"),
    b"MM\0*": (">", 4, "I", "H", 12, "HHI"),
    b"II+\0": ("<", 8, "Q", "Q", 20, "HHQ"),
    b"MM\0+": (">", 8, "Q", "Q", 20, "HHQ"),
}
_BYTES = (1, 2, 6, 7)  # types of values that are single bytes or texts
_STRIPS = (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.TILEOFFSETS)


def refuse_many_parts(data: bytes) -> None:
    """Refuse a file that takes long before its pixels are come to.

    Raises:
        DataError: it has too many parts, or its header is too long; the message gives the reason
            only.
        struct.error: it is cut off.
    """
    if data[:2] in _PLAIN and (comments := data.count(b"#")) > _MOST_COMMENTS:
        # Pillow copies the rest of a block for each.
        raise DataError(f"it has {comments:,} comments, more than {_MOST_COMMENTS:,}")
    if len(data) <= _MOST_PARTS:
        return
    if _PNM.match(data) and not _PNM_HEADER.match(_PNM_COMMENT.sub(b"", data[:_MOST_PARTS])):
        raise DataError(f"its header does not end within {_MOST_PARTS:,} bytes")
    if any(number == _MOST_PARTS for number, _ in enumerate(_parts(data))):
        raise DataError(f"it has more than {_MOST_PARTS:,} parts beside its pixels")
    if data[:4] in _TIFF:
        _refuse_long_tags(data)


def _parts(data: bytes) -> Iterator[int]:
    """Where the parts of a file begin that are read one by one besides its pixels."""
    if data.startswith(_PNG):
        return _png_chunks(data)
    if data.startswith(_JPEG):
        return _jpeg_segments(data)
    if data.startswith(_GIF):
        return _gif_blocks(data)
    if data.startswith(_WEBP[0]) and data.startswith(_WEBP[1], 8):
        return _webp_chunks(data)
    if data[4:8] in _BOXES:
        return chain(_boxes(data), _jpeg2000_segments(data))
    if data.startswith(JPEG2000_STREAM):
        return _jpeg2000_segments(data)
    return iter(())


def _png_chunks(data: bytes) -> Iterator[int]:
    """Where the chunks of a PNG file begin."""
    at = len(_PNG)
    while at < len(data):
        yield at
        at += 12 + int.from_bytes(data[at : at + 4])


def _gif_blocks(data: bytes) -> Iterator[int]:
    """Where the blocks in extensions of a GIF file begin, and stray bytes, before its first image.

    Raises:
        IndexError: it is cut off.
    """
    at = _GIF_HEADER
    if data[10] & 0x80:  # colors follow
        at += 3 * 2 ** (1 + (data[10] & 7))
    while data[at] not in _GIF_ENDS:
        yield at
        at += 1
        if data[at - 1] != _GIF_EXTENSION:
            continue
        at += 1  # its kind
        while data[at]:
            yield at
            at += 1 + data[at]
        at += 1


def _webp_chunks(data: bytes) -> Iterator[int]:
    """Where the chunks of a WebP file begin."""
    at = 12
    while at < len(data):
        yield at
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2


def _boxes(data: bytes, at: int = 0, end: int | None = None) -> Iterator[int]:
    """Where the boxes of a JPEG 2000 or AVIF file begin, those that describe pixels included."""
    end = len(data) if end is None else end
    while at < end:
        yield at
        size, head = int.from_bytes(data[at : at + 4]), 8
        if size == 1:  # a longer one follows
            size, head = int.from_bytes(data[at + 8 : at + 16]), 16
        after = at + max(size, head) if size else end
        inside = _DESCRIBING.get(data[at + 4 : at + 8])
        if inside is not None:
            yield from _boxes(data, at + head + inside, min(after, end))
        at = after


def _jpeg2000_segments(data: bytes) -> Iterator[int]:
    """Where the segments of the main header of a JPEG 2000 codestream begin, if there is one."""
    start = data.find(JPEG2000_STREAM)
    at = len(data) if start < 0 else start + _FIRST_SEGMENT
    while at < len(data) and not data.startswith(_TILE, at):
        yield at
        at += 2 + max(int.from_bytes(data[at + 2 : at + 4]), 2)


def _refuse_long_tags(data: bytes) -> None:
    """Refuse a TIFF file whose first page has many tags, or one that lists many numbers.

    Raises:
        DataError: it does.
        struct.error: it is cut off.
    """
    order, first, offset, count, size, entry = _TIFF[data[:4]]
    (at,) = struct.unpack_from(order + offset, data, first)
    (entries,) = struct.unpack_from(order + count, data, at)
    if entries > _MOST_PARTS:
        raise DataError(f"it has {entries:,} tags, more than {_MOST_PARTS:,}")
    at += struct.calcsize(count)
    for place in range(at, at + size * entries, size):
        tag, kind, number = struct.unpack_from(order + entry, data, place)
        if number > _MOST_PARTS and kind not in _BYTES:
            what = "strips or tiles" if tag in _STRIPS else f"numbers in its tag {tag}"
            raise DataError(f"it has {number:,} {what}, more than {_MOST_PARTS:,}")


def _jpeg_segments(data: bytes) -> Iterator[int]:
    """Where the segments of a JPEG file before its first scan begin, and the bytes between them."""
    at = len(_JPEG)
    while at < len(data) and not data.startswith(_JPEG_SCAN, at):
        yield at
        between = data[at] != _FILLING or data[at + 1 : at + 2] in (b"\xff", b"\x00")
        at += 1 if between else 2 + max(int.from_bytes(data[at + 2 : at + 4]), 2)


def _is_arithmetic(data: bytes) -> bool:
    """Whether a JPEG file is coded in the rarer and slower of its two ways."""
    return any(data[at + 1 : at + 2] in _ARITHMETIC for at in _jpeg_segments(data))


def hold_pixels(image: Image.Image, data: bytes, budgets: Budgets, *, deep: bool) -> None:
    """Hold the size of an image whose pixels are still encoded against the budget.

    Args:
        image: as it was opened.
        data: the file's bytes.
        budgets: that hold.
        deep: whether it has more than 8 bits a channel.

    Raises:
        DataError: it has too many pixels; the message gives the reason only.
    """
    times, kind = _slowness(image, data, deep=deep)
    if kind == _RUNS and len(data) > _MOST_PARTS + _RUN * math.prod(image.size):
        raise DataError(
            f"its {math.prod(image.size):,} pixels take {len(data):,} bytes, more than run-length "
            "encoding ever does"
        )
    is_narrow = min(image.size) < _NARROW and max(image.size) > _LONG
    sides = [max(side, _NARROW) for side in image.size] if is_narrow else image.size
    by_bytes = _BYTES_COUNT.get(image.format or "", 0) * len(data)
    if by_bytes > math.prod(sides) * times and (excess := budgets.excess("pixels", by_bytes)):
        raise DataError(
            f"it has {len(data):,} bytes, which count as {by_bytes:,} pixels in {image.format}, "
            f"{excess}"
        )
    if excess := budgets.excess("pixels", math.prod(sides) * times):
        pixels = image.width * image.height
        counted = f", which count {times} times in {kind}" if times > 1 else ""
        if is_narrow:
            counted = f", which count as {sides[0]:,} × {sides[1]:,}"
        raise DataError(f"it has {pixels:,} pixels{counted}, {excess}")


def _slowness(image: Image.Image, data: bytes, *, deep: bool) -> tuple[int, str]:
    """How many times as long as usual an image takes to be decoded, and of what kind it then is."""
    if image.format == "JPEG2000":
        return 4, "JPEG 2000"
    if image.format == "JPEG":
        scans = data.count(_JPEG_SCAN)
        if _is_arithmetic(data):
            return 1 + scans // _MANY_ARITHMETIC, f"an arithmetic JPEG file of {scans:,} scans"
        return 1 + scans // _MANY_SCANS, f"a JPEG file of {scans:,} scans"
    if data[:2] in _PLAIN:
        return 50, "a plain PNM file"
    if any(tile[0] == _RUNS_DECODER for tile in getattr(image, "tile", [])):
        return 50, _RUNS
    for kind in ("WEBP", "AVIF", "LAB"):
        if kind in (image.format, image.mode):
            return 2, kind
    if image.format != "PNG":
        return 1, ""
    kinds = ["16-bit"] * deep + ["interlaced"] * bool(image.info.get("interlace"))
    return 1 + len(kinds), f"{' '.join(kinds)} PNG"
