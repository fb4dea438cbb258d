"""The class data as the ablation reads them, whoever stores them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

__all__ = ["Batch", "Load", "Samples", "images_at_once"]

# Of images in one run of a network. On a processor what the layers make of them should stay near
# its caches, and large buffers cost their first touch; a GPU wants more to do at once.
_BATCH_BYTES, _BATCH_BYTES_GPU = 4 << 20, 16 << 20
_FEWEST_IMAGES, _MOST_IMAGES = 8, 256


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
    """The class data, S samples."""

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
    """Images in one run of a network on "cpu" or "cuda:N", by the bytes of one."""
    most = _BATCH_BYTES if device == "cpu" else _BATCH_BYTES_GPU
    return min(max(most // max(image_bytes, 1), _FEWEST_IMAGES), _MOST_IMAGES)
