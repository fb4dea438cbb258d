"""Least squares with an intercept, plain or with a ridge, and intervals for what they predict.

Kept in centered form, leverage = 1/N + (x − x̄)ᵀ S⁻¹ (x − x̄) with the scatter matrix
S = Σ (x_i − x̄)(x_i − x̄)ᵀ: the same number as with (XᵀX)⁻¹ and a column of ones, without its
cancellation. A ridge adds its penalty to S and leaves the intercept alone, and then leaving a point
out has the same closed form as without, as long as penalty and scaling stay: that is how it chooses
the penalty, and no fit that has not seen the point.

Prediction intervals are of two kinds. Student's t takes the errors as normal and of one size; it
needs three numbers at prediction time, so the gap model carries it. Jackknife+ (Barber et al. 2021)
assumes only that networks are exchangeable and promises a coverage of 2·nominal − 1 whatever the
errors are; it needs a fit without each network, in which all that is chosen is chosen without that
network. For both the coverage is measured: each network in turn is left out, the interval is made
from the others, and it counts when it holds the network's true gap.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.errors import GapModelError, parameter

__all__ = [
    "LEAST_COVERAGE",
    "PENALTIES",
    "Ends",
    "Fit",
    "LinearFit",
    "MeasuredCoverage",
    "check_coverage",
    "covers",
    "fewest_points",
    "jackknife_plus",
    "jackknife_plus_ends",
    "least_squares",
    "left_out_jackknife_plus",
    "left_out_student_t",
    "lines_without_each",
    "measure_coverage",
    "ridge",
    "student_t_quantile",
    "weighted_ends",
    "weighted_plane",
    "weighted_quantile",
]

RANK_TOLERANCE = 1e-8
LEAST_COVERAGE = 0.5
"""That a jackknife+ interval can have: below, its ends may change places."""

PENALTIES = tuple(10.0 ** (k / 4) for k in range(-20, 9))  # 1e-5 … 100
CERTAIN = 1 - 1e-10  # leverage from which a point alone decides a direction of the fit

Fit = Callable[[np.ndarray, np.ndarray], "LinearFit"]
"""Fits targets (N,) on features (N, P)."""


@dataclass(frozen=True, slots=True)
class LinearFit:
    """A linear fit of N targets on P features."""

    features: np.ndarray  # float64 (N, P), as fitted
    coefficients: np.ndarray  # float64 (P,)
    intercept: float
    center: np.ndarray  # float64 (P,): mean of the features
    inverse_scatter: np.ndarray  # float64 (P, P): S⁻¹, with the penalty; pseudo if rank < P
    residuals: np.ndarray  # float64 (N,): target − prediction
    leverage: np.ndarray  # float64 (N,): diagonal of the hat matrix
    rank: float  # of the centered features, at most P; with a ridge, degrees of freedom it uses
    penalty: float = 0.0  # of the ridge, per network and standardised feature

    @property
    def degrees(self) -> float:
        """Degrees of freedom that the residuals have left."""
        return len(self.residuals) - self.rank - 1

    @property
    def residual_variance(self) -> float:
        """Unbiased variance of the residuals; needs at least one degree of freedom."""
        return float(self.residuals @ self.residuals) / self.degrees

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Predictions, float64 (...), for features of shape (..., P)."""
        return features @ self.coefficients + self.intercept

    def left_out_residuals(self) -> np.ndarray:
        """Residual of each point under the fit to the others, float64 (N,).

        Infinite where that fit is not determined.
        """
        decided = self.leverage < CERTAIN
        rest = np.where(decided, 1 - self.leverage, 1)
        return np.where(decided, self.residuals / rest, np.inf)

    def left_out_predictions(self, features: np.ndarray) -> np.ndarray:
        """Predictions by the N fits that leave one point out each.

        Args:
            features: float64 (Q, P).

        Returns:
            float64 (Q, N): column i is by the fit without point i; NaN where that fit is not
            determined.
        """
        points, new = self.features - self.center, features - self.center
        cross_leverage = 1 / len(points) + new @ self.inverse_scatter @ points.T  # (Q, N)
        residuals = self.left_out_residuals()
        change = cross_leverage * np.where(np.isfinite(residuals), residuals, np.nan)
        return self.predict(features)[:, np.newaxis] - change


def least_squares(features: np.ndarray, target: np.ndarray) -> LinearFit:
    """Fit ``target`` on ``features`` and an intercept; of equally good fits, the shortest.

    Args:
        features: float64 (N, P).
        target: float64 (N,).
    """
    center = features.mean(axis=0)
    left, scale, right = np.linalg.svd(features - center, full_matrices=False)
    kept = scale > RANK_TOLERANCE * max(scale.max(initial=0.0), np.abs(center).max(initial=0.0))
    left, whitening = left[:, kept], right[kept].T / scale[kept]  # (N, rank), (P, rank)
    coefficients = whitening @ (left.T @ (target - target.mean()))
    intercept = float(target.mean() - center @ coefficients)
    return LinearFit(
        features=features,
        coefficients=coefficients,
        intercept=intercept,
        center=center,
        inverse_scatter=whitening @ whitening.T,
        residuals=target - (features @ coefficients + intercept),
        leverage=1 / len(target) + (left**2).sum(axis=1),
        rank=int(kept.sum()),
    )


def ridge(
    features: np.ndarray, target: np.ndarray, penalties: Sequence[float] = PENALTIES
) -> LinearFit:
    """Fit ``target`` on standardised ``features``, large coefficients penalised.

    Minimizes Σ (y − ŷ)² + N·λ·Σ (c·s)², where s is a feature's standard deviation and c its
    coefficient. Of the penalties λ the one is taken that predicts each point best from all the
    others; of equally good ones the largest. A feature that is constant gets no coefficient.

    The same line as scikit-learn's ``RidgeCV(alphas=N·λ, largest first)`` on standardised features,
    all penalties at once: an interval takes a fit for each pair of networks left out.

    Args:
        features: float64 (N, P).
        target: float64 (N,).
        penalties: above 0.
    """
    points = len(target)
    center, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > RANK_TOLERANCE * np.abs(center), scale, 1.0)
    standard = (features - center) / scale
    left, width, right = np.linalg.svd(standard, full_matrices=False)
    along = left.T @ (target - target.mean())  # (min(N, P),)

    tried = np.sort(penalties)[::-1]  # of equals the first counts below
    shares = width**2 / (width**2 + points * tried[:, np.newaxis])  # (L, min(N, P)), kept by each
    residuals = target - target.mean() - (shares * along) @ left.T  # (L, N)
    rest = np.maximum(1 - 1 / points - shares @ (left**2).T, 1 - CERTAIN)
    best = int(((residuals / rest) ** 2).sum(axis=1).argmin())
    penalty, kept = float(tried[best]), shares[best]
    penalised = standard.T @ standard + points * penalty * np.eye(len(scale))
    coefficients = right.T @ (width / (width**2 + points * penalty) * along) / scale
    intercept = float(target.mean() - center @ coefficients)
    return LinearFit(
        features=features,
        coefficients=coefficients,
        intercept=intercept,
        center=center,
        inverse_scatter=np.linalg.inv(penalised) / np.outer(scale, scale),
        residuals=target - (features @ coefficients + intercept),
        leverage=1 / points + left**2 @ kept,
        rank=float(kept.sum()),
        penalty=penalty,
    )


def weighted_plane(
    features: np.ndarray, target: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, float]:
    """Coefficients (P,) and intercept by weighted least squares; of equally good ones the shortest.

    Args:
        features: float64 (N, P); P may be 0, for the weighted mean.
        target: float64 (N,).
        weights: float64 (N,), above 0.
    """
    root = np.sqrt(weights)
    design = np.column_stack([features, np.ones(len(target))])
    line, *_ = np.linalg.lstsq(design * root[:, None], target * root, rcond=None)
    return line[:-1], float(line[-1])


Ends = tuple[np.ndarray, np.ndarray]  # low and high ends of intervals

ROUNDING = 1e-12  # a residual below this is no residual: targets are of the order of 1


@dataclass(frozen=True, slots=True)
class MeasuredCoverage:
    """Share of networks whose gap the interval made from all the others holds."""

    nominal: float  # in (0, 1)
    student_t: float | None  # None: too few networks to leave one out, or not least squares
    jackknife_plus: float | None  # None: too few networks for a finite interval


def check_coverage(coverage: float) -> None:
    """Refuse what cannot be the nominal coverage of an interval.

    Raises:
        GapModelError: ``coverage`` is not in (0, 1).
    """
    if not 0 < coverage < 1 or (1 + coverage) / 2 == 1:  # as rounded, its interval is infinite
        raise GapModelError(
            f"The coverage of the interval is {coverage}: give a number between 0 and 1, "
            "and not as near to 1 as rounding goes, for example 0.9."
        )


def student_t_quantile(coverage: float, degrees: float) -> float:
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
        fit: how a line is fitted, again without each point; a penalty is chosen again as well.

    Returns:
        (low, high), float64 (Q,) each.

    Raises:
        GapModelError: too few points for a finite interval of this coverage.
    """
    _rank(len(target), coverage)  # before a fit to too few
    return jackknife_plus_ends(*_without_each(features, target, new, fit), coverage)


def jackknife_plus_ends(predictions: np.ndarray, residuals: np.ndarray, coverage: float) -> Ends:
    """Jackknife+ intervals from the fits that leave one point out each.

    Args:
        predictions: float64 (Q, N): column i is by the fit without point i, NaN where that is
            not determined.
        residuals: float64 (N,), or (Q, N) where the N points differ: of point i under that fit.
        coverage: nominal coverage, in (0, 1).

    Returns:
        (low, high), float64 (Q,) each.

    Raises:
        GapModelError: too few points for a finite interval of this coverage.
    """
    rank = _rank(residuals.shape[-1], coverage)
    undecided = np.isnan(predictions)
    low = np.where(undecided, -np.inf, predictions - np.abs(residuals))
    high = np.where(undecided, np.inf, predictions + np.abs(residuals))
    return np.sort(low, axis=1)[:, -rank], np.sort(high, axis=1)[:, rank - 1]


def weighted_ends(
    predictions: np.ndarray, residuals: np.ndarray, weights: np.ndarray | None, coverage: float
) -> tuple[float, float]:
    """One interval from fits that leave a whole population out, each point with its weight.

    Args:
        predictions: float64 (N,): of one new point, by the fit without point i's population.
        residuals: float64 (N,): of point i under that fit.
        weights: float64 (N,), summing to less than 1, the rest being that of a population to come;
            None for the widest interval, which holds every prediction with its residual.
        coverage: nominal coverage, in (0, 1), at most what the weights sum to.
    """
    low, high = predictions - np.abs(residuals), predictions + np.abs(residuals)
    if weights is None:
        return float(low.min()), float(high.max())

    return -weighted_quantile(-low, weights, coverage), weighted_quantile(high, weights, coverage)


def weighted_quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """The least value at which the weights of all up to it reach ``share``, or the greatest."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    place = int(np.searchsorted(reached, share - ROUNDING))
    return float(values[order][min(place, len(values) - 1)])


def lines_without_each(
    features: np.ndarray, target: np.ndarray, fit: Fit
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The N fits that leave one point out each.

    Args:
        features: float64 (N, P).
        target: float64 (N,).
        fit: how a line is fitted.

    Returns:
        Coefficients (N, P), intercepts (N,), and the residual (N,) of each point under the fit
        without it.
    """
    everything = np.arange(len(target))
    lines = [fit(features[everything != i], target[everything != i]) for i in everything]
    coefficients = np.array([line.coefficients for line in lines])
    intercepts = np.array([line.intercept for line in lines])
    return coefficients, intercepts, target - (coefficients * features).sum(axis=1) - intercepts


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
    (jackknife,) = left_out_jackknife_plus(features, target, [coverage], fit=fit)
    return MeasuredCoverage(
        nominal=coverage,
        student_t=student_t,
        jackknife_plus=_held(jackknife, target),
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
    features: np.ndarray,
    target: np.ndarray,
    coverages: Sequence[float],
    *,
    fit: Fit = least_squares,
) -> tuple[Ends | None, ...]:
    """Each point's jackknife+ interval, made from all the others, at several coverages.

    Args:
        features: float64 (N, P).
        target: float64 (N,).
        coverages: nominal, in (0, 1).
        fit: how a line is fitted, again without each pair of points.

    Returns:
        For each coverage (low, high), float64 (N,) each; None where the others are too few for a
        finite interval.
    """
    points = len(target)
    enough = [points - 1 >= fewest_points(coverage) for coverage in coverages]
    if not any(enough):
        return (None,) * len(enough)
    predictions, residuals = _without_pairs(features, target, fit)
    return tuple(
        jackknife_plus_ends(predictions, residuals, coverage) if finite else None
        for coverage, finite in zip(coverages, enough, strict=True)
    )


def covers(ends: Ends, target: np.ndarray) -> np.ndarray:
    """bool (N,): whether each interval holds its point."""
    low, high = ends
    return (low - ROUNDING <= target) & (target <= high + ROUNDING)


def fewest_points(coverage: float) -> int:
    """The least number of points for which a jackknife+ interval is finite."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def _rank(points: int, coverage: float) -> int:
    """Which of the sorted upper ends is the upper end: ⌈coverage · (N + 1)⌉."""
    rank = math.ceil(coverage * (points + 1) - 1e-9)  # 0.7 · 10 must not become 8
    if rank > points:
        raise GapModelError(
            f"A jackknife+ interval of coverage {coverage:g} is finite from "
            f"{fewest_points(coverage)} networks on; there are {points}. "
            f"Add networks, or ask for less coverage: {parameter('coverage')}."
        )
    return rank


def _without_each(
    features: np.ndarray, target: np.ndarray, new: np.ndarray, fit: Fit
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions (Q, N) at ``new`` by the fits without one point each, its residuals (N,)."""
    if fit is least_squares:  # in closed form
        line = least_squares(features, target)
        return line.left_out_predictions(new), line.left_out_residuals()
    coefficients, intercepts, residuals = lines_without_each(features, target, fit)
    return new @ coefficients.T + intercepts, residuals


def _without_pairs(
    features: np.ndarray, target: np.ndarray, fit: Fit
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of each point by the fits without it and another, and the other's residuals.

    Returns:
        float64 (N, N − 1) both.
    """
    points = len(target)
    others = np.nonzero(~np.eye(points, dtype=bool))[1].reshape(points, -1)  # (N, N − 1)
    if fit is least_squares:
        rows = [
            _without_each(features[rest], target[rest], features[[point]], fit)
            for point, rest in enumerate(others)
        ]
        return np.concatenate([row[0] for row in rows]), np.array([row[1] for row in rows])
    by_pair = np.empty((points, points))  # [i, j]: of i, without i and j
    for i, j in itertools.combinations(range(points), 2):
        rest = np.setdiff1d(others[i], j, assume_unique=True)
        line = fit(features[rest], target[rest])
        by_pair[[i, j], [j, i]] = line.predict(features[[i, j]])
    own = np.arange(points)[:, None]
    return by_pair[own, others], target[others] - by_pair[others, own]


def _held(ends: Ends | None, target: np.ndarray) -> float | None:
    return None if ends is None else float(covers(ends, target).mean())
