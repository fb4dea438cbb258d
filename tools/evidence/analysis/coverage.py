"""Do intervals hold as often as they say? Measured coverage against nominal, level by level.

Each network is left out in turn, both intervals are made from all the others, and each counts when
it holds the true gap. The width is stated beside the coverage: an interval that holds everything is
no use when it spans everything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.estimation.feature_sets import checked_features
from analyzer.estimation.regression import (
    Ends,
    Fit,
    check_coverage,
    covers,
    least_squares,
    left_out_jackknife_plus,
    left_out_student_t,
)

__all__ = ["CoveragePoint", "IntervalCoverage", "coverage_curve"]

NOMINAL = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True, slots=True)
class IntervalCoverage:
    """How one kind of interval fared over N networks, each left out in turn."""

    measured: float  # share of the networks whose gap it holds
    error: float  # standard error of that share as a binomial one
    width: float  # mean over the networks
    held: tuple[bool, ...]  # N, in the order of the table


@dataclass(frozen=True, slots=True)
class CoveragePoint:
    """Both kinds of interval at one nominal coverage; None where it cannot be made."""

    nominal: float  # in (0, 1)
    student_t: IntervalCoverage | None
    jackknife_plus: IntervalCoverage | None


def coverage_curve(
    columns: Mapping[str, np.ndarray],
    gap: np.ndarray,
    nominal: Sequence[float] = NOMINAL,
    *,
    fit: Fit = least_squares,
) -> tuple[CoveragePoint, ...]:
    """Measured coverage of a line's prediction intervals at several nominal levels.

    Args:
        columns: feature name -> float ndarray of shape (N,).
        gap: float ndarray of shape (N,).
        nominal: nominal coverages, in (0, 1).
        fit: how a line is fitted. Student's t is for ordinary least squares alone.

    Raises:
        GapModelError: the features or the gap cannot be fitted, or a level outside (0, 1).
    """
    features, target = checked_features(columns, gap, fit=fit)
    for level in nominal:
        check_coverage(level)
    jackknife = left_out_jackknife_plus(features, target, nominal, fit=fit)
    return tuple(
        CoveragePoint(
            nominal=level,
            student_t=(
                _measured(left_out_student_t(features, target, level), target)
                if fit is least_squares
                else None
            ),
            jackknife_plus=_measured(ends, target),
        )
        for level, ends in zip(nominal, jackknife, strict=True)
    )


def _measured(ends: Ends | None, target: np.ndarray) -> IntervalCoverage | None:
    if ends is None:
        return None
    held = covers(ends, target)
    share = float(held.mean())
    return IntervalCoverage(
        measured=share,
        error=float(np.sqrt(share * (1 - share) / len(held))),
        width=float(np.nanmean(ends[1] - ends[0])),
        held=tuple(held.tolist()),
    )
