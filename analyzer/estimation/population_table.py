"""The table of a population of networks, which a gap model is fitted on.

A CSV file, a row a network: ``name, zeta, kappa, train_accuracy, test_accuracy, gap`` in any order;
accuracies and gap are fractions and may be left empty where they are not known. Columns named
as features of a measure are numbers too, empty where not measured. Any further column is kept as
text. Some of these say which files were audited, what units were ranked by (``unit_rank``) and
under which conditions; all others are hyperparameters.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from analyzer.errors import DataError, GapModelError
from analyzer.estimation.applicability_domain import (
    CONDITION_COLUMNS,
    AuditConditions,
    number_or_none,
)
from analyzer.files import read_whole
from analyzer.json_codec import repeated
from analyzer.measures.registry import is_feature
from analyzer.output_files import csv_text, write_bytes

__all__ = ["RANK", "PopulationTable", "gap_contradiction", "read_population", "write_population"]

BOUNDS = {
    "zeta": (0.0, 1.0),
    "kappa": (0.0, 1.0),
    "train_accuracy": (0.0, 1.0),
    "test_accuracy": (0.0, 1.0),
    "gap": (-1.0, 1.0),
}
REQUIRED = ("name", "zeta", "kappa")
FILES = ("model", "train_data", "test_data")
RANK = "unit_rank"
GAP_TOLERANCE = 0.002  # accuracies in tables are often rounded to three digits


@dataclass(frozen=True, slots=True)
class PopulationTable:
    """N networks, their quantities and how well they generalize."""

    name: tuple[str, ...]  # N, no two alike
    zeta: np.ndarray  # float64 (N,), Eq. 6
    kappa: np.ndarray  # float64 (N,), Eq. 6
    train_accuracy: np.ndarray  # float64 (N,), NaN where not known
    test_accuracy: np.ndarray  # float64 (N,), NaN where not known
    gap: np.ndarray  # float64 (N,), training − test accuracy, NaN where not known
    further: Mapping[str, tuple[str, ...]]  # further column -> N cells, as written
    features: Mapping[str, np.ndarray] = field(default_factory=dict)
    # further feature -> float64 (N,), NaN where not measured

    def __len__(self) -> int:
        return len(self.name)

    @property
    def hyperparameters(self) -> dict[str, tuple[str, ...]]:
        """The further columns that describe how the networks were trained."""
        own = (*FILES, RANK, *CONDITION_COLUMNS)
        return {name: cells for name, cells in self.further.items() if name not in own}

    @property
    def rank(self) -> str:
        """What units were ranked by: "l1", the method's own, where the table does not say.

        Raises:
            GapModelError: not by the same for every network.
        """
        named = sorted({cell or "l1" for cell in self.further.get(RANK, ())}) or ["l1"]
        if len(named) > 1:
            raise GapModelError(
                f"The population's units were ranked by {' and by '.join(named)}, so that ζ and κ "
                "are not the same quantities throughout: audit all networks with the same rank."
            )
        return named[0]

    def take(self, indices: Sequence[int] | np.ndarray) -> "PopulationTable":
        """The networks at ``indices``, in that order."""
        rows = [int(i) for i in indices]
        arrays = {name: getattr(self, name)[rows] for name in BOUNDS}
        return PopulationTable(
            name=tuple(self.name[i] for i in rows),
            further={key: tuple(cells[i] for i in rows) for key, cells in self.further.items()},
            features={key: values[rows] for key, values in self.features.items()},
            **arrays,
        )

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """All features, ζ and κ first: float64 (N,) each, NaN where not measured."""
        return {"zeta": self.zeta, "kappa": self.kappa, **self.features}

    def complete(self, features: Sequence[str]) -> dict[str, np.ndarray]:
        """The columns of ``features``, once they are known of all networks.

        Args:
            features: names that :attr:`columns` has.

        Raises:
            GapModelError: a network lacks one; the message names both.
        """
        columns = {name: self.columns[name] for name in features}
        for name, values in columns.items():
            if not np.isfinite(values).all():
                network = self.name[int(np.flatnonzero(~np.isfinite(values))[0])]
                raise GapModelError(
                    f"The network {network!r} has no {name}: measure it for all networks, or "
                    "take the column out of the table."
                )
        return columns

    def values(self, row: int) -> dict[str, float]:
        """What was measured of one network, as :meth:`GapModel.estimate` takes it."""
        return {name: float(values[row]) for name, values in self.columns.items()}

    def conditions(self, row: int) -> AuditConditions | None:
        """Under which one network was audited; None where the table does not say.

        Raises:
            GapModelError: the table says it in part, or wrongly.
        """
        cells = {
            name: self.further[name][row] for name in CONDITION_COLUMNS if name in self.further
        }
        return AuditConditions.from_cells(cells, f"The network {self.name[row]!r}")

    def with_gap(self) -> "PopulationTable":
        """The networks whose gap is known: those that a gap model can be fitted on."""
        return self.take(np.flatnonzero(np.isfinite(self.gap)))

    def alike(self) -> list[list[str]]:
        """Names of networks that have all numbers in common, which are probably one network."""
        columns = [getattr(self, name) for name in BOUNDS] + list(self.features.values())
        found: dict[bytes, list[str]] = {}
        for name, numbers in zip(self.name, np.column_stack(columns), strict=True):
            found.setdefault(numbers.tobytes(), []).append(name)
        return [names for names in found.values() if len(names) > 1]

    def recipe(self) -> dict[str, list[float] | list[str]]:
        """Per hyperparameter the range [least, greatest] of numbers, or else the texts in use."""
        described: dict[str, list[float] | list[str]] = {}
        for name, cells in self.hyperparameters.items():
            given = sorted({cell for cell in cells if cell})
            numbers = [n for n in map(number_or_none, given) if n is not None]
            if given and len(numbers) == len(given):
                described[name] = [min(numbers), max(numbers)]
            else:
                described[name] = given
        return described


def read_population(path: str | Path) -> PopulationTable:
    """Read and check a population table.

    A gap that is left out is made from the two accuracies.

    Raises:
        GapModelError: the file cannot be read, lacks a column, or a cell is not what its column
            holds; the message names file, row (counted as lines of the file) and column.
    """
    path = Path(path)
    try:
        text = read_whole(path).decode("utf-8-sig")
    except DataError as error:
        raise GapModelError(f"The population {path} {error.message}.") from error
    except OSError as error:
        raise GapModelError(
            f"The population {path} cannot be read: {error.strerror}. Name the population.csv "
            "that `onnx-gap population` wrote."
        ) from error
    except UnicodeDecodeError as error:
        raise GapModelError(
            f"The population {path} is not UTF-8 text: save the table as CSV with that encoding."
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        _check_header(header, path)
        rows = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise GapModelError(
            f"{path}, line {reader.line_num}: not a line of CSV ({error}). Correct its quotes."
        ) from error
    if not rows:
        raise GapModelError(f"The population {path} has no rows: add a row for each network.")
    return _from_rows(header, rows, path)


def write_population(population: PopulationTable, path: str | Path) -> None:
    """Write the table, whole or not at all; :func:`read_population` gives the same back.

    Raises:
        OutputError: the file cannot be written.
    """
    columns = {name: getattr(population, name) for name in BOUNDS} | dict(population.features)
    rows: list[list[str]] = [["name", *population.further, *columns]]
    for row, name in enumerate(population.name):
        numbers = (float(values[row]) for values in columns.values())
        rows.append(
            [
                name,
                *(cells[row] for cells in population.further.values()),
                *("" if math.isnan(number) else repr(number) for number in numbers),
            ]
        )
    write_bytes(path, csv_text(rows).encode())


def _check_header(header: list[str], path: Path) -> None:
    missing = [column for column in REQUIRED if column not in header]
    if "gap" not in header and not {"train_accuracy", "test_accuracy"} <= set(header):
        missing.append("gap (or train_accuracy and test_accuracy)")
    if missing:
        raise GapModelError(
            f"The population {path} has no column {', '.join(missing)}; its columns are "
            f"{', '.join(header) or 'none'}. Separate columns by commas."
        )
    what = f"no name for column {header.index('') + 1}" if "" in header else None
    if what is None and (twice := repeated(header)) is not None:
        what = f"two columns named {twice!r}"
    if what is not None:
        raise GapModelError(f"The population {path} has {what}: give each its own name.")


def _from_rows(header: list[str], rows: list[tuple[int, list[str]]], path: Path) -> PopulationTable:
    names: dict[str, int] = {}
    features = [column for column in header if is_feature(column)]
    numbers: dict[str, list[float]] = {column: [] for column in (*BOUNDS, *features)}
    further: dict[str, list[str]] = {c: [] for c in header if c not in numbers and c != "name"}
    for line, cells in rows:
        where = f"{path}, line {line}"
        if len(cells) != len(header):
            raise GapModelError(
                f"{where}: {len(cells)} cells for {len(header)} columns. "
                "Quote cells that hold commas."
            )
        row = {column: cell.strip() for column, cell in zip(header, cells, strict=True)}
        if not row["name"]:
            raise GapModelError(f"{where}: the column 'name' is empty; name the network.")
        if row["name"] in names:
            raise GapModelError(
                f"{where}: the name {row['name']!r} is taken by line {names[row['name']]}; "
                "each network needs its own."
            )
        names[row["name"]] = line
        values = {column: _cell(row, column, where) for column in numbers}
        values["gap"] = _gap(values, where)
        for column, value in values.items():
            numbers[column].append(value)
        for column, texts in further.items():
            texts.append(row[column])
    arrays = {column: np.array(values, dtype=np.float64) for column, values in numbers.items()}
    return PopulationTable(
        name=tuple(names),
        further={column: tuple(cells) for column, cells in further.items()},
        features={column: arrays.pop(column) for column in features},
        **arrays,
    )


def _cell(row: dict[str, str], column: str, where: str) -> float:
    text = row.get(column, "")
    if not text and column not in REQUIRED:
        return math.nan
    value = number_or_none(text)
    if column not in BOUNDS:
        if value is None:
            raise GapModelError(f"{where}, column '{column}': {text!r} is not a number.")
        return value
    low, high = BOUNDS[column]
    if value is None or not low <= value <= high:
        raise GapModelError(
            f"{where}, column '{column}': {text!r} is not a number from {low:g} to {high:g}; "
            "quantities and accuracies are fractions."
        )
    return value


def _gap(values: dict[str, float], where: str) -> float:
    train, test, gap = (
        None if math.isnan(values[name]) else values[name]
        for name in ("train_accuracy", "test_accuracy", "gap")
    )
    if contradiction := gap_contradiction(train, test, gap):
        raise GapModelError(f"{where}, {contradiction}")
    return values["train_accuracy"] - values["test_accuracy"] if gap is None else gap


def gap_contradiction(train: float | None, test: float | None, gap: float | None) -> str:
    """What is wrong where a gap is not the difference of two accuracies; "" where it is.

    Args:
        train, test, gap: of one network; None where not known.
    """
    if train is None or test is None or gap is None or abs(gap - train + test) <= GAP_TOLERANCE:
        return ""
    return (
        f"column 'gap': {gap:g} is not train_accuracy − test_accuracy = {train - test:.4g}; "
        "correct it or leave it empty."
    )
