"""Least squares with an intercept, plain or with a ridge, and what follows in closed form.

Kept in centred form, leverage = 1/N + (x − x̄)ᵀ S⁻¹ (x − x̄) with the scatter matrix
S = Σ (x_i − x̄)(x_i − x̄)ᵀ: the same number as with (XᵀX)⁻¹ and a column of ones, without its
cancellation. A ridge adds its penalty to S and leaves the intercept alone, and then leaving a point
out has the same closed form as without, as long as penalty and scaling stay: that is how it chooses
the penalty, and no fit that has not seen the point.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["PENALTIES", "Fit", "LinearFit", "least_squares", "ridge", "weighted_plane"]

RANK_TOLERANCE = 1e-8
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
    centre: np.ndarray  # float64 (P,): mean of the features
    inverse_scatter: np.ndarray  # float64 (P, P): S⁻¹, with the penalty; pseudo if rank < P
    residuals: np.ndarray  # float64 (N,): target − prediction
    leverage: np.ndarray  # float64 (N,): diagonal of the hat matrix
    rank: float  # of the centred features, at most P; with a ridge, degrees of freedom it uses
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
        points, new = self.features - self.centre, features - self.centre
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
    centre = features.mean(axis=0)
    left, scale, right = np.linalg.svd(features - centre, full_matrices=False)
    kept = scale > RANK_TOLERANCE * max(scale.max(initial=0.0), np.abs(centre).max(initial=0.0))
    left, whitening = left[:, kept], right[kept].T / scale[kept]  # (N, rank), (P, rank)
    coefficients = whitening @ (left.T @ (target - target.mean()))
    intercept = float(target.mean() - centre @ coefficients)
    return LinearFit(
        features=features,
        coefficients=coefficients,
        intercept=intercept,
        centre=centre,
        inverse_scatter=whitening @ whitening.T,
        residuals=target - (features @ coefficients + intercept),
        leverage=1 / len(target) + (left**2).sum(axis=1),
        rank=int(kept.sum()),
    )


def ridge(
    features: np.ndarray, target: np.ndarray, penalties: Sequence[float] = PENALTIES
) -> LinearFit:
    """Fit ``target`` on standardised ``features``, large coefficients penalised.

    Minimises Σ (y − ŷ)² + N·λ·Σ (c·s)², where s is a feature's standard deviation and c its
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
    centre, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > RANK_TOLERANCE * np.abs(centre), scale, 1.0)
    standard = (features - centre) / scale
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
    intercept = float(target.mean() - centre @ coefficients)
    return LinearFit(
        features=features,
        coefficients=coefficients,
        intercept=intercept,
        centre=centre,
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
