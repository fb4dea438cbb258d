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
from analyzer.estimation.least_squares import Fit, least_squares

__all__ = [
    "Ends",
    "MeasuredCoverage",
    "check_coverage",
    "covers",
    "fewest_points",
    "jackknife_plus",
    "jackknife_plus_ends",
    "left_out_jackknife_plus",
    "left_out_student_t",
    "measure_coverage",
    "student_t_quantile",
]

Ends = tuple[np.ndarray, np.ndarray]  # low and high ends of intervals

ROUNDING = 1e-12  # a residual below this is no residual: targets are of the order of 1


@dataclass(frozen=True, slots=True)
class MeasuredCoverage:
    """Share of networks whose gap the interval made from all the others holds."""

    nominal: float  # in (0, 1)
    student_t: float | None  # None: too few networks to leave one out, or not least squares
    jackknife_plus: float | None  # None: too few networks for a finite interval


def check_coverage(coverage: float) -> None:
    """Raises a GapModelError unless ``coverage`` can be the nominal coverage of an interval."""
    if not 0 < coverage < 1:
        raise GapModelError(
            f"The coverage of the interval is {coverage}: give a number between 0 and 1, "
            "for example 0.9."
        )


def student_t_quantile(coverage: float, degrees: int) -> float:
    """The t with P(|T| <= t) = ``coverage`` for ``degrees`` degrees of freedom."""
    from scipy.special import stdtrit  # not paid for when a gap model is only applied

    return float(stdtrit(degrees, (1 + coverage) / 2))


def jackknife_plus(
    features: np.ndarray,
    target: np.ndarray,
    new: np.ndarray,
    coverage: float,
    *,
    fit: Fit = least_squares,
) -> Ends:
    """Jackknife+ prediction intervals.

    Args:
        features: float64 (N, P).
        target: float64 (N,).
        new: float64 (Q, P), where to predict.
        coverage: nominal coverage, in (0, 1).
        fit: how a line is fitted; a penalty that it chooses is chosen once, for all of them.

    Returns:
        (low, high), float64 (Q,) each.

    Raises:
        GapModelError: too few points for a finite interval of this coverage.
    """
    _rank(len(target), coverage)  # before a fit to too few
    line = fit(features, target)
    return jackknife_plus_ends(line.left_out_predictions(new), line.left_out_residuals(), coverage)


def jackknife_plus_ends(predictions: np.ndarray, residuals: np.ndarray, coverage: float) -> Ends:
    """Jackknife+ intervals from the fits that leave one point out each.

    Args:
        predictions: float64 (Q, N): column i is by the fit without point i, NaN where that is
            not determined.
        residuals: float64 (N,): of point i under that fit.
        coverage: nominal coverage, in (0, 1).

    Returns:
        (low, high), float64 (Q,) each.

    Raises:
        GapModelError: too few points for a finite interval of this coverage.
    """
    rank = _rank(len(residuals), coverage)
    undecided = np.isnan(predictions)
    low = np.where(undecided, -np.inf, predictions - np.abs(residuals))
    high = np.where(undecided, np.inf, predictions + np.abs(residuals))
    return np.sort(low, axis=1)[:, -rank], np.sort(high, axis=1)[:, rank - 1]


def measure_coverage(
    features: np.ndarray, target: np.ndarray, coverage: float, *, fit: Fit = least_squares
) -> MeasuredCoverage:
    """Coverage of both intervals, by leaving one point out at a time.

    Args:
        features: float64 (N, P).
        target: float64 (N,).
        coverage: nominal coverage, in (0, 1).
        fit: how a line is fitted. Student's t is for ordinary least squares alone.
    """
    student_t = None
    if fit is least_squares:
        student_t = _held(left_out_student_t(features, target, coverage), target)
    return MeasuredCoverage(
        nominal=coverage,
        student_t=student_t,
        jackknife_plus=_held(left_out_jackknife_plus(features, target, coverage, fit=fit), target),
    )


def left_out_student_t(features: np.ndarray, target: np.ndarray, coverage: float) -> Ends | None:
    """Each point's Student t interval, made from all the others; in closed form.

    Args:
        features: float64 (N, P).
        target: float64 (N,).
        coverage: nominal coverage, in (0, 1).

    Returns:
        (low, high), float64 (N,) each, NaN for a point without which the fit is not determined;
        None where the others leave no degree of freedom.
    """
    fit = least_squares(features, target)
    degrees = fit.degrees - 1
    if degrees < 1:
        return None
    error = fit.left_out_residuals()
    error[np.isinf(error)] = np.nan
    rest = np.where(np.isnan(error), np.nan, 1 - fit.leverage)
    squares = fit.residuals @ fit.residuals - fit.residuals**2 / rest  # of the others' fit
    half = student_t_quantile(coverage, degrees) * np.sqrt(np.maximum(squares, 0) / degrees / rest)
    return target - error - half, target - error + half


def left_out_jackknife_plus(
    features: np.ndarray, target: np.ndarray, coverage: float, *, fit: Fit = least_squares
) -> Ends | None:
    """Each point's jackknife+ interval, made from all the others.

    Args:
        features: float64 (N, P).
        target: float64 (N,).
        coverage: nominal coverage, in (0, 1).
        fit: how a line is fitted, anew without each point.

    Returns:
        (low, high), float64 (N,) each; None where the others are too few for a finite interval.
    """
    points = len(target)
    if points - 1 < fewest_points(coverage):
        return None
    low, high = np.empty((2, points))
    for point in range(points):
        others = np.arange(points) != point
        low[point : point + 1], high[point : point + 1] = jackknife_plus(
            features[others], target[others], features[point : point + 1], coverage, fit=fit
        )
    return low, high


def covers(ends: Ends, target: np.ndarray) -> np.ndarray:
    """bool (N,): whether each interval holds its point."""
    low, high = ends
    return (low - ROUNDING <= target) & (target <= high + ROUNDING)


def fewest_points(coverage: float) -> int:
    """The number of points from which on a jackknife+ interval is finite."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def _rank(points: int, coverage: float) -> int:
    """Which of the sorted upper ends is the upper end: ⌈coverage · (N + 1)⌉."""
    rank = math.ceil(coverage * (points + 1) - 1e-9)  # 0.7 · 10 must not become 8
    if rank > points:
        raise GapModelError(
            f"A jackknife+ interval of coverage {coverage:g} is finite from "
            f"{fewest_points(coverage)} networks on; there are {points}. "
            "Add networks, or ask for less coverage."
        )
    return rank


def _held(ends: Ends | None, target: np.ndarray) -> float | None:
    return None if ends is None else float(covers(ends, target).mean())
