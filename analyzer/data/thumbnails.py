"""Small pictures of samples as PNG files, and whether such a file shows its sample."""

import io
import struct

import numpy as np
from PIL import Image

from analyzer.data.decode_images import decode
from analyzer.data.source import Sample
from analyzer.errors import DataError

__all__ = ["shows_sample", "thumbnail"]

_LARGEST = 96  # pixels, at most, either way
_COLORS = 128  # of a palette
_FEW_PIXELS = 48 * 48  # below, a palette saves nothing
# How far a picture may be off, of 255: the mean over squares of so many pixels, a side.
_OFF_BY_DECODER = ((1, 8.0), (_LARGEST, 2.0))
_OFF_BY_PALETTE = ((1, 120.0), (4, 48.0), (_LARGEST, 4.0))  # photographs: 80, 31 and 1
# Of PNG files: what they begin with, a part's size and name, its checksum, and the color types
# (the 26th byte) of gray, colors and a palette.
_PNG = b"\x89PNG\r\n\x1a\n"
_PART_HEAD, _PART_END = 8, 4
_COLOR_TYPE = 25
_OPAQUE = (0, 2, 3)


def thumbnail(sample: Sample) -> bytes | None:
    """A sample as a small PNG file; None where it is not an image but floats of unknown range."""
    image = _small(sample)
    if image is None:
        return None
    if _has_palette(image):
        image = image.quantize(_COLORS)
    png = io.BytesIO()
    image.save(png, "PNG", optimize=True)
    return png.getvalue()


def _small(sample: Sample) -> Image.Image | None:
    pixels = sample.image
    if pixels.dtype != np.uint8:
        return None
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image = image.convert("L" if image.mode in ("L", "LA") else "RGB")
    image.thumbnail((_LARGEST, _LARGEST))
    return image


def _has_palette(small: Image.Image) -> bool:
    return small.mode == "RGB" and small.width * small.height > _FEW_PIXELS


def shows_sample(png: bytes, sample: Sample) -> bool:
    """Whether a PNG file is the :func:`thumbnail` of a sample, made here or with other libraries.

    Those decode a little otherwise, and choose other colors for a palette.
    """
    small = _small(sample)
    if small is None or not _is_bare_png(png):  # a viewer would show more, or less, than pixels
        return False
    try:
        shown = np.asarray(decode(png).convert("RGB"), np.float64)
    except DataError:
        return False
    wanted = np.asarray(small.convert("RGB"), np.float64)
    if shown.shape != wanted.shape:
        return False
    differences = shown - wanted
    limits = _OFF_BY_PALETTE if _has_palette(small) else _OFF_BY_DECODER
    return all(_most_off(differences, side) <= limit for side, limit in limits)


def _most_off(differences: np.ndarray, side: int) -> float:
    """The largest mean of differences (H, W, 3) over squares of so many pixels, or all of them."""
    height, width = (size // side * side for size in differences.shape[:2])
    if not height or not width:
        return float(np.abs(differences.mean((0, 1))).max())
    squares = differences[:height, :width].reshape(height // side, side, width // side, side, 3)
    return float(np.abs(squares.mean((1, 3))).max())


def _is_bare_png(png: bytes) -> bool:
    """Whether a PNG file holds gray or colored pixels alone: no transparency, gamma or frames."""
    place, parts = len(_PNG), []
    while place + _PART_HEAD <= len(png):
        size, kind = struct.unpack_from(">I4s", png, place)
        parts.append(kind)
        place += _PART_HEAD + size + _PART_END
    return (
        png.startswith(_PNG)
        and place == len(png)
        and parts[:1] == [b"IHDR"]
        and parts[-1] == b"IEND"
        and {*parts} <= {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
        and png[_COLOR_TYPE] in _OPAQUE
    )
