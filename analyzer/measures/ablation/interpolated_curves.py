"""What is known of the rows of one class, and what the rest probably are.

A line is one sample in one order; along n it has M + 1 cells. Cells between which no active unit
goes are one row: running it makes all of them known. The lead of a row is its label's score less
the best other one, so a cell is right where the lead is not negative. Leads change little from
one unit to the next, so those of unknown cells are interpolated.
"""

from collections.abc import Callable

import numpy as np

__all__ = ["CELL_BYTES", "Lines", "RunRows", "lead_of"]

RunRows = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Leads, float32 (R,), of rows given by sample, lowest rank kept, and rank behind the last kept."""

CELL_BYTES = 128
"""Memory that a cell takes while its class is worked on, at most."""

_HAIR, _FAR = 1e-30, 1e30  # leads stay between, so that they can be interpolated


def lead_of(scores: np.ndarray, label: int) -> np.ndarray:
    """By how much the label's score leads all others; negative exactly where it is not named.

    Args:
        scores: (R, K). Of equally high ones the first is named.

    Returns:
        float32 (R,), negative, if only by a hair, where the label is not the class named.
    """
    right = scores.argmax(axis=1) == label
    others = scores.astype(np.float32)
    own = others[:, label].copy()
    others[:, label] = -np.inf
    with np.errstate(invalid="ignore"):  # two infinite scores
        lead = np.nan_to_num(own - others.max(axis=1), nan=0.0)
    lead = np.where(right, np.clip(lead, 0, _FAR), np.clip(lead, -_FAR, -_HAIR))
    return lead.astype(np.float32)


class Lines:
    """The lines of a class of C samples: those of descending removal, then the ascending ones.

    Attributes:
        known: bool (2, C, M + 1), cells whose row has been run.
        guess: float32 (2, C, M + 1), leads, interpolated where not known.
        rows: run so far.
        frozen: whether guesses stay as they are until their cell is run.
    """

    def __init__(self, active: np.ndarray, run: RunRows, *, share_empty: bool):
        """Runs the rows at both ends of every line.

        Args:
            active: bool (C, M), units by rank that are not all zero for a sample.
            run: runs rows.
            share_empty: with every unit removed, all samples are given the same answer.
        """
        samples, self.units = active.shape
        shape = (2, samples, self.units + 1)
        self._run = run
        self.rows, self.frozen = 0, False
        self._cells = np.arange(self.units + 1)
        self._gone = np.zeros(shape, dtype=np.int32)  # active units removed
        self._gone[0, :, 1:] = active.cumsum(axis=1)
        self._gone[1, :, 1:] = active[:, ::-1].cumsum(axis=1)
        self._gone = self._gone.reshape(-1, self.units + 1)
        starts = np.diff(self._gone, axis=1, prepend=-1) > 0
        self._first = np.maximum.accumulate(np.where(starts, self._cells, 0), axis=1)

        whole, empty = self._ends(active, share_empty)
        last = self._gone == self._gone[:, -1:]
        lead = np.where(last, np.tile(empty, 2)[:, None], 0)
        lead = np.where(self._gone == 0, np.tile(whole, 2)[:, None], lead)
        self.known = (last | (self._gone == 0)).reshape(shape)
        self.guess = lead.astype(np.float32).reshape(shape)
        self._before = np.empty_like(self._first)  # the next known cell to the left, or itself
        self._behind = np.empty_like(self._first)  # and to the right
        self._interpolate(np.arange(len(self._gone)))

    @property
    def right(self) -> np.ndarray:
        """bool (2, C, M + 1): as known, or else as guessed."""
        return self.guess >= 0

    def learn(self, wanted: np.ndarray) -> np.ndarray:
        """Runs the rows of wanted cells as far as they are unknown, and guesses the rest anew.

        Args:
            wanted: bool (2, C, M + 1).

        Returns:
            int64, the lines that gained: sample, plus C for ascending removal.
        """
        samples = self.known.shape[1]
        line, n = np.nonzero((wanted & ~self.known).reshape(self._gone.shape))
        start = np.unique(line * (self.units + 1) + self._first[line, n])  # of rows
        if not len(start):
            return start
        line, n = np.divmod(start, self.units + 1)
        descending = line < samples
        low = np.where(descending, n, 0)
        high = np.where(descending, self.units, self.units - n)
        leads = np.zeros(self._gone.size, dtype=np.float32)
        leads[start] = self._leads(line % samples, low, high)
        hit = np.zeros(self._gone.size, dtype=bool)
        hit[start] = True

        gained = np.unique(line)
        row = self._first[gained] + (gained * (self.units + 1))[:, None]  # of each cell
        new = hit[row]
        known, guess = self._flat(self.known), self._flat(self.guess)
        known[gained] |= new
        guess[gained] = np.where(new, leads[row], guess[gained])
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
        """Halves the gaps in which the answer changes or might change, down to single units.

        Args:
            doubt: a gap might hide a change where the lower lead at its ends is less than so
                many times the error of interpolation there, as known leads show it.
        """
        lines = np.arange(len(self._gone))
        while len(lines):
            wanted = np.zeros(self._gone.shape, dtype=bool)
            wanted[lines] = self._doubtful(lines, doubt)
            lines = self.learn(wanted.reshape(self.known.shape))

    def _ends(self, active: np.ndarray, share_empty: bool) -> tuple[np.ndarray, np.ndarray]:
        """Leads (C,) with nothing and with everything removed."""
        everyone = np.arange(len(active))
        nothing = np.zeros(len(active), dtype=np.int64)
        whole = self._leads(everyone, nothing, nothing + self.units)
        bare = np.flatnonzero(active.any(axis=1))  # samples that have something to lose
        asked = bare[:1] if share_empty else bare
        empty = whole.copy()
        if len(bare):
            empty[bare] = self._leads(asked, nothing[: len(asked)], nothing[: len(asked)])
        return whole, empty

    def _leads(self, sample: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        self.rows += len(sample)
        return self._run(sample, low, high)

    def _flat(self, values: np.ndarray) -> np.ndarray:
        """A view by line, (2·C, M + 1)."""
        return values.reshape(self._gone.shape)

    def _interpolate(self, lines: np.ndarray) -> None:
        """Guesses between known leads, straight in the number of active units gone."""
        known = self._flat(self.known)[lines]
        before = np.maximum.accumulate(np.where(known, self._cells, 0), axis=1)
        behind = np.where(known, self._cells, self.units)[:, ::-1]
        behind = np.minimum.accumulate(behind, axis=1)[:, ::-1]
        self._before[lines], self._behind[lines] = before, behind
        at = (np.arange(len(lines)) * (self.units + 1))[:, None]
        lead, gone = self._flat(self.guess)[lines].ravel(), self._gone[lines].ravel()
        left, right = lead[before + at], lead[behind + at]
        since, span = gone[before + at], gone[behind + at]
        span -= since
        share = (self._gone[lines] - since) / np.maximum(span, 1, dtype=np.float32)
        self._flat(self.guess)[lines] = left + share.astype(np.float32) * (right - left)

    def _doubtful(self, lines: np.ndarray, doubt: float) -> np.ndarray:
        """Middles of the gaps that want to be halved, bool (lines, M + 1)."""
        at = (np.arange(len(lines)) * (self.units + 1))[:, None]
        known, gone = self._flat(self.known)[lines], self._gone[lines]
        lead, flat = self._flat(self.guess)[lines], self._gone[lines].ravel()
        before, behind = self._before[lines] + at, self._behind[lines] + at
        left, right = lead.ravel()[before], lead.ravel()[behind]

        # How far known leads lie from the line through their known neighbours.
        rough = np.zeros_like(lead)
        a, b = flat[before[:, :-2]], flat[behind[:, 2:]]
        share = (gone[:, 1:-1] - a) / np.maximum(b - a, 1, dtype=np.float32)
        straight = left[:, :-2] + share * (right[:, 2:] - left[:, :-2])
        rough[:, 1:-1] = np.where(known[:, 1:-1], np.abs(lead[:, 1:-1] - straight), 0)

        around = np.maximum(rough.ravel()[before], rough.ravel()[behind])
        near = np.minimum(np.abs(left), np.abs(right)) < doubt * around
        changes = (left >= 0) != (right >= 0)
        middle = gone == (flat[before] + flat[behind]) // 2
        return ~known & (changes | near) & middle
