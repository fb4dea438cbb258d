"""Curves good enough to know ζ and κ of a network to within a tolerance T, with fewer evaluations.

Class by class:

1. A few samples drawn at random, the guard, are run in full. They choose the coarsest grid that
   would have shown their answers.
2. All samples are run on that grid, then where the answer changes or might change between its
   points; the rest is interpolated (:class:`InterpolatedCurves`).
3. Evaluations are run until the class's turning points are known to within T, whatever those that
   were not run would say. At every n the count of a class lies between the samples known to be
   right and all but those known to be wrong; that bounds the turning points (Eq. 2 and 3).
4. Cells (sample, order, n) are drawn at random from those not known, and run: the audit. Each
   wrong guess found costs part of an allowance. A class that uses up its part goes back to 2
   with a finer grid, in the end with all evaluations.

What is claimed:

- ζ is off by at most ``zeta_bound``. This is certain. It follows from evaluations that were run.
- κ is off by at most ``kappa_bound``. This holds with 95 % probability over the drawing of the
  audits, for any network and any data, with nothing assumed of how logit margins run between
  known ones. Write e_j for the share of wrong guesses in class j, counted so that |Δκ_j| ≤ e_j
  (a wrong guess moves one of the two curves by one sample at one n, and κ_j by at most
  1 / (M·S_j)). For one cell drawn at random, wrong with probability p, E[exp(a·p − θ·wrong)] ≤ 1
  with a = 1 − exp(−θ). With as many draws in each class as make the sum of the a·p equal to λ·e_j,
  the product over all draws, whatever earlier draws led to, has an expectation of at most 1. So
  P(λ·Σ e_j ≥ ln 20 + θ × wrong guesses found) ≤ 1/20 (Markov). Audits that were broken off
  count with what they cost; κ of the network is off by at most Σ e_j / K.

Both presume that an evaluation run again gives the same answer.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from analyzer.measures.ablation.interpolated_curves import InterpolatedCurves, RunEvaluations

__all__ = [
    "CELL_BYTES",
    "CONFIDENCE",
    "Estimate",
    "Tolerance",
    "TurningPoint",
    "bound_ascending",
    "bound_descending",
    "estimate_class",
]

CELL_BYTES = 128
"""Memory that a cell takes while its class is worked on, at most."""

CONFIDENCE = 0.95
_COST = 0.5  # θ, of one wrong guess
_EVIDENCE = -math.expm1(-_COST)  # a
_CERTAINTY = -math.log(1 - CONFIDENCE)  # ln 20
_MARGIN = 1 / 16  # of T, for what an audit without a wrong guess leaves open; at most
_WIDEST_MARGIN = 1 / 4
_AUDITED = 0.02  # of the cells are drawn, if that leaves open no more than the widest margin
_HEAD_START = 1 / 4  # of the allowance is there for the first class
_SAMPLES_A_GUARD = 64
_FEWEST_GUARDS = 2
_SPACINGS = (32, 16, 8, 4, 2)  # active units from one point of the grid to the next
_DOUBT = 2.0  # see InterpolatedCurves.refine; doubled with each audit that fails
_WRONG_GUARDS = 1 / 5  # of T: wrong guesses among the guard's cells that a grid may make
_AT_ONCE = 16  # cells of a deciding column that are run before it is looked at again


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What is asked, and the audit's size that follows from it."""

    asked: float  # T, above 0
    chance: Fraction
    seed: int
    classes: int  # that have samples
    samples: int
    channels: int  # M
    shards: int = 1  # of the classes, swept at once and knowing nothing of each other

    @property
    def draws(self) -> float:
        """Cells drawn in all classes together, if nothing were known."""
        length = 2 * (self.channels + 1)
        fewest = _CERTAINTY * length / (self.channels * _EVIDENCE * self.asked)
        drawn = max(_AUDITED * self.samples * length, fewest / _WIDEST_MARGIN)
        return min(drawn, fewest / _MARGIN)

    @property
    def strength(self) -> float:
        """λ."""
        return self.draws * _EVIDENCE * self.channels / (2 * (self.channels + 1) * self.classes)

    def allowance(self, number: int, cost: float) -> float:
        """What wrong guesses may cost in the ``number``-th class, ``cost`` being spent before.

        Both are those of one shard; what all shards are allowed adds up to the whole.
        """
        everywhere = self.asked * self.classes * self.strength - _CERTAINTY
        part = _HEAD_START / self.shards + (1 - _HEAD_START) * number / self.classes
        return part * everywhere - cost

    def bounds(self, *, classes: int, off: float, cost: float, guessed: int) -> tuple[float, float]:
        """How far ζ and κ of the network can be off: for certain, and with 95 % probability.

        At most T each; κ's can be more only where a whole class turned out to be unreadable.

        Args:
            classes: that turned out to have samples; and the sums over them of
            off: :attr:`Estimate.off`,
            cost: :attr:`Estimate.cost`, and
            guessed: :attr:`Estimate.guessed`.
        """
        kappa = (_CERTAINTY + cost) / (self.strength * classes) if guessed else 0.0
        return off / classes, min(kappa, 1.0)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The answers of the samples of one class, and what they are worth."""

    right: np.ndarray  # bool (2, C, M + 1), descending and ascending order of removal
    evaluations: int  # run
    guessed: int  # cells of ``right`` that were not run
    drawn: int  # cells, for audits
    off: float  # how far ζ_j can be off
    cost: float  # of the wrong guesses that audits found


def estimate_class(
    active: np.ndarray,
    run: RunEvaluations,
    label: int,
    tolerance: Tolerance,
    allowed: float,
    *,
    share_empty: bool,
) -> Estimate:
    """Estimate the curves of one class.

    Args:
        active: bool (C, M), units by rank that are not all zero for a sample.
        run: runs evaluations.
        label: the class.
        allowed: what wrong guesses may cost, see :meth:`Tolerance.allowance`.
        share_empty: see :class:`InterpolatedCurves`.
    """
    random = np.random.default_rng([tolerance.seed, label])
    curves = InterpolatedCurves(active, run, share_empty=share_empty)
    first = _guarded_spacing(curves, active, random, tolerance)
    spent, drawn, doubt = 0.0, 0, _DOUBT
    for spacing in _SPACINGS[first:]:
        # An audit may cost half of what is left, and the guess that breaks it off.
        if allowed - spent < 2 * _COST:
            break
        curves.frozen = False
        curves.learn(curves.grid(spacing))
        curves.refine(doubt)
        _settle(curves, tolerance)
        curves.frozen = True  # what the audit vouches for must not be guessed again
        audit = _audit(curves, random, tolerance, (allowed - spent) / 2)
        spent += audit.cost
        drawn += audit.drawn
        if audit.passed:
            off = _settle(curves, tolerance) / (2 * curves.units)
            guessed = int((~curves.known).sum())
            return Estimate(curves.right, curves.evaluations, guessed, drawn, off, spent)
        doubt *= 2
    curves.learn(~curves.known)
    return Estimate(curves.right, curves.evaluations, 0, drawn, 0.0, spent)


def _guarded_spacing(
    curves: InterpolatedCurves,
    active: np.ndarray,
    random: np.random.Generator,
    tolerance: Tolerance,
) -> int:
    """Run the guard in full; which of the spacings would have shown its answers."""
    samples = len(active)
    size = min(max(-(-samples // _SAMPLES_A_GUARD), _FEWEST_GUARDS), samples)
    guard = np.sort(random.choice(samples, size, replace=False))
    wanted = np.zeros(curves.known.shape, dtype=bool)
    wanted[:, guard] = True
    curves.learn(wanted)
    margin, units = curves.guess[:, guard], curves.units

    def known(sample: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        descending = high == units
        return margin[np.where(descending, 0, 1), sample, np.where(descending, low, units - high)]

    for number, spacing in enumerate(_SPACINGS):
        again = InterpolatedCurves(active[guard], known, share_empty=False)
        again.learn(again.grid(spacing))
        again.refine(_DOUBT)
        if (again.right != (margin >= 0)).mean() <= _WRONG_GUARDS * tolerance.asked:
            return number
    return len(_SPACINGS) - 1


@dataclass(frozen=True, slots=True)
class TurningPoint:
    """A turning point by the counts as guessed, how far off it can be, and what would settle it."""

    error: int  # in units, at most
    point: int
    # It is settled where
    low: np.ndarray  # int64 (M + 1,): so many are known right at each n, and
    high: np.ndarray  # int64 (M + 1,): no more are possible


def bound_descending(
    count: np.ndarray, low: np.ndarray, high: np.ndarray, *, most: int, slack: int
) -> TurningPoint:
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
        possible |= (least < _before(high, np.minimum)) & (least <= _after(high, np.minimum))

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
    return TurningPoint(_error(possible, point), point, wanted_low, wanted_high)


def bound_ascending(
    count: np.ndarray, low: np.ndarray, high: np.ndarray, *, slack: int
) -> TurningPoint:
    """n0_r, the largest n in 0…M − 1 with the highest count there.

    Args:
        count: int (M + 1,), as guessed; between
        low: int (M + 1,), and
        high: int (M + 1,).
        slack: units that n0_r may be off.
    """
    inner, below, above = count[:-1], low[:-1], high[:-1]
    possible = (above >= _before(below, np.maximum)) & (above > _after(below, np.maximum))
    point = len(inner) - 1 - int(inner[::-1].argmax())
    wanted_low, wanted_high = low.copy(), high.copy()
    wanted_low[point] = inner[point]
    wanted_high[:point] = inner[point]
    wanted_high[point + 1 :] = inner[point] - 1
    near = slice(max(point - slack, 0), point + slack + 1)
    wanted_high[near] = high[near]
    wanted_high[-1] = high[-1]
    return TurningPoint(_error(possible, point), point, wanted_low, wanted_high)


def _error(possible: np.ndarray, point: int) -> int:
    where = np.flatnonzero(possible)
    return int(max(point - where[0], where[-1] - point, 0))


def _before(values: np.ndarray, best: np.ufunc) -> np.ndarray:
    """The best of all before each; nothing before the first stands in no one's way."""
    none = np.iinfo(np.int64).max if best is np.minimum else -1
    return np.concatenate([[none], best.accumulate(values)[:-1]])


def _after(values: np.ndarray, best: np.ufunc) -> np.ndarray:
    return _before(values[::-1], best)[::-1]


def _settle(curves: InterpolatedCurves, tolerance: Tolerance) -> int:
    """Run evaluations until the turning points are known to within T; how far off they can be."""
    samples = curves.known.shape[1]
    level = tolerance.chance
    most = samples * level.numerator // level.denominator
    # ζ_j moves by 1 / 2M with each unit, and there are two turning points.
    units = int(2 * curves.units * tolerance.asked)
    slack = units // 2
    while (n0 := bound_descending(*_counts(curves, 0), most=most, slack=slack)).error > slack:
        curves.learn(_telling(curves, 0, n0))
    slack = units - n0.error
    while (n0_r := bound_ascending(*_counts(curves, 1), slack=slack)).error > slack:
        curves.learn(_telling(curves, 1, n0_r))
    return n0.error + n0_r.error


def _counts(curves: InterpolatedCurves, order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts (M + 1,) of one curve as guessed, at least, and at most."""
    right, known = curves.right[order], curves.known[order]
    low = (known & right).sum(axis=0)
    return right.sum(axis=0), low, low + (~known).sum(axis=0)


def _telling(curves: InterpolatedCurves, order: int, point: TurningPoint) -> np.ndarray:
    """Unknown cells that settle a turning point if they are as guessed, bool (2, C, M + 1)."""
    _, low, high = _counts(curves, order)
    guess, unknown = curves.guess[order], ~curves.known[order]
    sure = np.abs(guess)
    wanted = np.zeros(curves.known.shape, dtype=bool)
    for side, short in ((guess >= 0, point.low - low), (guess < 0, high - point.high)):
        columns = np.flatnonzero(short > 0)
        eligible = (side & unknown)[:, columns]
        by_sureness = np.argsort(np.where(eligible, -sure[:, columns], np.inf), axis=0)
        place = np.empty_like(by_sureness)
        np.put_along_axis(place, by_sureness, np.arange(len(place))[:, None], axis=0)
        wanted[order][:, columns] |= eligible & (place < short[columns])
    # The deciding column has to be known nearly in full; what may surprise comes first.
    column = np.flatnonzero(wanted[order][:, point.point])
    first = column[np.argsort(sure[column, point.point], kind="stable")]
    wanted[order][first[max(_AT_ONCE, len(first) // 4) :], point.point] = False
    return wanted


@dataclass(frozen=True, slots=True)
class _Audit:
    passed: bool
    cost: float
    drawn: int


def _audit(
    curves: InterpolatedCurves, random: np.random.Generator, tolerance: Tolerance, allowed: float
) -> _Audit:
    """Draw from the cells not known and run them."""
    guesses = curves.right
    unknown = np.flatnonzero(~curves.known)
    # e_j = p × unknown cells / (M·S_j), and the draws together are to weigh λ·e_j.
    weight = len(unknown) / (curves.units * curves.known.shape[1])
    wanted_draws = tolerance.strength * weight / _EVIDENCE if len(unknown) else 0.0
    if wanted_draws > len(unknown) - 1:
        return _Audit(not len(unknown), 0.0, 0)  # running them all is as cheap
    draws = math.ceil(wanted_draws)
    drawn = random.choice(unknown, draws)
    wanted = np.zeros(curves.known.size, dtype=bool)
    wanted[drawn] = True
    curves.learn(wanted.reshape(curves.known.shape))
    cost = _COST * (curves.right != guesses).ravel()[drawn].cumsum()
    too_much = cost > allowed
    if too_much.any():  # broken off there
        return _Audit(False, float(cost[too_much.argmax()]), draws)
    return _Audit(True, float(cost[-1]), draws)
