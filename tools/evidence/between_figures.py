"""Figures of what the whole page says: populations against each other, choices of the audit."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from analyzer.audit import plots
from analyzer.audit.html_pages import LIGHT
from tools.evidence.analysis import IntervalCoverage
from tools.evidence.findings import BOTH, Findings
from tools.evidence.sensitivity import Sensitivity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["coverage_figure", "learning_figure", "sensitivity_figure"]

# Okabe and Ito's colors, in the order of the populations; markers for those who see none.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#1b2330")
_MARKERS = "osD^vPX"
_LEGEND = {"frameon": False, "fontsize": 9}
_TITLE = {"loc": "left", "fontsize": 10}


def learning_figure(populations: Sequence[Findings]) -> "Figure":
    """Error on networks never seen, against the number of networks that a line is fitted on."""
    figure, axes = plots.new_figure(size=(6.4, 3.8))
    axis = axes[0, 0]
    for findings, color, marker in zip(populations, _COLORS, _MARKERS, strict=False):
        points = findings.learning
        sizes = [point.networks for point in points]
        middle = [point.quantile(0.5) for point in points]
        unlucky = [point.quantile(0.9) for point in points]
        axis.plot(sizes, unlucky, color=color, linestyle="--", linewidth=0.9)
        axis.plot(sizes, middle, color=color, marker=marker, markersize=5, label=findings.name)
        mean = [float(np.median(point.mean_rmse)) for point in points]
        axis.plot(sizes, mean, color=color, linestyle=":", linewidth=1.2)
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
    axis.plot([], [], color=LIGHT["muted"], linestyle="--", label="nine draws of ten are below")
    axis.legend(**_LEGEND)
    return figure


def coverage_figure(populations: Sequence[Findings]) -> "Figure":
    """Measured against nominal coverage, of gap models of ζ and κ and of extended ones."""
    figure, axes = plots.new_figure(1, 3, size=(3.9, 3.6))
    panels = (
        ("ζ and κ, Student's t", "student_t", lambda findings: BOTH),
        ("ζ and κ, jackknife+", "jackknife_plus", lambda findings: BOTH),
        ("extended, jackknife+", "jackknife_plus", lambda findings: findings.extended),
    )
    for axis, (title, kind, label) in zip(axes[0], panels, strict=True):
        axis.plot([0.45, 1], [0.45, 1], color=LIGHT["muted"], linestyle="--", linewidth=1.2)
        for number, findings in enumerate(populations):
            points = findings.coverage.get(label(findings), ())
            found = [(point.nominal, getattr(point, kind)) for point in points]
            _draw_coverage(axis, findings.name, found, number, len(populations))
        axis.set(xlim=(0.45, 1), ylim=(0.3, 1.02), xlabel="nominal coverage")
        axis.set_title(title, **_TITLE)
    axes[0, 0].set_ylabel("measured coverage")
    axes[0, -1].legend(loc="lower right", **_LEGEND)
    return figure


def _draw_coverage(
    axis: "Axes",
    name: str,
    found: Sequence[tuple[float, IntervalCoverage | None]],
    number: int,
    of: int,
) -> None:
    points = [(nominal, measured) for nominal, measured in found if measured is not None]
    if not points:
        return
    aside = 0.006 * (number - (of - 1) / 2)
    axis.errorbar(
        [nominal + aside for nominal, _ in points],
        [measured.measured for _, measured in points],
        yerr=[measured.error for _, measured in points],
        color=_COLORS[number], marker=_MARKERS[number], markersize=5, linewidth=1.2,
        label=name,
    )  # fmt: skip


def sensitivity_figure(found: Sequence[Sensitivity]) -> "Figure":
    """What ζ, κ, the area and an estimate say of the gap under each choice, a row each."""
    figure, axes = plots.new_figure(size=(7.2, 0.8 + 0.24 * len(found)))
    axis = axes[0, 0]
    rows = np.arange(len(found))[::-1]
    series = (
        ("out_of_fold_r", "estimate, out of fold", "D", LIGHT["descending"]),
        ("zeta_r", "ζ", "o", LIGHT["ascending"]),
        ("kappa_r", "κ", "s", LIGHT["muted"]),
        ("area_r", "area under $E_r$", "^", LIGHT["warn-line"]),
    )
    for name, label, marker, color in series:
        told = [(getattr(one, name), row) for one, row in zip(found, rows, strict=True)]
        points = np.array([(r, row) for r, row in told if r is not None])
        axis.scatter(*points.T, s=34, marker=marker, color=color, label=label, zorder=3)
    default = next(one for one in found if one.variation == "default")
    if default.out_of_fold_r is not None:
        axis.axvline(default.out_of_fold_r, color=LIGHT["descending"], linestyle=":", linewidth=1.2)
    for before, after, row in zip(found, found[1:], rows, strict=False):
        if before.variation != after.variation:
            axis.axhline(row - 0.5, color=LIGHT["muted"], linewidth=0.6)
    axis.axvline(0, color=LIGHT["muted"], linewidth=0.9)
    axis.set_yticks(rows, [_choice_name(one) for one in found], fontsize=9)
    axis.set(xlim=(-1, 1), ylim=(-0.6, len(found) - 0.4), xlabel="r with the gap")
    figure.legend(loc="outside lower center", ncols=4, **_LEGEND)
    return figure


def _choice_name(choice: Sensitivity) -> str:
    if choice.variation == "default":
        return "default"
    named = "random order, seed" if choice.variation == "control" else f"{choice.variation}:"
    return f"{named} {choice.value}"
