"""The paper's figures, in form, from one population of ours.

================  ==============================================================================
Fig. 2A, 5A, 6A   :func:`example_figure`: both curves of one class at each corruption level
the same, mean    :func:`curves_figure`: the curves averaged over classes and networks
Fig. 2B           :func:`classes_figure`: a point a class at (ζ_j, κ_j)
Fig. 3, 5B-C …    :func:`gap_figure`: (ζ, κ), the gap against each, estimates, SSR, margins
beyond            :func:`levels_figure`: ζ, κ by corruption, batch norm on and off apart
================  ==============================================================================
"""

from typing import TYPE_CHECKING

import numpy as np

from analyzer.audit import plots
from analyzer.audit.palette import LIGHT
from analyzer.estimation import FeatureScores, class_quantities
from analyzer.records import ClassCurves
from tools.evidence.levels import LEVELS, MARKERS, level_name
from tools.evidence.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["classes_figure", "curves_figure", "example_figure", "gap_figure", "levels_figure"]

_SMALL = {"loc": "left", "fontsize": 10}
_LEGEND = {"frameon": False, "fontsize": 9}


def example_figure(example: Table) -> "Figure":
    """Fig. 2A: one class of the networks of the plain recipe, a panel a corruption level."""
    levels = sorted(set(example.numbers("corruption").tolist()))
    columns = 3
    figure, axes = plots.new_figure(-(-len(levels) // columns), columns, size=(3.6, 2.6))
    for axis, corruption in zip(axes.flat, levels, strict=False):
        rows = example.where(example.numbers("corruption") == corruption).rows()
        by_order = {row["order"]: row for row in rows}
        row = rows[0]
        counts = [name for name in row if name.isdecimal() and row[name]]
        curves = ClassCurves(
            class_index=int(row["class"]),
            samples=int(row["samples"]),
            order=np.arange(len(counts) - 1),
            **{order: np.array([int(by_order[order][n]) for n in counts]) for order in by_order},
        )
        chance = float(row["chance"])
        plots.draw_class_curves(axis, curves, class_quantities(curves, chance), chance=chance)
        axis.set_title(f"{level_name(corruption)} corrupted, gap {float(row['gap']):.2f}", **_SMALL)
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
    titles = {"descending": "most active removed first: E", "ascending": "least active: E_r"}
    for axis, (order, title) in zip(axes[0], titles.items(), strict=True):
        for level, colour in LEVELS.items():
            chosen = (curves.texts("order") == order) & (corruption == level)
            if chosen.any():
                mean = values[chosen].mean(axis=0)
                axis.plot(
                    [float(share) for share in shares], mean, color=colour, label=level_name(level),
                    marker=MARKERS[level], markevery=(int(10 * level), 10), markersize=5,
                )  # fmt: skip
        axis.set_title(title, **_SMALL)
        axis.set(xlim=(0, 1), ylim=(-0.02, 1.03), xlabel="share of the units removed")
    axes[0, 0].set_ylabel("accuracy")
    axes[0, 1].legend(title="labels corrupted", title_fontsize=9, **_LEGEND)
    return figure


def classes_figure(classes: Table, networks: list[str], corruption: np.ndarray) -> "Figure":
    """Fig. 2B: every class of the given networks at (ζ_j, κ_j).

    Args:
        classes: of the population.
        networks: names, one a corruption level.
        corruption: of each of them, ndarray of shape (len(networks),).
    """
    figure, axes = plots.new_figure(size=(5.6, 4.2))
    axis = axes[0, 0]
    for name, level in zip(networks, corruption.tolist(), strict=True):
        chosen = classes.where(classes.texts("network") == name)
        zeta, kappa = chosen.numbers("zeta"), chosen.numbers("kappa")
        plots.draw_class_scatter(
            axis, zeta, kappa, label=level_name(level), colour=LEVELS[level], marker=MARKERS[level]
        )
        axis.scatter(
            zeta.mean(), kappa.mean(), s=150, color=LEVELS[level], marker=MARKERS[level],
            edgecolors=LIGHT["ink"], linewidths=1.4, zorder=3,
        )  # fmt: skip
    axis.legend(title="labels corrupted", title_fontsize=9, **_LEGEND)
    return figure


def gap_figure(
    networks: Table,
    both: FeatureScores,
    estimated: np.ndarray,
    tested: np.ndarray,
    margins: FeatureScores | None,
) -> "Figure":
    """Fig. 3A to 3E.

    Args:
        networks: those that are fitted on or held out, N.
        both: scores of ζ and κ.
        estimated: float ndarray of shape (N,), by a line through the first split's networks.
        tested: bool ndarray of shape (N,), True for those that it held out.
        margins: scores of the margin features, where they are measured.
    """
    zeta, kappa, gap = (networks.numbers(name) for name in ("zeta", "kappa", "gap"))
    figure, axes = plots.new_figure(2, 3, size=(4.2, 3.6))
    plots.draw_population(axes[0, 0], zeta, kappa, gap)
    plots.draw_gap_against(axes[0, 1], zeta, gap, symbol="ζ")
    plots.draw_gap_against(axes[0, 2], kappa, gap, symbol="κ")
    plots.draw_estimates(axes[1, 0], estimated, gap, tested=tested)
    plots.draw_ssr(axes[1, 1], np.array(both.split_ssr))
    last = margins or both
    plots.draw_estimates(
        axes[1, 2], np.array(last.out_of_fold), gap, tested=np.ones(len(gap), dtype=bool)
    )
    estimate = "margins" if margins else "ζ and κ"
    titles = (
        (axes[0, 0], "A  the networks"),
        (axes[0, 1], f"B  {axes[0, 1].get_title('left')}"),
        (axes[0, 2], f"B  {axes[0, 2].get_title('left')}"),
        (axes[1, 0], "C  the first of the random splits"),
        (axes[1, 1], f"D  {len(both.split_ssr)} random splits"),
        (axes[1, 2], f"E  {estimate}, out of fold, r = {last.out_of_fold_r:.3f}"),
    )
    for axis, title in titles:
        axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
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
        for label, chosen, colour, marker, aside in groups:
            if chosen.any():
                _draw_levels(
                    axis, corruption[chosen], values[chosen], aside, colour, marker, label
                )
        axis.set(xlabel="share of the labels corrupted", ylabel=symbol)
        axis.set_xticks(list(LEVELS))
    axes[0, 0].legend(**_LEGEND)
    return figure


def _draw_levels(
    axis: "Axes",
    corruption: np.ndarray,
    values: np.ndarray,
    aside: float,
    colour: str,
    marker: str,
    label: str,
) -> None:
    """A point a network and a line through the means of the levels."""
    axis.scatter(
        corruption + aside, values, s=26, color=colour, marker=marker, alpha=0.5, linewidths=0
    )
    levels = np.unique(corruption)
    means = [values[corruption == level].mean() for level in levels]
    axis.plot(levels + aside, means, color=colour, marker=marker, label=label, linewidth=1.6)


def _shared_legend(figure: "Figure", axis: "Axes") -> None:
    """What the lines of ``axis`` are, once for all panels, below them."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), **_LEGEND)
