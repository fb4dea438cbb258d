"""The manifest of a population: a CSV file with a row a network."""

import csv
import io
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analyzer.errors import DataError
from analyzer.estimation.applicability_domain import number_or_none
from analyzer.estimation.population_table import BOUNDS, gap_contradiction
from analyzer.files import read_text
from analyzer.input_budgets import DEFAULT_BUDGETS
from analyzer.json_codec import repeated

__all__ = ["Member", "read_manifest"]

_REQUIRED = ("name", "model", "train_data")
_OPTIONAL = ("keys", "test_keys", "test_data", "train_accuracy", "test_accuracy", "gap")
_SAFE_NAME = re.compile(r"\w[\w.-]{0,99}")  # no hidden folder, no way out of this one


@dataclass(frozen=True, slots=True)
class Member:
    """A network of a population, as the manifest describes it."""

    name: str
    model: Path
    train_data: str
    keys: tuple[str, str] | None  # of the training data
    test_data: str | None
    test_keys: tuple[str, str] | None
    train_accuracy: float | None
    test_accuracy: float | None
    gap: float | None
    cells: Mapping[str, str]  # the row as written


def read_manifest(path: Path) -> tuple[Member, ...]:
    """The networks of a manifest: a CSV file, a row a network; paths are relative to it.

    Columns: ``name, model, train_data``, then what is known of ``test_data``,
    ``train_accuracy``, ``test_accuracy`` and ``gap``; ``keys`` and ``test_keys`` name the arrays
    of an .npz file as "images,labels". Any further column is a hyperparameter.

    Raises:
        DataError: it cannot be read, or a row is not what it should be; the sentence names it.
    """
    text = read_text(path, DEFAULT_BUDGETS, "The manifest")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [cell.strip() for cell in next(reader, [])]
        rows = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise DataError(f"The manifest {path} is not a CSV file: {error}.") from error
    _check_columns(columns, path)
    if not rows:
        raise DataError(f"The manifest {path} names no network; add a row for each.")
    base = path.resolve().parent
    members = tuple(_member(columns, cells, f"{path}, line {line}", base) for line, cells in rows)
    seen: dict[str, str] = {}
    for member in members:
        # Folders whose names differ in case alone, or in how ü is written, are one on some systems.
        alike = unicodedata.normalize("NFKC", member.name).casefold()
        if alike in seen:
            also = f" and {member.name!r}" if member.name != seen[alike] else ""
            raise DataError(
                f"The manifest {path} names {seen[alike]!r}{also} twice; names are folders."
            )
        seen[alike] = member.name
    return members


def _check_columns(columns: Sequence[str], path: Path) -> None:
    if (twice := repeated(columns)) is not None:
        named = (
            f"two columns named {twice!r}; keep one of them"
            if twice
            else ("two columns without a name; remove them")
        )
        raise DataError(f"The manifest {path} has {named}.")
    missing = [name for name in _REQUIRED if name not in columns]
    if missing:
        raise DataError(
            f"The manifest {path} has no column {missing[0]!r}; it needs {', '.join(_REQUIRED)}, "
            "separated by commas."
        )
    if "" in columns:
        raise DataError(
            f"The manifest {path} has no name for column {columns.index('') + 1}; give it one, or "
            "remove the column."
        )
    known = (*_REQUIRED, *_OPTIONAL)
    for column in columns:
        meant = re.sub(r"[\s_-]+", "_", column).casefold()
        if meant in known and column not in known:
            like = f"something less like {meant!r}"
            name = like if meant in columns else f"{meant!r}, or something less like it"
            raise DataError(
                f"The manifest {path} has a column {column!r}, which would be a hyperparameter; "
                f"call it {name}."
            )


def _member(columns: Sequence[str], row: Sequence[str], where: str, base: Path) -> Member:
    if len(row) > len(columns):
        raise DataError(f"{where} has more cells than the header; quote cells that hold commas.")
    given = [cell.strip() for cell in row]
    cells = dict(zip(columns, given + [""] * (len(columns) - len(row)), strict=True))
    for name in _REQUIRED:
        if not cells[name]:
            raise DataError(f"{where}: the column {name!r} is empty.")
    if not _SAFE_NAME.fullmatch(cells["name"]):
        raise DataError(
            f"{where}: the name {cells['name']!r} becomes a folder; use up to 100 letters, digits, "
            "'.', '_' and '-', a letter, digit or '_' first."
        )
    train, test, gap = (
        _number(cells, name, where) for name in ("train_accuracy", "test_accuracy", "gap")
    )
    if cells.get("test_keys") and not cells.get("test_data"):
        raise DataError(
            f"{where} has test_keys {cells['test_keys']!r}, but no test_data that they are of. "
            "Give both, or neither."
        )
    if contradiction := gap_contradiction(train, test, gap):
        raise DataError(f"{where}, {contradiction}")
    return Member(
        name=cells["name"],
        model=base / cells["model"],
        train_data=str(base / cells["train_data"]),
        keys=_keys(cells.get("keys", ""), where),
        test_data=str(base / cells["test_data"]) if cells.get("test_data") else None,
        test_keys=_keys(cells.get("test_keys", ""), where),
        train_accuracy=train,
        test_accuracy=test,
        gap=gap,
        cells=cells,
    )


def _keys(text: str, where: str) -> tuple[str, str] | None:
    if not text:
        return None
    parts = tuple(part.strip() for part in text.split(","))
    if len(parts) != 2:
        raise DataError(f"{where}: the keys {text!r} must be two names, as images,labels.")
    return parts


def _number(cells: Mapping[str, str], name: str, where: str) -> float | None:
    if not cells.get(name):
        return None
    number = number_or_none(cells[name])
    low, high = BOUNDS[name]
    if number is None or not low <= number <= high:
        raise DataError(
            f"{where}: {name} is {cells[name]!r}, not a number from {low:g} to {high:g}; "
            "accuracies and gaps are fractions."
        )
    return number
