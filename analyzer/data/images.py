"""Images decoded, always to 8 bits a channel, gray or RGB, the same everywhere; and thumbnails.

What trainers' pipelines do with odd files is followed where they agree (``convert("RGB")``):
palettes are looked up, CMYK is converted, alpha is dropped and not composited. 16-bit gray keeps
its high byte, where Pillow's own conversion would clip everything above 255 to white. Files are
rotated by their EXIF tag only where asked for, as torchvision and timm do not.
"""

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from analyzer.errors import DataError

if TYPE_CHECKING:
    from analyzer.data.source import Source

__all__ = ["EXTENSIONS", "MAX_PIXELS", "decode", "thumbnail"]

# Only formats that are decoded in this process: Pillow's EPS plugin, say, starts Ghostscript.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "AVIF", "JPEG2000")
EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "bmp", "gif", "tif", "tiff", "webp", "avif", "jp2"),
        *("ppm", "pgm", "pbm", "pnm"),
    )
)
MAX_PIXELS = 178_956_970  # Pillow's own bound for refusing, twice its bound for warning
_THUMBNAIL = 96  # pixels, at most, either way
_THUMBNAIL_COLOURS = 128
_FEW_PIXELS = 48 * 48  # below, a palette saves nothing


def decode(data: bytes, *, exif: bool = False) -> Image.Image:
    """Decode an image file held in memory.

    Args:
        data: the file's bytes.
        exif: rotate and mirror as the EXIF orientation tag says.

    Returns:
        an image of mode "L" or "RGB", fully loaded.

    Raises:
        DataError: not an image, damaged, or too large; the message gives the reason only.
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError(
                f"{image.width}×{image.height} pixels, more than {MAX_PIXELS}"
            )
        image.load()
        if exif:
            image = ImageOps.exif_transpose(image)
        return _eight_bits(image)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"a decompression bomb: {error}") from error
    except Image.UnidentifiedImageError as error:
        raise DataError("not an image of a known format") from error
    except Exception as error:
        # Damaged files make Pillow's plugins raise anything from SyntaxError to struct.error.
        raise DataError(f"damaged image: {error or type(error).__name__}") from error


def thumbnail(source: "Source", index: int) -> bytes | None:
    """A sample as a small PNG file; None where it is not an image but floats of unknown range.

    Raises:
        DataError: the sample cannot be read; the message names it.
    """
    pixels = source.read(index).image
    if pixels.dtype != np.uint8:
        return None
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image = image.convert("L" if image.mode in ("L", "LA") else "RGB")
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    if image.mode == "RGB" and image.width * image.height > _FEW_PIXELS:
        image = image.quantize(_THUMBNAIL_COLOURS)
    png = io.BytesIO()
    image.save(png, "PNG", optimize=True)
    return png.getvalue()


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image as mode "L" or "RGB"."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode in ("1", "LA", "La"):
        return image.convert("L")
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode == "F":
        raise DataError("pixels are floating-point numbers of unknown range; store 8-bit images")
    image.info.pop("transparency", None)  # or Pillow warns of what is meant: alpha is dropped
    return image.convert("RGB")
