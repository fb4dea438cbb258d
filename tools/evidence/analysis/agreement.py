"""How well estimates agree with true gaps: over all networks, within slices, and between them.

A correlation over a whole population can hide the truth: where corrupted labels make most of the
gap, a measure that only tells corrupted from clean correlates well, and says nothing of two
networks trained on the same labels. So every score can be had within each level of a
hyperparameter, and over all levels with what differs between them taken out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from analyzer.errors import GapModelError
from analyzer.estimation.feature_sets import checked_columns

__all__ = [
    "FEWEST",
    "Agreement",
    "agreement",
    "agreement_by_level",
    "agreement_within_levels",
    "mean_agreement",
    "r_interval",
]

FEWEST = 8
"""Networks from which on a correlation is stated; of fewer it is mostly chance."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well N estimates agree with N true gaps; None is what is unknown."""

    networks: int  # N
    r: float | None  # Pearson; None: too few networks, or one side is constant
    tau: float | None  # Kendall's τ-b; None likewise
    r2: float | None  # 1 is perfect, 0 no better than the mean, no lower bound
    rmse: float  # root of the mean squared error
    bias: float  # mean of estimate − gap

    @property
    def too_few(self) -> bool:
        """Whether there are too few networks for a correlation."""
        return self.networks < FEWEST


def agreement(estimate: np.ndarray, gap: np.ndarray) -> Agreement:
    """Agreement of estimates, or of a measure of which only r and τ mean something, with the gap.

    Args:
        estimate: float ndarray of shape (N,), N at least 1.
        gap: float ndarray of shape (N,).

    Raises:
        GapModelError: shapes that differ or are empty, or values that are not finite.
    """
    estimate, gap = _checked(estimate, gap)
    error = estimate - gap
    networks = len(gap)
    told = networks >= FEWEST and np.ptp(gap) > 0
    ranked = told and np.ptp(estimate) > 0
    return Agreement(
        networks=networks,
        r=float(np.corrcoef(estimate, gap)[0, 1]) if ranked else None,
        tau=_kendall(estimate, gap) if ranked else None,
        r2=float(1 - (error @ error) / ((gap - gap.mean()) ** 2).sum()) if told else None,
        rmse=float(np.sqrt(error @ error / networks)),
        bias=float(error.mean()),
    )


def agreement_by_level(
    estimate: np.ndarray, gap: np.ndarray, levels: Sequence[str]
) -> dict[str, Agreement]:
    """Agreement within each level, e.g. of a hyperparameter: level -> agreement.

    Args:
        estimate: float ndarray of shape (N,).
        gap: float ndarray of shape (N,).
        levels: N texts; the levels come in the order of their numbers, then of their letters.

    Raises:
        GapModelError: as :func:`agreement`.
    """
    estimate, gap = _checked(estimate, gap)
    cells = _checked_levels(levels, len(gap))
    return {
        level: agreement(estimate[cells == level], gap[cells == level])
        for level in sorted(set(levels), key=_natural)
    }


def agreement_within_levels(
    estimate: np.ndarray, gap: np.ndarray, levels: Sequence[str]
) -> Agreement | None:
    """Agreement once each level's mean is taken from its estimates and from its gaps.

    What is left is how estimates follow gaps among networks of one level, over all levels at once.

    Args:
        estimate: float ndarray of shape (N,).
        gap: float ndarray of shape (N,).
        levels: N texts. Levels with one network say nothing and are left out.

    Returns:
        The agreement; None where no level has two networks.

    Raises:
        GapModelError: as :func:`agreement`.
    """
    estimate, gap = _checked(estimate, gap)
    _, level, count = np.unique(
        _checked_levels(levels, len(gap)), return_inverse=True, return_counts=True
    )
    shared = count[level] > 1
    if not shared.any():
        return None
    estimate, gap = (
        values - (np.bincount(level, values) / count)[level] for values in (estimate, gap)
    )
    return agreement(estimate[shared], gap[shared])


def mean_agreement(found: Sequence[Agreement]) -> Agreement:
    """What several estimates of the same networks come to: the mean of each number.

    Of the errors it is the root of the mean square. A number that one estimate lacks is None.

    Args:
        found: at least one, all of N networks.
    """

    def mean(name: str) -> float | None:
        values = [getattr(one, name) for one in found]
        return None if None in values else float(np.mean(values))

    return Agreement(
        networks=found[0].networks,
        r=mean("r"),
        tau=mean("tau"),
        r2=mean("r2"),
        rmse=float(np.sqrt(np.mean([one.rmse**2 for one in found]))),
        bias=float(np.mean([one.bias for one in found])),
    )


def r_interval(r: float, networks: int, coverage: float = 0.95) -> tuple[float, float]:
    """Between what Pearson's r may lie, were all networks of the kind known (Fisher 1921).

    The networks count as drawn independently, the numbers as normal.

    Args:
        r: measured, in (−1, 1).
        networks: N, at least 4.
        coverage: nominal, in (0, 1).
    """
    reach = NormalDist().inv_cdf((1 + coverage) / 2) / np.sqrt(networks - 3)
    return float(np.tanh(np.arctanh(r) - reach)), float(np.tanh(np.arctanh(r) + reach))


def _kendall(estimate: np.ndarray, gap: np.ndarray) -> float:
    from scipy.stats import kendalltau  # not paid for when a gap model is only applied

    return float(kendalltau(estimate, gap).statistic)


def _natural(level: str) -> tuple[int, float, str]:
    try:
        return 0, float(level), level
    except ValueError:
        return 1, 0.0, level


def _checked(estimate: np.ndarray, gap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    arrays = checked_columns({"estimate": estimate, "gap": gap})
    return arrays["estimate"], arrays["gap"]


def _checked_levels(levels: Sequence[str], networks: int) -> np.ndarray:
    if len(levels) != networks:
        raise GapModelError(
            f"{len(levels)} levels for {networks} networks: give one per network, as its table "
            "has them."
        )
    return np.array(levels, dtype=str)
