"""Image files: in folders of class folders, or listed with their labels in a manifest."""

import codecs
import csv
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import numpy as np

from analyzer.data.decode_images import EXTENSIONS
from analyzer.data.formats.format import (
    Format,
    Wanted,
    choose_split,
    no_split_named,
    of_no_split,
    one_of,
    split_called,
    split_column,
    split_in,
    two_candidates,
)
from analyzer.data.labels import index_names, label_value, labels_of_values, refuse_other_names
from analyzer.data.source import CompactNames, FileStates, Source, natural_key
from analyzer.errors import DataError, parameter
from analyzer.files import file_identity, read_whole
from analyzer.input_budgets import Budgets
from analyzer.json_codec import parse_json, repeated

__all__ = [
    "FOLDER",
    "INDEX_KEYS",
    "LONGEST_LINE",
    "MANIFEST",
    "NAME_KEYS",
    "PATH_KEYS",
    "TABLES",
    "FileStore",
    "folders_of_images",
    "is_looked_into",
    "manifest_rows",
    "open_folder",
    "open_manifest",
]

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
PATH_KEYS = ("path", "file_name", "filename", "file", "filepath", "image", "image_path")
INDEX_KEYS = ("label", "class", "target", "class_index", "y")
NAME_KEYS = ("class_name", "label_name")  # often beside the index
_OF_SYSTEMS = ("__MACOSX", "@eaDir")  # folders of copies that macOS and Synology add
_LISTED = 5  # endings that a warning names
_ODD = 12  # characters of an ending that is none
LONGEST_LINE = 1 << 20  # characters; no row is longer


class FileStore:
    """Samples as image files below a root."""

    def __init__(self, root: Path, paths: CompactNames, manifest: FileStates | None = None):
        """Files as they are now.

        Args:
            root: of the paths.
            paths: relative to the root.
            manifest: that lists them, as it was before it was read.
        """
        self._root, self._paths, self._manifest = root, paths, manifest
        self._fingerprint = self._states()

    def stored(self, index: int, budgets: Budgets) -> bytes:
        try:
            return read_whole(Path(self._root, self._paths[index]), budgets)
        except DataError as error:
            raise DataError(f"it {error.message}") from error

    def fingerprint(self) -> str:
        return self._fingerprint

    def is_as_opened(self) -> bool:
        return self._states() == self._fingerprint and (
            self._manifest is None or self._manifest.changed() is None
        )

    def files(self) -> Iterator[Path]:
        yield from () if self._manifest is None else self._manifest.files()
        for path in self._paths:
            yield Path(self._root, path)

    def _states(self) -> str:
        """A hash of the names, and of what the file system tells of the files."""
        states = hashlib.sha256(self._paths.block())
        for path in self._paths:
            states.update(repr(file_identity(os.path.join(self._root, path))).encode())
        return states.hexdigest()


def open_folder(path: Path, wanted: Wanted) -> Source:
    """Open a folder of class folders: class index from the list, else by natural order.

    Class folders may hold folders. Files that are not images by their extension, and images
    outside class folders, are left out and counted in a warning. Where folders are called
    ``train``, ``val`` or ``test`` and hold class folders, the split is one of these, ``train`` by
    default, unless the class list names them as classes.

    Raises:
        DataError: no classes, an empty class, or a class that the list does not know.
    """
    root, split, warnings = _split_folder(path, wanted)
    name = f"{path}#{split}" if split else str(path)
    folders = [entry.name for entry in os.scandir(root) if _is_class(entry)]
    folders.sort(key=natural_key)
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


def _split_folder(folder: Path, wanted: Wanted) -> tuple[Path, str | None, tuple[str, ...]]:
    """The folder of class folders: the folder itself, or one of its splits; its name; warnings.

    Raises:
        DataError: there is no such split, two of it, or a folder that is a split or a class.
    """
    present = {
        Path(entry): split_called(entry.name) for entry in os.scandir(folder) if _is_class(entry)
    }
    if not any(present.values()):  # "training_set" and "test_set", if nothing is called otherwise
        by_word = {path: split_in(path.name) for path in present}
        if (
            all(by_word.values())
            and len(set(by_word.values())) > 1
            and all(map(_holds_folders, by_word))
        ):
            present = by_word
    if wanted.split is None:
        # A class may be called "test", so splits are only what holds class folders.
        splits = {
            path.name: split for path, split in present.items() if split and _holds_folders(path)
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
    if len(chosen) > 1:  # a folder's own name tells it from others of its split
        named = [one for one in chosen if one.name == wanted.split]
        if not named:
            ways = " or ".join(sorted(f"{folder}#{one.name}" for one in chosen))
            raise DataError(
                f"{chosen[0]} and {chosen[1]} are both split {split!r}. Name one of them as {ways}."
            )
        chosen, split = named, wanted.split
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
        if place == os.path.join(root, class_folder):
            _refuse_splits_below(place, folders)
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


def _refuse_splits_below(place: str, folders: Sequence[str]) -> None:
    """Refuse a class folder that holds several splits: all of them would be training data."""
    splits = {called: folder for folder in folders if (called := split_called(folder))}
    if len(splits) > 1:
        one, other, *_ = sorted(splits.values())
        raise two_candidates(
            place,
            f"the folders {one!r}",
            f"{other!r}",
            "both can be of the training data",
            "Put classes into splits, as "
            f"{splits.get('train', one)}/{os.path.basename(place)}, or list the files of one split "
            "in a .csv manifest.",
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


def open_manifest(path: Path, wanted: Wanted) -> Source:
    """Open a manifest; paths in it are relative to its folder.

    Labels are class indices, or names: those are indexed by the class list, else by natural
    order. Where there is a column "split", one is taken, "train" by default. Keys are the names
    of the columns of paths and labels; where none are given, the usual ones are tried.

    Raises:
        DataError: not such a file, other columns, or a row without path or label.
    """
    manifest = FileStates.of(path)
    paths: list[str] = []
    values: list[str | int] = []
    splits: list[str | None] = []
    names_beside: list[str] = []  # of the classes, where a column has them beside the indices
    columns: tuple[str, str, str | None] | None = None
    other_splits: dict[str, set[str]] = {}  # that columns of other names seem to tell
    for line, row in manifest_rows(path):
        if excess := wanted.budgets.excess("samples", len(paths) + 1):
            raise DataError(f"The manifest {path} has more than {len(paths):,} rows, {excess}.")
        if columns is None:
            columns = _columns(row, wanted.keys, path)
            name_key = _name_key(row, columns[1], wanted.keys)
            other_splits = {key: set() for key in row if key not in columns}
        path_key, label_key, split_key = columns
        label = row.get(label_key)
        if not row.get(path_key) or label is None or label == "":
            raise DataError(f"Line {line} of {path} lacks {path_key!r} or {label_key!r}.")
        paths.append(str(row[path_key]))
        values.append(label_value(label, f"Line {line} of {path}"))
        splits.append(split_in(str(row.get(split_key))) if split_key else None)
        if name_key:
            names_beside.append(str(row.get(name_key) or ""))
        for key in list(other_splits):
            if called := split_called(str(row.get(key)).strip()):
                other_splits[key].add(called)
            else:
                del other_splits[key]
    manifest.refuse_if_changed()
    if not paths:
        raise DataError(f"The manifest {path} has no rows.")
    if not (columns and columns[2]):
        _refuse_other_splits(other_splits, path)
    where = str(path)
    warnings: tuple[str, ...] = ()
    if wanted.split is not None or any(splits):
        chosen, split = choose_split(dict(enumerate(splits)), wanted.split, path)
        warnings = of_no_split("Rows", splits, path)
        paths = [paths[index] for index in chosen]
        values = [values[index] for index in chosen]
        names_beside = [names_beside[index] for index in chosen] if names_beside else []
        where = f"{path}#{split}"
    elif columns and columns[2]:
        warnings = no_split_named(columns[2], path)
    labels, class_names, indexing = labels_of_values(values, paths, wanted.classes, where)
    if names_beside and indexing == "labels":
        refuse_other_names(labels, names_beside, wanted.classes, where)
    names = CompactNames(paths)
    return Source(
        source=where,
        kind="manifest",
        labels=labels,
        names=names,
        store=FileStore(path.parent, names, manifest),
        class_names=class_names,
        indexing=indexing,
        warnings=warnings,
    )


def _name_key(row: Mapping[str, object], label: str, keys: tuple[str, str] | None) -> str | None:
    """The column of class names beside that of indices, if nobody has named one to take."""
    if keys is not None or label in NAME_KEYS:
        return None
    return next((key for key in NAME_KEYS if key in row), None)


def _refuse_other_splits(columns: Mapping[str, set[str]], path: Path) -> None:
    """Refuse a column that tells splits in every row, and is not called so."""
    for key, splits in columns.items():
        if len(splits) > 1:
            raise DataError(
                f"The column {key!r} of {path} says {' and '.join(sorted(splits))}, and is none "
                "that is known to name splits. Call it 'split', or remove it."
            )


def manifest_rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Line numbers and rows of a manifest; the first row has all columns, None where it is empty.

    A line of JSON may leave out members that later ones have.
    """
    columns: dict[str, object] = {}
    if path.suffix.lower() not in (".csv", ".tsv"):
        columns = {name: None for _, row in _rows(path) for name in row}
    for line, row in _rows(path):
        yield line, columns | row
        columns = {}


def _rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Line numbers and rows of a manifest, as they stand there."""
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = _lines(file, path)
            if path.suffix.lower() in (".csv", ".tsv"):
                delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
                reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
                line = 1
                if (twice := repeated(reader.fieldnames or ())) is not None:
                    raise DataError(
                        f"The manifest {path} has two columns named {twice!r}; keep one of them."
                    )
                line = 2
                for row in reader:
                    if None in row:  # where DictReader puts what has no name
                        raise DataError(
                            f"Line {reader.line_num} of {path} has more fields than the header "
                            f"names. Put quotation marks around a field that holds {delimiter!r}."
                        )
                    yield reader.line_num, row
                    line = reader.line_num + 1
                return
            for line, text in enumerate(lines, start=1):
                if not text.strip():
                    continue
                row = parse_json(text)
                if not isinstance(row, dict):
                    raise DataError(f"Line {line} of {path} is no JSON object.")
                yield line, row
    except UnicodeDecodeError as error:
        raise DataError(
            f"The manifest {path} cannot be read: line {_undecodable_line(path)} has the byte "
            f"0x{error.object[error.start]:02x}, which is not UTF-8. Save it again as UTF-8."
        ) from error
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        where = f"in line {line} ({error})" if line else f"({error})"
        raise DataError(
            f"The manifest {path} cannot be read {where}. Correct it, or save it again as UTF-8."
        ) from error


def _undecodable_line(path: Path) -> int:
    """The number of the first line that is not UTF-8; files are decoded in larger blocks."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    with path.open("rb") as file:
        while part := file.readline(LONGEST_LINE):
            try:
                decoder.decode(part)
            except UnicodeDecodeError:
                break
            line += part.endswith(b"\n")
    return line


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """The lines of a file; a hole of a terabyte is one."""
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise DataError(
                f"The manifest {path} has a line of {LONGEST_LINE:,} characters or more."
            )
        yield line


def _columns(
    row: dict[str, object], keys: tuple[str, str] | None, path: Path
) -> tuple[str, str, str | None]:
    """The names of the columns of paths, labels and splits; there may be none of the last."""
    paths = _column(row, keys and keys[0], (PATH_KEYS,), "paths", path)
    labels = _column(row, keys and keys[1], (INDEX_KEYS, NAME_KEYS), "labels", path)
    return paths, labels, split_column([key for key in row if key not in (paths, labels)], path)


def _column(
    row: dict[str, object],
    wanted: str | None,
    usual: tuple[tuple[str, ...], ...],
    what: str,
    path: Path,
) -> str:
    """The name of one column: the one wanted, or of the first usual names that are there.

    Raises:
        DataError: there is none, or several.
    """
    way_out = f"Name the columns of paths and labels with {parameter('keys')}, or remove one."
    for keys in ((wanted,),) if wanted else usual:
        if found := one_of(keys, row, path, f"be {what}", way_out):
            return found
    columns = ", ".join(repr(key) for key in row if key is not None)
    missing = (
        f"not {wanted!r}"
        if wanted
        else f"none of them usual for {what} ({', '.join(sum(usual, ()))})"
    )
    raise DataError(
        f"{path} has the columns {columns}, {missing}. Name the columns of paths and labels with "
        f"{parameter('keys')}."
    )


MANIFEST = Format(
    "a .csv or .jsonl manifest",
    lambda path: path.is_file() and path.name.lower().endswith(TABLES),
    open_manifest,
)
FOLDER = Format("a folder of class folders", Path.is_dir, open_folder)
