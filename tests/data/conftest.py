"""Small pictures and data sets in the exact formats, made on the spot."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analyzer.common_types import TensorInfo


@pytest.fixture
def picture():
    """picture(height, width, channels=3, seed=0): uint8 (H, W) or (H, W, C) of smooth noise."""

    def make(height, width, channels=3, seed=0):
        shape = (height, width) if channels == 1 else (height, width, channels)
        generator = np.random.default_rng(seed)
        return (generator.integers(0, 8, shape) * 30).astype(np.uint8)

    return make


@pytest.fixture
def encoded():
    """encoded(array or image, format="PNG", **options): the bytes of an image file."""

    def encode(image, format="PNG", **options):
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        buffer = io.BytesIO()
        image.save(buffer, format, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture
def class_folders(tmp_path, picture, encoded):
    """class_folders({"cat": 2, …}): a folder of class folders of so many 8 × 8 PNG files."""

    def make(counts, root: Path = tmp_path / "images"):
        seed = 0
        for name, count in counts.items():
            (root / name).mkdir(parents=True)
            for number in range(count):
                data = encoded(picture(8, 8, seed=seed))
                (root / name / f"{number}.png").write_bytes(data)
                seed += 1
        return root

    return make


@pytest.fixture
def network_input():
    """network_input(*shape, dtype="float32")."""

    def make(*shape, dtype="float32"):
        return TensorInfo("x", dtype, shape)

    return make
