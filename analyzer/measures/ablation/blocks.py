"""Curves where the suffix is one matrix product: units added block by block.

A class leads the label by a sum over units. The sums at the ends of blocks of units come from one
matrix product, and another bounds how far each lead can move in between. Only where that leaves
open whether a class draws level, are the units of a block added to that class's lead one by one.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["Blocks"]

_UNITS = 16  # in a block
_RIVALS_AT_ONCE = 8192  # leads that are followed from unit to unit
_ROUNDING = 1e-4  # of a block's reach: more than its sums can be off


@dataclass(frozen=True, slots=True)
class Blocks:
    """What units add to the other classes' leads over the label, in B blocks of U units.

    The last block is filled up with units that add nothing.
    """

    values: np.ndarray  # float32 (B, C, U, P), features in the order of adding
    leads: np.ndarray  # float32 (B, U, P, K - 1), what each adds to a class's lead
    shares: np.ndarray  # float32 (B, C, K - 1), what each block adds
    reach: np.ndarray  # float32 (B, C, K - 1), all that its units add, each taken as positive

    @classmethod
    def of(cls, values: np.ndarray, weights: np.ndarray, label: int) -> "Blocks":
        """Blocks of features (C, M, P) under weights (M, P, K), both in the order of adding."""
        samples, units, positions = values.shape
        leads = np.delete(weights - weights[:, :, label : label + 1], label, axis=2)
        count = -(-units // _UNITS)
        if missing := count * _UNITS - units:
            values = np.pad(values, ((0, 0), (0, missing), (0, 0)))
            leads = np.pad(leads, ((0, missing), (0, 0), (0, 0)))
        values = np.moveaxis(values.reshape(samples, count, _UNITS, positions), 1, 0)
        leads = leads.reshape(count, _UNITS, positions, -1)
        flat = values.reshape(count, samples, -1)
        product = leads.reshape(count, flat.shape[2], -1)
        return cls(
            values=values,
            leads=leads,
            shares=flat @ product,
            reach=np.abs(flat) @ np.abs(product),
        )

    def reversed(self) -> "Blocks":
        """The same units added in the reverse order."""
        return Blocks(
            self.values[::-1, :, ::-1], self.leads[::-1, ::-1], self.shares[::-1], self.reach[::-1]
        )

    def right_as_added(self, bias: np.ndarray, label: int) -> np.ndarray:
        """Whether the label is named, as units are added one by one.

        A lead that goes from a to b within a block whose units add r in all, each taken as
        positive, stays between (a + b - r) / 2 and (a + b + r) / 2.

        Args:
            bias: float32 (K - 1,), the leads of the empty network.
            label: the class that is led, whose own lead is left out.

        Returns:
            bool (C, B · U + 1), by units added.
        """
        sums = np.empty((len(self.shares) + 1, *self.shares.shape[1:]), dtype=np.float32)
        sums[0] = bias
        for block, share in enumerate(self.shares):
            np.add(sums[block], share, out=sums[block + 1])
        both = sums[:-1] + sums[1:]
        reach = self.reach * (1 + _ROUNDING)
        rivals = both >= -reach  # (B, C, K - 1): those that may draw level
        wrong = (both > reach).any(axis=2)  # (B, C): throughout the block
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
        """Whether rivals keep the label from being named behind each unit of a block, bool (R, U).

        Args:
            sums: float32 (B + 1, C, K - 1), leads at the ends of blocks.
            block, sample, rival: int64 (R,).
        """
        leads = np.einsum("rup,rup->ru", self.leads[block, :, :, rival], self.values[block, sample])
        leads[:, 0] += sums[block, sample, rival]
        for unit in range(1, leads.shape[1]):  # numpy's own accumulate goes row by row
            leads[:, unit] += leads[:, unit - 1]
        return (leads > 0) | ((leads == 0) & (rival < label)[:, None])


def _named(leads: np.ndarray, label: int) -> np.ndarray:
    """Whether no other class leads the label, and none before it draws level; (…, K - 1)."""
    before, behind = leads[..., :label], leads[..., label:]
    return (before.max(axis=-1, initial=-np.inf) < 0) & (behind.max(axis=-1, initial=-np.inf) <= 0)
