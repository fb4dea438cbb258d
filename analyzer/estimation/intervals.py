"""Prediction intervals of a linear fit, and how often they hold.

Two kinds. Student's t takes the errors as normal and of one size; it needs three numbers at
prediction time, so the gap model carries it. Jackknife+ (Barber et al. 2021) assumes only that
networks are exchangeable and promises a coverage of 2·nominal − 1 whatever the errors are; it
needs the whole population. For both the coverage is measured: each network in turn is left out,
the interval is made from the others, and it counts when it holds the network's true gap.
"""

import math
from dataclasses import dataclass

import numpy as np

from analyzer.errors import GapModelError
from analyzer.estimation.least_squares import least_squares

__all__ = ["MeasuredCoverage", "jackknife_plus", "measure_coverage", "student_t_quantile"]

ROUNDING = 1e-12  # a residual below this is no residual: targets are of the order of 1


@dataclass(frozen=True, slots=True)
class MeasuredCoverage:
    """Share of networks whose gap the interval made from all the others holds."""

    nominal: float  # in (0, 1)
    student_t: float | None  # None: too few networks to leave one out
    jackknife_plus: float | None  # None: too few networks for a finite interval


def student_t_quantile(coverage: float, degrees: int) -> float:
    """The t with P(|T| <= t) = ``coverage`` for ``degrees`` degrees of freedom."""
    from scipy.special import stdtrit  # not paid for when a gap model is only applied

    return float(stdtrit(degrees, (1 + coverage) / 2))


def jackknife_plus(
    features: np.ndarray, target: np.ndarray, new: np.ndarray, coverage: float
) -> tuple[np.ndarray, np.ndarray]:
    """Jackknife+ prediction intervals.

    Args:
        features: float64 (N, P).
        target: float64 (N,).
        new: float64 (Q, P), where to predict.
        coverage: nominal coverage, in (0, 1).

    Returns:
        (low, high), float64 (Q,) each.

    Raises:
        GapModelError: too few points for a finite interval of this coverage.
    """
    points = len(target)
    rank = _jackknife_rank(points, coverage)
    if rank > points:
        raise GapModelError(
            f"A jackknife+ interval of coverage {coverage:g} is finite from "
            f"{_fewest_points(coverage)} networks on; there are {points}. "
            "Add networks, or ask for less coverage."
        )
    fit = least_squares(features, target)
    spread = np.abs(fit.left_out_residuals())
    centre = fit.left_out_predictions(new)  # (Q, N)
    undecided = np.isnan(centre)
    low = np.where(undecided, -np.inf, centre - spread)
    high = np.where(undecided, np.inf, centre + spread)
    return np.sort(low, axis=1)[:, points - rank], np.sort(high, axis=1)[:, rank - 1]


def measure_coverage(features: np.ndarray, target: np.ndarray, coverage: float) -> MeasuredCoverage:
    """Coverage of both intervals, by leaving one point out at a time.

    Args:
        features: float64 (N, P).
        target: float64 (N,).
        coverage: nominal coverage, in (0, 1).
    """
    return MeasuredCoverage(
        nominal=coverage,
        student_t=_student_t_coverage(features, target, coverage),
        jackknife_plus=_jackknife_plus_coverage(features, target, coverage),
    )


def _student_t_coverage(features: np.ndarray, target: np.ndarray, coverage: float) -> float | None:
    """In closed form: the interval without point i holds it just when its externally studentised
    residual is within the t quantile.
    """
    fit = least_squares(features, target)
    degrees = fit.degrees - 1
    if degrees < 1:
        return None
    error = fit.left_out_residuals()
    decided = np.isfinite(error)
    rest = np.where(decided, 1 - fit.leverage, 1)
    squares = fit.residuals @ fit.residuals - fit.residuals**2 / rest  # of the others' fit
    width = student_t_quantile(coverage, degrees) * np.sqrt(np.maximum(squares, 0) / degrees / rest)
    return float((decided & (np.abs(error) <= width + ROUNDING)).mean())


def _jackknife_plus_coverage(
    features: np.ndarray, target: np.ndarray, coverage: float
) -> float | None:
    points = len(target)
    if points - 1 < _fewest_points(coverage):
        return None
    held = 0
    for point in range(points):
        others = np.arange(points) != point
        low, high = jackknife_plus(
            features[others], target[others], features[point : point + 1], coverage
        )
        held += bool(low[0] - ROUNDING <= target[point] <= high[0] + ROUNDING)
    return held / points


def _jackknife_rank(points: int, coverage: float) -> int:
    """Which of the sorted upper ends is the upper end: ⌈coverage · (N + 1)⌉."""
    return math.ceil(coverage * (points + 1) - 1e-9)  # 0.7 · 10 must not become 8


def _fewest_points(coverage: float) -> int:
    return math.ceil(coverage / (1 - coverage) - 1e-9)
