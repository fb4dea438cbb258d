"""Manifests: a CSV, TSV or JSONL file of image paths and labels."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from analyzer.data.classes import ClassList
from analyzer.data.folder import FileStore
from analyzer.data.halves import choose_half, half_in
from analyzer.data.labels import labels_of_values
from analyzer.data.names import CompactNames
from analyzer.data.source import Source
from analyzer.errors import DataError

__all__ = ["MANIFEST_SUFFIXES", "open_manifest"]

MANIFEST_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
_PATH_KEYS = ("path", "file_name", "filename", "file", "filepath", "image", "image_path")
_LABEL_KEYS = ("label", "class", "target", "class_index", "class_name", "label_name", "y")
_HALF_KEYS = ("split", "half", "subset", "set")


def open_manifest(
    path: Path,
    half: str | None = None,
    keys: tuple[str, str] | None = None,
    classes: ClassList | None = None,
) -> Source:
    """Open a manifest; paths in it are relative to its folder.

    Labels are class indices, or names: those are indexed by the class list, else by natural
    order. Where there is a column "split", one half is taken, "train" by default.

    Args:
        path: the manifest.
        half: the half wanted.
        keys: names of the columns of paths and labels; by default the usual ones are tried.
        classes: the network's class list.

    Raises:
        DataError: not such a file, other columns, or a row without path or label.
    """
    paths: list[str] = []
    values: list[object] = []
    halves: list[str | None] = []
    path_key = label_key = half_key = None
    for line, row in _rows(path):
        if path_key is None:
            path_key = _column(row, keys and keys[0], _PATH_KEYS, "paths", path)
            label_key = _column(row, keys and keys[1], _LABEL_KEYS, "labels", path)
            half_key = next((key for key in _HALF_KEYS if key in row), None)
        if not row.get(path_key) or row.get(label_key) in (None, ""):
            raise DataError(f"line {line} of {path} lacks {path_key!r} or {label_key!r}")
        if not isinstance(row[label_key], str | int):
            raise DataError(f"line {line} of {path} has label {row[label_key]!r}")
        paths.append(str(row[path_key]))
        values.append(row[label_key])
        halves.append(half_in(str(row[half_key])) if half_key else None)
    if not paths:
        raise DataError(f"the manifest {path} has no rows")
    where = str(path)
    if half is not None or any(halves):
        chosen, half = choose_half(dict(enumerate(halves)), half, path)
        paths = [paths[index] for index in chosen]
        values = [values[index] for index in chosen]
        where = f"{path}#{half}"
    labels, class_names, indexing = labels_of_values(values, classes, where)
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
            if path.suffix.lower() in (".csv", ".tsv"):
                delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
                reader = csv.DictReader(file, delimiter=delimiter, strict=True)
                for row in reader:
                    yield reader.line_num, row
                return
            for line, text in enumerate(file, start=1):
                if not text.strip():
                    continue
                row = json.loads(text)
                if not isinstance(row, dict):
                    raise DataError(f"line {line} of {path} is no JSON object")
                yield line, row
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"the manifest {path} cannot be read ({error})") from error


def _column(
    row: dict[str, object], wanted: str | None, usual: Sequence[str], what: str, path: Path
) -> str:
    for key in (wanted,) if wanted else usual:
        if key in row:
            return key
    columns = ", ".join(repr(key) for key in row if key is not None)
    missing = f"not {wanted!r}" if wanted else f"none of them usual for {what} ({', '.join(usual)})"
    raise DataError(
        f"{path} has the columns {columns}, {missing}; name two of these with --keys PATHS,LABELS"
    )
