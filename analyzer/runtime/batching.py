"""Labelled samples, read and run in batches that fit.

Batches are halved where memory runs out, and filled up where a network takes one size.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from analyzer.errors import AnalyzerError
from analyzer.runtime.devices import provider_of

__all__ = ["Batch", "Load", "OutOfMemory", "Samples", "images_at_once", "in_pieces", "padded"]

_FEWEST_IMAGES, _MOST_IMAGES = 8, 256

Piece = TypeVar("Piece")


class OutOfMemory(AnalyzerError):
    """A batch did not fit into memory; a smaller one may."""


class Unread(Protocol):
    """A sample that could not be read."""

    name: str
    reason: str


class Batch(Protocol):
    """Samples ready for the network; those that could not be read are left out."""

    indices: np.ndarray  # int64 (B,)
    images: np.ndarray  # (B, …)
    digests: np.ndarray  # uint8 (B, 32): sha256 of each sample as stored
    skipped: Sequence[Unread]


class Load(Protocol):
    """Reads samples by index, in that order, cut into batches at fixed places."""

    def __call__(self, indices: np.ndarray, batch_size: int) -> Iterator[Batch]: ...


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
                raise OutOfMemory(
                    f"{str(error).rstrip('.') or 'Out of memory'}. No smaller batch is possible: "
                    "free memory there, or run it elsewhere (--device)."
                ) from error
            size = (stop - start + 1) // 2
        else:
            start = stop


def padded(batch: np.ndarray, fixed: int | None) -> np.ndarray:
    """A batch of the size the network is fixed to, the last entry repeated."""
    if fixed is None or len(batch) == fixed:
        return batch
    return np.concatenate([batch, np.repeat(batch[-1:], fixed - len(batch), axis=0)])
