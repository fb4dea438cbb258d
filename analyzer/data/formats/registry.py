"""The formats of labeled data that there are, and what opens data of any of them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.data.class_lists import read_classes
from analyzer.data.formats.arrays import NPZ, from_arrays
from analyzer.data.formats.class_folders import FOLDER, folder_of_classes, folders_of_images
from analyzer.data.formats.file_store import FileStore
from analyzer.data.formats.format import Format, Wanted, split_called
from analyzer.data.formats.manifest import MANIFEST
from analyzer.data.formats.mnist_cifar import CIFAR, IDX
from analyzer.data.formats.parquet import PARQUET
from analyzer.data.formats.webdataset import WEBDATASET, refuse_packed
from analyzer.data.labels import ClassList, index_names
from analyzer.data.source import Source, reason_of
from analyzer.errors import AnalyzerError, DataError, parameter
from analyzer.files import nature_of
from analyzer.input_budgets import DEFAULT_BUDGETS, Budgets
from analyzer.json_codec import repeated

__all__ = ["FORMATS", "class_folders_of", "open_data"]

FORMATS: tuple[Format, ...] = (NPZ, MANIFEST, CIFAR, IDX, WEBDATASET, PARQUET, FOLDER)
"""The first that recognizes a path opens it, so the one that takes any folder comes last."""


def open_data(
    data: str | Path | tuple[Any, Any],
    *,
    keys: Sequence[str] | None = None,
    classes: str | Path | None = None,
    exif: bool | None = None,
    budgets: Budgets = DEFAULT_BUDGETS,
) -> Source:
    """Open labeled samples.

    Args:
        data: a path, whose format is recognized; "PATH#test" names a split of data that have
            splits ("train" is the default). Or (images, labels), two arrays as
            :func:`analyzer.data.from_arrays` takes them, identified by their values.
        keys: the names of the images and the labels, where these can be named.
        classes: path of the network's class list (:func:`analyzer.data.read_classes`).
        exif: whether image files are rotated by their EXIF tag; None: as is usual for the format.
        budgets: what the files may ask for.

    Raises:
        DataError: nothing there, not a known format, damaged, or over a budget.
    """
    if keys is not None and (isinstance(keys, str) or len(keys) != 2):
        raise DataError(
            f"{parameter('keys')} is {keys!r}; give two names, that of the images and that of the "
            "labels."
        )
    class_list = None if classes is None else read_classes(classes, budgets)
    if isinstance(data, str | Path):
        named = None if keys is None else (keys[0], keys[1])
        source = _open_path(data, Wanted(None, named, class_list, budgets))
        again = partial(open_data, data, keys=keys, classes=classes, exif=exif, budgets=budgets)
        source = replace(source, reopen=again)
    elif isinstance(data, tuple | list) and len(data) == 2:
        if keys is not None:
            raise DataError(f"{parameter('keys')} names arrays in a file; leave it out for arrays.")
        source = from_arrays(*data, source="memory", classes=class_list, budgets=budgets)
    else:
        raise DataError(
            f"Data of type {type(data).__name__} are unknown; give a path, or two arrays as "
            "(images, labels)."
        )
    if excess := budgets.excess("samples", len(source)):
        raise DataError(f"{source.source} holds {len(source):,} samples, {excess}.")
    if exif is not None and source.array is None:
        source = replace(source, exif=exif)
    source = replace(source, budgets=budgets)
    return source if class_list is None else _named(source, class_list)


def class_folders_of(data: str, classes: str | Path | None = None) -> Path | None:
    """The folder of class folders that a path of data, with a split or without, leads to.

    None where it leads to nothing, or data of another kind.

    Args:
        data, classes: as for :func:`open_data`.
    """
    with suppress(DataError, OSError):
        path, split = _path_and_split(data)
        if next((known for known in FORMATS if known.recognizes(path)), None) is FOLDER:
            class_list = None if classes is None else read_classes(classes)
            return folder_of_classes(path, Wanted(split, classes=class_list))[0]
    return None


def _open_path(data: str | Path, wanted: Wanted) -> Source:
    try:
        path, split = _path_and_split(data)
        wanted = replace(wanted, split=split)
        for known in FORMATS:
            if known.recognizes(path):
                return _beside(_open_known(known, path, wanted), path, known)
    except OSError as error:
        named = (str(data), str(data).rpartition("#")[0] or str(data))
        below = str(error.filename or "").startswith(tuple(f"{one}{os.sep}" for one in named))
        what = error.filename if below else data
        raise DataError(f"{what} cannot be read ({error.strerror or error}).") from error
    except AnalyzerError:
        raise
    except Exception as error:
        # What a stranger wrote makes the libraries below raise anything, MemoryError included.
        raise DataError(
            f"{data} cannot be read ({reason_of(error)}). It is damaged, or larger than this "
            "machine can hold; fetch it again."
        ) from error
    nature = "" if path.is_file() or path.is_dir() else f"{nature_of(path)} and "
    raise DataError(f"{path} is {nature}not a known kind of data. Wanted: {_descriptions()}.")


def _open_known(known: Format, path: Path, wanted: Wanted) -> Source:
    """Open data of a format; where that fails, say which folder inside is data of another."""
    try:
        return known.open(path, wanted)
    except DataError as error:
        if (inner := _data_inside(path, known)) is None:
            if known is FOLDER:
                for name in filter(WEBDATASET.holds, _data_files(path, path, FOLDER)):
                    refuse_packed(path / name)
            raise
        folder, other = inner
        raise DataError(
            f"{error.message} If {folder}, {other.description}, is meant, name it itself."
        ) from error


def _data_inside(path: Path, besides: Format) -> tuple[Path, Format] | None:
    """The first folder below that is data of another format, if there is one.

    Beside other data, class folders are so where the folder above them is called as a split.
    """
    if not path.is_dir():
        return None
    with suppress(OSError):
        for folder in _folders_below(path, depth=2):
            for known in FORMATS:
                if known not in (FOLDER, besides) and known.recognizes(folder):
                    return folder, known
            if besides is not FOLDER and split_called(folder.name) and folders_of_images(folder):
                return folder, FOLDER
    return None


def _folders_below(path: Path, depth: int) -> Iterator[Path]:
    """The folders in a folder, and those in them, as deep as said."""
    inner = sorted(one for one in path.iterdir() if one.is_dir())
    yield from inner
    for one in inner if depth > 1 else ():
        yield from _folders_below(one, depth - 1)


def _beside(source: Source, path: Path, known: Format) -> Source:
    """The source, with warnings where other things in its folder could be data, too."""
    if not path.is_dir():
        return source
    warnings = source.warnings
    places = _folders_read(path, source)
    if found := [name for place in places for name in _data_files(path, place, known)]:
        others = f" and {len(found) - 1} more" if len(found) > 1 else ""
        warnings += (
            f"{path} was read as {known.description}; {found[0]}{others} beside that not.",
        )
    if known is not FOLDER:
        if inner := _unread_folder(path, source, known):
            warnings += (f"{path} was read as {known.description}; {inner} in it was left out.",)
        elif count := sum(map(folders_of_images, places)):
            warnings += (
                f"{path} was read as {known.description}; folders of images were left out: "
                f"{count}.",
            )
    return replace(source, warnings=warnings)


def _folders_read(path: Path, source: Source) -> list[Path]:
    """The folder, and those of its folders that lie above all files read, or right above some."""
    store = source.store
    inner = {store.root} if isinstance(store, FileStore) else {one.parent for one in store.files()}
    return [path, *sorted(one for one in inner if path in one.parents)]


def _unread_folder(path: Path, source: Source, known: Format) -> str:
    """The first folder below with files of data of which none is read; "" if there is none."""
    if known is PARQUET:  # whose folders are all looked into
        return ""
    read = {file.parent for file in source.store.files()}
    has_splits = any(split_called(folder.name) for folder in read if folder != path)
    with suppress(OSError):
        for folder in _folders_below(path, depth=2):
            inside = [file for file in folder.iterdir() if not file.name.startswith(".")]
            if has_splits and split_called(folder.name):
                continue
            if folder not in read and any(
                one.holds(file.name) for file in inside for one in FORMATS if one is not FOLDER
            ):
                return str(folder.relative_to(path))
    return ""


def _data_files(path: Path, folder: Path, besides: Format) -> list[str]:
    """The files in a folder that can be data of another format, relative to a folder above."""
    others = [known for known in FORMATS if known is not besides]
    return sorted(
        str(file.relative_to(path))
        for file in folder.iterdir()
        if not file.name.startswith(".")
        and file.is_file()
        and not besides.holds(file.name)
        and any(known.holds(file.name) for known in others)
    )


def _path_and_split(data: str | Path) -> tuple[Path, str | None]:
    """Path and split; a "#" that belongs to the path itself stays there."""
    path = Path(data)
    text, hash_sign, split = str(data).rpartition("#")
    if hash_sign and not path.exists():
        path = Path(text)
        if not split and path.exists():
            raise DataError(f"{data} names no split behind its #. Name one, or leave the # out.")
    else:
        split = ""
    if not path.exists():
        raise DataError(f"There is no data at {path}. Wanted: {_descriptions()}.")
    return path, split or None


def _descriptions() -> str:
    *others, last = (known.description for known in FORMATS)
    return f"{', '.join(others)}, or {last}"


def _named(source: Source, classes: ClassList) -> Source:
    """The source with the list's names; its labels must lie within the list.

    Where the data name their labels themselves, and the list has these names at other places, the
    labels become the list's.
    """
    own = source.class_names
    if source.indexing == "labels" and own and own != classes.names:
        present = np.unique(source.labels).tolist()
        places = [classes.index.get(own[label], label) for label in present]
        if places != present:
            if (twice := repeated(own[label] for label in present)) is not None:
                raise DataError(
                    f"{source.source} names two of its classes {twice!r}, so that "
                    f"{parameter('classes')} cannot tell them apart. Correct the names, or leave "
                    "it out."
                )
            indices, *_ = index_names([own[label] for label in present], classes, source.source)
            labels = np.array(indices, np.int64)[np.searchsorted(present, source.labels)]
            source = replace(source, labels=labels, class_names=None, indexing="classes")
    highest = int(source.labels.max())
    if highest >= len(classes.names):
        raise DataError(
            f"{source.source} has label {highest} but the class list {classes.path} names only "
            f"{len(classes.names)} classes."
        )
    return replace(source, class_names=classes.names, class_list=classes.path)
