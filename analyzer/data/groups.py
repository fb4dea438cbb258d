"""Groups: which samples show the same thing, as their owner says."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from analyzer.data.formats.arrays import read_value
from analyzer.data.formats.format import NAME_KEYS, SPLIT_KEYS, one_of
from analyzer.data.formats.manifest import (
    INDEX_KEYS,
    LONGEST_LINE,
    PATH_KEYS,
    TABLES,
    manifest_rows,
)
from analyzer.data.labels import label_text
from analyzer.data.source import Source
from analyzer.errors import DataError, parameter
from analyzer.files import is_readable_file, nature_of, shown_path
from analyzer.input_budgets import DEFAULT_BUDGETS, Budgets

__all__ = ["are_missing_groups", "read_groups"]

_GROUP = "group"
_WHOLE = re.compile(r"(-?[0-9]+|nan)?", re.IGNORECASE)
_NO_GROUP = re.compile(r"|nan|-(?=[0-9.]*[1-9])[0-9]+(\.[0-9]*)?", re.IGNORECASE)  # or below 0


def read_groups(
    text: str,
    source: Source,
    *,
    keys: tuple[str, str] | None = None,
    budgets: Budgets = DEFAULT_BUDGETS,
) -> np.ndarray:
    """The group of each sample, int64 (S,): a number from 0 on, in the order of the samples.

    −1 where the group of a sample is empty, or a number below 0.

    Args:
        text: a file, or a column of the manifest that ``source`` comes from. A table (.csv, .tsv,
            .jsonl) names each sample and its group; a .npy file or a text file holds a group for
            each sample, in their order.
        source: the samples.
        keys: the manifest's columns of paths and labels, where they have other names than usual.
        budgets: what a file may ask for.

    Raises:
        DataError: there is no such file or column, it cannot be read, or a sample has no group or
            does not exist.
    """
    path = Path(text)
    manifest = Path(source.source.partition("#")[0])
    if os.path.isfile(path):
        if source.kind == "manifest" and text in next(manifest_rows(manifest))[1]:
            raise DataError(
                f"{text} is a file, and a column of {manifest}. Name the file as "
                f"{os.path.join(os.curdir, text)}, or move it."
            )
        name = path.name.lower()
        if name.endswith(TABLES):
            return _numbered(_by_name(path, _table(path, None, None, budgets, source), source))
        return _in_order(path, source, budgets)
    if source.kind != "manifest":
        what = (
            f"{text} is {nature_of(path)}"
            if os.path.exists(text)
            else f"There is no file {shown_path(text)}"
        )
        raise DataError(
            f"{what}, and {source.source} is no manifest that could have such a "
            f"column. Name a file of groups with {parameter('groups')}."
        )
    groups = _table(manifest, keys and keys[0], text, budgets)
    return _numbered([groups[name] for name in source.names])


def are_missing_groups(text: str) -> bool:
    """Whether it is a file that is not there, and can be no column of a manifest."""
    path = Path(text)
    is_path = len(path.parts) > 1 or text.lower().endswith((".npy", ".txt", *TABLES))
    return is_path and not is_readable_file(text)


def _table(
    path: Path,
    names: str | None,
    column: str | None,
    budgets: Budgets,
    of_all: Source | None = None,
) -> dict[str, str]:
    """What a table says of each name: in a column, or in that called group or else the only one.

    Args:
        of_all: the samples, where the table may name no others.
    """
    found: dict[str, str] = {}
    keys: tuple[str, str] | None = None
    for line, row in manifest_rows(path):
        if excess := budgets.excess("samples", len(found) + 1):
            raise DataError(f"{path} has more than {len(found):,} rows, {excess}.")
        keys = keys or _keys(row, names, column, path)
        name, group = row.get(keys[0]), row.get(keys[1])
        if not name:
            raise DataError(f"Line {line} of {path} lacks {keys[0]!r}.")
        missing = group is None or group != group  # NaN, as pandas writes it into JSON
        said = "" if missing else str(group).strip()
        if found.setdefault(str(name), said) != said:
            raise DataError(
                f"Line {line} of {path} puts {name} into the group {said!r}, an earlier one into "
                f"{found[str(name)]!r}. Give each sample one group."
            )
        if of_all is not None and len(found) > len(of_all):
            break  # one of them is of no sample
    return found


def _keys(
    row: dict[str, object], names: str | None, column: str | None, path: Path
) -> tuple[str, str]:
    """The columns of names and groups."""
    columns = [key for key in row if key is not None]
    name = (
        names
        or one_of(PATH_KEYS, row, path, "name samples", "Remove one of them.")
        or next((key for key in columns if key != _GROUP), "")
    )
    if column is not None and column in (name, *INDEX_KEYS, *NAME_KEYS, *SPLIT_KEYS):
        raise DataError(
            f"The column {column!r} of {path} tells samples, labels or splits, and no groups. Name "
            f"another, or a file of groups, with {parameter('groups')}."
        )
    others = [key for key in columns if key != name]
    group = column or (_GROUP if _GROUP in others else "")
    if not group:  # a column of labels or splits tells no groups, whatever is beside it
        can = [key for key in others if key not in (*INDEX_KEYS, *NAME_KEYS, *SPLIT_KEYS)]
        group = one_of(can, can, path, "tell groups", f"Call one of them {_GROUP!r}.") or ""
    if group not in others:
        raise DataError(
            f"{path} has the columns {', '.join(map(repr, columns))}, none of them "
            f"{column or _GROUP!r}. Name one, or a file of groups, with {parameter('groups')}."
        )
    return name, group


def _by_name(path: Path, groups: dict[str, str], source: Source) -> list[str]:
    names = list(source.names)
    unknown = set(groups).difference(names)
    if unknown:
        raise DataError(
            f"{path} names samples that {source.source} does not have, {min(unknown)} among them. "
            "Name samples as suspects.csv does, or remove these lines."
        )
    missing = [name for name in names if name not in groups]
    if missing:
        raise DataError(
            f"{path} has no group for {len(missing):,} of the {len(names):,} samples of "
            f"{source.source}, {missing[0]} among them. Give each a line; leave the group empty "
            "where a sample has none."
        )
    return [groups[name] for name in names]


def _in_order(path: Path, source: Source, budgets: Budgets) -> np.ndarray:
    if path.suffix.lower() == ".npy":
        array = read_value(str(path), budgets)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise DataError(
                f"{path} holds {array.dtype} of shape {array.shape}; a whole number for each "
                "sample was expected."
            )
        groups = list(map(str, array[: len(source) + 1].tolist()))
    else:
        groups = _lines(path, len(source))
    if len(groups) != len(source):
        more = "more than " if len(groups) > len(source) else ""
        raise DataError(
            f"{path} has {more}{min(len(groups), len(source)):,} groups, {source.source} "
            f"{len(source):,} samples. Give each sample a line; leave it empty where a sample has "
            "no group."
        )
    return _numbered(groups)


def _lines(path: Path, samples: int) -> list[str]:
    """The lines of a file, no more than one after those of so many samples."""
    found: list[str] = []
    try:
        with path.open(encoding="utf-8-sig") as file:
            while len(found) <= samples and (line := file.readline(LONGEST_LINE)):
                if len(line) == LONGEST_LINE:
                    raise DataError(f"{path} has a line of {LONGEST_LINE:,} characters or more.")
                found.append(line.strip())
    except (OSError, ValueError) as error:
        raise DataError(f"The groups in {path} cannot be read ({error}).") from error
    return found


def _numbered(groups: Iterable[str]) -> np.ndarray:
    """Numbers in the order in which groups first come, −1 for an empty one or one below 0.

    "2.0" and "2e0" are 2 where all groups are whole numbers; hexadecimal ones may look like that.
    """
    groups = list(groups)
    as_numbers = [label_text(group) for group in groups]
    if all(_WHOLE.fullmatch(group) for group in as_numbers):
        groups = as_numbers
    numbers: dict[str, int] = {}
    return np.array(
        [
            -1 if _NO_GROUP.fullmatch(group) else numbers.setdefault(group, len(numbers))
            for group in groups
        ],
        np.int64,
    )
