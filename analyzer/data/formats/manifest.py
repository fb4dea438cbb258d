"""Image files listed with their labels in a manifest: a table in CSV, TSV or JSON Lines."""

import codecs
import csv
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TextIO

from analyzer.data.formats.file_store import FileStore
from analyzer.data.formats.format import (
    NAME_KEYS,
    Format,
    Wanted,
    choose_split,
    name_key,
    no_split_named,
    of_no_split,
    one_of,
    refuse_other_splits,
    split_called,
    split_column,
    split_told,
)
from analyzer.data.labels import label_value, labels_of_values, refuse_other_names
from analyzer.data.source import CompactNames, FileStates, Source
from analyzer.errors import DataError, parameter
from analyzer.json_codec import parse_json, repeated

__all__ = [
    "INDEX_KEYS",
    "LONGEST_LINE",
    "MANIFEST",
    "PATH_KEYS",
    "TABLES",
    "manifest_rows",
    "open_manifest",
]

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
PATH_KEYS = ("path", "file_name", "filename", "file", "filepath", "image", "image_path")
INDEX_KEYS = ("label", "class", "target", "class_index", "y")
LONGEST_LINE = 1 << 20  # characters; no row is longer


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
            names_key = name_key(row, columns[1], wanted.keys)
            other_splits = {key: set() for key in row if key not in columns}
        path_key, label_key, split_key = columns
        label = row.get(label_key)
        if not row.get(path_key) or label is None or label == "":
            raise DataError(f"Line {line} of {path} lacks {path_key!r} or {label_key!r}.")
        paths.append(str(row[path_key]))
        values.append(label_value(label, f"Line {line} of {path}"))
        splits.append(split_told(row.get(split_key)) if split_key else None)
        if names_key:
            names_beside.append(str(row.get(names_key) or ""))
        for key in list(other_splits):
            if called := split_called(str(row.get(key)).strip()):
                other_splits[key].add(called)
            else:
                del other_splits[key]
    manifest.refuse_if_changed()
    if not paths:
        raise DataError(f"The manifest {path} has no rows.")
    if not (columns and columns[2]):
        refuse_other_splits(other_splits, path)
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
            blank, lines = _from_first_line(_lines(file, path), path)
            if path.suffix.lower() in (".csv", ".tsv"):
                delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
                reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
                line = blank + 1
                if (twice := repeated(reader.fieldnames or ())) is not None:
                    raise DataError(
                        f"The manifest {path} has two columns named {twice!r}; keep one of them."
                    )
                line = blank + 2
                for row in reader:
                    if None in row:  # where DictReader puts what has no name
                        raise DataError(
                            f"Line {blank + reader.line_num} of {path} has more fields than the "
                            "header names. Put quotation marks around a field that holds "
                            f"{delimiter!r}."
                        )
                    yield blank + reader.line_num, row
                    line = blank + reader.line_num + 1
                return
            for line, text in enumerate(lines, start=blank + 1):
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
    except (OSError, ValueError, csv.Error) as error:
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


def _from_first_line(lines: Iterator[str], path: Path) -> tuple[int, Iterator[str]]:
    """How many blank lines come first, and the lines after them."""
    blank = 0
    for line in lines:
        if "\0" in line:
            raise DataError(
                f"The manifest {path} has zero bytes, as text in UTF-16. Save it again as UTF-8."
            )
        if line.strip():
            return blank, chain((line,), lines)
        blank += 1
    return blank, lines


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
    keys_there = [key for key in row if key is not None]
    if len(keys_there) == 1 and (other := next(filter(keys_there[0].count, ";\t|"), None)):
        raise DataError(
            f"The first line of {path} seems to separate columns by {other!r}. Separate them by "
            "commas, or by tabs in a file called .tsv."
        )
    columns = ", ".join(map(repr, keys_there))
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
    lambda name: name.lower().endswith(TABLES),
    lambda path: path.is_file() and path.name.lower().endswith(TABLES),
    open_manifest,
)
