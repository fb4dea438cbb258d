"""The images of the samples by place, and a part of the samples that does not depend on order.

What is drawn at random is keyed by the content of the samples, never by their place: the same
samples in another order give the same values.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from analyzer.common_types import Progress
from analyzer.errors import DataError

if TYPE_CHECKING:
    from analyzer.data import Samples

__all__ = [
    "PartSize",
    "SampleImages",
    "balanced_part",
    "class_weights",
    "content_numbers",
    "content_ranks",
    "joined_numbers",
    "pairs_of",
    "seeded_keys",
]

PartSize = int | Literal["all"] | None
"""How many samples a measure looks at: a number (0: none), all of them, or its default (None)."""

_DIGEST = 32  # bytes of a sha256
_READ_AT_ONCE = 64  # images


@dataclass(frozen=True, slots=True, eq=False)
class SampleImages:
    """S samples that have been read once; held in memory, or read again when asked for.

    The place of a sample is its number in ``samples.indices``.
    """

    samples: "Samples"
    digests: np.ndarray  # uint8 (S, 32): sha256 of each sample as it is stored; 0 where unread
    read: np.ndarray  # bool (S,): False where a sample cannot be read
    held: np.ndarray | None = None  # (S, …): the images, where they fit into memory
    groups: np.ndarray | None = None  # int64 (S,): what each shows, −1 if that is not known

    @classmethod
    def open(
        cls,
        samples: "Samples",
        *,
        memory: int,
        groups: np.ndarray | None = None,
        progress: Progress = lambda stage, done, total: None,
    ) -> "SampleImages":
        """Read every sample once.

        Args:
            samples: the samples.
            memory: bytes; images that take no more together are held.
            groups: int64 (S,), the same number for samples that show the same thing, −1 where
                nothing is said of one.
            progress: called with the stage "read", in samples.

        Raises:
            DataError: not one of the samples can be read.
        """
        total = len(samples.indices)
        digests = np.zeros((total, _DIGEST), np.uint8)
        read = np.zeros(total, bool)
        held = None
        at = 0
        for batch in samples.load(samples.indices, _READ_AT_ONCE):
            chunk = samples.indices[at : at + _READ_AT_ONCE]
            places = at + np.flatnonzero(np.isin(chunk, batch.indices))
            if len(places):
                if not read.any() and total * batch.images[0].nbytes <= memory:
                    held = np.zeros((total, *batch.images.shape[1:]), batch.images.dtype)
                digests[places], read[places] = batch.digests, True
                if held is not None:
                    held[places] = batch.images
            at += len(chunk)
            progress("read", at, total)
        if not read.any():
            raise DataError("Not one of the samples can be read.")
        return cls(samples, digests, read, held, groups)

    @property
    def labels(self) -> np.ndarray:
        """int64 (S,)."""
        return self.samples.labels

    def things(self) -> np.ndarray:
        """A number for each sample, the same where bytes or groups are the same, int64 (S,)."""
        contents = content_numbers(self.digests)
        if self.groups is None:
            return contents
        return joined_numbers(contents, pairs_of(np.where(self.read, self.groups, -1)))

    def batches(self, places: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """The images (B, …) at these places, in their order, ``size`` at a time.

        Raises:
            DataError: a sample is not what it was when it was first read.
        """
        if self.held is not None:
            for start in range(0, len(places), size):
                yield self.held[places[start : start + size]]
            return
        at = 0
        for batch in self.samples.load(self.samples.indices[places], size):
            chunk = places[at : at + size]
            at += len(chunk)
            if not np.array_equal(batch.digests, self.digests[chunk]):
                raise DataError(
                    "A sample has changed since it was first read. Leave the data alone until "
                    "the run is done, and start it again."
                )
            yield batch.images

    def take(self, places: np.ndarray) -> np.ndarray:
        """The images (B, …) at these places, each read once however often it is named.

        Raises:
            DataError: as :meth:`batches`.
        """
        if self.held is not None:
            return self.held[places]
        distinct, inverse = np.unique(places, return_inverse=True)
        return np.concatenate(list(self.batches(distinct, _READ_AT_ONCE)))[inverse]


def content_ranks(digests: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each sample's rank by content, then label, int64 (S,); equal samples in the order given."""
    order = np.lexsort((labels, *_words(digests)))
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


def content_numbers(digests: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """A number for each sample, the same where bytes (and labels, if given) are, int64 (S,)."""
    columns = [*_words(digests)] if labels is None else [*_words(digests), labels]
    order = np.lexsort(columns)
    new = np.zeros(len(order), bool)
    for column in columns:
        ordered = column[order]
        new[1:] |= ordered[1:] != ordered[:-1]
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(new)
    return numbers


def pairs_of(groups: np.ndarray) -> np.ndarray:
    """Pairs of places that connect those of each group, int64 (P, 2); −1 is no group."""
    known = np.flatnonzero(groups >= 0)
    order = known[np.argsort(groups[known], kind="stable")]
    pairs = np.stack([order[:-1], order[1:]], axis=1)
    return pairs[groups[pairs[:, 0]] == groups[pairs[:, 1]]]


def joined_numbers(numbers: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The numbers of places, the same ones where pairs of places connect them, int64 (S,).

    Args:
        numbers: int64 (S,), from 0 on.
        pairs: int64 (P, 2), of places.
    """
    if not len(pairs):
        return numbers
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = int(numbers.max()) + 1
    edges = coo_array((np.ones(len(pairs), bool), tuple(numbers[pairs].T)), shape=(size, size))
    _, joined = connected_components(edges, directed=False)
    return joined.astype(np.int64)[numbers]


def seeded_keys(digests: np.ndarray, seed: int, purpose: int = 0) -> np.ndarray:
    """A pseudorandom number for each content, uint64 (S,): other ones for another purpose.

    SplitMix64 of the digest's first eight bytes, so the same on every platform.
    """
    salt = np.uint64(((2 * (seed * 1024 + purpose) + 1) * 0x9E3779B97F4A7C15) % 2**64)
    key = _words(digests)[-1].astype(np.uint64) + salt
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


def balanced_part(
    labels: np.ndarray, digests: np.ndarray, read: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """A seeded part of the samples that were read, with the same number of each class.

    Classes that have too few give all they have, and the others more. A sample of the part
    brings its copies (same bytes, same label) with it, so that the part can be a little larger.

    Returns:
        bool (S,).
    """
    part = np.zeros(len(labels), bool)
    places = np.flatnonzero(read)
    if count >= len(places):
        return read.copy()
    labels, digests = labels[places], digests[places]
    _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    quota = _quotas(sizes, count)
    order = np.lexsort((*_words(digests), seeded_keys(digests, seed), classes))
    starts = np.cumsum(sizes) - sizes
    within = np.arange(len(order)) - np.repeat(starts, sizes)
    # A copy stands where the first of its kind does.
    contents = content_numbers(digests, labels)[order]
    first = np.diff(contents, prepend=-1) != 0
    within = within[np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))]
    part[places[order[within < quota[classes[order]]]]] = True
    return part


def class_weights(labels: np.ndarray, read: np.ndarray, part: np.ndarray) -> np.ndarray:
    """How many samples of its class a sample of the part stands for, float64 (S,); 0 outside."""
    _, classes = np.unique(labels, return_inverse=True)
    total = np.bincount(classes, weights=read)
    chosen = np.bincount(classes, weights=part)
    return np.where(part, (total / np.maximum(chosen, 1))[classes], 0.0)


def _quotas(sizes: np.ndarray, count: int) -> np.ndarray:
    """How many of each class, int64 (K,): as equal as can be, ``count`` together."""
    quota = np.zeros(len(sizes), np.int64)
    left = count
    while left > 0 and (open_classes := np.flatnonzero(quota < sizes)).size:
        share = max(left // len(open_classes), 1)
        for place in open_classes[: left if left < len(open_classes) else None]:
            taken = min(share, int(sizes[place] - quota[place]))
            quota[place] += taken
            left -= taken
    return quota


def _words(digests: np.ndarray) -> list[np.ndarray]:
    """The digests as four columns of whole numbers, the most significant last."""
    return list(np.ascontiguousarray(digests).view(">u8").T[::-1])
