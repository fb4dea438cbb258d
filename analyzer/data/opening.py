"""Opening data by its path: the kind is recognised from what lies there."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from analyzer.data.arrays import open_npz
from analyzer.data.cifar import find_cifar, open_cifar
from analyzer.data.classes import ClassList, read_classes
from analyzer.data.folder import open_folder
from analyzer.data.idx import is_idx_folder, open_idx
from analyzer.data.images import EXTENSIONS
from analyzer.data.manifest import MANIFEST_SUFFIXES, open_manifest
from analyzer.data.parquet import open_parquet
from analyzer.data.shards import is_packed_tar, open_shards
from analyzer.data.source import Source
from analyzer.errors import DataError

__all__ = ["open_data"]

_KINDS = (
    "a folder of class folders, a .npz file of images and labels, an IDX folder (MNIST family), a "
    "CIFAR-10 or CIFAR-100 folder, Parquet, a WebDataset .tar, or a .csv or .jsonl manifest"
)


def open_data(
    spec: str | Path,
    *,
    keys: Sequence[str] | None = None,
    classes: str | Path | None = None,
) -> Source:
    """Open labelled samples.

    Args:
        spec: a path, whose kind is recognised; "PATH#test" names a half of data that come in
            halves ("train" is the default).
        keys: the names of the images and the labels, where these can be named.
        classes: path of the network's class list (:func:`analyzer.data.read_classes`).

    Raises:
        DataError: nothing there, not a known kind, or damaged.
    """
    path, half = _split(spec)
    if keys is not None and len(keys) != 2:
        raise DataError(f"--keys names {len(keys)} keys; that of the images and that of the labels")
    class_list = None if classes is None else read_classes(classes)
    pair = None if keys is None else (keys[0], keys[1])
    try:
        source = _open(path, half, pair, class_list)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    return source if class_list is None else _named(source, class_list)


def _split(spec: str | Path) -> tuple[Path, str | None]:
    """Path and half; a "#" that belongs to the path itself stays there."""
    path = Path(spec)
    text, hash_sign, half = str(spec).rpartition("#")
    if hash_sign and not path.exists():
        path = Path(text)
    else:
        half = ""
    if not path.exists():
        raise DataError(f"there is no data at {path}; wanted: {_KINDS}")
    return path, half or None


def _open(
    path: Path, half: str | None, keys: tuple[str, str] | None, classes: ClassList | None
) -> Source:
    name = path.name.lower()
    if path.is_dir():
        return _open_folder(path, half, keys, classes)
    if name.endswith(".npz"):
        return open_npz(path, half, keys)
    if name.endswith(".parquet"):
        return open_parquet(path, half, keys, classes)
    if name.endswith(".tar"):
        return open_shards(path, half, keys, classes)
    if is_packed_tar(path):
        raise DataError(f"{path} is compressed, so that samples cannot be read singly; unpack it")
    if name.endswith(MANIFEST_SUFFIXES):
        return open_manifest(path, half, keys, classes)
    raise DataError(f"{path} is not a known kind of data; wanted: {_KINDS}")


def _open_folder(
    path: Path, half: str | None, keys: tuple[str, str] | None, classes: ClassList | None
) -> Source:
    cifar = find_cifar(path)
    if cifar is not None:
        return open_cifar(*cifar, half)
    if is_idx_folder(path):
        return open_idx(path, half)
    if next(path.glob("*.tar"), None):
        return open_shards(path, half, keys, classes)
    if _holds_parquet(path):
        return open_parquet(path, half, keys, classes)
    return open_folder(path, half, classes)


def _holds_parquet(folder: Path) -> bool:
    """Whether there are Parquet files below; looks no further than the first images."""
    for _, _, files in os.walk(folder):
        endings = {os.path.splitext(file)[1].lower() for file in files}
        if ".parquet" in endings:
            return True
        if endings & EXTENSIONS:
            return False
    return False


def _named(source: Source, classes: ClassList) -> Source:
    """The source with the list's names; its labels must lie within the list."""
    highest = int(source.labels.max())
    if highest >= len(classes.names):
        raise DataError(
            f"{source.source} has label {highest} but the class list {classes.path} names only "
            f"{len(classes.names)} classes"
        )
    return replace(source, class_names=classes.names)
