"""Folders of class folders, and reading samples from files."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyzer.budgets import Budgets
from analyzer.data.formats.format import Format, Wanted, choose_split, split_called
from analyzer.data.images import EXTENSIONS
from analyzer.data.labels import index_names
from analyzer.data.source import CompactNames, Source, natural_key
from analyzer.errors import DataError, parameter
from analyzer.whole_files import read_whole

__all__ = ["FOLDER", "FileStore", "open_folder"]


@dataclass(frozen=True, eq=False, slots=True)
class FileStore:
    """Samples as image files below a root."""

    root: Path
    paths: CompactNames  # relative to the root

    def stored(self, index: int, budgets: Budgets) -> bytes:
        try:
            return read_whole(Path(self.root, self.paths[index]), budgets)
        except DataError as error:
            raise DataError(f"it {error.message}") from error

    def fingerprint(self) -> str:
        state = hashlib.sha256(self.paths.block())
        sizes_times = np.empty((len(self.paths), 2), np.int64)
        for index, path in enumerate(self.paths):
            try:
                status = os.stat(os.path.join(self.root, path))
            except (OSError, ValueError):  # ValueError: NUL in a path
                sizes_times[index] = -1
            else:
                sizes_times[index] = status.st_size, status.st_mtime_ns
        state.update(sizes_times.data)
        return state.hexdigest()


def open_folder(path: Path, wanted: Wanted) -> Source:
    """Open a folder of class folders: class index from the list, else by natural order.

    Class folders may hold folders. Files that are not images by their extension, and images
    outside class folders, are left out and counted in a warning. Where the folder holds
    ``train``, ``val`` or ``test`` folders of class folders instead, the split is one of these,
    ``train`` by default.

    Raises:
        DataError: no classes, an empty class, or a class that the list does not know.
    """
    root, split = _split_folder(path, wanted.split)
    name = f"{path}#{split}" if split else str(path)
    folders = [entry.name for entry in os.scandir(root) if _is_class(entry)]
    folders.sort(key=natural_key)
    loose = sum(_is_image(entry.name) for entry in os.scandir(root) if entry.is_file())
    if not folders and loose:
        raise DataError(
            f"{root} holds images but no class folders. Name the folder above it if it is one "
            "class of several, or give the classes in a .csv manifest."
        )
    if not folders:
        raise DataError(
            f"{root} holds neither class folders nor anything else that is known as data."
        )
    indices, class_names, indexing = index_names(folders, wanted.classes, name)
    names = CompactNames()
    counts = []
    others = 0
    # In the order of class indices: then samples of a class lie together whatever the list.
    for class_index, class_folder in sorted(zip(indices, folders, strict=True)):
        found, skipped = _images_below(root, class_folder)
        total = len(names) + len(found) + others + skipped
        if excess := wanted.budgets.excess("samples", total):
            raise DataError(f"{name} holds more than {total - 1:,} files, {excess}.")
        if not found:
            raise DataError(
                f"The class folder {os.path.join(root, class_folder)} holds no image. Fill it, or "
                f"remove it and pass the network's class list with {parameter('classes', 'FILE')}."
            )
        names.extend(found)
        counts.append((class_index, len(found)))
        others += skipped
    labels = np.repeat(*np.array(counts, np.int64).T)
    warnings = []
    if others:
        warnings.append(f"{name}: {others} files that are not images were left out.")
    if loose:
        warnings.append(f"{name}: {loose} images outside class folders were left out.")
    return Source(
        source=name,
        kind="folder",
        labels=labels,
        names=names,
        store=FileStore(root, names),
        class_names=class_names,
        indexing=indexing,
        warnings=tuple(warnings),
    )


def _is_class(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir() and not entry.name.startswith(".")


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS and not name.startswith(".")


def _split_folder(folder: Path, split: str | None) -> tuple[Path, str | None]:
    """The folder of class folders: the folder itself, or one of its splits with its name."""
    present = {
        Path(entry): split_called(entry.name) for entry in os.scandir(folder) if _is_class(entry)
    }
    # A class may be called "test": these are splits only if all are, each with class folders.
    is_split = all(present.values()) and all(
        any(_is_class(entry) for entry in os.scandir(path)) for path in present
    )
    if split is None and not (present and is_split):
        return folder, None
    chosen, split = choose_split(present, split, folder)
    if len(chosen) > 1:
        raise DataError(f"{chosen[0]} and {chosen[1]} are both split {split!r}. Name one of them.")
    return chosen[0], split


def _images_below(root: Path, class_folder: str) -> tuple[list[str], int]:
    """Paths of the images of a class relative to the root, naturally sorted; other files' count."""
    found, skipped = [], 0
    seen = set()
    for place, folders, files in os.walk(
        os.path.join(root, class_folder), followlinks=True, onerror=_raise
    ):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:  # a link back up
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = os.path.relpath(place, root)
        for file in files:
            if _is_image(file):
                found.append(f"{relative}{os.sep}{file}")
            else:
                skipped += 1
    found.sort(key=natural_key)
    return found, skipped


def _raise(error: OSError) -> None:
    raise error


FOLDER = Format("a folder of class folders", Path.is_dir, open_folder)
