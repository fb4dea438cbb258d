"""Image files in folders of class folders."""

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from analyzer.data.decode_images import EXTENSIONS
from analyzer.data.formats.file_store import FileStore
from analyzer.data.formats.format import (
    Format,
    Wanted,
    choose_split,
    of_no_split,
    split_called,
    split_in,
    two_candidates,
)
from analyzer.data.labels import index_names
from analyzer.data.source import CompactNames, Source, natural_key
from analyzer.errors import DataError, parameter

__all__ = ["FOLDER", "folder_of_classes", "folders_of_images", "is_looked_into", "open_folder"]

_OF_SYSTEMS = ("__MACOSX", "@eaDir")  # folders of copies that macOS and Synology add
_LISTED = 5  # endings that a warning names
_ODD = 12  # characters of an ending that is none


def open_folder(path: Path, wanted: Wanted) -> Source:
    """Open a folder of class folders: class index from the list, else by natural order.

    Class folders may hold folders. Files that are not images by their extension, and images
    outside class folders, are left out and counted in a warning. Where folders are called
    ``train``, ``val`` or ``test`` and hold class folders, the split is one of these, ``train`` by
    default, unless the class list names them as classes.

    Raises:
        DataError: no classes, an empty class, or a class that the list does not know.
    """
    root, split, warnings = folder_of_classes(path, wanted)
    name = f"{path}#{split}" if split else str(path)
    folders = [entry.name for entry in os.scandir(root) if _is_class(entry)]
    folders.sort(key=natural_key)
    _refuse_splits_below(root, folders)
    loose = sum(_loose_images(place) for place in {path, root})
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
    others: Counter[str] = Counter()  # by their endings
    # In the order of class indices: then samples of a class lie together whatever the list.
    visited = {}
    for place in (root, *root.absolute().parents):
        status = os.stat(place)
        visited[status.st_dev, status.st_ino] = str(place)
    for class_index, class_folder in sorted(zip(indices, folders, strict=True)):
        found, skipped = _images_below(root, class_folder, visited)
        others += skipped
        total = len(names) + len(found) + others.total()
        if excess := wanted.budgets.excess("samples", total):
            raise DataError(f"{name} holds more than {total - 1:,} files, {excess}.")
        if not found:
            what = f" of a format that is read ({_endings(skipped)})" if skipped else ""
            raise DataError(
                f"The class folder {os.path.join(root, class_folder)} holds no image{what}. Fill "
                "it, or remove it and pass the network's class list with "
                f"{parameter('classes', 'FILE')}."
            )
        names.extend(found)
        counts.append((class_index, len(found)))
    labels = np.repeat(*np.array(counts, np.int64).T)
    if others:
        warnings += (
            f"Files that are not images, or of a format that is not read, were left out of {name}: "
            f"{others.total()} ({_endings(others)}).",
        )
    if loose:
        warnings += (f"Images outside class folders were left out of {name}: {loose}.",)
    return Source(
        source=name,
        kind="folder",
        labels=labels,
        names=names,
        store=FileStore(root, names),
        class_names=class_names,
        indexing=indexing,
        warnings=warnings,
    )


def _is_class(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir() and is_looked_into(entry.name)


def is_looked_into(folder: str) -> bool:
    """Whether a folder of that name is looked into: neither hidden nor made by a system."""
    return not folder.startswith(".") and folder not in _OF_SYSTEMS


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS and not name.startswith(".")


def _loose_images(folder: Path) -> int:
    return sum(_is_image(entry.name) for entry in os.scandir(folder) if entry.is_file())


def folder_of_classes(folder: Path, wanted: Wanted) -> tuple[Path, str | None, tuple[str, ...]]:
    """The folder of class folders: the folder itself, or one of its splits; its name; warnings.

    Raises:
        DataError: there is no such split, two of it, or a folder that is a split or a class.
    """
    present = {
        Path(entry): entry.name if split_called(entry.name) else None
        for entry in os.scandir(folder)
        if _is_class(entry)
    }
    if not any(present.values()):  # "training_set" and "test_set", if nothing is called otherwise
        by_word = [split_in(path.name) for path in present]
        if all(by_word) and len(set(by_word)) > 1 and all(map(_holds_folders, present)):
            present = {path: path.name for path in present}
    if wanted.split is None:
        # A class may be called "test", so splits are only what holds class folders.
        splits = {
            name: split_in(name) for path, name in present.items() if name and _holds_folders(path)
        }
        known = () if wanted.classes is None else wanted.classes.index
        if not splits or all(name in known for name in splits):
            return folder, None, ()
        if len(set(splits.values())) == 1 and not all(present.values()):
            name, called = next(iter(splits.items()))
            raise DataError(
                f"{folder / name} is a split by its name and the folders in it, and a class by the "
                f"folders beside it. If it is a split, name it as {folder}#{called}; if it is a "
                "class, give the classes in a .csv manifest, or the network's class list with "
                f"{parameter('classes', 'FILE')}."
            )
    chosen, split = choose_split(present, wanted.split, folder)
    return chosen[0], split, of_no_split("Folders", present.values(), folder)


def _holds_folders(folder: Path) -> bool:
    with os.scandir(folder) as entries:  # closed where the first ones tell
        return any(_is_class(entry) for entry in entries)


def folders_of_images(path: Path) -> int:
    """How many class folders with images right in them there are."""
    count = 0
    for entry in list(os.scandir(path)):
        if _is_class(entry):
            with suppress(OSError), os.scandir(entry) as inside:
                count += any(_is_image(one.name) for one in inside)
    return count


def _images_below(
    root: Path, class_folder: str, visited: dict[tuple[int, int], str]
) -> tuple[list[str], Counter[str]]:
    """As :func:`_walk`, which this names the link of, where one leads to what cannot be read.

    Raises:
        DataError: a link leads to a folder of another class, or to what cannot be read.
    """
    try:
        return _walk(root, class_folder, visited)
    except OSError as error:
        below = Path(str(error.filename))
        links = [place for place in (below, *below.parents) if root in place.parents]
        link = next((place for place in reversed(links) if place.is_symlink()), None)
        if link is None:
            raise
        what = "which" if link == below else f"where {below.relative_to(link)}"
        raise DataError(
            f"The link {link} leads to {os.readlink(link)}, {what} cannot be read "
            f"({error.strerror}). Remove the link, or give the images in a .csv manifest."
        ) from error


def _walk(
    root: Path, class_folder: str, visited: dict[tuple[int, int], str]
) -> tuple[list[str], Counter[str]]:
    """Paths of the images of a class relative to the root, naturally sorted; others' endings.

    Args:
        root: the folder of class folders.
        class_folder: its name.
        visited: folders by what the file system knows them by, with the class that they are of;
            those that this one holds are put there.

    Raises:
        DataError: a link leads to a folder of another class.
    """
    found, skipped = [], Counter[str]()
    for place, folders, files in os.walk(
        os.path.join(root, class_folder), followlinks=True, onerror=_raise
    ):
        status = os.stat(place)
        known = visited.setdefault((status.st_dev, status.st_ino), place)
        if known is not place:  # a link; back up, or to what is counted already
            other = os.path.relpath(known, root).split(os.sep)[0]
            if other not in (class_folder, os.curdir, os.pardir):
                raise DataError(
                    f"{place} and {known} are one folder, by a link, in two classes. Remove the "
                    "link, or give the classes in a .csv manifest."
                )
            folders.clear()
            continue
        folders[:] = filter(is_looked_into, folders)
        relative = os.path.relpath(place, root)
        for file in files:
            if _is_image(file):
                found.append(f"{relative}{os.sep}{file}")
            else:
                hidden = file.startswith(".")
                skipped["hidden" if hidden else os.path.splitext(file)[1].lower()] += 1
    found.sort(key=natural_key)
    return found, skipped


def _refuse_splits_below(root: Path, classes: Sequence[str]) -> None:
    """Refuse class folders that hold splits: all of them would be training data.

    That is so if folders in them are of several splits, or all classes have one of the same split.
    """
    found: dict[str, list[str]] = {}
    for name in classes:
        with suppress(OSError), os.scandir(root / name) as inside:  # named where it is read
            for entry in inside:
                called = split_called(entry.name)
                if called and _is_class(entry):
                    found.setdefault(called, []).append(f"{name}/{entry.name}")
    if len(found) > 1:
        (one, *_), (other, *_), *_ = found.values()
        raise two_candidates(
            root,
            f"the folders {one!r}",
            f"{other!r}",
            "both can be of the training data",
            f"Put classes into splits, as {'/'.join(one.split('/')[::-1])}, or list the files of "
            "one split in a .csv manifest.",
        )
    for places in found.values():
        if len(places) == len(classes) > 1:
            raise DataError(
                f"All classes in {root} have a folder like {places[0]!r}, which is called as a "
                f"split. Put classes into splits, as {'/'.join(places[0].split('/')[::-1])}, "
                "rename these folders, or list the files of one split in a .csv manifest."
            )


def _endings(counts: Counter[str]) -> str:
    """The commonest endings of files: "3 .tga, 1 hidden, 2 others"."""
    usual = sorted((-count, ending) for ending, count in counts.items() if len(ending) < _ODD)
    listed = {ending: -count for count, ending in usual[:_LISTED]}
    said = [f"{count} {ending or 'without an ending'}" for ending, count in listed.items()]
    rest = counts.total() - sum(listed.values())
    return ", ".join([*said, f"{rest} others"] if rest else said)


def _raise(error: OSError) -> None:
    raise error


FOLDER = Format("a folder of class folders", _is_image, Path.is_dir, open_folder)
