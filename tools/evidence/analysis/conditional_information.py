"""The score of the PGDL competition: what a measure tells of the gap that recipes do not.

Jiang et al., "NeurIPS 2020 Competition: Predicting Generalization in Deep Learning"
(arXiv:2012.07976), after Jiang et al., "Fantastic Generalization Measures and Where to Find Them"
(ICLR 2020). For two networks w, w′ let V_g say whether the gap of w is the greater, V_μ whether
its measure is; U_S are the values that both have of the hyperparameters S. Over all ordered pairs,

    Î(V_μ; V_g | U_S) = I(V_μ; V_g | U_S) / H(V_g | U_S),    score = min over |S| ≤ 2 of Î.

A measure that only mirrors a hyperparameter tells nothing once that is known, and scores 0. The
sign of the relation is left open. As in the competition's own scoring program a tie counts as "not
greater". Unlike it, a network is not paired with itself, S may be smaller than two, and a
combination of values counts by the pairs that have it, as the definition says: the program weighs
all alike, which is nearly the same on the full grids of the competition and not on recipes drawn at
random.

Mutual information estimated from few pairs is above zero even for noise, the more so the more
combinations there are. So every Î stands beside what the same measure gets with its values
shuffled among the networks, and beside Î with that taken out as in adjusted mutual information
(Vinh et al. 2010), (Î − Î_shuffled) / (1 − Î_shuffled): 1 is still perfect, and noise is 0.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.errors import GapModelError
from analyzer.estimation.feature_sets import checked_columns

__all__ = ["ConditionalInformation", "SetInformation", "conditional_information"]

LARGEST_SET = 2


@dataclass(frozen=True, slots=True)
class SetInformation:
    """What a measure tells of the gap once some hyperparameters are known."""

    hyperparameters: tuple[str, ...]  # S
    entropy: float  # bits: H(V_g | U_S); 0 where the hyperparameters leave nothing to be told
    normalized: float | None  # Î, in [0, 1]; None where the entropy is 0
    shuffled: float | None  # mean Î of the shuffled measure; None likewise, or if not shuffled

    @property
    def adjusted(self) -> float | None:
        """Î with what noise gets taken out; at most 1, below 0 where noise tells more."""
        if self.normalized is None or self.shuffled is None or self.shuffled >= 1:
            return None
        return (self.normalized - self.shuffled) / (1 - self.shuffled)


@dataclass(frozen=True, slots=True)
class ConditionalInformation:
    """The score of a measure, and how it comes about."""

    sets: tuple[SetInformation, ...]  # all S of up to two hyperparameters, the empty one first

    @property
    def worst(self) -> SetInformation:
        """The hyperparameters that leave least for the measure to tell."""
        return min(self.sets, key=lambda found: _or_infinite(found.normalized))

    @property
    def score(self) -> float:
        """The competition's score, in [0, 1] (there times 100)."""
        return _or_infinite(self.worst.normalized)


def conditional_information(
    measure: np.ndarray,
    gap: np.ndarray,
    hyperparameters: Mapping[str, Sequence[str]],
    *,
    shuffles: int = 100,
    seed: int = 0,
) -> ConditionalInformation:
    """Score ``measure`` over a population of N networks.

    Args:
        measure: float ndarray of shape (N,).
        gap: float ndarray of shape (N,).
        hyperparameters: name -> N values. Only what was chosen before training belongs here, and
            only what a few networks share: of a value that every network has for itself nothing
            can be learned. Those with the same value for all networks change nothing.
        shuffles: how often the measure is shuffled.
        seed: of the shuffles.

    Raises:
        GapModelError: lengths that differ, values that are not finite, or no two networks whose
            gaps differ.
    """
    measure, gap = _checked(measure, gap, hyperparameters)
    first, second = np.nonzero(~np.eye(len(gap), dtype=bool))  # (N·(N − 1),) each
    greater = gap[first] > gap[second]
    codes = {
        name: code[first] * len(code) + code[second]
        for name, values in hyperparameters.items()
        if (code := np.unique(np.array(values, dtype=str), return_inverse=True)[1]).any()
    }
    generator = np.random.default_rng(seed)
    measures = [measure, *(generator.permutation(measure) for _ in range(shuffles))]
    more = [values[first] > values[second] for values in measures]
    return ConditionalInformation(
        tuple(
            _set_information(subset, _groups(subset, codes, len(first)), greater, more)
            for size in range(LARGEST_SET + 1)
            for subset in itertools.combinations(codes, size)
        )
    )


def _or_infinite(share: float | None) -> float:
    """``share``; infinity where nothing is left to tell, which never is the least."""
    return math.inf if share is None else share


def _set_information(
    subset: tuple[str, ...], group: np.ndarray, greater: np.ndarray, more: Sequence[np.ndarray]
) -> SetInformation:
    entropy = _entropy(np.bincount(2 * group + greater, minlength=2 * (group.max() + 1)), 2)
    if not entropy:
        return SetInformation(subset, 0.0, None, None)
    normalized, *shuffled = (_information(group, greater, one) / entropy for one in more)
    return SetInformation(
        subset, entropy, normalized, float(np.mean(shuffled)) if shuffled else None
    )


def _groups(subset: tuple[str, ...], codes: Mapping[str, np.ndarray], pairs: int) -> np.ndarray:
    """int64 (pairs,): which combination of values each pair has, 0, 1, …"""
    if not subset:
        return np.zeros(pairs, dtype=np.int64)
    values = np.column_stack([codes[name] for name in subset])
    return np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)


def _information(group: np.ndarray, greater: np.ndarray, more: np.ndarray) -> float:
    """I(V_μ; V_g | U) in bits, from int (pairs,) U and bool (pairs,) V_g, V_μ."""
    counts = np.bincount(4 * group + 2 * greater + more, minlength=4 * (group.max() + 1))
    table = counts.reshape(-1, 2, 2)  # (U, V_g, V_μ)
    apart = _entropy(table.sum(axis=2), 2) + _entropy(table.sum(axis=1), 2)
    return max(apart - _entropy(table, 4), 0.0)


def _entropy(counts: np.ndarray, values: int) -> float:
    """H(V | U) in bits, from the counts of ``values`` values of V for each U."""
    table = counts.reshape(-1, values)
    return (_x_log_x(table.sum(axis=1)) - _x_log_x(table)) / int(table.sum())


def _x_log_x(counts: np.ndarray) -> float:
    counts = counts[counts > 0].astype(np.float64)
    return float((counts * np.log2(counts)).sum())


def _checked(
    measure: np.ndarray, gap: np.ndarray, hyperparameters: Mapping[str, Sequence[str]]
) -> tuple[np.ndarray, np.ndarray]:
    arrays = checked_columns({"measure": measure, "gap": gap})
    for name, values in hyperparameters.items():
        if len(values) != len(gap):
            raise GapModelError(
                f"The hyperparameter {name!r} has {len(values)} values for {len(gap)} networks: "
                "give one per network, as its table has them."
            )
    if not np.ptp(arrays["gap"]):
        raise GapModelError(
            "No two networks differ in their gap, so there is nothing that a measure could tell: "
            "add networks trained by other recipes."
        )
    return arrays["measure"], arrays["gap"]
