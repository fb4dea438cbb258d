"""The same image under two labels: by its bytes, or so near that it is the same for people.

Samples of the same bytes are never neighbors, so no vote shows them. Nearly the same are two
neighbors at the images that are at most a tenth as far apart as a sample usually is from its
last neighbor there: an image stored once more, or with a little noise, but no other one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from analyzer.measures.measure import same
from analyzer.measures.neighbors.nearest import NeighborVotes
from analyzer.records import SampleCounts

__all__ = [
    "ConflictPair",
    "Conflicts",
    "ConflictsRecord",
    "conflict_faults",
    "conflicts_record",
    "find_conflicts",
]

_NEAR = 0.1  # of the median distance to the last neighbor at the images
_LISTED = 50  # pairs in audit.json


@dataclass(frozen=True, slots=True)
class ConflictPair:
    """Two samples that look the same and have different labels."""

    index: int  # in the data
    name: str
    label_name: str
    other_index: int
    other_name: str
    other_label_name: str
    same_bytes: bool
    distance: float  # of their vectors of unit length at the images


@dataclass(frozen=True, slots=True)
class ConflictsRecord:
    """Samples that look as another one of another label does."""

    same_bytes: int  # samples
    near: int  # samples, besides those
    pairs: tuple[ConflictPair, ...]  # the nearest first, at most 50


@dataclass(frozen=True, slots=True, eq=False)
class Conflicts:
    """What was found of S samples."""

    twin: np.ndarray  # int64 (S,): place of one that looks the same and has another label; −1
    distance: np.ndarray  # float64 (S,): to it; 0 for the same bytes, NaN without one
    same_bytes: np.ndarray  # bool (S,)


def find_conflicts(votes: NeighborVotes, labels: np.ndarray) -> Conflicts:
    """The nearest sample of another label that looks the same, for each of S samples.

    Args:
        votes: of S samples.
        labels: int64 (S,).
    """
    twin = _of_the_same_bytes(votes.content, labels)
    same_bytes = twin >= 0
    distance = np.where(same_bytes, 0.0, np.nan)
    apart = votes.distance_images
    known = np.isfinite(apart)
    if not known.any():
        return Conflicts(twin, distance, same_bytes)
    last = np.where(known, apart, -np.inf).max(axis=1)
    limit = _NEAR * np.median(last[known.any(axis=1)])
    rival = known & (labels[votes.nearest_images] != labels[:, None]) & (apart <= limit)
    first, rows = rival.argmax(axis=1), np.arange(len(labels))
    new = rival.any(axis=1) & ~same_bytes
    twin = np.where(new, votes.nearest_images[rows, first], twin)
    distance = np.where(new, apart[rows, first], distance)
    return Conflicts(twin, distance, same_bytes)


def _of_the_same_bytes(content: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The first place with the same content and another label, int64 (S,); −1 without one."""
    order = np.lexsort((labels, content))
    starts = np.flatnonzero(np.diff(content[order], prepend=-2))
    size = np.diff(starts, append=len(order))
    first = np.repeat(starts, size)  # of its content, as positions in ``order``
    other = labels[order] != labels[order[first]]
    position = np.where(other, np.arange(len(order)), len(order))
    nearest = np.minimum.reduceat(position, starts) if len(order) else position
    another = np.repeat(nearest, size)
    chosen = np.where(other, first, another)
    valid = (another < len(order)) & (content[order] >= 0)
    twin = np.full(len(order), -1, np.int64)
    twin[order] = np.where(valid, order[np.minimum(chosen, len(order) - 1)], -1)
    return twin


def _pairs(found: Conflicts) -> dict[tuple[int, int], tuple[bool, float]]:
    """Whether bytes are the same, and the distance, of every two places, the lower first.

    Those of the same bytes come first, then the nearest; at most as many as are listed.
    """
    here = np.flatnonzero(found.twin >= 0)
    same_bytes, distance = found.same_bytes[here], found.distance[here]
    one, other = np.sort([here, found.twin[here]], axis=0)
    order = np.lexsort((other, one, distance, ~same_bytes))
    pairs: dict[tuple[int, int], tuple[bool, float]] = {}
    for place in order.tolist():
        if len(pairs) == _LISTED:
            break
        pair = int(one[place]), int(other[place])
        pairs.setdefault(pair, (bool(same_bytes[place]), float(distance[place])))
    return pairs


def conflicts_record(
    found: Conflicts,
    labels: np.ndarray,
    index: np.ndarray,
    *,
    sample_name: Callable[[int], str],
    class_name: Callable[[int], str],
) -> ConflictsRecord:
    """What ``audit.json`` says of them.

    Args:
        found: of S samples.
        labels: int64 (S,).
        index: int64 (S,), their positions in the data.
        sample_name: the name of a sample by its position in the data.
        class_name: the name of a class by its index.
    """
    return ConflictsRecord(
        same_bytes=int(found.same_bytes.sum()),
        near=int(((found.twin >= 0) & ~found.same_bytes).sum()),
        pairs=tuple(
            ConflictPair(
                index=int(index[one]),
                name=sample_name(int(index[one])),
                label_name=class_name(int(labels[one])),
                other_index=int(index[other]),
                other_name=sample_name(int(index[other])),
                other_label_name=class_name(int(labels[other])),
                same_bytes=same_bytes,
                distance=distance,
            )
            for (one, other), (same_bytes, distance) in _pairs(found).items()
        ),
    )


def conflict_faults(
    said: ConflictsRecord,
    votes: NeighborVotes,
    samples: SampleCounts,
    class_names: Mapping[int, str],
) -> list[str]:
    """What the record says of conflicts and the votes do not, in sentences; names of samples are
    not looked at."""
    found = conflicts_record(
        find_conflicts(votes, samples.label),
        samples.label,
        samples.index,
        sample_name=lambda index: "",
        class_name=lambda index: class_names.get(index, str(index)),
    )
    wrong = [
        f"'{name}' of the conflicts is {getattr(said, name)} in audit.json, the neighbors give "
        f"{getattr(found, name)}."
        for name in ("same_bytes", "near")
        if getattr(said, name) != getattr(found, name)
    ]
    alike = len(said.pairs) == len(found.pairs) and all(
        replace(one, name="", other_name="", distance=two.distance) == two
        and same(one.distance, two.distance)
        for one, two in zip(said.pairs, found.pairs, strict=True)
    )
    if not alike:
        wrong.append("The pairs of the conflicts in audit.json do not follow from the neighbors.")
    return wrong
