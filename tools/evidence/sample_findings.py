"""What a table of :mod:`tools.evidence.single_samples` says, by corruption level and score."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analyzer.audit import plots
from analyzer.audit.html_pages import LIGHT
from tools.evidence.levels import level_name
from tools.evidence.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["HEADER", "SampleFinding", "SampleFindings", "sample_findings", "samples_figure"]

HEADER = (
    "corruption", "score", "networks", "AUC", "among the first 1 %", "5 %", "other is right",
)  # fmt: skip
_MEANS = ("memorised", "auc", "precision_1", "precision_5", "other_1")
# What the figure shows: colour, marker, line and name of each score.
_DRAWN = {
    "suspicion": (LIGHT["ink"], "o", "-", "suspicion"),
    "log_probability": ("#0072B2", "s", "-", "log-probability (the loss)"),
    "ascending": ("#009E73", "^", "-", "survival, least active removed first"),
    "ablation": ("#D55E00", "D", "--", "ablation score"),
    "confidence_weighted_entropy": ("#CC79A7", "v", ":", "cleanlab, weighted entropy"),
}


@dataclass(frozen=True, slots=True)
class SampleFinding:
    """One score on all networks of a corruption level: means over the networks."""

    corruption: float
    score: str
    networks: int
    samples: float
    wrong: float  # of them have a wrong label
    memorised: float  # share of the wrong labels that the network names
    auc: float
    precision_1: float  # share of wrong labels among the 1 % most suspicious
    precision_5: float
    other_1: float  # share of these for which the best class but the label is the right one

    @property
    def share(self) -> float:
        """Of the samples, those with a wrong label: what guessing would find."""
        return self.wrong / self.samples

    def cells(self) -> tuple[str, ...]:
        """For a table under :data:`HEADER`."""
        numbers = (self.auc, self.precision_1, self.precision_5, self.other_1)
        return (
            level_name(self.corruption),
            self.score,
            str(self.networks),
            *("–" if np.isnan(number) else f"{number:.3f}" for number in numbers),
        )


@dataclass(frozen=True, slots=True)
class SampleFindings:
    """All scores of one population at all its corruption levels."""

    population: str
    findings: tuple[SampleFinding, ...]

    @property
    def levels(self) -> tuple[float, ...]:
        return tuple(dict.fromkeys(one.corruption for one in self.findings))

    @property
    def scores(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.score for one in self.findings))

    def at(self, corruption: float) -> SampleFinding:
        """Any finding at that level, for what all scores have in common."""
        return next(one for one in self.findings if one.corruption == corruption)

    def of(self, score: str) -> tuple[SampleFinding, ...]:
        """Those of a score, by corruption."""
        return tuple(one for one in self.findings if one.score == score)

    def mean(self, score: str, name: str) -> float:
        """Over the corruption levels."""
        return float(np.mean([getattr(one, name) for one in self.of(score)]))


def sample_findings(table: Table) -> SampleFindings:
    """Every score at every corruption level of the table, the levels in rising order.

    Raises:
        AnalyzerError: a column is missing, or a cell is no number.
    """
    level, score = table.numbers("corruption"), table.texts("score")
    return SampleFindings(
        population=str(table.texts("population")[0]),
        findings=tuple(
            _finding(table.where((level == one) & (score == other)))
            for one in np.unique(level)
            for other in dict.fromkeys(score[level == one].tolist())
        ),
    )


def samples_figure(found: SampleFindings) -> "Figure":
    """AUC and both precisions against corruption, between guessing and all that can be found."""
    figure, axes = plots.new_figure(1, 3, size=(3.3, 3.4))
    titles = {
        "auc": "area under the ROC curve",
        "precision_1": "wrong labels among\nthe first 1 %",
        "precision_5": "wrong labels among\nthe first 5 %",
    }
    places = np.arange(len(found.levels))
    share = np.array([found.at(level).share for level in found.levels])
    for axis, (name, title), listed in zip(axes[0], titles.items(), (0, 0.01, 0.05), strict=True):
        bounds = (share, np.minimum(share / listed, 1)) if listed else (np.full(len(share), 0.5),)
        for bound in bounds:
            axis.plot(places, bound, color=LIGHT["muted"], linewidth=1, linestyle=(0, (1, 2)))
        for score, (colour, marker, line, label) in _DRAWN.items():
            values = [getattr(one, name) for one in found.of(score)]
            if values:
                axis.plot(
                    places, values, color=colour, marker=marker, linestyle=line, markersize=4.5,
                    linewidth=2 if score == "suspicion" else 1.3, label=label,
                )  # fmt: skip
        axis.set_xticks(places, [level_name(level) for level in found.levels])
        axis.set(ylim=(-0.02, 1.02), xlabel="labels corrupted")
        axis.set_title(title, loc="left", fontsize=10)
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside lower center", ncols=3, frameon=False, fontsize=9,
    )  # fmt: skip
    return figure


def _finding(rows: Table) -> SampleFinding:
    return SampleFinding(
        corruption=float(rows.numbers("corruption")[0]),
        score=str(rows.texts("score")[0]),
        networks=len(rows),
        samples=_mean(rows.numbers("samples")),
        wrong=_mean(rows.numbers("wrong")),
        **{name: _mean(rows.numbers(name)) for name in _MEANS},
    )


def _mean(values: np.ndarray) -> float:
    """Of the numbers that are known; NaN if none is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
