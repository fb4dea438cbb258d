"""How many networks a gap model needs: error on networks never seen, against population size.

Networks are drawn at random, a line is fitted to them and tested on all the others, many times at
every size. The draws of one repetition are nested, so that sizes differ by the networks added.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.errors import GapModelError
from analyzer.estimation.feature_sets import checked_features
from analyzer.estimation.regression import Fit, least_squares

__all__ = ["CurvePoint", "learning_curve"]

SIZES = (4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96)
FEWEST_TESTED = 4


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Errors of lines fitted on so many networks; a value per repetition."""

    networks: int  # fitted on
    tested: int  # the others
    rmse: tuple[float, ...]  # root of the mean squared error on the others
    mean_rmse: tuple[float, ...]  # the same of the mean gap of those fitted on: what to beat

    def quantile(self, share: float) -> float:
        """The error that so large a share of the repetitions stays within."""
        return float(np.quantile(self.rmse, share))


def learning_curve(
    columns: Mapping[str, np.ndarray],
    gap: np.ndarray,
    *,
    sizes: Sequence[int] = SIZES,
    repetitions: int = 200,
    seed: int = 0,
    fit: Fit = least_squares,
) -> tuple[CurvePoint, ...]:
    """Error against the number of networks that a line through any features is fitted on.

    Args:
        columns: feature name -> float ndarray of shape (N,).
        gap: float ndarray of shape (N,).
        sizes: numbers of networks; those that leave fewer than four to test on are left out.
        repetitions: random draws.
        seed: of the draws.
        fit: how a line is fitted.

    Raises:
        GapModelError: the features or the gap cannot be fitted, or no size is left.
    """
    features, target = checked_features(columns, gap, fit=fit)
    kept = sorted({size for size in sizes if 1 <= size <= len(target) - FEWEST_TESTED})
    if not kept:
        raise GapModelError(
            f"A population of {len(target)} networks leaves fewer than {FEWEST_TESTED} to test on "
            f"at every size asked for ({', '.join(map(str, sizes))}): add networks."
        )
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(len(target)) for _ in range(repetitions)]
    return tuple(_point(features, target, size, orders, fit) for size in kept)


def _point(
    features: np.ndarray, target: np.ndarray, size: int, orders: Sequence[np.ndarray], fit: Fit
) -> CurvePoint:
    rmse, mean_rmse = [], []
    for order in orders:
        fitted, tested = order[:size], order[size:]
        estimate = fit(features[fitted], target[fitted]).predict(features[tested])
        rmse.append(_rmse(estimate, target[tested]))
        mean_rmse.append(_rmse(target[fitted].mean(), target[tested]))
    return CurvePoint(size, len(target) - size, tuple(rmse), tuple(mean_rmse))


def _rmse(estimate: np.ndarray | float, target: np.ndarray) -> float:
    return float(np.sqrt(np.mean((estimate - target) ** 2)))
