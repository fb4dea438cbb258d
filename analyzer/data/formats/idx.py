"""IDX folders as the MNIST family ships them, gzipped or not."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from analyzer.budgets import Budgets
from analyzer.data.formats.arrays import from_arrays
from analyzer.data.formats.format import Format, Wanted, split_of_two
from analyzer.data.source import Source, file_state
from analyzer.errors import DataError
from analyzer.whole_files import check_regular

__all__ = ["IDX", "open_idx"]

_PREFIXES = {"train": ("train",), "test": ("t10k", "test")}
_UNSIGNED_BYTE = 0x08


def open_idx(path: Path, wanted: Wanted) -> Source:
    """Open one split of an IDX folder: "train" (by default) or "test" (the ``t10k`` files).

    EMNIST's names (``emnist-letters-train-images-idx3-ubyte``) are understood where the folder
    holds one such set.

    Raises:
        DataError: files are missing, damaged, or there are several sets.
    """
    split = split_of_two(wanted.split, "an IDX folder", path)
    images_path = _find(path, split, "images")
    labels_path = _find(path, split, "labels")
    return from_arrays(
        _read(images_path, wanted.budgets, dimensions=3),
        _read(labels_path, wanted.budgets, dimensions=1),
        source=f"{path}#{split}",
        kind="idx",
        state=f"{file_state(images_path)} {file_state(labels_path)}",
    )


def _is_idx_folder(path: Path) -> bool:
    return path.is_dir() and any(_is_idx(file, "images") for file in path.iterdir())


def _is_idx(path: Path, what: str) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return what in name and name.endswith(("-ubyte", ".ubyte", ".idx", "_ubyte")) and "idx" in name


def _find(folder: Path, split: str, what: str) -> Path:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        words = path.name.lower().replace(".", "-").replace("_", "-").split("-")
        if _is_idx(path, what) and any(prefix in words for prefix in _PREFIXES[split]):
            # The plain file sorts before its gzipped twin, and is the faster one to read.
            found.setdefault(path.name.removesuffix(".gz"), path)
    if len(found) != 1:
        state = f"{len(found)} sets of {split} {what}" if found else f"no {split} {what}"
        raise DataError(
            f"{folder} holds {state}. One file is wanted, like "
            f"{_PREFIXES[split][0]}-{what}-idx{3 if what == 'images' else 1}-ubyte[.gz]."
        )
    return next(iter(found.values()))


def _read(path: Path, budgets: Budgets, *, dimensions: int) -> np.ndarray:
    """The array of an IDX file of unsigned bytes: uint8 of so many dimensions."""
    try:
        check_regular(path)
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(4 + 4 * dimensions)
            if (
                header[:4] != bytes((0, 0, _UNSIGNED_BYTE, dimensions))
                or len(header) != 4 + 4 * dimensions
            ):
                raise DataError(f"is not an IDX file of unsigned bytes in {dimensions} dimensions")
            shape = tuple(np.frombuffer(header, ">u4", offset=4).tolist())
            promised = math.prod(shape)
            if excess := budgets.excess_of_file(path, promised):
                raise DataError(f"promises {promised:,} values, {excess}")
            data = file.read(promised + 1)
    except DataError as error:
        raise DataError(f"{path} {error.message}.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}).") from error
    if len(data) != promised:
        held = "more" if len(data) > promised else str(len(data))
        raise DataError(
            f"{path} promises {promised} values but holds {held}. It is damaged; fetch it again."
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


IDX = Format("an IDX folder (MNIST family)", _is_idx_folder, open_idx)
