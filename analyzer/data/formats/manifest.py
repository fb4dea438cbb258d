"""Manifests: a CSV, TSV or JSONL file of image paths and labels."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from analyzer.data.formats.folder import FileStore
from analyzer.data.formats.format import Format, Wanted, choose_split, split_in
from analyzer.data.labels import labels_of_values
from analyzer.data.source import CompactNames, Source
from analyzer.errors import DataError, parameter

__all__ = ["MANIFEST", "open_manifest"]

_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
_PATH_KEYS = ("path", "file_name", "filename", "file", "filepath", "image", "image_path")
_LABEL_KEYS = ("label", "class", "target", "class_index", "class_name", "label_name", "y")
_SPLIT_KEYS = ("split", "half", "subset", "set")
_LINE = 1 << 20  # characters; no row is longer


def open_manifest(path: Path, wanted: Wanted) -> Source:
    """Open a manifest; paths in it are relative to its folder.

    Labels are class indices, or names: those are indexed by the class list, else by natural
    order. Where there is a column "split", one is taken, "train" by default. Keys are the names
    of the columns of paths and labels; where none are given, the usual ones are tried.

    Raises:
        DataError: not such a file, other columns, or a row without path or label.
    """
    paths: list[str] = []
    values: list[str | int] = []
    splits: list[str | None] = []
    columns: tuple[str, str, str | None] | None = None
    for line, row in _rows(path):
        if excess := wanted.budgets.excess("samples", len(paths) + 1):
            raise DataError(f"The manifest {path} has more than {len(paths):,} rows, {excess}.")
        columns = columns or _columns(row, wanted.keys, path)
        path_key, label_key, split_key = columns
        label = row.get(label_key)
        if not row.get(path_key) or label is None or label == "":
            raise DataError(f"Line {line} of {path} lacks {path_key!r} or {label_key!r}.")
        if not isinstance(label, str | int):
            raise DataError(
                f"Line {line} of {path} has label {label!r}; wanted is an index or name."
            )
        paths.append(str(row[path_key]))
        values.append(label)
        splits.append(split_in(str(row[split_key])) if split_key else None)
    if not paths:
        raise DataError(f"The manifest {path} has no rows.")
    where = str(path)
    if wanted.split is not None or any(splits):
        chosen, split = choose_split(dict(enumerate(splits)), wanted.split, path)
        paths = [paths[index] for index in chosen]
        values = [values[index] for index in chosen]
        where = f"{path}#{split}"
    labels, class_names, indexing = labels_of_values(values, wanted.classes, where)
    names = CompactNames(paths)
    return Source(
        source=where,
        kind="manifest",
        labels=labels,
        names=names,
        store=FileStore(path.parent, names),
        class_names=class_names,
        indexing=indexing,
    )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Line numbers and rows of a manifest."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = _lines(file, path)
            if path.suffix.lower() in (".csv", ".tsv"):
                delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
                reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
                for row in reader:
                    yield reader.line_num, row
                return
            for line, text in enumerate(lines, start=1):
                if not text.strip():
                    continue
                row = json.loads(text)
                if not isinstance(row, dict):
                    raise DataError(f"Line {line} of {path} is no JSON object.")
                yield line, row
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise DataError(f"The manifest {path} cannot be read ({error}).") from error


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """The lines of a file; a hole of a terabyte is one."""
    while line := file.readline(_LINE):
        if len(line) == _LINE:
            raise DataError(f"The manifest {path} has a line of {_LINE:,} characters or more.")
        yield line


def _columns(
    row: dict[str, object], keys: tuple[str, str] | None, path: Path
) -> tuple[str, str, str | None]:
    """The names of the columns of paths, labels and splits; there may be none of the last."""
    return (
        _column(row, keys and keys[0], _PATH_KEYS, "paths", path),
        _column(row, keys and keys[1], _LABEL_KEYS, "labels", path),
        next((key for key in _SPLIT_KEYS if key in row), None),
    )


def _column(
    row: dict[str, object], wanted: str | None, usual: Sequence[str], what: str, path: Path
) -> str:
    for key in (wanted,) if wanted else usual:
        if key in row:
            return key
    columns = ", ".join(repr(key) for key in row if key is not None)
    missing = f"not {wanted!r}" if wanted else f"none of them usual for {what} ({', '.join(usual)})"
    raise DataError(
        f"{path} has the columns {columns}, {missing}. Name the columns of paths and labels with "
        f"{parameter('keys')}."
    )


MANIFEST = Format(
    "a .csv or .jsonl manifest",
    lambda path: path.is_file() and path.name.lower().endswith(_SUFFIXES),
    open_manifest,
)
