"""Turning points of curves that are known only in part.

At every n the count of a class lies between ``low``, the samples known to be right, and ``high``,
all but those known to be wrong. That bounds the turning points (Eq. 2 and 3), whatever the
unknown rows would say.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["Demand", "ascending_demand", "descending_demand"]


@dataclass(frozen=True, slots=True)
class Demand:
    """A turning point by the counts as guessed, how far off it can be, and what would tell."""

    error: int  # in units, at most
    point: int
    low: np.ndarray  # int64 (M + 1,): as many have to be known right at each n
    high: np.ndarray  # int64 (M + 1,): no more may be possible at each n


def descending_demand(
    count: np.ndarray, low: np.ndarray, high: np.ndarray, *, most: int, slack: int
) -> Demand:
    """n0, the smallest n with at most ``most`` right; the first least count where there is none.

    Args:
        count: int (M + 1,), as guessed; between
        low: int (M + 1,), and
        high: int (M + 1,).
        most: samples right at chance.
        slack: units that n0 may be off.
    """
    n = np.arange(len(count))
    reached = high <= most
    possible = (low <= most) & (n <= (reached.argmax() if reached.any() else len(n)))
    if not reached.any():
        least = np.maximum(low, most + 1)  # if chance is nowhere reached
        possible |= (least < _before(high, np.minimum)) & (least <= _behind(high, np.minimum))

    wanted_low, wanted_high = low.copy(), high.copy()
    if (count <= most).any():
        point = int((count <= most).argmax())
        wanted_low[: max(point - slack, 0)] = most + 1
        wanted_high[point] = most
    else:
        point = int(count.argmin())
        wanted_low[:] = count[point]
        wanted_low[:point] += 1
        wanted_low[max(point - slack, 0) : point + slack + 1] = 0
        wanted_high[point] = count[point]
    return Demand(_error(possible, point), point, wanted_low, wanted_high)


def ascending_demand(count: np.ndarray, low: np.ndarray, high: np.ndarray, *, slack: int) -> Demand:
    """n0_r, the largest n in 0…M − 1 with the highest count there.

    Args:
        count: int (M + 1,), as guessed; between
        low: int (M + 1,), and
        high: int (M + 1,).
        slack: units that n0_r may be off.
    """
    inner, below, above = count[:-1], low[:-1], high[:-1]
    possible = (above >= _before(below, np.maximum)) & (above > _behind(below, np.maximum))
    point = len(inner) - 1 - int(inner[::-1].argmax())
    wanted_low, wanted_high = low.copy(), high.copy()
    wanted_low[point] = inner[point]
    wanted_high[:point] = inner[point]
    wanted_high[point + 1 :] = inner[point] - 1
    near = slice(max(point - slack, 0), point + slack + 1)
    wanted_high[near] = high[near]
    wanted_high[-1] = high[-1]
    return Demand(_error(possible, point), point, wanted_low, wanted_high)


def _error(possible: np.ndarray, point: int) -> int:
    where = np.flatnonzero(possible)
    return int(max(point - where[0], where[-1] - point, 0))


def _before(values: np.ndarray, best: np.ufunc) -> np.ndarray:
    """The best of all before each; nothing before the first stands in no one's way."""
    none = np.iinfo(np.int64).max if best is np.minimum else -1
    return np.concatenate([[none], best.accumulate(values)[:-1]])


def _behind(values: np.ndarray, best: np.ufunc) -> np.ndarray:
    return _before(values[::-1], best)[::-1]
