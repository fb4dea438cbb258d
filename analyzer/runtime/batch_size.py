"""Batches of a size that memory holds: smaller where it runs out, full where a network wants that.

Needs no onnxruntime, so that reading an audit does not load it.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from analyzer.errors import AnalyzerError, parameter
from analyzer.runtime.providers import provider_of

__all__ = ["OutOfMemory", "images_at_once", "in_pieces", "padded", "that_memory_holds", "within"]

_FEWEST_IMAGES, _MOST_IMAGES = 8, 256

_TENSOR_BYTES = 256 << 20  # of the largest tensor of a batch; a few are held at once

Piece = TypeVar("Piece")


class OutOfMemory(AnalyzerError):
    """A batch did not fit into memory; a smaller one may."""


def images_at_once(image_bytes: int, device: str) -> int:
    """Images in one run of a network on a device, by the bytes of one image."""
    provider, _ = provider_of(device)
    most = provider.batch_bytes // max(image_bytes, 1)
    return min(max(most, _FEWEST_IMAGES), _MOST_IMAGES)


def that_memory_holds(count: int, largest: int) -> int:
    """So many of ``count`` images, or evaluations, that no tensor takes more than 256 MiB.

    Args:
        count: at most.
        largest: elements of the largest tensor that a network makes of one; 0 if not known.
    """
    return min(count, max(_TENSOR_BYTES // max(4 * largest, 1), 1))


def in_pieces(total: int, size: int, run: Callable[[slice], Piece]) -> Iterator[Piece]:
    """``run`` over 0…total, in smaller pieces from where one does not fit into memory.

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
                said = error.message if isinstance(error, AnalyzerError) else str(error)
                raise OutOfMemory(
                    f"{said.rstrip('.') or 'Out of memory'}. No smaller batch is possible: free "
                    f"memory there, or run it elsewhere ({parameter('device')})."
                ) from error
            size = (stop - start + 1) // 2
        else:
            start = stop


def within(piece: slice, run: Callable[[slice], Piece]) -> Callable[[slice], Piece]:
    """``run`` for places that are counted from the beginning of a piece."""
    return lambda part: run(slice(piece.start + part.start, piece.start + part.stop))


def padded(batch: np.ndarray, fixed: int | None) -> np.ndarray:
    """A batch of the size the network is fixed to, the last entry repeated."""
    if fixed is None or len(batch) == fixed:
        return batch
    return np.concatenate([batch, np.repeat(batch[-1:], fixed - len(batch), axis=0)])
