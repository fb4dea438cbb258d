"""Curves good enough to know ζ and κ of a network to within a tolerance T, for fewer rows.

Class by class:

1. A few samples drawn at random, the guard, are run in full. They choose the coarsest grid that
   would have told their answers.
2. All samples are run on that grid, then where the answer changes or might change between its
   points; the rest is interpolated (:mod:`analyzer.measures.ablation.interpolated_curves`).
3. Rows are run until the class's turning points are known to within T, whatever the rows that
   were not run would say (:mod:`analyzer.measures.ablation.turning_points`).
4. Cells (sample, order, n) are drawn at random from those not known, and run: the audit. Each
   wrong guess found costs part of an allowance. A class that uses up its share goes back to 2
   with a finer grid, in the end with all rows.

What is claimed:

- ζ is off by at most ``zeta_bound``. This is certain. It follows from rows that were run.
- κ is off by at most ``kappa_bound``. This holds with 95 % probability over the drawing of the
  audits, for any network and any data, with nothing assumed of how leads run between known ones.
  Write e_j for the share of wrong guesses in class j, counted so that |Δκ_j| ≤ e_j (a wrong
  guess moves one of the two curves by one sample at one n, and κ_j by at most 1 / (M·S_j)). For
  one cell drawn at random, wrong with probability p, E[exp(a·p − θ·wrong)] ≤ 1 with
  a = 1 − exp(−θ). With as many draws in each class as make the sum of the a·p equal to λ·e_j,
  the product over all draws, whatever earlier draws led to, has an expectation of at most 1. So
  P(λ·Σ e_j ≥ ln 20 + θ × wrong guesses found) ≤ 1/20 (Markov). Audits that were broken off
  count with what they cost; κ of the network is off by at most Σ e_j / K.

Both presume that a row run again gives the same answer.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from analyzer.measures.ablation.interpolated_curves import Lines, RunRows
from analyzer.measures.ablation.turning_points import Demand, ascending_demand, descending_demand

__all__ = ["CONFIDENCE", "Estimate", "Tolerance", "estimate_class"]

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
_DOUBT = 2.0  # see Lines.refine; doubled with each audit that fails
_WRONG_GUARDS = 1 / 5  # of T: wrong guesses among the guard's cells that a grid may make
_AT_ONCE = 16  # rows of a deciding column that are run before it is looked at again


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What is asked, and the audit's size that follows from it."""

    asked: float  # T, above 0
    chance: Fraction
    seed: int
    classes: int  # that have samples
    samples: int
    channels: int  # M
    shares: int = 1  # of the classes that are worked off at once, knowing nothing of each other

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

        Both are those of one share; what all shares are allowed adds up to the whole.
        """
        everywhere = self.asked * self.classes * self.strength - _CERTAINTY
        share = _HEAD_START / self.shares + (1 - _HEAD_START) * number / self.classes
        return share * everywhere - cost

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
    rows: int  # run
    guessed: int  # cells of ``right`` that were not run
    drawn: int  # cells, for audits
    off: float  # how far ζ_j can be off
    cost: float  # of the wrong guesses that audits found


def estimate_class(
    active: np.ndarray,
    run: RunRows,
    label: int,
    tolerance: Tolerance,
    allowed: float,
    *,
    share_empty: bool,
) -> Estimate:
    """Estimates the curves of one class.

    Args:
        active: bool (C, M), units by rank that are not all zero for a sample.
        run: runs rows.
        label: the class.
        allowed: what wrong guesses may cost, see :meth:`Tolerance.allowance`.
        share_empty: see :class:`Lines`.
    """
    random = np.random.default_rng([tolerance.seed, label])
    lines = Lines(active, run, share_empty=share_empty)
    first = _guarded_spacing(lines, active, random, tolerance)
    spent, drawn, doubt = 0.0, 0, _DOUBT
    for spacing in _SPACINGS[first:]:
        # An audit may cost half of what is left, and the guess that breaks it off.
        if allowed - spent < 2 * _COST:
            break
        lines.frozen = False
        lines.learn(lines.grid(spacing))
        lines.refine(doubt)
        _settle(lines, tolerance)
        lines.frozen = True  # what the audit vouches for must not be guessed anew
        audit = _audit(lines, random, tolerance, (allowed - spent) / 2)
        spent += audit.cost
        drawn += audit.drawn
        if audit.passed:
            off = _settle(lines, tolerance) / (2 * lines.units)
            guessed = int((~lines.known).sum())
            return Estimate(lines.right, lines.rows, guessed, drawn, off, spent)
        doubt *= 2
    lines.learn(~lines.known)
    return Estimate(lines.right, lines.rows, 0, drawn, 0.0, spent)


def _guarded_spacing(
    lines: Lines, active: np.ndarray, random: np.random.Generator, tolerance: Tolerance
) -> int:
    """Runs the guard in full; which of the spacings would have told its answers."""
    samples = len(active)
    size = min(max(-(-samples // _SAMPLES_A_GUARD), _FEWEST_GUARDS), samples)
    guard = np.sort(random.choice(samples, size, replace=False))
    wanted = np.zeros(lines.known.shape, dtype=bool)
    wanted[:, guard] = True
    lines.learn(wanted)
    lead, units = lines.guess[:, guard], lines.units

    def known(sample: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        descending = high == units
        return lead[np.where(descending, 0, 1), sample, np.where(descending, low, units - high)]

    for number, spacing in enumerate(_SPACINGS):
        again = Lines(active[guard], known, share_empty=False)
        again.learn(again.grid(spacing))
        again.refine(_DOUBT)
        if (again.right != (lead >= 0)).mean() <= _WRONG_GUARDS * tolerance.asked:
            return number
    return len(_SPACINGS) - 1


def _settle(lines: Lines, tolerance: Tolerance) -> int:
    """Runs rows until the turning points are known to within T; by how much they can be off."""
    samples = lines.known.shape[1]
    level = tolerance.chance
    most = samples * level.numerator // level.denominator
    # ζ_j moves by 1 / 2M with each unit, and there are two turning points.
    units = int(2 * lines.units * tolerance.asked)
    slack = units // 2
    while (demand := descending_demand(*_counts(lines, 0), most=most, slack=slack)).error > slack:
        lines.learn(_telling(lines, 0, demand))
    slack = units - demand.error
    off = demand.error
    while (demand := ascending_demand(*_counts(lines, 1), slack=slack)).error > slack:
        lines.learn(_telling(lines, 1, demand))
    return off + demand.error


def _counts(lines: Lines, order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts (M + 1,) of one curve as guessed, at least, and at most."""
    right, known = lines.right[order], lines.known[order]
    low = (known & right).sum(axis=0)
    return right.sum(axis=0), low, low + (~known).sum(axis=0)


def _telling(lines: Lines, order: int, demand: Demand) -> np.ndarray:
    """Unknown cells that would meet a demand if they are as guessed, bool (2, C, M + 1)."""
    _, low, high = _counts(lines, order)
    guess, unknown = lines.guess[order], ~lines.known[order]
    sure = np.abs(guess)
    wanted = np.zeros(lines.known.shape, dtype=bool)
    for side, short in ((guess >= 0, demand.low - low), (guess < 0, high - demand.high)):
        columns = np.flatnonzero(short > 0)
        eligible = (side & unknown)[:, columns]
        by_sureness = np.argsort(np.where(eligible, -sure[:, columns], np.inf), axis=0)
        place = np.empty_like(by_sureness)
        np.put_along_axis(place, by_sureness, np.arange(len(place))[:, None], axis=0)
        wanted[order][:, columns] |= eligible & (place < short[columns])
    # The deciding column has to be known nearly in full; what may surprise comes first.
    column = np.flatnonzero(wanted[order][:, demand.point])
    first = column[np.argsort(sure[column, demand.point], kind="stable")]
    wanted[order][first[max(_AT_ONCE, len(first) // 4) :], demand.point] = False
    return wanted


@dataclass(frozen=True, slots=True)
class _Audit:
    passed: bool
    cost: float
    drawn: int


def _audit(
    lines: Lines, random: np.random.Generator, tolerance: Tolerance, allowed: float
) -> _Audit:
    """Draws from the cells not known and runs them."""
    guesses = lines.right
    unknown = np.flatnonzero(~lines.known)
    # e_j = p × unknown cells / (M·S_j), and the draws together are to weigh λ·e_j.
    weight = len(unknown) / (lines.units * lines.known.shape[1])
    draws = math.ceil(tolerance.strength * weight / _EVIDENCE)
    if draws >= len(unknown):
        return _Audit(not draws, 0.0, 0)  # running them all is as cheap
    drawn = random.choice(unknown, draws)
    wanted = np.zeros(lines.known.size, dtype=bool)
    wanted[drawn] = True
    lines.learn(wanted.reshape(lines.known.shape))
    cost = _COST * (lines.right != guesses).ravel()[drawn].cumsum()
    too_much = cost > allowed
    if too_much.any():  # broken off there
        return _Audit(False, float(cost[too_much.argmax()]), draws)
    return _Audit(True, float(cost[-1]), draws)
