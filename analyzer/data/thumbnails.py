"""Small pictures of samples, for people to look at."""

import io

import numpy as np
from PIL import Image

from analyzer.data.source import Source

__all__ = ["thumbnail"]

_SIZE = 96  # pixels, at most, either way
_COLOURS = 128
_FEW_PIXELS = 48 * 48  # below, a palette saves nothing


def thumbnail(source: Source, index: int) -> bytes | None:
    """A sample as a small PNG file; None where it is not an image but floats of unknown range.

    Raises:
        DataError: the sample cannot be read; the sentence names it.
    """
    pixels = source.read(index).image
    if pixels.dtype != np.uint8:
        return None
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image = image.convert("L" if image.mode in ("L", "LA") else "RGB")
    image.thumbnail((_SIZE, _SIZE))
    if image.mode == "RGB" and image.width * image.height > _FEW_PIXELS:
        image = image.quantize(_COLOURS)
    png = io.BytesIO()
    image.save(png, "PNG", optimize=True)
    return png.getvalue()
