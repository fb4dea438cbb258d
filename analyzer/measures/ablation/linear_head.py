"""Sweeps over suffixes that begin with a linear operator: z = Σ_i U_i·W_i + b.

Units are added one by one from the empty network, most active first for the ascending order of
removal and least active first for the descending one. So each row costs one unit's share of z,
nothing is ever subtracted, and rounding stays that of one summation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analyzer.measures.ablation.blocks import Blocks
from analyzer.measures.ablation.evaluations import Rows
from analyzer.measures.ablation.suffix_features import Features
from analyzer.records import Cut, LinearHead
from analyzer.runtime.sessions import Session, open_session

__all__ = ["Head", "Judge", "first_of_highest", "open_head"]

_SUMS_BYTES = 2 << 20  # of z as units are added, kept small for the cache's sake
_FEWEST_SAMPLES = 8  # at once, where weights are read for every position
_ROWS_BYTES = 8 << 20  # of z in one run of the tail
_FEWEST_ROWS, _MOST_ROWS = 256, 4096
# Rows × positions of a sample: its running sums cost memory traffic, a row alone a product.
_SUMS_WORTH = 512
_WORTHWHILE = 1 << 14  # multiply-adds of the head; below, whole rows cost less than their sums

Judge = Callable[[np.ndarray], np.ndarray]
"""What is kept of rows' scores (R, K): one number a row."""


def first_of_highest(scores: np.ndarray) -> np.ndarray:
    """int64 (R,): the class that each row is given."""
    return scores.argmax(axis=1)


@dataclass(frozen=True, slots=True)
class Head:
    """A linear head, open to run on the processor."""

    features: str  # name of the masked features
    outer: int
    inner: int
    weights: np.ndarray  # float32 (M, P, D)
    bias: np.ndarray  # float32 (D,)
    tail: Session | None  # z → scores; None where z ranks the classes as the scores do
    tail_input: str

    def right_everywhere(self, found: Features, order: np.ndarray, label: int) -> np.ndarray:
        """Whether samples of one class are given their label, for every n of both orders.

        For heads without a tail: the whole curve of a class costs about one matrix product.

        Args:
            found: features of C samples, all of class ``label``.
            order: int64 (M,), the channels by descending unit attribute.

        Returns:
            bool (2, C, M + 1): descending order of removal, ascending order of removal.
        """
        blocks = Blocks.of(self._by_unit(found)[:, order], self.weights[order], label)
        bias = np.delete(self.bias - self.bias[label], label)
        from_top = blocks.right_as_added(bias, label)
        from_bottom = blocks.reversed().right_as_added(bias, label)
        # n removed are M - n added; the block filled up comes last from the top, first from below.
        units = len(order)
        filled = from_top.shape[1] - 1 - units
        return np.stack([from_bottom[:, filled:][:, ::-1], from_top[:, units::-1]])

    def classes(
        self, found: Features, order: np.ndarray, rows: Rows, judge: Judge = first_of_highest
    ) -> np.ndarray:
        """The class that each row is given, by running sums and the tail.

        Args:
            found: features of C samples, all of one class.
            order: int64 (M,), the channels by descending unit attribute.
            rows: the rows to run, R.
            judge: what to say of rows instead, by their scores.

        Returns:
            (R,), int64 for classes.
        """
        values = self._by_unit(found)  # (C, M, P)
        units, positions, width = self.weights.shape
        by_sample = np.argsort(rows.sample, kind="stable")
        size = max(_SUMS_BYTES // (8 * units * width), min(positions, _FEWEST_SAMPLES))
        starts = range(0, len(values), size)
        ends = np.searchsorted(rows.sample[by_sample], [start + size for start in starts])
        waiting = _Waiting(self, min(max(_ROWS_BYTES // (4 * width), _FEWEST_ROWS), _MOST_ROWS))
        first = 0
        for start, end in zip(starts, ends, strict=True):
            mine, first = by_sample[first:end], end
            piece = slice(start, start + size)
            ranks = np.flatnonzero(found.active[piece][:, order].any(axis=0))  # (A,)
            by_unit = values[piece].transpose(1, 0, 2)  # (M, C', P)
            sums = _Sums(by_unit, self.weights, self.bias, order[ranks])
            before = np.searchsorted(ranks, np.arange(units + 1))  # active units of lower rank
            while len(mine):
                part, mine = np.split(mine, [waiting.room])
                sums.rows(
                    rows.sample[part] - start,
                    before,
                    rows.low[part],
                    rows.high[part],
                    out=waiting.take(part),
                )
                waiting.run_if_full(judge)
        return waiting.judged(judge, len(rows))

    def pays(self, rows: Rows) -> bool:
        """Whether some rows cost less by running sums than one by one."""
        positions = self.weights.shape[1]
        return len(rows) * positions >= _SUMS_WORTH * len(np.unique(rows.sample))

    def _by_unit(self, found: Features) -> np.ndarray:
        """Features as (C, M, P)."""
        units, positions, _ = self.weights.shape
        values = found.values[self.features].reshape(-1, self.outer, units, self.inner)
        return np.moveaxis(values, 2, 1).reshape(-1, units, positions)


class _Waiting:
    """Rows that gather their z until there are enough of them for the tail."""

    def __init__(self, head: Head, most: int):
        self._head = head
        self._z = np.empty((most, head.weights.shape[2]), dtype=np.float32)
        self._rows = np.empty(most, dtype=np.int64)
        self._count = 0
        self._said: list[tuple[np.ndarray, np.ndarray]] = []  # of rows: which, and what

    @property
    def room(self) -> int:
        return len(self._rows) - self._count

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Where the z of these rows, no more than there is room for, are to be written."""
        piece = slice(self._count, self._count + len(rows))
        self._rows[piece] = rows
        self._count = piece.stop
        return self._z[piece]

    def run_if_full(self, judge: Judge) -> None:
        if not self.room:
            self._run(judge)

    def judged(self, judge: Judge, count: int) -> np.ndarray:
        """What is said of all rows, (count,), once they have all been taken."""
        if self._count:
            self._run(judge)
        result = np.empty(count, dtype=self._said[0][1].dtype)
        for rows, said in self._said:
            result[rows] = said
        return result

    def _run(self, judge: Judge) -> None:
        tail, name = self._head.tail, self._head.tail_input
        scores = tail.run({name: self._z[: self._count]})[0]
        self._said.append((self._rows[: self._count].copy(), judge(scores)))
        self._count = 0


class _Sums:
    """z of C' samples as A units are added, most active first and least active first."""

    def __init__(
        self, by_unit: np.ndarray, weights: np.ndarray, bias: np.ndarray, units: np.ndarray
    ):
        """Adds the units; in float64, rounded to float32 once.

        Args:
            by_unit: float32 (M, C', P), features.
            weights: float32 (M, P, D).
            bias: float32 (D,), z of the empty network.
            units: int64 (A,), those that are added, by rank.
        """
        self._added, self._samples = len(units), by_unit.shape[1]
        sums = np.empty((2, self._added + 1, self._samples, weights.shape[2]), dtype=np.float32)
        sums[:, 0] = bias
        if weights.shape[1] == 1:
            np.multiply(by_unit[units], weights[units], out=sums[0, 1:])
        else:  # of all units, for that reads the weights where they lie
            np.take(by_unit @ weights, units, axis=0, out=sums[0, 1:], mode="clip")
        sums[1, 1:] = sums[0, :0:-1]
        total = sums[:, 0].astype(np.float64)  # (2, C', D)
        for added in range(1, self._added + 1):  # numpy's own accumulate strides across memory
            total += sums[:, added]
            sums[:, added] = total
        self._sums = sums.reshape(-1, weights.shape[2])  # by order, units added, and sample

    def rows(
        self,
        sample: np.ndarray,
        before: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        *,
        out: np.ndarray,
    ) -> None:
        """z of rows that keep the most active or the least active units.

        Args:
            sample: int64 (R',), of the C' samples.
            before: int64 (M + 1,), how many of the A units have a rank below each.
            low: int64 (R',), lowest rank that is kept; 0 or
            high: int64 (R',), the rank behind the last that is kept, is M.
            out: float32 (R', D), takes them.
        """
        length = self._added + 1
        kept = np.where(low == 0, before[high], length + self._added - before[low])
        place = kept * self._samples + sample
        np.take(self._sums, place, axis=0, out=out, mode="clip")  # "raise" would copy once more


def open_head(cut: Cut, device: str, *, threads: int = 0) -> Head | None:
    """The head of a cut network; None where it has none or it would not help.

    On a GPU the whole product costs less than bringing the sums there.
    """
    head: LinearHead | None = cut.head
    if head is None or device != "cpu" or cut.batch is not None:
        return None
    weights = np.load(head.weights)
    if head.tail is not None and weights.size < _WORTHWHILE:
        return None
    return Head(
        features=cut.features,
        outer=head.outer,
        inner=head.inner,
        weights=weights,
        bias=np.load(head.bias),
        tail=head.tail
        and open_session(head.tail, device, threads=threads, custom_ops=cut.custom_ops),
        tail_input=head.tail_input,
    )
