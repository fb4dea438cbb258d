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
from analyzer.audit.palette import LIGHT
from tools.evidence.levels import LEVELS, MARKERS, level_name
from tools.evidence.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SEED", "Regime", "regimes", "regimes_figure"]

SEED = 0.05
_OUTCOMES = (
    "epochs", "train_accuracy", "test_accuracy", "gap", "zeta", "kappa", "processor_seconds",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Regime:
    """One setting, its networks from clean to corrupted labels."""

    name: str
    corruption: tuple[float, ...]
    train_accuracy: tuple[float, ...]
    gap: tuple[float, ...]
    zeta: tuple[float, ...]
    kappa: tuple[float, ...]

    @property
    def zeta_rises(self) -> bool:
        """As the paper says."""
        return self.zeta[-1] - self.zeta[0] > SEED

    @property
    def kappa_falls(self) -> bool:
        """As the paper says."""
        return self.kappa[0] - self.kappa[-1] > SEED

    @property
    def kappa_rises(self) -> bool:
        """Against what the paper says."""
        return self.kappa[-1] - self.kappa[0] > SEED


def regimes(table: Table) -> tuple[Regime, ...]:
    """The settings that were run with clean and with corrupted labels, ζ's greatest rise first."""
    given = [name for name in table.columns if name not in (*_OUTCOMES, "corruption")]
    rows = table.rows()
    keys = [tuple(row[name] for name in given) for row in rows]
    grouped = {
        key: [row for row, own in zip(rows, keys, strict=True) if own == key] for key in keys
    }
    found = (
        _regime(dict(zip(given, key, strict=True)), group)
        for key, group in grouped.items()
        if len(group) > 1 and any(float(row["corruption"]) == 0 for row in group)
    )
    return tuple(sorted(found, key=lambda regime: regime.zeta[0] - regime.zeta[-1]))


def _regime(setting: Mapping[str, str], rows: Sequence[Mapping[str, str]]) -> Regime:
    rows = sorted(rows, key=lambda row: float(row["corruption"]))

    def column(name: str) -> tuple[float, ...]:
        return tuple(float(row[name]) for row in rows)

    return Regime(
        name=_name(setting),
        corruption=column("corruption"),
        train_accuracy=column("train_accuracy"),
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
    if setting["size"] != "16":
        words.append(f"{setting['size']} pixels")
    if setting["augmentation"] == "True":
        words.append("augmentation")
    if float(setting["dropout"]):
        words.append(f"dropout {setting['dropout']}")
    if setting["enough"] != "0.97":
        words.append(f"trained to {setting['enough']}")
    return ", ".join(words)


def regimes_figure(found: Sequence[Regime]) -> "Figure":
    """ζ and κ of every setting, a row each, a marker a corruption level."""
    figure, axes = plots.new_figure(1, 2, size=(5.0, 0.9 + 0.3 * len(found)))
    figure.get_layout_engine().set(wspace=0.04)
    rows = np.arange(len(found))[::-1]
    panels = (("zeta", "ζ (the paper: rises)"), ("kappa", "κ (the paper: falls)"))
    for axis, (name, title) in zip(axes[0], panels, strict=True):
        for row, regime in zip(rows, found, strict=True):
            values = getattr(regime, name)
            axis.hlines(row, min(values), max(values), color=LIGHT["muted"], linewidth=1.2)
            for value, level in zip(values, regime.corruption, strict=True):
                axis.scatter(value, row, s=42, color=LEVELS[level], marker=MARKERS[level], zorder=3)
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
