"""Figures of the networks varied from those that the shipped gap model was fitted on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from analyzer.audit import plots
from analyzer.audit.html_pages import LIGHT
from tools.evidence.levels import LEVELS, MARKERS, level_name
from tools.evidence.variations import AXES, Network, Variation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["features_figure", "verdicts_figure"]

_COLUMNS = 4  # panels side by side
_HIGHEST = 1.4  # estimate that a panel shows
_FEATURES = {"zeta": "ζ", "kappa": "κ", "curve_area_ascending": "area under $E_r$"}
_TITLES = {
    "classes": "classes",
    "width": "channels of the site",
    "enough": "training accuracy to stop at",
    "images_per_class": "images a class",
    "step": "learning rate /\n(1 − momentum)",
}


def features_figure(found: Sequence[Variation]) -> "Figure":
    """ζ, κ and the area under the ascending curve, a column a thing that was varied."""
    axes_varied = [axis for axis in AXES if any(one.varied == (axis,) for one in found)]
    figure, axes = plots.new_figure(len(_FEATURES), len(axes_varied), size=(2.5, 2.2))
    for column, axis in zip(axes.T, axes_varied, strict=True):
        networks = [
            network
            for one in found
            if set(one.varied) <= {axis}
            for network in one.networks
            if network.reached
        ]
        values = sorted({network.setting[axis] for network in networks})
        for panel, feature in zip(column, _FEATURES, strict=True):
            _draw_feature(panel, networks, axis, values, feature)
        column[-1].set_xlabel(_TITLES[axis])
    for panel, label in zip(axes[:, 0], _FEATURES.values(), strict=True):
        panel.set_ylabel(label)
    _legend(figure, axes[0, 0], found, "without batch norm", "with batch norm")
    return figure


def _draw_feature(
    panel: "Axes", networks: Sequence[Network], axis: str, values: Sequence[float], feature: str
) -> None:
    levels = sorted({network.corruption for network in networks})
    for place, level in enumerate(levels):
        of_level = [network for network in networks if network.corruption == level]
        for network in of_level:
            position = values.index(network.setting[axis])
            panel.scatter(
                position + 0.14 * (place - (len(levels) - 1) / 2), network.values[feature],
                s=26, marker=MARKERS[level], edgecolors=LEVELS[level], zorder=3,
                facecolors=LIGHT["card"] if network.batch_norm else LEVELS[level],
            )  # fmt: skip
        for batch_norm, style in ((False, "-"), (True, "--")):
            means = [
                np.mean(found) if found else np.nan
                for value in values
                for found in [
                    [
                        n.values[feature]
                        for n in of_level
                        if n.batch_norm == batch_norm and n.setting[axis] == value
                    ]
                ]
            ]
            panel.plot(
                range(len(values)), means, color=LEVELS[level], linewidth=1.0, linestyle=style
            )
    panel.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    panel.set(ylim=(0, 1), xlim=(-0.5, len(values) - 0.5))


def verdicts_figure(found: Sequence[Variation]) -> "Figure":
    """Estimates and their intervals against true gaps, a panel a setting; hollow where warned."""
    rows = -(-len(found) // _COLUMNS)
    figure, axes = plots.new_figure(rows, _COLUMNS, size=(3.2, 2.9))
    for axis, one in zip(axes.flat, found, strict=False):
        axis.plot([0, 1], [0, 1], color=LIGHT["muted"], linestyle="--", linewidth=1.0)
        for network in one.networks:
            _draw_network(axis, network)
        axis.set_title(f"{one.name}: error {one.estimate.rmse:.2f}", loc="left", fontsize=9)
        axis.set(xlim=(-0.05, 1.1), ylim=(-0.3, _HIGHEST), yticks=(0, 0.5, 1))
    for axis in axes.flat[len(found) :]:
        axis.set_visible(False)
    for axis in axes.flat[max(0, len(found) - _COLUMNS) : len(found)]:
        axis.set_xlabel("true gap")
    for axis in axes[:, 0]:
        axis.set_ylabel("estimate")
    _legend(figure, axes[0, 0], found, "nothing was said", "warned")
    return figure


def _draw_network(axis: "Axes", network: Network) -> None:
    colour, estimated = LEVELS[network.corruption], network.estimated
    if estimated.estimate > _HIGHEST:
        axis.annotate(
            f"{estimated.estimate:.1f} ↑", (network.gap, _HIGHEST), ha="left", va="top",
            color=colour, fontsize=9,
        )  # fmt: skip
        return
    axis.vlines(network.gap, estimated.low, estimated.high, color=colour, linewidth=0.9)
    axis.scatter(
        network.gap, estimated.estimate, s=36, marker=MARKERS[network.corruption],
        edgecolors=colour, facecolors=LIGHT["card"] if network.warned else colour, zorder=3,
    )  # fmt: skip


def _legend(
    figure: "Figure", axis: "Axes", found: Sequence[Variation], filled: str, hollow: str
) -> None:
    levels = sorted({network.corruption for one in found for network in one.networks})
    for level in levels:
        axis.scatter(
            [], [], s=36, color=LEVELS[level], marker=MARKERS[level],
            label=f"{level_name(level)} corrupted",
        )  # fmt: skip
    ink = LIGHT["ink"]
    axis.scatter([], [], s=36, color=ink, label=f"filled: {filled}")
    axis.scatter([], [], s=36, edgecolors=ink, facecolors=LIGHT["card"], label=f"hollow: {hollow}")
    figure.legend(loc="outside lower center", ncols=len(levels) + 2, frameon=False, fontsize=9)
