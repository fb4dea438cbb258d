"""The order in which units are removed: by activity (Eq. 1), or by what it is compared with.

The method ranks by the L1 norm. Class selectivity asks another question of the same activity, and
a random order is the control: a quantity that is as good under it owes nothing to the ranking.
"""

from dataclasses import dataclass

import numpy as np

from analyzer.audit_options import RANKS
from analyzer.errors import DataError, ModelError, parameter

__all__ = ["RANKS", "Ranking", "class_selectivity", "order_units"]


@dataclass(frozen=True, slots=True)
class Ranking:
    """What the units of a class are ranked by."""

    by: str = "l1"  # one of RANKS
    seed: int = 0  # of random orders

    @property
    def compares_classes(self) -> bool:
        """Whether no class has its order before the activity of all classes is known."""
        return self.by == "selectivity"

    def orders(self, mean: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The order of each class.

        A random order is that of ``numpy.random.default_rng((seed, class))``, so that it depends
        neither on the other classes nor on how they are processed.

        Args:
            mean: float64 (C, M), the activity h(U_i) of each unit in each class: the mean over its
                samples of Σ_xy |U_i(x, y)|. Of all classes with samples where ``compares_classes``.
            classes: int64 (C,), their indices.

        Returns:
            int64 (C, M), each row a permutation of the channels; the first is removed first in
            the descending order.

        Raises:
            DataError: there is one class alone, and nothing to compare it with.
            ModelError: an activity is not a number.
        """
        if self.by == "random":
            channels = mean.shape[1]
            drawn = [np.random.default_rng((self.seed, c)).permutation(channels) for c in classes]
            return np.array(drawn, dtype=np.int64).reshape(mean.shape)
        return order_units(class_selectivity(mean) if self.compares_classes else mean)


def order_units(activity: np.ndarray) -> np.ndarray:
    """Channels by descending activity; of equal ones the lower channel first.

    The ascending order is the exact reverse of this one.

    Args:
        activity: ndarray of shape (..., M), of each unit in each class. May be infinite.

    Returns:
        int64 ndarray of shape (..., M).

    Raises:
        ModelError: an activity is not a number, so that there is no order.
    """
    activity = np.asarray(activity, dtype=np.float64)  # of unsigned integers, no negative exists
    if np.isnan(activity).any():
        channel = int(np.argwhere(np.isnan(activity))[0, -1])
        raise ModelError(
            f"The activity of channel {channel} is not a number: the network overflows on these "
            "samples. Check the preprocessing, or choose another site."
        )
    return np.argsort(-activity, axis=-1, kind="stable").astype(np.int64, copy=False)


def class_selectivity(mean: np.ndarray) -> np.ndarray:
    """How much more each unit responds to a class than to the other classes, −1 to 1.

    Morcos et al. 2018, "On the importance of single directions for generalization", give each unit
    one index, (μ_max − μ_−max) / (μ_max + μ_−max): μ_max is its highest class-conditional mean
    activity, μ_−max the mean across all other classes. An order per class needs one per class, so
    class j stands where they have the unit's highest class:

        s_j = (μ_j − μ_−j) / (μ_j + μ_−j)

    with μ_−j the plain mean of μ over the other classes, whatever their numbers of samples, and
    s_j = 0 for a unit that no class excites (0/0). Their activity is that of ReLUs, never
    negative; here it is h(U_i), which keeps the index within its bounds at any site.
    They average over a map, here its elements are summed: the quotient is the same.

    Args:
        mean: ndarray of shape (C, M), the activity in each class that has samples.

    Returns:
        float64 ndarray of shape (C, M).

    Raises:
        DataError: there is one class alone, and nothing to compare it with.
    """
    classes = len(mean)
    if classes < 2:
        raise DataError(
            "Class selectivity compares classes, and only one class has samples. Give samples of "
            f"another class, or use {parameter('rank', 'l1')}."
        )
    # Sums of those before and of those after: taking a class from the sum of all would leave
    # rounding errors where the others are all zero.
    after = np.zeros((classes, *mean.shape[1:]))
    after[:-1] = np.cumsum(mean[:0:-1], axis=0, dtype=np.float64)[::-1]
    before = np.zeros_like(after)
    before[1:] = np.cumsum(mean[:-1], axis=0, dtype=np.float64)
    others = (before + after) / (classes - 1)
    total = mean + others
    return np.divide(mean - others, total, out=np.zeros_like(total), where=total != 0)
