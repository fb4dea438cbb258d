"""Sweeps over suffixes that begin with a linear operator: z = Σ_i U_i·W_i + b.

Units are added from the empty network, most active first for the ascending order of removal and
least active first for the descending one. So each evaluation costs what one unit adds to z, nothing
is ever subtracted, and rounding stays that of one summation. Where the suffix is that operator
alone, units are added block by block, and one by one only where it matters.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analyzer.common_types import Cut, LinearHead
from analyzer.measures.ablation.ranking_and_evaluations import Evaluations
from analyzer.runtime.predictions import highest
from analyzer.runtime.providers import provider_of
from analyzer.runtime.sessions import Session, open_session

__all__ = ["Head", "Judge", "open_head"]

_SUMS_BYTES = 2 << 20  # of z as units are added, kept small for the cache's sake
_FEWEST_SAMPLES = 8  # at once, where weights are read for every position
_TAIL_BYTES = 8 << 20  # of z in one run of the tail
_FEWEST_AT_ONCE, _MOST_AT_ONCE = 256, 4096  # evaluations in one run of the tail
# Evaluations × positions of a sample: its running sums cost memory traffic, one alone a product.
_SUMS_WORTH = 512
_WORTHWHILE = 1 << 14  # multiply-adds of the head; below, running the suffix costs less than sums
_UNITS = 16  # in a block
_RIVALS_AT_ONCE = 8192  # excesses that are followed from unit to unit
_FAR = 1e37  # sums up to here, and differences of two, are far from where float32 ends
_ROUNDING = 1e-4  # of a block's reach: more than its sums can be off

Judge = Callable[[np.ndarray], np.ndarray]
"""What is kept of the scores (R, K) of evaluations: one number each."""


@dataclass(frozen=True, slots=True)
class Head:
    """A linear head, open to run where running sums pay."""

    features: str  # name of the masked features
    outer: int
    inner: int
    weights: np.ndarray  # float32 (M, P, D)
    bias: np.ndarray  # float32 (D,)
    tail: Session | None  # z → scores; None where z ranks the classes as the scores do
    tail_input: str

    def right_everywhere(self, values: np.ndarray, order: np.ndarray, label: int) -> np.ndarray:
        """Whether samples of one class are given their label, for every n of both orders.

        For heads without a tail: the whole curve of a class costs about one matrix product.

        Args:
            values: float32 (C, …), the features of C samples, all of class ``label``.
            order: int64 (M,), the channels by descending activity.

        Returns:
            bool (2, C, M + 1): descending order of removal, ascending order of removal.
        """
        blocks = _Blocks.of(self._by_unit(values)[:, order], self.weights[order], label)
        bias = np.delete(self.bias - self.bias[label], label)
        from_top = blocks.right_as_added(bias, label)
        from_bottom = blocks.reversed().right_as_added(bias, label)
        # n removed are M - n added; the block filled up comes last from the top, first from below.
        units = len(order)
        filled = from_top.shape[1] - 1 - units
        return np.stack([from_bottom[:, filled:][:, ::-1], from_top[:, units::-1]])

    def classes(
        self,
        values: np.ndarray,
        active: np.ndarray,
        order: np.ndarray,
        evaluations: Evaluations,
        judge: Judge = highest,
    ) -> np.ndarray:
        """The class that each evaluation gives, by running sums and the tail; see :func:`highest`.

        Args:
            values: float32 (C, …), the features of C samples, all of one class.
            active: bool (C, M), their units that are not all zero.
            order: int64 (M,), the channels by descending activity.
            evaluations: to run, R.
            judge: what to say of evaluations instead, by their scores.

        Returns:
            (R,), int64 for classes.
        """
        tail = self.tail
        assert tail is not None  # or right_everywhere would do
        values = self._by_unit(values)  # (C, M, P)
        units, positions, width = self.weights.shape
        by_sample = np.argsort(evaluations.sample, kind="stable")
        size = max(_SUMS_BYTES // (8 * units * width), min(positions, _FEWEST_SAMPLES))
        starts = range(0, len(values), size)
        ends = np.searchsorted(evaluations.sample[by_sample], [start + size for start in starts])
        at_once = min(max(_TAIL_BYTES // (4 * width), _FEWEST_AT_ONCE), _MOST_AT_ONCE)
        pending = _Pending(tail, self.tail_input, judge, np.empty((at_once, width), np.float32))
        first = 0
        for start, end in zip(starts, ends, strict=True):
            mine, first = by_sample[first:end], end
            piece = slice(start, start + size)
            ranks = np.flatnonzero(active[piece][:, order].any(axis=0))  # (A,)
            by_unit = values[piece].transpose(1, 0, 2)  # (M, C', P)
            sums = _Sums(by_unit, self.weights, self.bias, order[ranks])
            before = np.searchsorted(ranks, np.arange(units + 1))  # active units of lower rank
            while len(mine):
                part, mine = np.split(mine, [pending.room])
                sums.write(
                    evaluations.sample[part] - start,
                    before,
                    evaluations.low[part],
                    evaluations.high[part],
                    out=pending.take(part),
                )
                pending.run_if_full()
        return pending.judged(len(evaluations))

    def can_sum(self, values: np.ndarray) -> bool:
        """Whether no sum over units of features (C, …) can overflow, or meet what is no number.

        Else the suffix has to say what becomes infinite, or not a number.
        """
        units, positions, _ = self.weights.shape
        most = units * positions * _largest(values) * _largest(self.weights)
        return most + _largest(self.bias) < _FAR  # false for NaN

    def pays(self, evaluations: Evaluations) -> bool:
        """Whether some evaluations cost less by running sums than one by one."""
        positions = self.weights.shape[1]
        return len(evaluations) * positions >= _SUMS_WORTH * len(np.unique(evaluations.sample))

    def _by_unit(self, values: np.ndarray) -> np.ndarray:
        """Features as (C, M, P)."""
        units, positions, _ = self.weights.shape
        by_axes = values.reshape(-1, self.outer, units, self.inner)
        return np.moveaxis(by_axes, 2, 1).reshape(-1, units, positions)


class _Pending:
    """Evaluations that gather their z until there are enough of them for the tail."""

    def __init__(self, tail: Session, tail_input: str, judge: Judge, z: np.ndarray):
        """Gather in ``z``, float32 (most at once, D)."""
        self._tail, self._input, self._judge = tail, tail_input, judge
        self._z = z
        self._which = np.empty(len(z), dtype=np.int64)
        self._count = 0
        self._said: list[tuple[np.ndarray, np.ndarray]] = []  # which, and what of them

    @property
    def room(self) -> int:
        return len(self._which) - self._count

    def take(self, which: np.ndarray) -> np.ndarray:
        """Where the z of these, no more than there is room for, are to be written."""
        piece = slice(self._count, self._count + len(which))
        self._which[piece] = which
        self._count += len(which)
        return self._z[piece]

    def run_if_full(self) -> None:
        if not self.room:
            self._run()

    def judged(self, count: int) -> np.ndarray:
        """What is said of all evaluations, (count,), once they have all been taken."""
        if self._count:
            self._run()
        result = np.empty(count, dtype=self._said[0][1].dtype)
        for which, said in self._said:
            result[which] = said
        return result

    def _run(self) -> None:
        def run(piece: slice) -> list[np.ndarray]:
            return self._tail.run({self._input: z[piece]})

        z = self._z[: self._count]
        scores = run(slice(0, self._count))
        self._tail.checked.check(self._tail.outputs[0], scores, run)
        self._said.append((self._which[: self._count].copy(), self._judge(scores[0])))
        self._count = 0


class _Sums:
    """z of C' samples as A units are added, most active first and least active first."""

    def __init__(
        self, by_unit: np.ndarray, weights: np.ndarray, bias: np.ndarray, units: np.ndarray
    ):
        """Add the units; in float64, rounded to float32 once.

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

    def write(
        self,
        sample: np.ndarray,
        before: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        *,
        out: np.ndarray,
    ) -> None:
        """z of evaluations that keep the most active or the least active units.

        Args:
            sample: int64 (R',), of the C' samples.
            before: int64 (M + 1,), how many of the A units have a rank below each.
            low: int64 (R',), lowest rank that is kept; 0 or
            high: int64 (R',), the rank after the last that is kept, is M.
            out: float32 (R', D), takes them.
        """
        length = self._added + 1
        kept = np.where(low == 0, before[high], length + self._added - before[low])
        place = kept * self._samples + sample
        np.take(self._sums, place, axis=0, out=out, mode="clip")  # "raise" would copy once again


@dataclass(frozen=True, slots=True)
class _Blocks:
    """What units add to the other classes' excesses, in B blocks of U units.

    A class's excess is its logit less the label's, a sum over units. The sums at the ends of blocks
    come from one matrix product, and another bounds how far each excess can move in between. Only
    where that leaves open whether a class draws level, are the units of a block added to that
    class's excess one by one. The last block is filled up with units that add nothing.
    """

    values: np.ndarray  # float32 (B, C, U, P), features in the order of adding
    excesses: np.ndarray  # float32 (B, U, P, K - 1), what each adds to a class's
    added: np.ndarray  # float32 (B, C, K - 1), what each block adds
    reach: np.ndarray  # float32 (B, C, K - 1), all that its units add, each taken as positive

    @classmethod
    def of(cls, values: np.ndarray, weights: np.ndarray, label: int) -> "_Blocks":
        """Blocks of features (C, M, P) under weights (M, P, K), both in the order of adding."""
        samples, units, positions = values.shape
        excesses = np.delete(weights - weights[:, :, label : label + 1], label, axis=2)
        count = -(-units // _UNITS)
        if missing := count * _UNITS - units:
            values = np.pad(values, ((0, 0), (0, missing), (0, 0)))
            excesses = np.pad(excesses, ((0, missing), (0, 0), (0, 0)))
        values = np.moveaxis(values.reshape(samples, count, _UNITS, positions), 1, 0)
        excesses = excesses.reshape(count, _UNITS, positions, -1)
        flat = values.reshape(count, samples, -1)
        product = excesses.reshape(count, flat.shape[2], -1)
        return cls(
            values=values,
            excesses=excesses,
            added=flat @ product,
            reach=np.abs(flat) @ np.abs(product),
        )

    def reversed(self) -> "_Blocks":
        """The same units added in the reverse order."""
        return _Blocks(
            self.values[::-1, :, ::-1],
            self.excesses[::-1, ::-1],
            self.added[::-1],
            self.reach[::-1],
        )

    def right_as_added(self, bias: np.ndarray, label: int) -> np.ndarray:
        """Whether the label is named, as units are added one by one.

        An excess that goes from a to b within a block whose units add r in all, each taken as
        positive, stays between (a + b - r) / 2 and (a + b + r) / 2.

        Args:
            bias: float32 (K - 1,), the excesses of the empty network.
            label: the class that is exceeded, whose own excess is left out.

        Returns:
            bool (C, B · U + 1), by units added.
        """
        sums = np.empty((len(self.added) + 1, *self.added.shape[1:]), dtype=np.float32)
        sums[0] = bias
        for number, added in enumerate(self.added):
            np.add(sums[number], added, out=sums[number + 1])
        both = sums[:-1] + sums[1:]
        reach = self.reach * (1 + _ROUNDING)
        rivals: np.ndarray = both >= -reach  # (B, C, K - 1): those that may draw level
        wrong: np.ndarray = np.any(both > reach, axis=2)  # (B, C): throughout the block
        right = np.repeat(~wrong[:, :, None], _UNITS, axis=2)  # (B, C, U): but for the rivals
        pairs, classes = np.divmod(np.flatnonzero(rivals & ~wrong[:, :, None]), rivals.shape[2])
        for start in range(0, len(pairs), _RIVALS_AT_ONCE):
            some = slice(start, start + _RIVALS_AT_ONCE)
            block, sample = np.divmod(pairs[some], right.shape[1])
            level = self._draws_level(sums, block, sample, classes[some], label)
            first = np.flatnonzero(np.diff(pairs[some], prepend=-1))  # of a pair's rivals
            right[block[first], sample[first]] &= ~np.logical_or.reduceat(level, first)
        right[:, :, -1] = _named(sums[1:], label)
        right = np.moveaxis(right, 0, 1).reshape(right.shape[1], -1)
        return np.concatenate([_named(sums[0], label)[:, None], right], axis=1)

    def _draws_level(
        self,
        sums: np.ndarray,
        block: np.ndarray,
        sample: np.ndarray,
        rival: np.ndarray,
        label: int,
    ) -> np.ndarray:
        """Whether rivals keep the label from being named after each unit of a block, bool (R, U).

        Args:
            sums: float32 (B + 1, C, K - 1), excesses at the ends of blocks.
            block, sample, rival: int64 (R,).
        """
        excess = np.einsum(
            "rup,rup->ru", self.excesses[block, :, :, rival], self.values[block, sample]
        )
        excess[:, 0] += sums[block, sample, rival]
        for unit in range(1, excess.shape[1]):  # numpy's own accumulate goes row by row
            excess[:, unit] += excess[:, unit - 1]
        return (excess > 0) | ((excess == 0) & (rival < label)[:, None])


def _named(excesses: np.ndarray, label: int) -> np.ndarray:
    """Whether no other class exceeds the label, and none before it draws level; (…, K - 1)."""
    before, after = excesses[..., :label], excesses[..., label:]
    return (before.max(axis=-1, initial=-np.inf) < 0) & (after.max(axis=-1, initial=-np.inf) <= 0)


def _largest(values: np.ndarray) -> float:
    """The largest absolute value; NaN where there is one."""
    return float(np.maximum(values.max(), -values.min()))


def open_head(cut: Cut, device: str, *, threads: int = 0) -> Head | None:
    """The head of a cut network; None where it has none or it would not help.

    Whether it helps on a device is for the device's execution provider to say.
    """
    head: LinearHead | None = cut.head
    provider, _ = provider_of(device)
    if head is None or not provider.sums_linear_heads or cut.batch is not None:
        return None
    weights, bias = np.load(head.weights), np.load(head.bias)
    if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
        return None  # a sum that is no number would hide the units that are added after it
    if head.tail is not None and weights.size < _WORTHWHILE:
        return None
    tail = None
    if head.tail is not None:
        tail = open_session(head.tail, device, threads=threads, custom_ops=cut.custom_ops)
    return Head(
        features=cut.features,
        outer=head.outer,
        inner=head.inner,
        weights=weights,
        bias=bias,
        tail=tail,
        tail_input=head.tail_input,
    )
