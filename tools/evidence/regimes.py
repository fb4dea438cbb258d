"""What the study of regimes (docs/regime.csv) says: in which settings ζ rises and κ falls.

A setting is everything but the corruption of the labels; one network, one seed a cell. Between
clean and the most corrupted labels that a setting was run with, a quantity counts as having moved
when it moved by more than :data:`SEED`, which is about what another seed may change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analyzer.audit import plots
from analyzer.audit.html_pages import LIGHT
from tools.evidence.notation import LEVELS, MARKERS, level_name
from tools.evidence.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SEED", "Regime", "regimes", "regimes_figure"]

SEED = 0.05
_ROUNDING = 5e-5  # of the accuracies in the table
_FIRST_OUTCOME = "epochs"  # the columns before it say how a network was trained
# What the first study holds fast; the rows of other values are those of :mod:`.variations`.
_HELD = {"classes": "100", "width": "256", "enough": "0.97", "seed": "1"}


@dataclass(frozen=True, slots=True)
class Regime:
    """One setting, its networks from clean to corrupted labels."""

    name: str
    corruption: tuple[float, ...]
    train_accuracy: tuple[float, ...]
    reached: tuple[bool, ...]  # the training accuracy asked for; what did not is not judged
    gap: tuple[float, ...]
    zeta: tuple[float, ...]
    kappa: tuple[float, ...]

    @property
    def judged(self) -> bool:
        """Whether a network with corrupted labels was trained far enough as well."""
        return any(self.reached[1:])

    @property
    def zeta_rises(self) -> bool:
        """As the paper says."""
        return self.judged and self.change("zeta") > SEED

    @property
    def kappa_falls(self) -> bool:
        """As the paper says."""
        return self.judged and self.change("kappa") < -SEED

    @property
    def kappa_rises(self) -> bool:
        """Against what the paper says."""
        return self.judged and self.change("kappa") > SEED

    def trained(self, quantity: str) -> list[float]:
        """ζ or κ of the networks that were trained far enough, by corruption."""
        pairs = zip(getattr(self, quantity), self.reached, strict=True)
        return [value for value, reached in pairs if reached]

    def change(self, quantity: str) -> float:
        """Of ζ or κ, from the cleanest to the most corrupted labels."""
        values = self.trained(quantity)
        return values[-1] - values[0]


def regimes(table: Table) -> tuple[Regime, ...]:
    """The settings that were trained on clean and tried on corrupted labels, ζ's rise first."""
    columns = list(table.columns)
    given = [name for name in columns[: columns.index(_FIRST_OUTCOME)] if name != "corruption"]
    grouped: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in table.rows():
        if any(row.get(name, held) != held for name, held in _HELD.items()):
            continue
        grouped.setdefault(tuple(row[name] for name in given), []).append(row)
    found = (
        _regime(dict(zip(given, key, strict=True)), rows)
        for key, rows in grouped.items()
        if len(rows) > 1 and _clean_and_trained(rows)
    )
    return tuple(sorted(found, key=lambda r: (not r.judged, -r.change("zeta"))))


def _clean_and_trained(rows: Sequence[Mapping[str, str]]) -> bool:
    return any(float(row["corruption"]) == 0 and _trained(row) for row in rows)


def _trained(row: Mapping[str, str]) -> bool:
    return float(row["train_accuracy"]) >= float(row["enough"]) - _ROUNDING


def _regime(setting: Mapping[str, str], rows: Sequence[Mapping[str, str]]) -> Regime:
    rows = sorted(rows, key=lambda row: float(row["corruption"]))

    def column(name: str) -> tuple[float, ...]:
        return tuple(float(row[name]) for row in rows)

    return Regime(
        name=_name(setting),
        corruption=column("corruption"),
        train_accuracy=column("train_accuracy"),
        reached=tuple(map(_trained, rows)),
        gap=column("gap"),
        zeta=column("zeta"),
        kappa=column("kappa"),
    )


def _name(setting: Mapping[str, str]) -> str:
    """What is to be known of a setting, in words."""
    words = [
        setting["architecture"],
        "batch norm" if setting["batch_norm"] == "True" else "no batch norm",
        f"{setting['images_per_class']} images a class",
        f"step {setting['step']}",
    ]
    if setting.get("cycle", "20") != "20":
        words.append(f"cycles of {setting['cycle']} epochs")
    if setting["size"] != "16":
        words.append(f"{setting['size']} pixels")
    if setting["augmentation"] == "True":
        words.append("augmentation")
    if float(setting["dropout"]):
        words.append(f"dropout {setting['dropout']}")
    return ", ".join(words)


def regimes_figure(found: Sequence[Regime]) -> "Figure":
    """ζ and κ of every setting, a row each, a marker a corruption level, hollow if not reached."""
    figure, axes = plots.new_figure(1, 2, size=(5.0, 0.9 + 0.3 * len(found)))
    figure.get_layout_engine().set(wspace=0.04)
    rows = np.arange(len(found))[::-1]
    panels = (("zeta", "ζ (the paper: rises)"), ("kappa", "κ (the paper: falls)"))
    for axis, (name, title) in zip(axes[0], panels, strict=True):
        for row, regime in zip(rows, found, strict=True):
            values = getattr(regime, name)
            trained = regime.trained(name)
            axis.hlines(row, min(trained), max(trained), color=LIGHT["muted"], linewidth=1.2)
            for value, level, reached in zip(
                values, regime.corruption, regime.reached, strict=True
            ):
                axis.scatter(
                    value, row, s=42, marker=MARKERS[level], edgecolors=LEVELS[level], zorder=3,
                    facecolors=LEVELS[level] if reached else LIGHT["card"], clip_on=False,
                )  # fmt: skip
        axis.set(xlim=(0, 1), ylim=(-0.6, len(found) - 0.4))
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_yticks(rows, [] if name == "kappa" else [regime.name for regime in found])
    shown = [level for level in LEVELS if any(level in regime.corruption for regime in found)]
    for level in shown:
        axes[0, 1].scatter(
            [], [], s=42, color=LEVELS[level], marker=MARKERS[level], label=level_name(level)
        )
    figure.legend(
        loc="outside lower center", ncols=len(shown), frameon=False, fontsize=9,
        title="labels corrupted", title_fontsize=9,
    )  # fmt: skip
    return figure
