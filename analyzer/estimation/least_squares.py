"""Ordinary least squares with an intercept, and what follows from it in closed form.

Kept in centred form, leverage = 1/N + (x − x̄)ᵀ S⁻¹ (x − x̄) with the scatter matrix
S = Σ (x_i − x̄)(x_i − x̄)ᵀ: the same number as with (XᵀX)⁻¹ and a column of ones, without its
cancellation.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["LeastSquares", "least_squares"]

RANK_TOLERANCE = 1e-8
CERTAIN = 1 - 1e-10  # leverage from which a point alone decides a direction of the fit


@dataclass(frozen=True, slots=True)
class LeastSquares:
    """A linear fit of N targets on P features."""

    features: np.ndarray  # float64 (N, P), as fitted
    coefficients: np.ndarray  # float64 (P,)
    intercept: float
    centre: np.ndarray  # float64 (P,): mean of the features
    inverse_scatter: np.ndarray  # float64 (P, P): S⁻¹; pseudo-inverse where rank < P
    residuals: np.ndarray  # float64 (N,): target − prediction
    leverage: np.ndarray  # float64 (N,): diagonal of the hat matrix
    rank: int  # of the centred features, at most P

    @property
    def degrees(self) -> int:
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


def least_squares(features: np.ndarray, target: np.ndarray) -> LeastSquares:
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
    return LeastSquares(
        features=features,
        coefficients=coefficients,
        intercept=intercept,
        centre=centre,
        inverse_scatter=whitening @ whitening.T,
        residuals=target - (features @ coefficients + intercept),
        leverage=1 / len(target) + (left**2).sum(axis=1),
        rank=int(kept.sum()),
    )
