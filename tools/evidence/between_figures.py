"""Figures that hold several populations against each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from analyzer.audit import plots
from analyzer.audit.palette import LIGHT
from tools.evidence.findings import Findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["coverage_figure", "learning_figure"]

# Okabe and Ito's colours, in the order of the populations; markers for those who see none.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#1b2330")
_MARKERS = "osD^vPX"
_LEGEND = {"frameon": False, "fontsize": 9}
_TITLE = {"loc": "left", "fontsize": 10}


def learning_figure(populations: Sequence[Findings]) -> "Figure":
    """Error on networks never seen, against the number of networks that a line is fitted on."""
    figure, axes = plots.new_figure(size=(6.4, 3.8))
    axis = axes[0, 0]
    for findings, colour, marker in zip(populations, _COLOURS, _MARKERS, strict=False):
        points = findings.learning
        sizes = [point.networks for point in points]
        middle = [point.quantile(0.5) for point in points]
        low, high = ([point.quantile(share) for point in points] for share in (0.1, 0.9))
        axis.fill_between(sizes, low, high, color=colour, alpha=0.12, linewidth=0)
        axis.plot(sizes, middle, color=colour, marker=marker, markersize=5, label=findings.name)
        mean = [float(np.median(point.mean_rmse)) for point in points]
        axis.plot(sizes, mean, color=colour, linestyle=":", linewidth=1.2)
    axis.set_xscale("log")
    ticks = sorted({point.networks for p in populations for point in p.learning})
    axis.set_xticks([tick for tick in ticks if tick in (4, 6, 8, 12, 16, 24, 32, 48, 64, 80)])
    axis.minorticks_off()
    axis.xaxis.set_major_formatter("{x:.0f}")
    highest = max(float(np.median(p.learning[-1].mean_rmse)) for p in populations)
    axis.set(
        ylim=(0, 2 * highest), xlabel="networks fitted on", ylabel="error of the estimated gap"
    )
    axis.plot([], [], color=LIGHT["muted"], linestyle=":", label="the mean gap as the estimate")
    axis.legend(**_LEGEND)
    return figure


def coverage_figure(populations: Sequence[Findings]) -> "Figure":
    """Measured against nominal coverage of the intervals of a line through ζ and κ."""
    figure, axes = plots.new_figure(1, 2, size=(4.4, 3.6))
    kinds = (("student_t", "Student's t"), ("jackknife_plus", "jackknife+"))
    for axis, (kind, title) in zip(axes[0], kinds, strict=True):
        axis.plot([0.45, 1], [0.45, 1], color=LIGHT["muted"], linestyle="--", linewidth=1.2)
        for number, findings in enumerate(populations):
            _draw_coverage(axis, findings, kind, number, len(populations))
        axis.set(xlim=(0.45, 1), ylim=(0.3, 1.02), xlabel="nominal coverage")
        axis.set_title(title, **_TITLE)
    axes[0, 0].set_ylabel("measured coverage")
    axes[0, 1].legend(loc="lower right", **_LEGEND)
    return figure


def _draw_coverage(axis: "Axes", findings: Findings, kind: str, number: int, of: int) -> None:
    points = [(point.nominal, getattr(point, kind)) for point in findings.coverage]
    points = [(nominal, found) for nominal, found in points if found is not None]
    if not points:
        return
    aside = 0.006 * (number - (of - 1) / 2)
    axis.errorbar(
        [nominal + aside for nominal, _ in points],
        [found.measured for _, found in points],
        yerr=[found.error for _, found in points],
        color=_COLOURS[number], marker=_MARKERS[number], markersize=5, linewidth=1.2,
        label=findings.name,
    )  # fmt: skip
