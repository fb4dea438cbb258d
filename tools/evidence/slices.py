"""Parts of a population, and how ζ, κ and estimates follow the gap in them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tools.evidence.analysis import (
    Agreement,
    agreement,
    agreement_by_level,
    agreement_within_levels,
    mean_agreement,
)
from tools.evidence.levels import level_name
from tools.evidence.tables import Table

__all__ = ["Slice", "slices"]


@dataclass(frozen=True, slots=True)
class Slice:
    """Part of the networks, and how ζ, κ and estimates follow the gap in it."""

    name: str
    zeta: Agreement  # of ζ itself; r and τ alone mean something
    kappa: Agreement
    estimates: Mapping[str, Agreement]  # by choice of features, out of fold; over repetitions
    pooled: bool = False  # several levels at once, each without its mean


def slices(networks: Table, estimates: Mapping[str, np.ndarray]) -> tuple[Slice, ...]:
    """All networks; each corruption level; batch norm, augmentation on and off; levels pooled.

    Args:
        networks: N.
        estimates: by choice of features, out of fold, float64 (R, N).
    """
    gap = networks.numbers("gap")
    quantities = {name: networks.numbers(name)[np.newaxis] for name in ("zeta", "kappa")}
    measures = quantities | dict(estimates)

    def sliced(name: str, found: Mapping[str, Agreement], pooled: bool = False) -> Slice:
        own = {label: found[label] for label in estimates}
        return Slice(name, found["zeta"], found["kappa"], own, pooled)

    def over_repetitions(of: Callable[[np.ndarray], Agreement]) -> dict[str, Agreement]:
        return {key: mean_agreement([of(row) for row in rows]) for key, rows in measures.items()}

    parts = [sliced("all", over_repetitions(lambda row: agreement(row, gap)))]
    named = {
        "corruption": lambda level: f"corruption {level_name(float(level))}",
        "batch_norm": lambda level: f"{'with' if level == 'True' else 'without'} batch norm",
        "augmentation": lambda level: f"{'with' if level == 'True' else 'without'} augmentation",
    }
    for column, call in named.items():
        cells = networks.texts(column)
        if len(set(cells.tolist())) > 1:  # else they are all networks once more
            found = {key: _by_level(rows, gap, cells.tolist()) for key, rows in measures.items()}
            parts += [
                sliced(call(level), {key: levels[level] for key, levels in found.items()})
                for level in found["zeta"]
            ]
    corruption = networks.texts("corruption").tolist()
    within = over_repetitions(lambda row: agreement_within_levels(row, gap, corruption))
    return (*parts, sliced("within corruption levels, pooled", within, pooled=True))


def _by_level(rows: np.ndarray, gap: np.ndarray, levels: Sequence[str]) -> dict[str, Agreement]:
    """Agreement of each row of (R, N) with the gap within each level, then the mean of the rows."""
    found = [agreement_by_level(row, gap, levels) for row in rows]
    return {level: mean_agreement([one[level] for one in found]) for level in found[0]}
