"""The paper's figures, in form, from one population of ours.

================  ==============================================================================
Fig. 2A, 5A, 6A   :func:`example_figure`: both curves of one class at each corruption level
the same, mean    :func:`curves_figure`: the curves averaged over classes and networks
Fig. 2B           :func:`classes_figure`: a point a class at (ζ_j, κ_j)
Fig. 3, 5B–C …    :func:`gap_figure`: (ζ, κ), the gap against each, estimates, SSR
Fig. 3E           :func:`estimates_figure`: estimates from other features beside them
beyond            :func:`levels_figure`: ζ, κ by corruption, batch norm on and off apart
================  ==============================================================================
"""

from typing import TYPE_CHECKING

import numpy as np

from analyzer.audit import plots
from analyzer.audit.html_pages import LIGHT
from analyzer.estimation import FeatureScores
from analyzer.measures.ablation.class_curves import ClassCurves
from analyzer.measures.ablation.curve_features import class_quantities
from tools.evidence.findings import BOTH, Findings
from tools.evidence.notation import LEVELS, MARKERS, level_legend, level_name
from tools.evidence.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "classes_figure",
    "curves_figure",
    "estimates_figure",
    "example_figure",
    "gap_figure",
    "levels_figure",
]

_SMALL = {"loc": "left", "fontsize": 10}
_QUARTERS = (0, 0.25, 0.5, 0.75, 1)
_LEGEND = {"frameon": False, "fontsize": 9}


def example_figure(findings: Findings) -> "Figure":
    """Fig. 2A: one class of the networks of the plain recipe, a panel a corruption level."""
    example, reached = findings.example, set(findings.networks.texts("name").tolist())
    networks = list(dict.fromkeys(example.texts("network").tolist()))
    figure, axes = plots.new_figure(-(-len(networks) // 3), 3, size=(3.6, 2.6))
    for axis, name in zip(axes.flat, networks, strict=False):
        rows = example.where(example.texts("network") == name).rows()
        curves, chance = _class_curves(rows), float(rows[0]["chance"])
        plots.draw_class_curves(axis, curves, class_quantities(curves, chance), chance=chance)
        corruption, gap = float(rows[0]["corruption"]), float(rows[0]["gap"])
        missed = "" if name in reached else ", not trained far enough"
        axis.set_title(f"{level_name(corruption)} corrupted, gap {gap:.2f}{missed}", **_SMALL)
    for axis in axes.flat[len(networks) :]:
        axis.set_visible(False)
    for axis in axes[:, 1:].flat:
        axis.set_ylabel("")
    for axis in axes[:-1].flat:
        axis.set_xlabel("")
    _shared_legend(figure, axes[0, 0])
    return figure


def curves_figure(curves: Table) -> "Figure":
    """The mean curves of all networks of a level: a line a level, a panel an order."""
    shares = [name for name in curves.columns if name[:1].isdecimal()]
    values = np.stack([curves.numbers(share) for share in shares], axis=1)
    corruption = curves.numbers("corruption")
    figure, axes = plots.new_figure(1, 2, size=(4.8, 3.2))
    titles = {
        "descending": "$E$: most active units removed first",
        "ascending": "$E_r$: least active units removed first",
    }
    for axis, (order, title) in zip(axes[0], titles.items(), strict=True):
        for level, color in LEVELS.items():
            chosen = (curves.texts("order") == order) & (corruption == level)
            if chosen.any():
                mean = values[chosen].mean(axis=0)
                axis.plot(
                    [float(share) for share in shares], mean, color=color, label=level_name(level),
                    marker=MARKERS[level], markevery=(int(10 * level), 10), markersize=5,
                )  # fmt: skip
        axis.set_title(title, **_SMALL)
        axis.set(xlim=(0, 1), ylim=(-0.02, 1.03), xlabel="share of the units removed")
    axes[0, 0].set_ylabel("accuracy")
    level_legend(axes[0, 1])
    return figure


def classes_figure(findings: Findings) -> "Figure":
    """Fig. 2B: every class of the networks of the plain recipe at (ζ_j, κ_j)."""
    figure, axes = plots.new_figure(size=(5.6, 4.2))
    axis = axes[0, 0]
    for name, level in findings.plain.items():
        chosen = findings.classes.where(findings.classes.texts("network") == name)
        zeta, kappa = chosen.numbers("zeta"), chosen.numbers("kappa")
        plots.draw_class_scatter(
            axis, zeta, kappa, label=level_name(level), color=LEVELS[level], marker=MARKERS[level]
        )
        axis.scatter(
            zeta.mean(), kappa.mean(), s=150, color=LEVELS[level], marker=MARKERS[level],
            edgecolors=LIGHT["ink"], linewidths=1.4, zorder=3,
        )  # fmt: skip
    level_legend(axis)
    return figure


def gap_figure(findings: Findings) -> "Figure":
    """Fig. 3A to 3D, and estimates out of fold by corruption level."""
    zeta, kappa, gap = (findings.column(name) for name in ("zeta", "kappa", "gap"))
    both = findings.scores[BOTH]
    figure, axes = plots.new_figure(2, 3, size=(4.2, 3.6))
    figure.get_layout_engine().set(wspace=0.06, hspace=0.06)
    plots.draw_population(axes[0, 0], zeta, kappa, gap)
    plots.draw_gap_against(axes[0, 1], zeta, gap, symbol="ζ")
    plots.draw_gap_against(axes[0, 2], kappa, gap, symbol="κ")
    plots.draw_estimates(axes[1, 0], findings.first_estimate, gap, tested=findings.first_tested)
    plots.draw_ssr(axes[1, 1], np.array(both.split_ssr))
    _draw_out_of_fold(axes[1, 2], both, gap, findings.column("corruption"))
    level_legend(axes[1, 2])
    titles = (
        "A  the networks",
        f"B  {axes[0, 1].get_title('left')}",
        f"B  {axes[0, 2].get_title('left')}",
        "C  the first of the random splits",
        f"D  {len(both.split_ssr)} random splits",
        f"out of fold, r = {both.out_of_fold_r:.3f}",
    )
    for axis, title in zip(axes.flat, titles, strict=True):
        axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
    return figure


def estimates_figure(findings: Findings) -> "Figure":
    """Fig. 3C beside 3E: out of fold, from each choice of several features, on the same axes."""
    columns = min(len(findings.lines), 3)
    rows = -(-len(findings.lines) // columns)
    figure, axes = plots.new_figure(rows, columns, size=(3.9, 3.6))
    gap, corruption = findings.column("gap"), findings.column("corruption")
    used = list(axes.flat)[: len(findings.lines)]
    for axis, label in zip(used, findings.lines, strict=True):
        found = findings.scores[label]
        # An estimate far off must not press all others into a corner.
        _draw_out_of_fold(axis, found, gap, corruption, ends=(-0.25, 1.25))
        axis.set(xticks=_QUARTERS, yticks=_QUARTERS)
        axis.set_title(f"{label}: r = {found.out_of_fold_r:.3f}", **_SMALL)
    for axis in axes.flat[len(used) :]:
        axis.set_visible(False)
    level_legend(axes[0, -1])
    return figure


def levels_figure(networks: Table) -> "Figure":
    """ζ and κ against the corruption of the labels, networks with and without batch norm apart."""
    corruption = networks.numbers("corruption")
    with_norm = networks.texts("batch_norm") == "True"
    groups = (
        ("without batch norm", ~with_norm, LIGHT["ascending"], "o", -0.022),
        ("with batch norm", with_norm, LIGHT["descending"], "D", 0.022),
    )
    figure, axes = plots.new_figure(1, 2, size=(4.8, 3.2))
    for axis, (name, symbol) in zip(axes[0], (("zeta", "ζ"), ("kappa", "κ")), strict=True):
        values = networks.numbers(name)
        for label, chosen, color, marker, aside in groups:
            if chosen.any():
                _draw_levels(axis, corruption[chosen], values[chosen], aside, color, marker, label)
        axis.set(xlabel="share of the labels corrupted", ylabel=symbol)
        axis.set_xticks(list(LEVELS))
    axes[0, 0].legend(**_LEGEND)
    return figure


def _draw_out_of_fold(
    axis: "Axes",
    found: FeatureScores,
    gap: np.ndarray,
    corruption: np.ndarray,
    ends: tuple[float, float] | None = None,
) -> None:
    """Estimated against true gap, a color and marker a corruption level, with y = x.

    Estimates beyond ``ends`` are drawn at the end; without ends the axes hold all of them.
    """
    estimated = np.array(found.out_of_fold)
    if ends is None:
        both = np.concatenate([gap, estimated])
        margin = 0.04 * np.ptp(both)
        ends = (both.min() - margin, both.max() + margin)
    shown = np.clip(estimated, *ends)
    for level, color in LEVELS.items():
        chosen = corruption == level
        axis.scatter(
            gap[chosen], shown[chosen], s=32, color=color, marker=MARKERS[level], alpha=0.8,
            linewidths=0, label=level_name(level), clip_on=False,
        )  # fmt: skip
    axis.plot(ends, ends, color=LIGHT["muted"], linestyle="--", linewidth=1.2)
    axis.set(xlim=ends, ylim=ends, xlabel="true gap", ylabel="estimated gap", aspect="equal")


def _class_curves(rows: list[dict[str, str]]) -> ClassCurves:
    """Both curves of one class from its two rows of the table."""
    counts = [name for name, cell in rows[0].items() if name.isdecimal() and cell]
    by_order = {row["order"]: np.array([int(row[n]) for n in counts]) for row in rows}
    return ClassCurves(
        class_index=int(rows[0]["class"]),
        samples=int(rows[0]["samples"]),
        order=np.arange(len(counts) - 1),
        **by_order,
    )


def _draw_levels(
    axis: "Axes",
    corruption: np.ndarray,
    values: np.ndarray,
    aside: float,
    color: str,
    marker: str,
    label: str,
) -> None:
    """A point a network and a line through the means of the levels."""
    axis.scatter(
        corruption + aside, values, s=26, color=color, marker=marker, alpha=0.5, linewidths=0
    )
    levels = np.unique(corruption)
    means = [values[corruption == level].mean() for level in levels]
    axis.plot(levels + aside, means, color=color, marker=marker, label=label, linewidth=1.6)


def _shared_legend(figure: "Figure", axis: "Axes") -> None:
    """What the lines of ``axis`` are, once for all panels, below them."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), **_LEGEND)
