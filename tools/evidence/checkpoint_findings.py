"""Do checkpoints along a training run make a population that a gap model can be fitted on?

A gap model is fitted on the checkpoints of one run or of several, and tried on the networks of the
whole population, trained to the end by other recipes, and on the checkpoints of the other runs. The
runs' own networks are left out of those tried on: their last epochs were fitted on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from analyzer.audit import plots
from analyzer.audit.html_pages import LIGHT
from analyzer.estimation import (
    FEATURE_SETS,
    GapModel,
    PopulationTable,
    fit_population,
    read_population,
)
from analyzer.estimation.feature_sets import checked_features
from analyzer.estimation.linear_fits import lines_without_each
from tools.evidence.analysis import Agreement, Transfer, agreement, transfer
from tools.evidence.findings import BOTH, UNDER, Findings
from tools.evidence.levels import LEVELS, MARKERS, level_legend, level_name
from tools.evidence.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FEATURES", "CheckpointFindings", "Trial", "checkpoint_findings", "checkpoints_figure"]

FEATURES: Mapping[str, str] = MappingProxyType(
    {BOTH: "paper", UNDER: "area", "curves and margins": "extended"}
)
"""Choices of features, by the name they have on the page, as :func:`fit_population` takes them."""

_AT_RANDOM = 1.0  # corruption of labels that are all drawn at random: anyone can make such a run


@dataclass(frozen=True, slots=True)
class Trial:
    """A gap model fitted on the checkpoints of some runs; by choice of features."""

    levels: tuple[float, ...]  # corruption of the labels of those runs
    checkpoints: int  # fitted on
    final: Mapping[str, Transfer]  # on the networks of the population
    others: Mapping[str, Transfer]  # on the checkpoints of the other runs; none: empty
    others_spread: float  # error of guessing those checkpoints' mean gap; NaN without any

    @property
    def name(self) -> str:
        """The runs in words."""
        return " + ".join(map(level_name, self.levels))


@dataclass(frozen=True, slots=True)
class CheckpointFindings:
    """Runs of one population; N networks of it that none of the runs leads to."""

    population: str
    runs: Mapping[float, PopulationTable]  # corruption -> checkpoints, in the order of the epochs
    final: PopulationTable  # N
    corruption: np.ndarray  # float64 (N,), of theirs
    trials: tuple[Trial, ...]  # each run alone, each with the one at random, all
    own: Mapping[str, Agreement]  # of the N networks, each by a fit to all the others
    onto: Mapping[str, Transfer]  # a gap model fitted on the N networks, tried on all checkpoints
    spread: float  # error of guessing the mean gap of the N networks
    checkpoints_spread: float  # and of all checkpoints

    def trial(self, *levels: float) -> Trial:
        """That of the runs with labels of these levels of corruption."""
        return next(trial for trial in self.trials if trial.levels == levels)

    @property
    def alone(self) -> tuple[Trial, ...]:
        """Those of a single run."""
        return tuple(trial for trial in self.trials if len(trial.levels) == 1)

    @property
    def together(self) -> Trial:
        """That of all runs."""
        return self.trial(*self.runs)

    @property
    def count(self) -> int:
        """Checkpoints of all runs."""
        return sum(map(len, self.runs.values()))


def checkpoint_findings(table: Table, findings: Findings) -> CheckpointFindings:
    """What the checkpoints of a population say, held against its networks.

    Args:
        table: as :mod:`tools.evidence.checkpoints` writes it, margins included.
        findings: of the population, whose networks have margins too.

    Raises:
        AnalyzerError: a column is missing, or there are too few checkpoints to fit.
    """
    checkpoints = read_population(table.path)
    corruption, run = table.numbers("corruption"), table.texts("run")
    runs = {
        float(level): checkpoints.take(np.flatnonzero(corruption == level))
        for level in np.unique(corruption)
    }
    rest = np.flatnonzero(~np.isin(findings.population.name, run))
    final = findings.population.take(rest)
    return CheckpointFindings(
        population=findings.name,
        runs=runs,
        final=final,
        corruption=findings.column("corruption")[rest],
        trials=tuple(
            _trial(checkpoints, corruption, levels, final) for levels in _choices(list(runs))
        ),
        own={label: _left_out(final, label) for label in FEATURES},
        onto={label: transfer(_fitted(final, label), checkpoints, sizes=()) for label in FEATURES},
        spread=float(final.gap.std()),
        checkpoints_spread=float(checkpoints.gap.std()),
    )


def _choices(levels: Sequence[float]) -> list[tuple[float, ...]]:
    """Which runs are fitted on together: each, each with the one at random, all."""
    pairs = [(level, _AT_RANDOM) for level in levels if level < _AT_RANDOM in levels]
    return list(dict.fromkeys([*((level,) for level in levels), *pairs, tuple(levels)]))


def _trial(
    checkpoints: PopulationTable,
    corruption: np.ndarray,
    levels: tuple[float, ...],
    final: PopulationTable,
) -> Trial:
    fitted_on = np.isin(corruption, levels)
    source = checkpoints.take(np.flatnonzero(fitted_on))
    others = checkpoints.take(np.flatnonzero(~fitted_on))
    gap_models = {label: _fitted(source, label) for label in FEATURES}

    def tried(target: PopulationTable) -> dict[str, Transfer]:
        return {label: transfer(model, target, sizes=()) for label, model in gap_models.items()}

    return Trial(
        levels=levels,
        checkpoints=len(source),
        final=tried(final),
        others=tried(others) if len(others) else {},
        others_spread=float(others.gap.std()) if len(others) else float("nan"),
    )


def _left_out(population: PopulationTable, label: str) -> Agreement:
    chosen = FEATURE_SETS[FEATURES[label]]
    features, gap = checked_features(chosen.columns(population), population.gap, fit=chosen.fit)
    *_, residuals = lines_without_each(features, gap, chosen.fit)
    return agreement(gap - residuals, gap)


def _fitted(population: PopulationTable, label: str) -> GapModel:
    return fit_population(population, name="", data="", architecture="", features=FEATURES[label])


def checkpoints_figure(found: Sequence[CheckpointFindings]) -> "Figure":
    """A row a population: the paths of its runs among its networks; estimates from all runs."""
    figure, axes = plots.new_figure(len(found), 3, size=(3.6, 3.4))
    for row, one in zip(axes, found, strict=True):
        for axis, name, symbol in ((row[0], "zeta", "ζ"), (row[1], "kappa", "κ")):
            _draw_networks(axis, one, getattr(one.final, name), one.final.gap, alpha=0.35)
            for level, run in one.runs.items():
                _draw_run(axis, getattr(run, name), run.gap, LEVELS[level])
            axis.set(xlabel=symbol, ylabel="gap")
        row[0].set_title(f"{one.population}: runs among networks", loc="left", fontsize=10)
        told = one.together.final[BOTH]
        _draw_networks(row[2], one, one.final.gap, np.array(told.estimate), alpha=0.8)
        row[2].axline((0, 0), slope=1, color=LIGHT["muted"], linestyle="--", linewidth=1.2)
        row[2].set(xlabel="true gap of the networks", ylabel="estimated gap")
        row[2].set_title(f"from the runs, ζ and κ: r = {told.plain.r:.2f}", loc="left", fontsize=10)
        level_legend(row[2])
    return figure


def _draw_networks(
    axis: "Axes", found: CheckpointFindings, across: np.ndarray, up: np.ndarray, *, alpha: float
) -> None:
    for level, colour in LEVELS.items():
        chosen = found.corruption == level
        axis.scatter(
            across[chosen], up[chosen], s=22, color=colour, marker=MARKERS[level], alpha=alpha,
            linewidths=0, label=level_name(level),
        )  # fmt: skip


def _draw_run(axis: "Axes", across: np.ndarray, up: np.ndarray, colour: str) -> None:
    """A path from the first checkpoint to the last, which is ringed."""
    axis.plot(across, up, color=colour, marker=".", markersize=5, linewidth=1.4, zorder=3)
    axis.scatter(
        across[-1:], up[-1:], s=90, facecolors="none", edgecolors=LIGHT["ink"], linewidths=1.4,
        zorder=4,
    )  # fmt: skip
