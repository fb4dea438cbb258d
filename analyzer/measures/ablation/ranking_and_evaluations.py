"""The order in which units are removed, and which evaluations of the sweep have to be run.

The method ranks the units of a class by activity, the L1 norm (Eq. 1). Class selectivity asks
another question of the same activity, and a random order is the control: a quantity that is as good
under it owes nothing to the ranking.

An evaluation is one masked run of one sample: (sample, order, n). Removing a unit whose map is all
zero for a sample changes nothing, so along n the answer of a sample can change only where one of
its active units goes. Each evaluation that is run therefore answers for a stretch of n, and the
stretches of a sample cover 0…M in both orders.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analyzer.audit_options import RANKS
from analyzer.errors import DataError, ModelError, parameter

__all__ = [
    "RANKS",
    "Evaluations",
    "Ranking",
    "class_selectivity",
    "necessary_evaluations",
    "order_units",
]


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


@dataclass(frozen=True, slots=True)
class Evaluations:
    """Evaluations of a sweep: R of them run, A answers drawn from them.

    An evaluation keeps the units with ``low`` ≤ rank < ``high``, rank 0 being the most active. An
    answer says that evaluation ``source`` stands for n = ``first`` … ``last`` of a sample in one
    order.
    """

    sample: np.ndarray  # int64 (R,)
    low: np.ndarray  # int64 (R,)
    high: np.ndarray  # int64 (R,)
    source: np.ndarray  # int64 (A,): which evaluation answers
    answered: np.ndarray  # int64 (A,): the sample it answers for
    ascending: np.ndarray  # bool (A,): in which order
    first: np.ndarray  # int64 (A,)
    last: np.ndarray  # int64 (A,), inclusive
    shared: int = 0  # how many of those run answer for all samples together

    def __len__(self) -> int:
        return len(self.sample)

    @classmethod
    def asked(cls, sample: np.ndarray, low: np.ndarray, high: np.ndarray) -> "Evaluations":
        """Evaluations from which no answers are drawn."""
        none = np.empty(0, dtype=np.int64)
        return cls(sample, low, high, none, none, none.astype(bool), none, none)

    def masks(self, rank: np.ndarray) -> Callable[[slice], np.ndarray]:
        """Give the masks of a slice of the evaluations, float32 (…, M).

        Args:
            rank: int64 (S, M), the rank of each channel for each sample.
        """

        def mask(piece: slice) -> np.ndarray:
            ranks = rank[self.sample[piece]]
            kept = (ranks >= self.low[piece, None]) & (ranks < self.high[piece, None])
            return kept.astype(np.float32)

        return mask


def necessary_evaluations(active: np.ndarray, *, share_empty: bool) -> Evaluations:
    """The evaluations to run for samples whose active units are known.

    Args:
        active: bool (S, M), units by rank: ``active[s, r]`` says that the unit of rank r has a
            map that is not all zero for sample s.
        share_empty: with every unit removed all samples look alike (the network reads nothing
            but the masked tensor), so that one evaluation answers for all of them.
    """
    samples, units = active.shape
    everyone = np.arange(samples)
    count = active.sum(axis=1)  # (S,)

    descending = _stretches(active)
    ascending = _stretches(active[:, ::-1])

    # With nothing removed: one a sample, for both orders, up to its first active unit.
    whole = Evaluations(
        sample=everyone,
        low=np.zeros(samples, int),
        high=np.full(samples, units),
        source=np.tile(everyone, 2),
        answered=np.tile(everyone, 2),
        ascending=np.repeat([False, True], samples),
        first=np.zeros(2 * samples, int),
        last=np.concatenate([descending.begin, ascending.begin]),
    )
    some = _between(descending, ascending, units)
    changing = np.flatnonzero(count)  # samples that have something to lose
    shared = share_empty and len(changing) > 0
    runs = 1 if shared else len(changing)
    empty = Evaluations(
        sample=changing[:runs],
        low=np.zeros(runs, int),
        high=np.zeros(runs, int),
        source=np.zeros(2 * len(changing), int) if shared else np.tile(np.arange(runs), 2),
        answered=np.tile(changing, 2),
        ascending=np.repeat([False, True], len(changing)),
        first=np.concatenate([descending.end[changing], ascending.end[changing]]) + 1,
        last=np.full(2 * len(changing), units),
        shared=int(shared),
    )
    return _joined(whole, some, empty)


@dataclass(frozen=True, slots=True)
class _Stretches:
    begin: np.ndarray  # (S,): the last n at which nothing active is gone (M if nothing is active)
    end: np.ndarray  # (S,): the last n at which something active is left
    sample: np.ndarray  # (T,): stretches in between, by sample
    first: np.ndarray  # (T,)
    last: np.ndarray  # (T,)


def _stretches(active: np.ndarray) -> _Stretches:
    """Where the answers of each sample can change, its units taken from the left."""
    units = active.shape[1]
    any_active = active.any(axis=1)
    begin = np.where(any_active, active.argmax(axis=1), units)
    end = np.where(any_active, units - 1 - active[:, ::-1].argmax(axis=1), units)
    sample, rank = np.nonzero(active)  # by sample, then by rank
    same = sample[1:] == sample[:-1]  # the next active unit belongs to the same sample
    return _Stretches(begin, end, sample[:-1][same], rank[:-1][same] + 1, rank[1:][same])


def _between(descending: _Stretches, ascending: _Stretches, units: int) -> Evaluations:
    """Evaluations with some but not all of a sample's active units removed."""
    count = len(descending.sample)
    return Evaluations(
        sample=np.concatenate([descending.sample, ascending.sample]),
        low=np.concatenate([descending.first, np.zeros(len(ascending.sample), int)]),
        high=np.concatenate([np.full(count, units), units - ascending.first]),
        source=np.arange(count + len(ascending.sample)),
        answered=np.concatenate([descending.sample, ascending.sample]),
        ascending=np.repeat([False, True], [count, len(ascending.sample)]),
        first=np.concatenate([descending.first, ascending.first]),
        last=np.concatenate([descending.last, ascending.last]),
    )


def _joined(*parts: Evaluations) -> Evaluations:
    offsets = np.cumsum([0, *(len(part) for part in parts[:-1])])
    return Evaluations(
        sample=np.concatenate([part.sample for part in parts]),
        low=np.concatenate([part.low for part in parts]),
        high=np.concatenate([part.high for part in parts]),
        source=np.concatenate([part.source + at for part, at in zip(parts, offsets, strict=True)]),
        answered=np.concatenate([part.answered for part in parts]),
        ascending=np.concatenate([part.ascending for part in parts]),
        first=np.concatenate([part.first for part in parts]),
        last=np.concatenate([part.last for part in parts]),
        shared=sum(part.shared for part in parts),
    )
