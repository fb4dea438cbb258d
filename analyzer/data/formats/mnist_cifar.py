"""The MNIST family and CIFAR as their authors ship them.

MNIST's are IDX folders, gzipped or not; CIFAR-10 and CIFAR-100 are folders of the binary or the
python version.
"""

import gzip
import io
import math
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from analyzer.data.formats.array_pickles import load_arrays
from analyzer.data.formats.arrays import from_arrays
from analyzer.data.formats.format import Format, Wanted, split_of_two, two_candidates
from analyzer.data.source import CompactNames, FileStates, Source
from analyzer.errors import DataError
from analyzer.files import check_regular, read_text
from analyzer.input_budgets import Budgets

__all__ = ["CIFAR", "IDX", "open_cifar", "open_idx"]

_PREFIXES = {"train": ("train",), "test": ("t10k", "test")}
_WORDS_OF_A_KIND = re.compile(r"images|labels|idx\d*|ubyte|gz|")
_UNSIGNED_BYTE = 0x08


def open_idx(path: Path, wanted: Wanted) -> Source:
    """Open one split of an IDX folder: "train" (by default) or "test" (the ``t10k`` files).

    EMNIST's names (``emnist-letters-train-images-idx3-ubyte``) are understood where the folder
    holds one such set.

    Raises:
        DataError: files are missing, damaged, or there are several sets.
    """
    split = split_of_two(wanted.split, "an IDX folder", path)
    images_paths = _find_idx(path, split, "images")
    labels_paths = _find_idx(path, split, "labels")
    if _set_of(images_paths[0]) != _set_of(labels_paths[0]):
        raise DataError(
            f"{images_paths[0]} and {labels_paths[0].name} are of different sets by their names. "
            "Put the images and labels of one set into a folder of their own."
        )
    file_states = FileStates.of(*images_paths, *labels_paths)
    images = _read_alike(images_paths, wanted.budgets, dimensions=3)
    labels = _read_alike(labels_paths, wanted.budgets, dimensions=1)
    file_states.refuse_if_changed()
    return from_arrays(
        images,
        labels,
        source=f"{path}#{split}",
        kind="idx",
        file_states=file_states,
        budgets=wanted.budgets,
    )


def _is_idx_folder(path: Path) -> bool:
    return path.is_dir() and any(_is_idx(file.name, "images") for file in path.iterdir())


def _is_idx(name: str, what: str) -> bool:
    if name.startswith("."):
        return False
    name = name.lower().removesuffix(".gz")
    return what in name and name.endswith(("-ubyte", ".ubyte", ".idx", "_ubyte")) and "idx" in name


def _set_of(path: Path) -> list[str]:
    """The words of a file's name that say which set it is of."""
    words = re.split(r"[-_.]", path.name.lower())
    return [word for word in words if not _WORDS_OF_A_KIND.fullmatch(word)]


def _find_idx(folder: Path, split: str, what: str) -> list[Path]:
    """The one file of such images or labels; with its gzipped twin, if there is one."""
    found: dict[str, list[Path]] = {}
    for path in _find_files(folder, split, what):
        # The plain file sorts before its gzipped twin, and is the faster one to read.
        found.setdefault(path.name.removesuffix(".gz"), []).append(path)
    if not found and split != "test" and any(_find_files(folder, "test", what)):
        raise DataError(
            f"{folder} holds no train {what}, but those of its split 'test': give {folder}#test "
            "for these."
        )
    if len(found) != 1:
        state = f"{len(found)} sets of {split} {what}" if found else f"no {split} {what}"
        raise DataError(
            f"{folder} holds {state}. One file is wanted, like "
            f"{_PREFIXES[split][0]}-{what}-idx{3 if what == 'images' else 1}-ubyte[.gz]."
        )
    return next(iter(found.values()))


def _find_files(folder: Path, split: str, what: str) -> Iterator[Path]:
    """All files that their names call such images or labels."""
    for path in sorted(folder.iterdir()):
        words = path.name.lower().replace(".", "-").replace("_", "-").split("-")
        if _is_idx(path.name, what) and any(prefix in words for prefix in _PREFIXES[split]):
            yield path


def _read_alike(paths: Sequence[Path], budgets: Budgets, *, dimensions: int) -> np.ndarray:
    """The array of one or several IDX files of the same.

    Raises:
        DataError: one is damaged, or they hold different values.
    """
    found = _read_idx(paths[0], budgets, dimensions=dimensions)
    for other in paths[1:]:
        if not np.array_equal(found, _read_idx(other, budgets, dimensions=dimensions)):
            raise DataError(f"{paths[0]} and {other} hold different values. Remove one of them.")
    return found


def _read_idx(path: Path, budgets: Budgets, *, dimensions: int) -> np.ndarray:
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


_PIXELS = 3 * 32 * 32
_MOST_CLASSES = 100
_BATCH = re.compile(r"(data_batch_\d+|test_batch)(\.bin)?")


@dataclass(frozen=True, slots=True)
class _Version:
    """One of the four forms in which CIFAR is shipped."""

    kind: str  # "cifar10" or "cifar100"
    folder: str  # name of the folder in the archive
    train: tuple[str, ...]
    test: str
    names: str  # file with the names of the classes
    binary: bool


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_VERSIONS = (
    _Version(
        "cifar10",
        "cifar-10-batches-bin",
        tuple(f"{name}.bin" for name in _BATCHES),
        "test_batch.bin",
        "batches.meta.txt",
        True,
    ),
    _Version("cifar10", "cifar-10-batches-py", _BATCHES, "test_batch", "batches.meta", False),
    _Version(
        "cifar100", "cifar-100-binary", ("train.bin",), "test.bin", "fine_label_names.txt", True
    ),
    _Version("cifar100", "cifar-100-python", ("train",), "test", "meta", False),
)


def _find_cifar(folder: Path) -> tuple[Path, _Version] | None:
    """Where a CIFAR folder lies (it, or the archive's folder in it), and the version.

    Raises:
        DataError: it is there in several forms.
    """
    found = [
        (place, version)
        for version in _VERSIONS
        for place in (folder, folder / version.folder)
        if _is_version(place, version)
    ]
    if len(found) > 1:
        one, other = (place / version.train[0] for place, version in found[:2])
        raise two_candidates(
            folder,
            f"the data of {one}",
            f"of {other}",
            "both can be meant",
            "Name one of their folders, or remove one."
            if one.parent != other.parent
            else "Remove the files of one.",
        )
    return found[0] if found else None


def _is_version(place: Path, version: _Version) -> bool:
    """Whether two of three are there: names of classes, training data, test data."""
    there = [(place / name).is_file() for name in (version.names, version.train[0], version.test)]
    return sum(there) > 1


def open_cifar(path: Path, wanted: Wanted) -> Source:
    """Open one split, "train" (by default) or "test". CIFAR-100's labels are the fine ones.

    Raises:
        DataError: files are missing or damaged, or a pickle holds more than arrays.
    """
    found = _find_cifar(path)
    if found is None:
        raise DataError(f"{path} is not a CIFAR-10 or CIFAR-100 folder.")
    folder, version = found
    split = split_of_two(wanted.split, "a CIFAR folder", folder)
    files = [folder / name for name in (version.train if split == "train" else (version.test,))]
    names_path = folder / version.names
    for file in (*files, names_path):
        if not file.is_file():
            raise DataError(f"{file} is missing. Fetch the data set again.")
    total = sum(file.stat().st_size for file in files)
    if excess := wanted.budgets.excess("bytes", total):
        raise DataError(f"The files of {folder}#{split} are {total:,} bytes large, {excess}.")
    file_states = FileStates.of(*files, names_path)
    read = _read_binary if version.binary else _read_pickled
    images, labels, names = zip(*(read(file, version.kind) for file in files), strict=True)
    class_names = _class_names(names_path, version, wanted.budgets)
    file_states.refuse_if_changed()
    source = from_arrays(
        np.concatenate(images).reshape(-1, 3, 32, 32),
        np.concatenate(labels),
        source=f"{folder}#{split}",
        kind=version.kind,
        class_names=class_names,
        names=CompactNames(name for part in names for name in part) if all(names) else None,
        file_states=file_states,
        budgets=wanted.budgets,
    )
    return replace(source, warnings=(*source.warnings, *_further_batches(folder, version)))


def _is_batch(name: str) -> bool:
    """Whether a file of CIFAR-10 is called so; those of CIFAR-100 are called like anything."""
    return _BATCH.fullmatch(name) is not None


def _further_batches(folder: Path, version: _Version) -> tuple[str, ...]:
    """A warning of batches that are none of CIFAR's."""
    names = sorted(file.name for file in folder.iterdir() if _is_batch(file.name))
    further = [name for name in names if name.startswith("data") and name not in version.train]
    if version.kind != "cifar10" or not further:
        return ()
    return (f"CIFAR-10 has five batches; others were left out of {folder}: {', '.join(further)}.",)


def _read_binary(path: Path, kind: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Images (S, 3072), labels (S,) and no names of a file of records: labels, then pixels."""
    head = 1 if kind == "cifar10" else 2  # CIFAR-100 has the coarse label before the fine one
    data = np.fromfile(path, np.uint8)
    if not data.size or data.size % (head + _PIXELS):
        raise DataError(
            f"{path} holds {data.size} bytes, which is no whole number of {head + _PIXELS}-byte "
            "records. Fetch the data set again."
        )
    records = data.reshape(-1, head + _PIXELS)
    return records[:, head:], records[:, head - 1], []


def _read_pickled(path: Path, kind: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Images (S, 3072), labels (S,) and file names of a python batch."""
    content = load_arrays(path)
    images = content.get(b"data")
    if kind == "cifar10" and b"fine_labels" in content:
        raise two_candidates(
            path, "'labels'", "'fine_labels'", "CIFAR-10 has the former alone", "Remove one."
        )
    labels = content.get(b"labels" if kind == "cifar10" else b"fine_labels")
    if not (
        isinstance(images, np.ndarray)
        and images.dtype == np.uint8
        and images.ndim == 2
        and images.shape[1] == _PIXELS
        and isinstance(labels, list)
        and len(labels) == len(images)
        and all(type(label) is int and 0 <= label < _MOST_CLASSES for label in labels)
    ):
        raise DataError(f"{path} does not hold CIFAR's images and labels. Fetch it again.")
    names = _texts(content.get(b"filenames", []))
    if names and len(names) != len(images):
        raise DataError(
            f"{path} holds {len(images):,} images, and {len(names):,} file names of them. Fetch it "
            "again."
        )
    return images, np.array(labels, np.int64), names


def _class_names(path: Path, version: _Version, budgets: Budgets) -> list[str]:
    if version.binary:
        text = read_text(path, budgets, "The file of class names")
        names = [line.strip() for line in io.StringIO(text.rstrip(), newline=None)]
        if "" in names or not names:
            raise DataError(f"Line {names.index('') + 1 if names else 1} of {path} names no class.")
        return names
    key = b"label_names" if version.kind == "cifar10" else b"fine_label_names"
    if excess := budgets.excess("bytes", path.stat().st_size):
        raise DataError(f"{path} is {path.stat().st_size:,} bytes large, {excess}.")
    names = _texts(load_arrays(path).get(key, []))
    if not names:
        raise DataError(f"{path} does not hold the names of the classes. Fetch it again.")
    return names


def _texts(values: object) -> list[str]:
    values = values if isinstance(values, list) else []
    return [os.fsdecode(value) for value in values if isinstance(value, bytes | str)]


CIFAR = Format(
    "a CIFAR-10 or CIFAR-100 folder",
    _is_batch,
    lambda path: path.is_dir() and _find_cifar(path) is not None,
    open_cifar,
)
IDX = Format(
    "an IDX folder (MNIST family)",
    lambda name: _is_idx(name, "images") or _is_idx(name, "labels"),
    _is_idx_folder,
    open_idx,
)
