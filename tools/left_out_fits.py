"""Lines fitted on all populations but one, and the gap model ``zoo:any`` of them all.

:mod:`tools.left_out_populations` writes what they are worth on docs/MEASURES.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from analyzer.estimation import (
    GapModel,
    LeftOutEstimates,
    PopulationTable,
    fit_across_populations,
    read_population,
    weighted_plane,
)

CHOICES: Mapping[str, tuple[str, ...]] = {
    "the mean": (),
    "ζ and κ": ("zeta", "kappa"),
    "area under E_r": ("curve_area_ascending",),
    "interpolation": ("interpolation_same_50",),
    "neighbors": ("neighbors_error_third_trusted",),
    "both": ("interpolation_same_50", "neighbors_error_third_trusted"),
    "both and accuracy": (
        "interpolation_same_50",
        "interpolation_hold_mean",
        "neighbors_error_third_trusted",
    ),
}
"""Features by what the table calls them; none of them: the mean of the other populations."""

CHOSEN = "both and accuracy"
"""What ``zoo:any`` estimates from."""


COVERAGE = 0.9
"""Nominal, of the intervals."""


DATA: Mapping[str, str] = {
    "digits": "digits",
    "fashion": "Fashion-MNIST",
    "glyphs": "glyphs",
    "color": "glyphs in color",
    "emoji": "emoji",
}
"""The data sets, by the first part of their populations' names."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Estimates of networks that the line never saw, nor any of their population."""

    name: str
    gap: np.ndarray  # float64 (N,)
    estimates: Mapping[str, np.ndarray]  # choice -> float64 (N,)

    def error(self, choice: str) -> float:
        """Mean absolute error."""
        return float(np.abs(self.estimates[choice] - self.gap).mean())

    def tau(self, choice: str) -> float:
        """Kendall's τ-b with the gap; NaN where the estimates are all alike."""
        return float(kendalltau(self.estimates[choice], self.gap).statistic)


def left_out(tables: Mapping[str, PopulationTable], groups: Mapping[str, str]) -> Iterator[LeftOut]:
    """Leave out each group of populations in turn.

    Args:
        tables: population -> its networks; those without a gap or a feature are passed over.
        groups: population -> the group it belongs to.
    """
    needed = sorted({name for names in CHOICES.values() for name in names})
    columns = {name: columns_of(table, needed) for name, table in tables.items()}
    for group in dict.fromkeys(groups[name] for name in tables):
        others = [columns[name] for name in tables if groups[name] != group]
        own = [columns[name] for name in tables if groups[name] == group]
        if not others:
            continue
        weight = np.concatenate([np.full(len(one["gap"]), 1 / len(one["gap"])) for one in others])
        train, test = stacked(others), stacked(own)
        yield LeftOut(
            group,
            test["gap"],
            {choice: fitted_line(train, weight, names)(test) for choice, names in CHOICES.items()},
        )


def columns_of(table: PopulationTable, needed: Sequence[str]) -> dict[str, np.ndarray]:
    values = {"zeta": table.zeta, "kappa": table.kappa, **table.features, "gap": table.gap}
    chosen = {name: values[name] for name in (*needed, "gap")}
    known = np.all([np.isfinite(column) for column in chosen.values()], axis=0)
    return {name: column[known] for name, column in chosen.items()}


def stacked(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def fitted_line(train: Mapping[str, np.ndarray], weight: np.ndarray, names: Sequence[str]):
    """A line through weighted networks, as a function of their columns."""

    def points(columns: Mapping[str, np.ndarray]) -> np.ndarray:
        rows = [columns[name] for name in names]
        return np.reshape(rows, (len(names), len(columns["gap"]))).T

    coefficients, intercept = weighted_plane(points(train), train["gap"], weight)
    # An estimate never leaves what a gap can be.
    return lambda columns: np.clip(points(columns) @ coefficients + intercept, 0, 1)


def mean_errors(rows: Sequence[LeftOut]) -> dict[str, float]:
    """By choice of features, the mean over what was left out of its mean absolute error."""
    return {choice: float(np.mean([row.error(choice) for row in rows])) for choice in CHOICES}


def image_channels(table: PopulationTable) -> int:
    """Channels of the images; 1 where they are not known."""
    audit = table.conditions(0)
    return (audit.colors if audit is not None else None) or 1


def estimates_of(fitted: GapModel, table: PopulationTable, colors: int | None) -> LeftOutEstimates:
    """Estimates of the networks; ``colors``: of their images, instead of what they have."""
    found = []
    for row in range(len(table)):
        audit = table.conditions(row)
        if audit is not None and colors is not None:
            audit = replace(audit, colors=colors)
        found.append(fitted.estimate(table.values(row), conditions=audit))
    estimate, low, high = np.array([(one.estimate, one.low, one.high) for one in found]).T
    inside = np.array([one.inside_range for one in found])
    return LeftOutEstimates(table.name, table.gap, estimate, low, high, inside)


def any_network(tables: Mapping[str, PopulationTable]) -> GapModel:
    """The gap model ``zoo:any``, of networks alone."""
    return fit_across_populations(
        tables,
        name="any",
        data=_data(tables),
        architecture=f"small VGG, ResNet, MobileNet and plain forms in {len(tables)} populations",
        coverage=COVERAGE,
    )


def _data(tables: Mapping[str, PopulationTable]) -> str:
    """What the networks were trained on, in words."""
    *others, last = dict.fromkeys(DATA.get(name.split("-")[0], name) for name in tables)
    audits = [audit for table in tables.values() if (audit := table.conditions(0)) is not None]
    kinds = "gray and color images" if any(audit.colors == 3 for audit in audits) else "gray images"
    sides = [round(audit.pixels**0.5) for audit in audits if audit.pixels]
    size = f" of {min(sides)} × {min(sides)} to {max(sides)} × {max(sides)} pixels" if sides else ""
    return f"{', '.join(others)} and {last}: {kinds}{size}, clean and with wrong labels"


def read_tables(folder: Path) -> dict[str, PopulationTable]:
    """The tables of a folder by population, in alphabetical order."""
    return {path.stem: _learned(read_population(path)) for path in sorted(folder.glob("*.csv"))}


def _learned(table: PopulationTable) -> PopulationTable:
    """The networks that are better than chance on their training data, as an audit judges it."""
    kept = []
    for row in range(len(table)):
        audit = table.conditions(row)
        chance = 0.0 if audit is None else 1 / audit.classes
        slack = 0.0 if audit is None else 3 * (chance * (1 - chance) / audit.samples) ** 0.5
        if audit is None or audit.accuracy > chance + slack:
            kept.append(row)
    return table.take(kept)
