"""Sweeps over suffixes that begin with a linear operator: z = Σ_i U_i·W_i + b.

Units are added one by one from the empty network, most active first for the ascending order of
removal and least active first for the descending one. So each row costs one unit's share of z,
nothing is ever subtracted, and rounding stays that of one summation.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from analyzer.ablation.features import Features
from analyzer.ablation.rows import Rows
from analyzer.ablation.sessions import Session, open_session
from analyzer.records import Cut, LinearHead

__all__ = ["Head", "open_head"]

_UNITS_AT_ONCE = 16  # added in one matrix product; a tile of scores stays in the cache
_SAMPLES_AT_ONCE = 32
_SHARES_BYTES = 128 << 20  # of the units' shares of z, for samples with several positions
_ROWS_AT_ONCE = 1024  # of the tail
_WORTHWHILE = 1 << 17  # multiply-adds of the head; below, whole rows cost less than their sums


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
    threads: int

    def right_everywhere(self, found: Features, order: np.ndarray, label: int) -> np.ndarray:
        """Whether samples of one class are given their label, for every n of both orders.

        For heads without a tail: the whole curve of a class is a few matrix products.

        Args:
            found: features of C samples, all of class ``label``.
            order: int64 (M,), the channels by descending unit attribute.

        Returns:
            bool (2, C, M + 1): descending order of removal, ascending order of removal.
        """
        values = self._by_unit(found)  # (C, M, P)
        # A label is named where it beats the classes before it and no class behind beats it.
        lead = self.weights[order]  # (M, P, K)
        lead -= lead[:, :, label : label + 1].copy()
        bias = self.bias - self.bias[label]
        right = np.empty((2, len(values), len(order) + 1), dtype=bool)

        def run(task: tuple[int, int]) -> None:
            start, number = task
            piece = slice(start, start + _SAMPLES_AT_ONCE)
            added = slice(None, None, -1) if number == 0 else slice(None)
            worst = _leads_as_added(values[piece][:, order][:, added], lead[added], bias, label)
            # n removed are M - n added.
            right[number, piece] = worst[:, ::-1]

        tasks = [(start, n) for n in (0, 1) for start in range(0, len(values), _SAMPLES_AT_ONCE)]
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(run, tasks))
        return right

    def classes(self, found: Features, order: np.ndarray, rows: Rows) -> np.ndarray:
        """The class that each row is given, by running sums and the tail.

        Args:
            found: features of C samples.
            order: int64 (C, M), the channels of each sample by descending unit attribute of its
                class.
            rows: the rows to run, R.

        Returns:
            int64 (R,).
        """
        named = np.empty(len(rows), dtype=np.int64)
        by_sample = np.argsort(rows.sample, kind="stable")
        ends = np.searchsorted(rows.sample[by_sample], np.arange(len(order)), side="right")
        waiting: list[tuple[np.ndarray, np.ndarray]] = []
        start = count = 0
        for sample, shares in self._shares(found, order):
            mine = by_sample[start : ends[sample]]
            start = ends[sample]
            waiting.append((mine, self._sums(shares, rows.low[mine], rows.high[mine])))
            count += len(mine)
            if count >= _ROWS_AT_ONCE:
                self._run_tail(waiting, named)
                waiting, count = [], 0
        self._run_tail(waiting, named)
        return named

    def _by_unit(self, found: Features) -> np.ndarray:
        """Features as (C, M, P)."""
        units, positions, _ = self.weights.shape
        values = found.values[self.features].reshape(-1, self.outer, units, self.inner)
        return np.moveaxis(values, 2, 1).reshape(-1, units, positions)

    def _shares(
        self, found: Features, order: np.ndarray
    ) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray]]]:
        """Per sample: its active units' ranks (A,), and their shares of z by rank (A, D)."""
        values = self._by_unit(found)
        units, positions, width = self.weights.shape
        at_once = max(_SHARES_BYTES // (units * width * 4), 1)
        for start in range(0, len(values), at_once):
            piece = values[start : start + at_once]
            if positions > 1:
                # (M, C', P) @ (M, P, D)
                products = np.matmul(np.ascontiguousarray(piece.transpose(1, 0, 2)), self.weights)
            for offset in range(len(piece)):
                sample = start + offset
                ranks = np.flatnonzero(found.active[sample, order[sample]])
                channels = order[sample, ranks]
                if positions > 1:
                    shares = products[channels, offset]
                else:
                    shares = piece[offset, channels] * self.weights[channels, 0]
                yield sample, (ranks, shares)

    def _sums(
        self, shares: tuple[np.ndarray, np.ndarray], low: np.ndarray, high: np.ndarray
    ) -> np.ndarray:
        """z of a sample's rows, float32 (R', D): of the units with low ≤ rank < high."""
        ranks, share = shares
        sums = np.empty((2, len(ranks) + 1, share.shape[1]))  # float64, by units added
        sums[:, 0] = self.bias
        np.cumsum(share, axis=0, dtype=np.float64, out=sums[0, 1:])
        np.cumsum(share[::-1], axis=0, dtype=np.float64, out=sums[1, 1:])
        sums[:, 1:] += self.bias
        # Rows keep the most active (low = 0) or the least active (high = M) units.
        from_top = np.searchsorted(ranks, high)
        from_bottom = len(ranks) - np.searchsorted(ranks, low)
        whole_or_top = low == 0
        added = np.where(whole_or_top, from_top, from_bottom)
        return sums[np.where(whole_or_top, 0, 1), added].astype(np.float32)

    def _run_tail(self, waiting: list[tuple[np.ndarray, np.ndarray]], named: np.ndarray) -> None:
        if not waiting:
            return
        rows = np.concatenate([mine for mine, _ in waiting])
        sums = np.concatenate([part for _, part in waiting])
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            piece = slice(start, start + _ROWS_AT_ONCE)
            scores = self.tail.run({self.tail_input: sums[piece]})[0]
            named[rows[piece]] = scores.argmax(axis=1)


def open_head(cut: Cut, device: str, *, threads: int = 0) -> Head | None:
    """The head of a cut network; None where it has none or it would not help.

    On a GPU the whole product costs less than bringing the sums there.
    """
    head: LinearHead | None = cut.head
    if head is None or device != "cpu" or cut.batch is not None:
        return None
    weights = np.load(head.weights, mmap_mode="r")
    if head.tail is not None and weights.size < _WORTHWHILE:
        return None
    return Head(
        features=cut.features,
        outer=head.outer,
        inner=head.inner,
        weights=weights,
        bias=np.load(head.bias),
        tail=head.tail and open_session(head.tail, device, threads=threads),
        tail_input=head.tail_input,
        threads=threads or os.cpu_count() or 1,
    )


def _leads_as_added(
    values: np.ndarray, lead: np.ndarray, bias: np.ndarray, label: int
) -> np.ndarray:
    """Whether the label is named, as units are added one by one.

    Args:
        values: float32 (C, M, P), features by unit in the order of adding.
        lead: float32 (M, P, K), what each feature adds to a class's lead over the label.
        bias: float32 (K,), the leads of the empty network.
        label: the class whose lead over itself is 0.

    Returns:
        bool (C, M + 1), by units added.
    """
    samples, units, positions = values.shape
    classes = len(bias)
    right = np.empty((units + 1, samples), dtype=bool)
    sums = np.repeat(bias[:, None], samples, axis=1)  # (K, C)
    right[0] = _named(sums, label)
    values = np.ascontiguousarray(values.transpose(1, 2, 0))  # (M, P, C)
    # One product adds a block of units to the sums so far: [W, sums] @ [values up to i; 1].
    size = min(_UNITS_AT_ONCE, units)
    step = np.zeros((size * positions + samples, size, samples), dtype=np.float32)
    step[size * positions :] = np.eye(samples, dtype=np.float32)[:, None, :]
    up_to = np.tri(size, dtype=np.float32).T[:, None, :, None]  # unit r is in the first i ≥ r
    for start in range(0, units, size):
        block = min(size, units - start)
        if block < size:
            step = np.concatenate(
                [step[: block * positions, :block], step[size * positions :, :block]]
            )
            up_to = up_to[:block, :, :block]
        np.multiply(
            values[start : start + block, :, None, :],
            up_to,
            out=step[: block * positions].reshape(block, positions, block, samples),
        )
        shares = lead[start : start + block].reshape(block * positions, classes)
        sums = np.concatenate([shares, sums.T]).T @ step.reshape(-1, block * samples)  # (K, b·C)
        right[start + 1 : start + block + 1] = _named(sums, label).reshape(block, samples)
        sums = sums.reshape(classes, block, samples)[:, -1]
    return right.T


def _named(leads: np.ndarray, label: int) -> np.ndarray:
    """Whether no class leads the label, and none before it draws level; leads is (K, …)."""
    named = np.ones(leads.shape[1:], dtype=bool)
    if label > 0:
        named &= leads[:label].max(axis=0) < 0
    if label + 1 < len(leads):
        named &= leads[label + 1 :].max(axis=0) <= 0
    return named
