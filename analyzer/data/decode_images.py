"""Images decoded, always to 8 bits a channel, gray or RGB, the same everywhere.

What trainers' pipelines do with odd files is followed where they agree (``convert("RGB")``):
palettes are looked up, CMYK is converted, alpha is dropped and not composited. 16-bit gray keeps
its high byte, where Pillow's own conversion would clip everything above 255 to white; of colors
Pillow keeps the high byte itself. Files are rotated by their EXIF tag only where asked for, as
torchvision and timm do not; a TIFF file, which Pillow always turns, is refused unless asked for.
Of several frames or pages, the first is read.
"""

import contextlib
import io
import logging
import math
import re
import threading

import numpy as np
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin

from analyzer.data.image_costs import JPEG2000_STREAM, hold_pixels, refuse_many_parts
from analyzer.errors import DataError
from analyzer.input_budgets import DEFAULT_BUDGETS, Budgets

__all__ = ["EXTENSIONS", "decode"]

# Only formats that are decoded in this process: Pillow's EPS plugin, say, starts Ghostscript.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "AVIF", "JPEG2000")
EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "bmp", "gif", "tif", "tiff", "webp", "avif", "jp2"),
        *("ppm", "pgm", "pbm", "pnm"),
    )
)
logging.getLogger("PIL").addHandler(logging.NullHandler())  # or what it logs goes to stderr

_LARGE = 1 << 24  # pixels; such images are decoded one at a time, or memory grows with the cores
_one_large = threading.Lock()
_EIGHT = 8  # bits a channel
_WHITE = 0xFFFF  # of 16-bit images
_LOW_BYTE = 0xFF
_DARK = 1  # of 255: what is left of a low byte by one decoder's rounding; 0 by the others'
_PNM_DECODER = "ppm"  # Pillow's in Python, for greatest values other than 1, 255 and 65535
_ORIENTATION, _TURNED = 274, range(2, 9)  # the tag of TIFF, and its values that turn or mirror
_SIGNED = 2  # among TIFF's sample formats
_PNG_DEPTH = 24  # where a PNG file has its bits a channel
_JPEG2000_CHANNELS = 40  # place in its codestream: how many there are, then 3 bytes for each


def decode(data: bytes, *, exif: bool = False, budgets: Budgets = DEFAULT_BUDGETS) -> Image.Image:
    """Decode an image file held in memory.

    Args:
        data: the file's bytes.
        exif: rotate and mirror as the EXIF orientation tag says.
        budgets: what the image may ask for.

    Returns:
        an image of mode "L" or "RGB", fully loaded.

    Raises:
        DataError: not an image, damaged, or too large; the message gives the reason only.
    """
    try:
        refuse_many_parts(data)
        image: Image.Image = _open(data, budgets)
        if not exif:
            _refuse_turned(image)
        deep, depth = _is_deep(image, data), _gray_depth(image)
        pixels = image.width * image.height
        hold_pixels(image, data, budgets, deep=deep)
        if image.mode == "F":
            raise DataError(
                "pixels are floating-point numbers of unknown range; store 8-bit images"
            )
        with _one_large if pixels > _LARGE else contextlib.nullcontext():
            image = _loaded(image, data)
            if deep:
                _refuse_black(image)
            if exif:
                image = ImageOps.exif_transpose(image)
            return _eight_bits(image, *depth)
    except DataError:
        raise
    except Image.UnidentifiedImageError as error:
        raise DataError("not an image of a known format") from error
    except Exception as error:
        # Damaged files make Pillow's plugins raise anything from SyntaxError to struct.error.
        raise DataError(f"damaged image: {str(error) or type(error).__name__}") from error


def _open(data: bytes, budgets: Budgets) -> Image.Image:
    """The image, its pixels still encoded."""
    if Image.MAX_IMAGE_PIXELS is not None and budgets.pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = budgets.pixels  # or Pillow refuses what the budget allows
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        pixels = int(re.findall(r"\d+", str(error))[0])  # nothing else says how many
        excess = budgets.excess("pixels", pixels)
        raise DataError(f"it has {pixels:,} pixels, {excess}") from error


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether an image whose pixels are still encoded has more than 8 bits a channel.

    Raises:
        DataError: it has, in a form that Pillow reads as 8 bits.
    """
    if image.format == "PNG":
        return data[_PNG_DEPTH] > _EIGHT
    if image.format == "PPM" and isinstance(image, ImageFile.ImageFile):
        numbers = (value for tile in image.tile for value in tile.args or ())
        return any(isinstance(value, int) and value > _LOW_BYTE for value in numbers)
    if image.format == "JPEG2000":
        start = data.find(JPEG2000_STREAM) + _JPEG2000_CHANNELS
        channels = int.from_bytes(data[start : start + 2])
        depths = data[start + 2 : start + 2 + 3 * channels : 3]
        return any((depth & 0x7F) + 1 > _EIGHT for depth in depths)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        deep = max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) > _EIGHT
        if deep and any(tile.args and tile.args[0] == "R" for tile in image.tile):
            raise DataError(
                "its 16-bit channels lie in planes of their own; save it with the channels of each "
                "pixel together, or as 8 bits"
            )
        return deep
    return False


def _refuse_turned(image: Image.Image) -> None:
    """Refuse a TIFF file that Pillow turns by its tag, where nobody has asked for that.

    Raises:
        DataError: it is one; the message gives the reason only.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    orientation = image.tag_v2.get(_ORIENTATION)
    if orientation in _TURNED:
        raise DataError(
            f"its orientation tag is {orientation}, and not all readers of TIFF turn images by it. "
            "Have images rotated by EXIF if training did that, or save it without the tag"
        )


def _loaded(image: Image.Image, data: bytes) -> Image.Image:
    """The image with its pixels decoded."""
    tiles = getattr(image, "tile", [])
    if len(tiles) == 1 and tiles[0][0] == _PNM_DECODER:
        return _pnm(image, data, tiles[0][2], tiles[0][3][-1])
    image.load()
    return image


def _pnm(image: Image.Image, data: bytes, start: int, greatest: int) -> Image.Image:
    """A PNM image whose greatest value is not that of its type, as Pillow decodes it but faster.

    Args:
        image: as it was opened, of mode "L", "RGB" or "I".
        data: the file's bytes.
        start: where its pixels begin.
        greatest: value, which is white.

    Raises:
        ValueError: it is cut off.
    """
    kind, white = (">u2" if greatest > _LOW_BYTE else "u1"), _WHITE if image.mode == "I" else 255
    shape = (image.height, image.width, len(image.getbands()))
    values = np.frombuffer(data, kind, math.prod(shape), start)
    scaled = np.round(np.arange(int(values.max()) + 1) / greatest * white).clip(max=white)
    pixels = scaled.astype(np.int32 if image.mode == "I" else np.uint8)[values].reshape(shape)
    return Image.fromarray(pixels if image.mode == "RGB" else pixels[..., 0])


def _refuse_black(image: Image.Image) -> None:
    """Refuse an image of more than 8 bits a channel of which Pillow's 8 bits show nothing.

    Alpha does not count, as it is dropped. Where Pillow gives 16 bits, :func:`_eight_bits` looks.

    Raises:
        DataError: it is black, or almost.
    """
    if image.mode.startswith("I"):
        return
    colors = (image.getchannel(band) for band in image.getbands() if band not in ("A", "a"))
    if max(int(np.asarray(color).max()) for color in colors) <= _DARK:
        raise DataError(
            "its 16-bit pixels are all 0 or 1 of 255 as 8 bits, which is black; store 8-bit "
            "images, or use the whole range"
        )


def _gray_depth(image: Image.Image) -> tuple[int, bool]:
    """The bits of gray that Pillow reads as whole numbers, and whether 0 is white: TIFF's tell.

    Raises:
        DataError: a TIFF file has signed bytes, which Pillow reads as unsigned.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 2 * _EIGHT, False
    bits = max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
    if bits == _EIGHT and _SIGNED in image.tag_v2.get(TiffImagePlugin.SAMPLEFORMAT, ()):
        raise DataError("its pixels are signed numbers; store unsigned 8-bit images")
    white_is_zero = image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    return min(bits, 2 * _EIGHT), white_is_zero


def _eight_bits(image: Image.Image, depth: int, white_is_zero: bool) -> Image.Image:
    """The image as mode "L" or "RGB".

    Args:
        image: loaded.
        depth, white_is_zero: of gray as whole numbers, as :func:`_gray_depth` tells.
    """
    if image.mode in ("L", "RGB"):
        return image
    if image.mode in ("1", "LA", "La"):
        return image.convert("L")
    if image.mode.startswith("I"):
        values = np.array(image)
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > _WHITE:
            raise DataError("pixels are whole numbers of unknown range; store 8-bit images")
        white = (1 << depth) - 1
        if white_is_zero:
            values, high = white - values, white - low
        if 0 < high < 1 << (depth - _EIGHT):
            raise DataError(
                f"its {depth}-bit pixels are all from 0 to {high} of {white}, which is black; "
                "store 8-bit images, or use the whole range"
            )
        return Image.fromarray((values >> (depth - _EIGHT)).astype(np.uint8))
    image.info.pop("transparency", None)  # or Pillow warns of what is meant: alpha is dropped
    return image.convert("RGB")
