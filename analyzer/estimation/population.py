"""A population of networks: the table that a gap model is fitted on.

A CSV file, a row a network: ``name, zeta, kappa, train_accuracy, test_accuracy, gap`` in any order;
accuracies and gap are fractions and may be left empty where they are not known. Columns named as
features of the curves, or beginning with ``margin_``, are numbers too, empty where not measured.
Any further column is kept as text; all but those that say which files were audited, ``unit_rank``,
what their units were ranked by, and the circumstances of the audit are hyperparameters.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from analyzer.errors import GapModelError
from analyzer.estimation.circumstances import CIRCUMSTANCES, Circumstances
from analyzer.estimation.columns import number_or_none
from analyzer.files import write_bytes
from analyzer.measures.ablation.quantities import AREA, CURVE_FEATURES
from analyzer.measures.margins.margin_features import MARGIN_PREFIX
from analyzer.measures.registry import is_feature

__all__ = ["RANK", "Population", "read_population", "write_population"]

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
class Population:
    """N networks, their quantities and how well they generalize."""

    name: tuple[str, ...]  # N, no two alike
    zeta: np.ndarray  # float64 (N,), Eq. 6
    kappa: np.ndarray  # float64 (N,), Eq. 6
    train_accuracy: np.ndarray  # float64 (N,), NaN where not known
    test_accuracy: np.ndarray  # float64 (N,), NaN where not known
    gap: np.ndarray  # float64 (N,), training − test accuracy, NaN where not known
    further: Mapping[str, tuple[str, ...]]  # further column -> N cells, as written
    features: Mapping[str, np.ndarray] = field(default_factory=dict)
    # feature of curves or margins -> float64 (N,), NaN where not measured

    def __len__(self) -> int:
        return len(self.name)

    @property
    def hyperparameters(self) -> dict[str, tuple[str, ...]]:
        """The further columns that describe how the networks were trained."""
        own = (*FILES, RANK, *CIRCUMSTANCES)
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
                "are not the same quantities throughout: audit all networks with the same --rank."
            )
        return named[0]

    def take(self, indices: Sequence[int] | np.ndarray) -> "Population":
        """The networks at ``indices``, in that order."""
        indices = [int(i) for i in indices]
        arrays = {name: getattr(self, name)[indices] for name in BOUNDS}
        return Population(
            name=tuple(self.name[i] for i in indices),
            further={key: tuple(cells[i] for i in indices) for key, cells in self.further.items()},
            features={key: values[indices] for key, values in self.features.items()},
            **arrays,
        )

    def values(self, row: int) -> dict[str, float]:
        """What was measured of one network, as :meth:`GapModel.estimate` takes it."""
        columns = {"zeta": self.zeta, "kappa": self.kappa, **self.features}
        return {name: float(values[row]) for name, values in columns.items()}

    def circumstances(self, row: int) -> Circumstances | None:
        """Under which one network was audited; None where the table does not say.

        Raises:
            GapModelError: the table says it in part, or wrongly.
        """
        cells = {name: self.further[name][row] for name in CIRCUMSTANCES if name in self.further}
        return Circumstances.from_cells(cells, f"The network {self.name[row]!r}")

    def measured(self, feature: str) -> bool:
        """Whether a feature is known of all networks."""
        return feature in self.features and bool(np.isfinite(self.features[feature]).all())

    def columns(self, features: str) -> dict[str, np.ndarray]:
        """The columns of a gap model: of ζ and κ ("paper"), :meth:`area` or :meth:`extended`.

        Raises:
            GapModelError: as those.
        """
        if features == "paper":
            return {"zeta": self.zeta, "kappa": self.kappa}
        return self.area() if features == "area" else self.extended()

    def area(self) -> dict[str, np.ndarray]:
        """The column of a gap model through the area under E_r alone.

        Raises:
            GapModelError: there is no such column, or it lacks a network; the message names it.
        """
        return self._complete((AREA,), (AREA,))

    def extended(self) -> dict[str, np.ndarray]:
        """The columns of an extended gap model: all features of the curves, and of margins if any.

        Raises:
            GapModelError: a feature of the curves has no column, or a feature is missing for a
                network; the message names it.
        """
        return self._complete(CURVE_FEATURES, tuple(self.features))

    def _complete(self, needed: Sequence[str], taken: Sequence[str]) -> dict[str, np.ndarray]:
        missing = [name for name in needed if name not in self.features]
        if missing:
            raise GapModelError(
                f"The population has no column {missing[0]}, which such a gap model needs: "
                "audit it again with this version's `onnx-gap population`."
            )
        columns = {name: self.features[name] for name in taken}
        for feature, values in columns.items():
            if not self.measured(feature):
                network = self.name[int(np.flatnonzero(~np.isfinite(values))[0])]
                raise GapModelError(
                    f"The network {network!r} has no {feature}: measure it for all networks, or "
                    "take the column out of the table."
                )
        return columns

    def margins(self) -> dict[str, np.ndarray]:
        """The columns of the margin-based estimate; empty where the table has none."""
        return {name: v for name, v in self.features.items() if name.startswith(MARGIN_PREFIX)}

    def with_gap(self) -> "Population":
        """The networks whose gap is known: those that a gap model can be fitted on."""
        return self.take(np.flatnonzero(np.isfinite(self.gap)))

    def recipe(self) -> dict[str, list[float] | list[str]]:
        """Per hyperparameter the range [least, greatest] of numbers, or else the texts in use."""
        described: dict[str, list[float] | list[str]] = {}
        for name, cells in self.hyperparameters.items():
            given = sorted({cell for cell in cells if cell})
            numbers = [number_or_none(cell) for cell in given]
            if given and None not in numbers:
                described[name] = [min(numbers), max(numbers)]
            else:
                described[name] = given
        return described


def read_population(path: str | Path) -> Population:
    """Read and check a population table.

    A gap that is left out is made from the two accuracies.

    Raises:
        GapModelError: the file cannot be read, lacks a column, or a cell is not what its column
            holds; the message names file, row (counted as lines of the file) and column.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
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
            f"{path}, line {reader.line_num}: not a line of CSV ({error}). Mend its quotes."
        ) from error
    if not rows:
        raise GapModelError(f"The population {path} has no rows: add a row for each network.")
    return _from_rows(header, rows, path)


def write_population(population: Population, path: str | Path) -> None:
    """Write the table, whole or not at all; :func:`read_population` gives the same back.

    Raises:
        GapModelError: the file cannot be written.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    columns = {name: getattr(population, name) for name in BOUNDS} | dict(population.features)
    writer.writerow(["name", *population.further, *columns])
    for row, name in enumerate(population.name):
        numbers = (float(values[row]) for values in columns.values())
        writer.writerow(
            [
                name,
                *(cells[row] for cells in population.further.values()),
                *("" if math.isnan(number) else repr(number) for number in numbers),
            ]
        )
    write_bytes(path, buffer.getvalue().encode())


def _check_header(header: list[str], path: Path) -> None:
    missing = [column for column in REQUIRED if column not in header]
    if "gap" not in header and not {"train_accuracy", "test_accuracy"} <= set(header):
        missing.append("gap (or train_accuracy and test_accuracy)")
    if missing:
        raise GapModelError(
            f"The population {path} has no column {', '.join(missing)}; its columns are "
            f"{', '.join(header) or 'none'}. Separate columns by commas."
        )
    for position, column in enumerate(header, start=1):
        if not column or header.index(column) != position - 1:
            what = f"two columns named {column!r}" if column else f"no name for column {position}"
            raise GapModelError(f"The population {path} has {what}: give each its own name.")


def _from_rows(header: list[str], rows: list[tuple[int, list[str]]], path: Path) -> Population:
    names: dict[str, int] = {}
    features = [column for column in header if is_feature(column)]
    numbers: dict[str, list[float]] = {column: [] for column in (*BOUNDS, *features)}
    further = {c: [] for c in header if c not in numbers and c != "name"}
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
    texts = {column: tuple(cells) for column, cells in further.items()}
    return Population(
        name=tuple(names),
        further=texts,
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
    gap, between = values["gap"], values["train_accuracy"] - values["test_accuracy"]
    if math.isnan(gap):
        return between
    if abs(gap - between) > GAP_TOLERANCE:
        raise GapModelError(
            f"{where}, column 'gap': {gap:g} is not train_accuracy − test_accuracy = "
            f"{between:.4g}; correct it or leave it empty."
        )
    return gap
