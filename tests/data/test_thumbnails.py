"""Pictures of samples, and what is taken for one."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from sklearn.datasets import load_sample_image

from analyzer.data import shows_sample, thumbnail


def saved(image, **options):
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (8, 3), (60, 3)])
def test_a_picture_with_more_than_pixels_is_another_picture(picture, side, channels):
    """A viewer shows more of a PNG file than the pixels that are decoded here."""
    sample = SimpleNamespace(image=picture(side, side, channels))
    own = thumbnail(sample)
    image = Image.open(io.BytesIO(own))

    again = saved(image, compress_level=0)
    assert again != own
    assert shows_sample(again, sample)
    clear = image.convert("RGBA")
    clear.putalpha(0)
    gamma = PngInfo()
    gamma.add(b"gAMA", b"\0\0\0\1")
    black = Image.new(image.mode, image.size)
    others = {
        "alpha": saved(clear),
        "gamma": saved(image, pnginfo=gamma),
        "frames": saved(image, save_all=True, append_images=[black], default_image=True),
        "something after the end": own + b"<svg>",
    }
    if image.mode != "RGB":
        others["a transparent value"] = saved(image, transparency=int(np.asarray(image)[0, 0]))
    assert [name for name, png in others.items() if shows_sample(png, sample)] == []


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("side", [28, 200])
def test_a_picture_that_something_was_drawn_into_is_another_picture(mode, side):
    photograph = Image.fromarray(load_sample_image("china.jpg")).crop((0, 0, side, side))
    sample = SimpleNamespace(image=np.asarray(photograph.convert(mode)))
    own = Image.open(io.BytesIO(thumbnail(sample))).convert(mode)
    generator = np.random.default_rng(0)
    noise = generator.integers(-2, 3, sample.image.shape)  # as of another decoder
    nearly = np.clip(sample.image + noise, 0, 255).astype(np.uint8)
    assert shows_sample(thumbnail(SimpleNamespace(image=nearly)), sample)
    written, dot = own.copy(), own.copy()
    ImageDraw.Draw(written).text((3, 3), "OK", fill="black")
    dot.putpixel((9, 9), (0,) * len(mode) if mode == "RGB" else 0)
    brighter = own.point(lambda value: min(value + 6, 255))
    changed = {"text": written, "a dot": dot, "brighter": brighter}
    assert [name for name, one in changed.items() if shows_sample(saved(one), sample)] == []
