"""Fit on one population, predict another: the whole matrix, from ζ and κ and from the curves.

On the diagonal stand the population's own estimates out of fold, made in :mod:`.findings`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from analyzer.audit import plots
from analyzer.audit.html_pages import LIGHT
from analyzer.estimation import PopulationTable, fit_population
from analyzer.measures.ablation.curve_features import CURVE_FEATURES
from tools.evidence.analysis import Transfer, transfer
from tools.evidence.findings import BOTH, UNDER, Findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FEW", "Matrix", "few", "transfer_figure", "transfer_matrices"]

CURVES = "more of the curves"
FEW = 4  # networks of one's own that an offset is made from
_KINDS = {BOTH: "paper", UNDER: "area", CURVES: "extended"}


@dataclass(frozen=True, slots=True)
class Matrix:
    """All pairs of P populations, from one choice of features."""

    features: str
    names: tuple[str, ...]  # P
    transfers: tuple[Transfer, ...]  # P·(P − 1), row by row, without the diagonal
    own: dict[str, float]  # error of each population's own estimates, out of fold
    spread: dict[str, float]  # error of guessing the population's mean gap

    def errors(self, *, shifted: bool) -> np.ndarray:
        """Root of the mean squared error, float64 (P, P): fitted on, tried on."""
        errors = np.diag([self.own[name] for name in self.names])
        for found in self.transfers:
            cell = self.names.index(found.source), self.names.index(found.target)
            errors[cell] = few(found) if shifted else found.plain.rmse
        return errors


def few(found: Transfer) -> float:
    """Error, in the median, once the mean error of :data:`FEW` of the target is taken out."""
    return next(point for point in found.offsets if point.networks == FEW).quantile(0.5)


def transfer_matrices(populations: Sequence[Findings]) -> tuple[Matrix, ...]:
    """The matrix for each choice of features that all populations have; none for one population."""
    if len(populations) < 2:
        return ()
    return tuple(
        _matrix(populations, label)
        for label in _KINDS
        if all(label in p.scores for p in populations)
    )


def _matrix(populations: Sequence[Findings], label: str) -> Matrix:
    tables = {findings.name: _curves_alone(findings.population) for findings in populations}
    transfers = []
    for source, networks in tables.items():
        gap_model = fit_population(
            networks, name=source, data=source, architecture="", features=_KINDS[label]
        )
        transfers += [
            transfer(gap_model, other, name=target, sizes=(FEW,))
            for target, other in tables.items()
            if target != source
        ]
    return Matrix(
        features=label,
        names=tuple(tables),
        transfers=tuple(transfers),
        own={p.name: p.slices[0].estimates[label].rmse for p in populations},
        spread={p.name: p.spread for p in populations},
    )


def _curves_alone(population: PopulationTable) -> PopulationTable:
    """Without margin features: which layers they are of differs between architectures."""
    features = {name: population.features[name] for name in CURVE_FEATURES}
    return replace(population, features=features)


def transfer_figure(matrices: Sequence[Matrix]) -> "Figure":
    """The errors of every pair, a row of panels a choice of features; as it is, and shifted."""
    names = matrices[0].names
    side = 1.6 + 0.75 * len(names)
    figure, axes = plots.new_figure(len(matrices), 2, size=(side + 1.0, side))
    highest = max(matrices[0].spread.values()) * 1.5
    for row, matrix in zip(axes, matrices, strict=True):
        for axis, shifted in zip(row, (False, True), strict=True):
            after = f", shifted by {FEW} networks" if shifted else ""
            _draw_errors(axis, matrix.errors(shifted=shifted), names, highest)
            features = matrix.features.replace("E_r", "$E_r$")
            axis.set_title(f"{features}{after}", loc="left", fontsize=10)
        row[0].set_ylabel("fitted on")
    for axis in axes[-1]:
        axis.set_xlabel("tried on")
    return figure


def _draw_errors(axis: "Axes", errors: np.ndarray, names: Sequence[str], highest: float) -> None:
    axis.imshow(errors, cmap="Blues", vmin=0, vmax=highest)
    for (row, column), error in np.ndenumerate(errors):
        axis.text(
            column, row, f"{error:.2f}", ha="center", va="center",
            color=LIGHT["card"] if error > 0.6 * highest else LIGHT["ink"],
            fontweight="bold" if row == column else "normal",
        )  # fmt: skip
    ticks = range(len(names))
    axis.set_xticks(ticks, names, rotation=30, ha="right", fontsize=9)
    axis.set_yticks(ticks, names, fontsize=9)
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(False)
