"""What is known of the rows of one class, and what the rest probably are.

A line is one sample in one order; along n it has M + 1 cells. Cells between which no active unit
goes are one row: running it makes all of them known. The lead of a row is its label's score less
the best other one, so a cell is right where the lead is not negative. Leads change little from
one unit to the next, so those of unknown cells are interpolated.
"""

from collections.abc import Callable

import numpy as np

__all__ = ["Lines", "RunRows", "lead_of"]

RunRows = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Leads, float32 (R,), of rows given by sample, lowest rank kept, and rank behind the last kept."""

CELL_BYTES = 128
"""Memory that a cell takes while its class is worked on, at most."""


def lead_of(scores: np.ndarray, label: int) -> np.ndarray:
    """By how much the label's score leads all others; negative exactly where it is not named.

    Args:
        scores: (R, K). Of equally high ones the first is named.

    Returns:
        float32 (R,), negative, if only by a hair, where the label is not the class named.
    """
    others = scores.astype(np.float32)
    own = others[:, label].copy()
    others[:, label] = -np.inf
    lead = own - others.max(axis=1, initial=-np.inf)
    right = scores.argmax(axis=1) == label
    hair = np.finfo(np.float32).tiny
    lead = np.nan_to_num(lead, nan=0.0)  # where both are infinite
    return np.where(right, np.maximum(lead, 0), np.minimum(lead, -hair)).astype(np.float32)


class Lines:
    """The lines of a class of C samples, (2, C, M + 1): descending, then ascending removal."""

    def __init__(self, active: np.ndarray, run: RunRows, *, share_empty: bool):
        """Runs the rows at both ends of every line.

        Args:
            active: bool (C, M), units by rank that are not all zero for a sample.
            share_empty: with every unit removed, all samples are given the same answer.
        """
        samples, self.units = active.shape
        self._run = run
        self.rows = 0  # run so far
        self.frozen = False  # whether guesses stay as they are until the cell is run
        cells = np.arange(self.units + 1)
        self.gone = np.zeros((2, samples, self.units + 1), dtype=np.int32)  # active units removed
        self.gone[0, :, 1:] = active.cumsum(axis=1)
        self.gone[1, :, 1:] = active[:, ::-1].cumsum(axis=1)
        starts = np.diff(self.gone, axis=2, prepend=-1) > 0
        self._first = np.maximum.accumulate(np.where(starts, cells, 0), axis=2)
        self.known = np.zeros(self.gone.shape, dtype=bool)
        self.lead = np.zeros(self.gone.shape, dtype=np.float32)  # where known

        everyone = np.arange(samples)
        whole = self._leads(everyone, np.zeros(samples, int), np.full(samples, self.units))
        bare = np.flatnonzero(active.any(axis=1))  # samples that have something to lose
        asked = bare[:1] if share_empty else bare
        empty = np.zeros(samples, dtype=np.float32)
        if len(bare):
            nothing = np.zeros(len(asked), int)
            empty[bare] = self._leads(asked, nothing, nothing)
        ends = (self.gone == 0, (self.gone == self.gone[:, :, -1:]) & (self.gone > 0))
        for cells_there, leads in zip(ends, (whole, empty), strict=True):
            self.known |= cells_there
            self.lead = np.where(cells_there, leads[None, :, None], self.lead)
        self.interpolate()

    @property
    def right(self) -> np.ndarray:
        """bool (2, C, M + 1): as known, or else as it probably is."""
        return self.guess >= 0

    def learn(self, wanted: np.ndarray) -> None:
        """Runs the rows of the wanted cells, bool (2, C, M + 1), as far as they are unknown."""
        order, sample, n = np.nonzero(wanted & ~self.known)
        hit = np.zeros(self.known.shape, dtype=bool)
        hit[order, sample, self._first[order, sample, n]] = True
        order, sample, n = np.nonzero(hit)
        if not len(n):
            return
        low = np.where(order == 0, n, 0)
        high = np.where(order == 0, self.units, self.units - n)
        leads = np.zeros(self.lead.shape, dtype=np.float32)
        leads[order, sample, n] = self._leads(sample, low, high)
        new = np.take_along_axis(hit, self._first, axis=2)
        self.known |= new
        self.lead = np.where(new, np.take_along_axis(leads, self._first, axis=2), self.lead)
        self.interpolate()

    def _leads(self, sample: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        self.rows += len(sample)
        return self._run(sample, low, high)

    def interpolate(self) -> None:
        """Guesses the leads between known ones, straight in the number of active units gone."""
        if self.frozen:
            self.guess = np.where(self.known, self.lead, self.guess)
            return
        cells = np.arange(self.units + 1)
        self._before = np.maximum.accumulate(np.where(self.known, cells, 0), axis=2)
        behind = np.where(self.known, cells, self.units)[:, :, ::-1]
        self._behind = np.minimum.accumulate(behind, axis=2)[:, :, ::-1]
        self._left = np.take_along_axis(self.lead, self._before, axis=2)
        self._right = np.take_along_axis(self.lead, self._behind, axis=2)
        at = np.take_along_axis(self.gone, self._before, axis=2)
        self.width = np.take_along_axis(self.gone, self._behind, axis=2) - at
        share = (self.gone - at) / np.maximum(self.width, 1)
        self._share = share
        self.guess = self._left + share.astype(np.float32) * (self._right - self._left)

    def grid(self, spacing: int) -> np.ndarray:
        """Cells with every ``spacing``-th active unit gone, bool (2, C, M + 1).

        Samples start at different places, so that every n is known of some of them.
        """
        samples = self.known.shape[1]
        phase = np.arange(samples) * spacing // max(samples, 1)  # even over 0…spacing - 1
        phase = np.random.default_rng(samples).permutation(phase)
        return (self.gone + phase[None, :, None]) % spacing == 0

    def doubtful(self, doubt: float) -> np.ndarray:
        """Middles of gaps in which the answer changes or might change, bool (2, C, M + 1).

        Args:
            doubt: a gap might hide a change where the lower lead at its ends is less than so
                many times the error of interpolation there, as known leads show it.
        """
        rough = self._roughness()
        around = np.maximum(
            np.take_along_axis(rough, self._before, axis=2),
            np.take_along_axis(rough, self._behind, axis=2),
        )
        changes = (self._left >= 0) != (self._right >= 0)
        near = np.minimum(np.abs(self._left), np.abs(self._right)) < doubt * around
        middle = np.floor(self._share * self.width) == self.width // 2
        return ~self.known & (changes | near) & middle

    def _roughness(self) -> np.ndarray:
        """At known cells, how far the lead lies from the line through its known neighbours."""
        rough = np.zeros(self.lead.shape, dtype=np.float32)
        inner = self.known[:, :, 1:-1]
        left, right = self._left[:, :, :-2], self._right[:, :, 2:]
        a = np.take_along_axis(self.gone, self._before, axis=2)[:, :, :-2]
        b = np.take_along_axis(self.gone, self._behind, axis=2)[:, :, 2:]
        share = (self.gone[:, :, 1:-1] - a) / np.maximum(b - a, 1)
        off = np.abs(self.lead[:, :, 1:-1] - (left + share * (right - left)))
        rough[:, :, 1:-1] = np.where(inner, off, 0)
        return rough
