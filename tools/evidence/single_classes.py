"""Do a class's own ζ_j and κ_j tell its own gap? Over all classes, and within each network.

The gap of class j is its training accuracy (on the labels trained on) less the accuracy on the
test samples of that class. Its estimate is a line through (ζ_j, κ_j) of all classes of other
networks: whole networks are held out, because the classes of one network are alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analyzer.audit import plots
from analyzer.audit.html_pages import LIGHT
from tools.evidence.analysis import Agreement, class_scores
from tools.evidence.findings import Findings
from tools.evidence.notation import LEVELS, MARKERS, level_legend, level_name, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ClassFindings", "class_findings", "classes_gap_figure"]


_MANY = 2000  # classes from which on markers are small and pale


@dataclass(frozen=True, slots=True)
class ClassFindings:
    """The classes of one population; C classes of all networks together."""

    name: str
    gap: np.ndarray  # float64 (C,), of the class itself
    estimate: np.ndarray  # float64 (C,), by a line that never saw the class's network
    network: tuple[str, ...]  # C names
    corruption: np.ndarray  # float64 (C,), of its network
    across: Mapping[str, Agreement]  # "zeta", "kappa", "estimate": with the gap, over all classes
    within: Mapping[str, Agreement]  # the same with each network's means taken out
    clean: Mapping[str, Agreement]  # as ``within``, of networks trained on clean labels alone


def class_findings(findings: Findings) -> ClassFindings:
    """How the classes of a population's networks follow their own gaps."""
    classes = findings.classes
    network = classes.texts("network")
    zeta, kappa, gap = (classes.numbers(column) for column in ("zeta", "kappa", "gap"))
    names = findings.networks.texts("name").tolist()
    levels = dict(zip(names, findings.column("corruption").tolist(), strict=True))
    corruption = np.array([levels[name] for name in network.tolist()])
    found, clean = (
        class_scores(zeta[chosen], kappa[chosen], gap[chosen], network[chosen].tolist())
        for chosen in (np.ones(len(gap), dtype=bool), corruption == 0)
    )
    return ClassFindings(
        name=findings.name,
        gap=gap,
        estimate=np.array(found.estimate),
        network=tuple(network.tolist()),
        corruption=corruption,
        across=found.across,
        within=found.within,
        clean=clean.within,
    )


def classes_gap_figure(found: ClassFindings) -> "Figure":
    """Estimated against true gap of every class; then both less their network's mean."""
    names, index = np.unique(found.network, return_inverse=True)
    count = np.bincount(index)
    aside = [
        values - (np.bincount(index, values, minlength=len(names)) / count)[index]
        for values in (found.gap, found.estimate)
    ]
    figure, axes = plots.new_figure(1, 2, size=(4.6, 3.8))
    panels = (
        (axes[0, 0], found.gap, found.estimate, "all classes", found.across),
        (axes[0, 1], *aside, "less the network's mean", found.within),
    )
    many = len(found.gap) > _MANY
    for axis, gap, estimate, title, told in panels:
        for level, color in LEVELS.items():
            chosen = found.corruption == level
            axis.scatter(
                gap[chosen], estimate[chosen], s=6 if many else 14, color=color,
                marker=MARKERS[level], alpha=0.35 if many else 0.45, linewidths=0,
                label=level_name(level),
            )  # fmt: skip
        ends = [float(gap.min()), float(gap.max())]
        axis.plot(ends, ends, color=LIGHT["muted"], linestyle="--", linewidth=1.2)
        axis.set(xlabel="true gap of the class", ylabel="estimated gap")
        axis.set_title(f"{title}: r = {number(told['estimate'].r, 2)}", loc="left", fontsize=10)
    level_legend(axes[0, 1], larger=2.0 if many else 1.0)
    return figure
