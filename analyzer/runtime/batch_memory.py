"""Labelled samples, read and run in batches that fit.

Batches are halved where memory runs out, and filled up where a network takes one size.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from analyzer.errors import AnalyzerError, parameter
from analyzer.runtime.providers import provider_of

if TYPE_CHECKING:
    from analyzer.data import Batch

__all__ = ["Load", "OutOfMemory", "Samples", "images_at_once", "in_pieces", "padded"]

_FEWEST_IMAGES, _MOST_IMAGES = 8, 256

Piece = TypeVar("Piece")


class OutOfMemory(AnalyzerError):
    """A batch did not fit into memory; a smaller one may."""


Load = Callable[[np.ndarray, int], "Iterator[Batch]"]
"""Reads samples, given indices int64 (S',) and a batch size; cut into batches at fixed places."""


@dataclass(frozen=True, slots=True)
class Samples:
    """The class data, S samples, whoever stores them."""

    indices: np.ndarray  # int64 (S,): what to ask ``load`` for, in the order of the data
    labels: np.ndarray  # int64 (S,)
    load: Load

    def sequence(self) -> np.ndarray:
        """int64 (S,): the samples by class, within a class in the order of the data."""
        return np.argsort(self.labels, kind="stable")

    def spread(self, count: int) -> np.ndarray | None:
        """Up to ``count`` images, (B, …), from all over the data; None if none can be read."""
        places = np.unique(np.linspace(0, len(self.indices) - 1, count).astype(int))
        for indices in (self.indices[places], self.indices):
            for batch in self.load(indices, count):
                if len(batch.indices):
                    return batch.images
        return None


def images_at_once(image_bytes: int, device: str) -> int:
    """Images in one run of a network on a device, by the bytes of one image."""
    provider, _ = provider_of(device)
    most = provider.batch_bytes // max(image_bytes, 1)
    return min(max(most, _FEWEST_IMAGES), _MOST_IMAGES)


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


def padded(batch: np.ndarray, fixed: int | None) -> np.ndarray:
    """A batch of the size the network is fixed to, the last entry repeated."""
    if fixed is None or len(batch) == fixed:
        return batch
    return np.concatenate([batch, np.repeat(batch[-1:], fixed - len(batch), axis=0)])
