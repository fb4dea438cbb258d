"""Whole curves of a class where the suffix is one matrix product: units added block by block.

A class leads the label by a sum over units. The sums at the ends of blocks of units come from one
matrix product; how far a lead can move in between is bounded, and only where that leaves the
answer open are the units of a block added one by one.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["Blocks"]

_UNITS = 16  # in a block
_PAIRS_AT_ONCE = 1024  # of block and sample that are looked into
_ROUNDING = 1e-4  # of a block's reach: more than its sums can be off


@dataclass(frozen=True, slots=True)
class Blocks:
    """What units add to the other classes' leads over the label, in B blocks of U units.

    The last block is filled up with units that add nothing.
    """

    values: np.ndarray  # float32 (B, C, U, P), features in the order of adding
    leads: np.ndarray  # float32 (B, U, P, K - 1), what each adds to a class's lead
    shares: np.ndarray  # float32 (B, C, K - 1), what each block adds
    reach: np.ndarray  # float32 (B, C), the most by which a lead can move within a block

    @classmethod
    def of(cls, values: np.ndarray, weights: np.ndarray, label: int) -> "Blocks":
        """Blocks of features (C, M, P) under weights (M, P, K), both in the order of adding."""
        samples, units, positions = values.shape
        leads = np.delete(weights - weights[:, :, label : label + 1], label, axis=2)
        count = -(-units // _UNITS)
        missing = count * _UNITS - units
        values = np.pad(values, ((0, 0), (0, missing), (0, 0)))
        leads = np.pad(leads, ((0, missing), (0, 0), (0, 0)))
        values = np.moveaxis(values.reshape(samples, count, _UNITS, positions), 1, 0)
        leads = leads.reshape(count, _UNITS, positions, -1)
        flat = values.reshape(count, samples, -1)
        largest = np.abs(leads).max(axis=3, initial=0).reshape(count, -1, 1)
        return cls(
            values=values,
            leads=leads,
            shares=flat @ leads.reshape(count, flat.shape[2], -1),
            reach=(np.abs(flat) @ largest)[:, :, 0],
        )

    def reversed(self) -> "Blocks":
        """The same units added in the reverse order."""
        return Blocks(
            self.values[::-1, :, ::-1], self.leads[::-1, ::-1], self.shares[::-1], self.reach[::-1]
        )

    def right_as_added(self, bias: np.ndarray, label: int) -> np.ndarray:
        """Whether the label is named, as units are added one by one.

        Between the ends of a block a lead moves by no more than ``reach``, and from the nearer
        end by no more than half of it.

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
        right_at = _named(sums, label)  # (B + 1, C)
        worst = sums.max(axis=2)
        moved = self.reach * (0.5 + _ROUNDING)
        sure = np.maximum(worst[:-1], worst[1:]) + moved < 0
        unsure = ~sure & (np.minimum(worst[:-1], worst[1:]) - moved <= 0)
        inside = np.repeat(sure[:, :, None], self.leads.shape[1], axis=2)  # (B, C, U)
        blocks, samples = np.nonzero(unsure)
        for start in range(0, len(blocks), _PAIRS_AT_ONCE):
            pairs = slice(start, start + _PAIRS_AT_ONCE)
            inside[blocks[pairs], samples[pairs]] = self._look_inside(
                sums[:-1], blocks[pairs], samples[pairs], label
            )
        inside[:, :, -1] = right_at[1:]
        inside = np.moveaxis(inside, 0, 1).reshape(right_at.shape[1], -1)
        return np.concatenate([right_at[0][:, None], inside], axis=1)

    def _look_inside(
        self, sums: np.ndarray, blocks: np.ndarray, samples: np.ndarray, label: int
    ) -> np.ndarray:
        """Whether the label is named behind each unit of a block, bool (pairs, U)."""
        leads = sums[blocks, samples]  # (pairs, K - 1)
        values = self.values[blocks, samples]  # (pairs, U, P)
        right = np.empty(values.shape[:2], dtype=bool)
        for unit in range(values.shape[1]):
            for position in range(values.shape[2]):
                added = self.leads[blocks, unit, position]
                added *= values[:, unit, position, None]
                leads += added
            right[:, unit] = _named(leads, label)
        return right


def _named(leads: np.ndarray, label: int) -> np.ndarray:
    """Whether no other class leads the label, and none before it draws level; (…, K - 1)."""
    before, behind = leads[..., :label], leads[..., label:]
    return (before.max(axis=-1, initial=-np.inf) < 0) & (behind.max(axis=-1, initial=-np.inf) <= 0)
