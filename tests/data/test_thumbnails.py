import io

import numpy as np
import pytest
from PIL import Image

from analyzer.data import from_arrays, open_data, thumbnail
from analyzer.errors import DataError


def opened(png: bytes) -> Image.Image:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return Image.open(io.BytesIO(png))


def source(images):
    return from_arrays(images, np.zeros(len(images), np.int64), source="x", kind="npz", state="")


@pytest.mark.parametrize("shape", [(8, 8), (30, 20), (8, 8, 3), (40, 30, 4)])
def test_small_images_keep_their_pixels(shape):
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    found = np.asarray(opened(thumbnail(source(images), 1)))
    np.testing.assert_array_equal(found, images[1] if len(shape) == 2 else images[1, ..., :3])


@pytest.mark.parametrize("shape", [(300, 200, 3), (200, 300)])
def test_large_images_become_small_files(shape):
    ramp = np.linspace(0, 255, np.prod(shape)).reshape(1, *shape).astype(np.uint8)
    png = thumbnail(source(ramp), 0)
    image = opened(png)
    assert max(image.size) == 96
    assert image.width / image.height == pytest.approx(shape[1] / shape[0], abs=0.02)
    assert len(png) < 12_000


def test_floats_are_no_images():
    assert thumbnail(source(np.zeros((1, 3, 8, 8), np.float32)), 0) is None


def test_a_sample_that_cannot_be_read_is_named(tmp_path):
    for number in range(2):
        folder = tmp_path / f"class{number}"
        folder.mkdir()
        Image.new("RGB", (8, 8)).save(folder / "a.png")
    found = open_data(tmp_path)
    (tmp_path / "class1" / "a.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"class1/a\.png"):
        thumbnail(found, 1)
