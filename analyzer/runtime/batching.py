"""Batches that fit: halved where memory runs out, filled up where a network takes one size."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from analyzer.runtime.sessions import OutOfMemory

__all__ = ["in_pieces", "padded"]

Piece = TypeVar("Piece")


def in_pieces(total: int, size: int, run: Callable[[slice], Piece]) -> Iterator[Piece]:
    """``run`` over 0…total, in halves from where a piece does not fit into memory.

    Raises:
        OutOfMemory: a piece of one does not fit either.
    """
    start = 0
    while start < total:
        stop = min(start + size, total)
        try:
            yield run(slice(start, stop))
        except (OutOfMemory, MemoryError) as error:
            if stop - start <= 1:
                raise OutOfMemory(
                    f"{str(error) or 'out of memory'}; no smaller batch is possible, so free "
                    "memory there, or run it elsewhere (--device)"
                ) from error
            size = (stop - start + 1) // 2
        else:
            start = stop


def padded(batch: np.ndarray, fixed: int | None) -> np.ndarray:
    """A batch of the size the network is fixed to, the last entry repeated."""
    if fixed is None or len(batch) == fixed:
        return batch
    return np.concatenate([batch, np.repeat(batch[-1:], fixed - len(batch), axis=0)])
