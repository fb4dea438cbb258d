"""Curves of which some evaluations were run; the rest follows from the logit margins between."""

from collections.abc import Callable

import numpy as np

from analyzer.runtime.predictions import UNNAMED, highest

__all__ = ["UNNAMED_MARGIN", "InterpolatedCurves", "RunEvaluations", "logit_margin"]

RunEvaluations = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Logit margins, float32 (R,), of evaluations.

They are given by sample, lowest rank kept, and rank after the last kept.
"""

_HAIR, _FAR = 1e-30, 1e30  # margins stay between, so that they can be interpolated

UNNAMED_MARGIN = -_HAIR
"""Where no class is named, for an estimate."""


def logit_margin(scores: np.ndarray, label: int) -> np.ndarray:
    """The label's score less the best other one; negative exactly where the label is not named.

    Args:
        scores: (R, K). Of equally high ones the first is named; where one is NaN, none is.

    Returns:
        float32 (R,), negative, if only by a hair, where the label is not the class named; NaN where
        none is.
    """
    named = highest(scores)
    right = named == label
    others = scores.astype(np.float32)
    own = others[:, label].copy()
    others[:, label] = -np.inf
    with np.errstate(invalid="ignore"):  # two infinite scores
        margin = np.nan_to_num(own - np.fmax.reduce(others, axis=1), nan=0.0)
    margin = np.where(right, np.clip(margin, 0, _FAR), np.clip(margin, -_FAR, -_HAIR))
    return np.where(named == UNNAMED, np.nan, margin).astype(np.float32)


class InterpolatedCurves:
    """The curves of the C samples of a class: of descending removal, then of ascending removal.

    A curve is one sample in one order; along n it has M + 1 cells. Cells between which no active
    unit goes are one evaluation: running it makes all of them known. The logit margin of an
    evaluation is its label's score less the best other one, so a cell is right where the margin is
    not negative. Margins change little from one unit to the next, so those of unknown cells are
    interpolated.

    Attributes:
        known: bool (2, C, M + 1), cells whose evaluation has been run.
        guess: float32 (2, C, M + 1), logit margins, interpolated where not known.
        evaluations: run so far.
        frozen: whether guesses stay as they are until their cell is run.
    """

    def __init__(self, active: np.ndarray, run: RunEvaluations, *, share_empty: bool):
        """Run the evaluations at both ends of every curve.

        Args:
            active: bool (C, M), units by rank that are not all zero for a sample.
            run: runs evaluations.
            share_empty: with every unit removed, all samples are given the same answer.
        """
        samples, self.units = active.shape
        shape = (2, samples, self.units + 1)
        self._run = run
        self.evaluations, self.frozen = 0, False
        self._cells = np.arange(self.units + 1)
        self._gone = np.zeros(shape, dtype=np.int32)  # active units removed
        self._gone[0, :, 1:] = active.cumsum(axis=1)
        self._gone[1, :, 1:] = active[:, ::-1].cumsum(axis=1)
        self._gone = self._gone.reshape(-1, self.units + 1)
        starts = np.diff(self._gone, axis=1, prepend=-1) > 0
        self._first = np.maximum.accumulate(np.where(starts, self._cells, 0), axis=1)

        whole, empty = self._ends(active, share_empty)
        last = self._gone == self._gone[:, -1:]
        margin = np.where(last, np.tile(empty, 2)[:, None], 0)
        margin = np.where(self._gone == 0, np.tile(whole, 2)[:, None], margin)
        self.known = (last | (self._gone == 0)).reshape(shape)
        self.guess = margin.astype(np.float32).reshape(shape)
        self._before = np.empty_like(self._first)  # the next known cell to the left, or itself
        self._after = np.empty_like(self._first)  # and to the right
        self._interpolate(np.arange(len(self._gone)))

    @property
    def right(self) -> np.ndarray:
        """bool (2, C, M + 1): as known, or else as guessed."""
        return self.guess >= 0

    def learn(self, wanted: np.ndarray) -> np.ndarray:
        """Run the evaluations of wanted cells that are unknown, and guess the rest again.

        Args:
            wanted: bool (2, C, M + 1).

        Returns:
            int64, the curves that gained: sample, plus C for ascending removal.
        """
        samples = self.known.shape[1]
        curve, n = np.nonzero((wanted & ~self.known).reshape(self._gone.shape))
        start = np.unique(curve * (self.units + 1) + self._first[curve, n])  # of evaluations
        if not len(start):
            return start
        curve, n = np.divmod(start, self.units + 1)
        descending = curve < samples
        low = np.where(descending, n, 0)
        high = np.where(descending, self.units, self.units - n)
        margins = np.zeros(self._gone.size, dtype=np.float32)
        margins[start] = self._margins(curve % samples, low, high)
        hit = np.zeros(self._gone.size, dtype=bool)
        hit[start] = True

        gained = np.unique(curve)
        source = self._first[gained] + (gained * (self.units + 1))[:, None]  # of each cell
        new = hit[source]
        known, guess = self._flat(self.known), self._flat(self.guess)
        known[gained] |= new
        guess[gained] = np.where(new, margins[source], guess[gained])
        if not self.frozen:
            self._interpolate(gained)
        return gained

    def grid(self, spacing: int) -> np.ndarray:
        """Cells with every ``spacing``-th active unit gone, bool (2, C, M + 1).

        Samples start at different places, so that every n is known of some of them.
        """
        samples = self.known.shape[1]
        phase = np.arange(samples) * spacing // max(samples, 1)  # even over 0…spacing - 1
        phase = np.random.default_rng(samples).permutation(phase)
        return ((self._gone + np.tile(phase, 2)[:, None]) % spacing == 0).reshape(self.known.shape)

    def refine(self, doubt: float) -> None:
        """Halve the gaps in which the answer changes or might change, down to single units.

        Args:
            doubt: a gap might hide a change where the lower margin at its ends is less than so
                many times the error of interpolation there, as known margins show it.
        """
        curves = np.arange(len(self._gone))
        while len(curves):
            wanted = np.zeros(self._gone.shape, dtype=bool)
            wanted[curves] = self._doubtful(curves, doubt)
            curves = self.learn(wanted.reshape(self.known.shape))

    def _ends(self, active: np.ndarray, share_empty: bool) -> tuple[np.ndarray, np.ndarray]:
        """Logit margins (C,) with nothing and with everything removed."""
        everyone = np.arange(len(active))
        nothing = np.zeros(len(active), dtype=np.int64)
        whole = self._margins(everyone, nothing, nothing + self.units)
        changing = np.flatnonzero(active.any(axis=1))  # samples that have something to lose
        asked = changing[:1] if share_empty else changing
        empty = whole.copy()
        if len(changing):
            empty[changing] = self._margins(asked, nothing[: len(asked)], nothing[: len(asked)])
        return whole, empty

    def _margins(self, sample: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        self.evaluations += len(sample)
        return self._run(sample, low, high)

    def _flat(self, values: np.ndarray) -> np.ndarray:
        """A view by curve, (2·C, M + 1)."""
        return values.reshape(self._gone.shape)

    def _interpolate(self, curves: np.ndarray) -> None:
        """Guess between known margins, straight in the number of active units gone."""
        known = self._flat(self.known)[curves]
        before = np.maximum.accumulate(np.where(known, self._cells, 0), axis=1)
        after = np.where(known, self._cells, self.units)[:, ::-1]
        after = np.minimum.accumulate(after, axis=1)[:, ::-1]
        self._before[curves], self._after[curves] = before, after
        at = (np.arange(len(curves)) * (self.units + 1))[:, None]
        margin, gone = self._flat(self.guess)[curves].ravel(), self._gone[curves].ravel()
        left, right = margin[before + at], margin[after + at]
        since, span = gone[before + at], gone[after + at]
        span -= since
        part = (self._gone[curves] - since) / np.maximum(span, 1, dtype=np.float32)
        self._flat(self.guess)[curves] = left + part.astype(np.float32) * (right - left)

    def _doubtful(self, curves: np.ndarray, doubt: float) -> np.ndarray:
        """Middles of the gaps that want to be halved, bool (curves, M + 1)."""
        at = (np.arange(len(curves)) * (self.units + 1))[:, None]
        known, gone = self._flat(self.known)[curves], self._gone[curves]
        margin, flat = self._flat(self.guess)[curves], self._gone[curves].ravel()
        before, after = self._before[curves] + at, self._after[curves] + at
        left, right = margin.ravel()[before], margin.ravel()[after]

        # How far known margins lie from the straight line through their known neighbors.
        rough = np.zeros_like(margin)
        a, b = flat[before[:, :-2]], flat[after[:, 2:]]
        part = (gone[:, 1:-1] - a) / np.maximum(b - a, 1, dtype=np.float32)
        straight = left[:, :-2] + part * (right[:, 2:] - left[:, :-2])
        rough[:, 1:-1] = np.where(known[:, 1:-1], np.abs(margin[:, 1:-1] - straight), 0)

        around = np.maximum(rough.ravel()[before], rough.ravel()[after])
        near = np.minimum(np.abs(left), np.abs(right)) < doubt * around
        changes = (left >= 0) != (right >= 0)
        middle = gone == (flat[before] + flat[after]) // 2
        return ~known & (changes | near) & middle
