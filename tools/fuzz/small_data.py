"""Twenty honest images for the bundled network of digits, which hostile data are made from."""

import functools
import io

import numpy as np
from PIL import Image

from tools.fuzz.harness import ROOT
from tools.fuzz.mutations import hostile_json, hostile_numbers

__all__ = [
    "AUDIT", "BUNDLED_DATA", "as_bytes", "audit_of", "digits", "encoded", "integers", "json_bytes",
    "large_image",
]  # fmt: skip

BUNDLED_DATA = ROOT / "model_zoo" / "bundled" / "digits" / "train.npz"
_EACH = 2  # samples of a class
AUDIT = (
    "audit", "zoo:digits-c0", "--preprocess", "none", "--interpolation-samples", "0",
    "--neighbor-samples", "0", "--suspects", "3", "--out", "out",
)  # fmt: skip


@functools.cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """uint8 (20, 8, 8) images and int64 (20,) labels, two of each class."""
    with np.load(BUNDLED_DATA) as stored:
        images, labels = stored["images"], stored["labels_c0"].astype(np.int64)
    chosen = np.concatenate([np.flatnonzero(labels == number)[:_EACH] for number in range(10)])
    return images[chosen], labels[chosen]


def encoded(image: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind)
    return stream.getvalue()


def audit_of(data: str, *options: str) -> tuple[str, ...]:
    return (*AUDIT, "--data", data, *options)


def as_bytes(text: str) -> bytes:
    return text.encode(errors="replace")


json_bytes = hostile_json.map(as_bytes)


integers = hostile_numbers.filter(lambda number: isinstance(number, int))


def large_image() -> bytes:
    """A file of a few kilobytes that is an image of 177 million pixels."""
    return encoded(np.zeros((13_300, 13_300), np.uint8), "PNG")
