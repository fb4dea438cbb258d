"""What the shipped gap model says of networks varied from those it was fitted on.

Rows of docs/regime.csv that are of the form of glyphs-vgg, with the circumstances of their audit;
one thing is varied at a time. Estimates are made here, so they and their warnings are those of the
code and the gap model as they stand.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from analyzer.audit import plots
from analyzer.audit.html_pages import LIGHT
from analyzer.common_types import GapEstimate
from analyzer.estimation import AuditConditions, GapModel
from analyzer.measures.ablation.curve_features import CURVE_FEATURES
from model_zoo import POPULATIONS
from tools.evidence.analysis import Agreement, agreement
from tools.evidence.notation import LEVELS, MARKERS, level_name
from tools.evidence.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "AXES",
    "CORRUPTIONS",
    "NOT_REACHED",
    "POPULATION",
    "WORSE",
    "Judgment",
    "Network",
    "Variation",
    "Verdict",
    "features_figure",
    "judgment",
    "own_setting",
    "variations",
    "verdicts",
    "verdicts_figure",
]

POPULATION = "glyphs-vgg"
AXES: Mapping[str, str] = MappingProxyType(
    {
        "classes": "{:g} classes",
        "width": "{:g} channels",
        "enough": "stopped at {:g}",
        "images_per_class": "{:g} images a class",
        "step": "step {:g}",
    }
)
"""What was varied, and how it is said."""

CORRUPTIONS = (0.0, 0.4, 1.0)
"""What the networks of every setting were trained on."""

NOT_REACHED = "not trained as far as asked"
WORSE = 1.5
"""A setting counts as worse where the error is so many times that of the gap model's own."""

_FORMS = ("conv6", "conv6-16")
_ROUNDING = 5e-5  # of the accuracies in the table
_Varied = tuple[tuple[str, float], ...]  # axes and values other than the gap model's own


@dataclass(frozen=True, slots=True)
class Network:
    """One row of the table, and what the gap model says of it."""

    setting: Mapping[str, float]  # by axis
    corruption: float
    batch_norm: bool
    reached: bool  # the training accuracy asked for
    gap: float
    values: Mapping[str, float]  # ζ, κ and all further features
    estimated: GapEstimate
    by_circumstances: bool  # warned because one of them is outside
    by_features: bool  # because features are, one by one or together

    @property
    def error(self) -> float:
        """Estimate − true gap."""
        return self.estimated.estimate - self.gap

    @property
    def warned(self) -> bool:
        """Whether the audit says that the network is outside of what the gap model knows."""
        return not self.estimated.inside_range

    @property
    def covered(self) -> bool:
        """Whether the interval holds the true gap."""
        return self.estimated.low <= self.gap <= self.estimated.high


@dataclass(frozen=True, slots=True)
class Verdict:
    """Networks of which the same was said."""

    said: str
    networks: int
    rmse: float | None  # None without networks
    covered: float | None  # share whose interval holds the gap
    r: float | None  # of estimates and gaps; None for too few networks


@dataclass(frozen=True, slots=True)
class Variation:
    """The networks of one setting: all corruption levels, batch norm on and off, all seeds."""

    name: str
    varied: tuple[str, ...]  # axes; none: the gap model's own setting, on networks new to it
    networks: tuple[Network, ...]

    def share(self, has: str) -> float:
        """Of the networks with a property: "warned", "covered", "by_features" …"""
        return float(np.mean([getattr(network, has) for network in self.networks]))

    @property
    def gap(self) -> np.ndarray:
        """True gaps, float64 (N,)."""
        return np.array([network.gap for network in self.networks])

    @property
    def estimate(self) -> Agreement:
        """Of the estimates with the gaps."""
        return agreement(self.gap + [network.error for network in self.networks], self.gap)

    def r(self, name: str) -> float | None:
        """Correlation with the gap of ζ, κ or a further feature; None for too few networks."""
        return agreement(self.numbers(name), self.gap).r

    def numbers(self, name: str) -> np.ndarray:
        """ζ, κ or a further feature, float64 (N,)."""
        return np.array([network.values[name] for network in self.networks])

    def sorted_by(self, batch_norm: bool) -> tuple[tuple[Network, ...], ...]:
        """The networks with batch norm, or those without, by corruption: 0, 0.4 and 1."""
        return tuple(
            tuple(n for n in self.networks if (n.batch_norm, n.corruption) == (batch_norm, level))
            for level in CORRUPTIONS
        )


@dataclass(frozen=True, slots=True)
class Judgment:
    """The varied settings by name: is the estimate worse there, and does the audit warn of it?"""

    caught: tuple[str, ...]  # worse, and most of the networks warned of
    needless: tuple[str, ...]  # warned of, and no worse
    missed: tuple[str, ...]  # worse, and most of the networks not warned of
    fine: tuple[str, ...]  # neither


def variations(table: Table, gap_model: GapModel) -> tuple[Variation, ...]:
    """The gap model's own setting first, then by what was varied, last what was not trained so far.

    Args:
        table: docs/regime.csv; rows with empty cells are left out.
        gap_model: what its networks are held against.
    """
    networks = [
        _network(row, gap_model)
        for row in table.rows()
        if row["architecture"] in _FORMS and all(row.values())
    ]
    own = own_setting()
    grouped: dict[_Varied, list[Network]] = {}
    for network in networks:
        if network.reached:
            grouped.setdefault(_varied(network.setting, own), []).append(network)
    found = [
        Variation(_name(varied), tuple(axis for axis, _ in varied), tuple(grouped[varied]))
        for varied in sorted(grouped, key=_order)
    ]
    failed = tuple(network for network in networks if not network.reached)
    if failed:
        found.append(Variation(NOT_REACHED, ("enough",), failed))
    return tuple(found)


def verdicts(found: Iterable[Variation]) -> tuple[Verdict, ...]:
    """Errors of the networks of all variations, by what was said of them.

    Those that were not trained as far as asked stand apart, whatever was said.
    """
    networks = [network for variation in found for network in variation.networks]
    kinds: dict[str, Callable[[Network], bool]] = {
        "nothing": lambda n: n.reached and not n.warned,
        "features outside": lambda n: n.reached and n.by_features and not n.by_circumstances,
        "circumstances outside": lambda n: n.reached and n.by_circumstances,
        NOT_REACHED: lambda n: not n.reached,
    }
    return tuple(
        _verdict(said, [network for network in networks if belongs(network)])
        for said, belongs in kinds.items()
    )


def judgment(found: Iterable[Variation]) -> Judgment:
    """What the warnings are worth; the first of ``found`` is the gap model's own setting."""
    own, *others = found
    limit = WORSE * own.estimate.rmse

    def named(*, worse: bool, warned: bool) -> tuple[str, ...]:
        return tuple(
            one.name
            for one in others
            if (one.estimate.rmse > limit) == worse and (one.share("warned") > 0.5) == warned
        )

    return Judgment(
        caught=named(worse=True, warned=True),
        needless=named(worse=False, warned=True),
        missed=named(worse=True, warned=False),
        fine=named(worse=False, warned=False),
    )


def _verdict(said: str, networks: list[Network]) -> Verdict:
    if not networks:
        return Verdict(said, 0, None, None, None)
    together = Variation(said, (), tuple(networks))
    found = together.estimate
    return Verdict(said, len(networks), found.rmse, together.share("covered"), found.r)


def _network(row: Mapping[str, str], gap_model: GapModel) -> Network:
    measured = {"zeta", "kappa", *CURVE_FEATURES, *gap_model.features}
    values = {name: float(row[name]) for name in sorted(measured)}
    conditions = AuditConditions.from_cells(row, f"a network of {row['architecture']}")
    without = gap_model.estimate(values)
    domain = gap_model.fitted_on.domain
    outside = [] if domain is None else list(domain.outside(conditions, gap_model.name))
    return Network(
        setting={axis: float(row[axis]) for axis in AXES},
        corruption=float(row["corruption"]),
        batch_norm=row["batch_norm"] == "True",
        reached=float(row["train_accuracy"]) >= float(row["enough"]) - _ROUNDING,
        gap=float(row["gap"]),
        values=values,
        estimated=gap_model.estimate(values, conditions=conditions),
        by_circumstances=bool(outside),
        by_features=not without.inside_range,
    )


def own_setting() -> dict[str, float]:
    """The setting that the gap model's own networks share."""
    population = POPULATIONS[POPULATION]
    classes = population.data_set.classes
    return {
        "classes": classes,
        "width": population.widths[0],
        "enough": population.enough,
        "images_per_class": population.train_samples / classes,
        "step": population.step,
    }


def _varied(setting: Mapping[str, float], own: Mapping[str, float]) -> _Varied:
    return tuple((axis, setting[axis]) for axis in AXES if setting[axis] != own[axis])


def _order(varied: _Varied) -> tuple:
    places = list(AXES)
    return len(varied), [(places.index(axis), value) for axis, value in varied]


def _name(varied: _Varied) -> str:
    return ", ".join(AXES[axis].format(value) for axis, value in varied) or "its own"


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
    color, estimated = LEVELS[network.corruption], network.estimated
    if estimated.estimate > _HIGHEST:
        axis.annotate(
            f"{estimated.estimate:.1f} ↑", (network.gap, _HIGHEST), ha="left", va="top",
            color=color, fontsize=9,
        )  # fmt: skip
        return
    axis.vlines(network.gap, estimated.low, estimated.high, color=color, linewidth=0.9)
    axis.scatter(
        network.gap, estimated.estimate, s=36, marker=MARKERS[network.corruption],
        edgecolors=color, facecolors=LIGHT["card"] if network.warned else color, zorder=3,
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
