"""IDX folders as the MNIST family ships them, gzipped or not."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from analyzer.data.arrays import from_arrays
from analyzer.data.source import Source, file_state
from analyzer.errors import DataError

__all__ = ["is_idx_folder", "open_idx"]

_PREFIXES = {"train": ("train",), "test": ("t10k", "test")}
_UNSIGNED_BYTE = 0x08


def is_idx_folder(folder: Path) -> bool:
    """Whether the folder holds IDX images."""
    return any(_is_idx(path, "images") for path in folder.iterdir())


def open_idx(folder: Path, half: str | None = None) -> Source:
    """Open one half of an IDX folder: "train" (by default) or "test" (the ``t10k`` files).

    EMNIST's names (``emnist-letters-train-images-idx3-ubyte``) are understood where the folder
    holds one such set.

    Raises:
        DataError: files are missing, damaged, or there are several sets.
    """
    half = half or "train"
    if half not in _PREFIXES:
        raise DataError(f"{folder}#{half}: an IDX folder has the halves train and test")
    images_path = _find(folder, half, "images")
    labels_path = _find(folder, half, "labels")
    return from_arrays(
        _read(images_path, dimensions=3),
        _read(labels_path, dimensions=1),
        source=f"{folder}#{half}",
        kind="idx",
        state=f"{file_state(images_path)} {file_state(labels_path)}",
    )


def _is_idx(path: Path, what: str) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return what in name and name.endswith(("-ubyte", ".ubyte", ".idx", "_ubyte")) and "idx" in name


def _find(folder: Path, half: str, what: str) -> Path:
    found = {}
    for path in sorted(folder.iterdir()):
        words = path.name.lower().replace(".", "-").replace("_", "-").split("-")
        if _is_idx(path, what) and any(prefix in words for prefix in _PREFIXES[half]):
            # The plain file sorts before its gzipped twin, and is the faster one to read.
            found.setdefault(path.name.removesuffix(".gz"), path)
    if len(found) != 1:
        state = f"{len(found)} sets of {half} {what}" if found else f"no {half} {what}"
        raise DataError(
            f"{folder} holds {state} (one file like "
            f"{_PREFIXES[half][0]}-{what}-idx{3 if what == 'images' else 1}-ubyte[.gz] is wanted)"
        )
    return next(iter(found.values()))


def _read(path: Path, *, dimensions: int) -> np.ndarray:
    """The array of an IDX file of unsigned bytes: uint8 of so many dimensions."""
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error})") from error
    header = 4 + 4 * dimensions
    if len(data) < header or data[:4] != bytes((0, 0, _UNSIGNED_BYTE, dimensions)):
        raise DataError(f"{path} is not an IDX file of unsigned bytes in {dimensions} dimensions")
    shape = tuple(np.frombuffer(data, ">u4", dimensions, offset=4).tolist())
    if len(data) - header != math.prod(shape):
        raise DataError(
            f"{path} promises {math.prod(shape)} values but holds {len(data) - header}; it is "
            "damaged, fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
