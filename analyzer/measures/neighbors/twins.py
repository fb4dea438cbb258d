"""Twins: samples that show the same thing, though their bytes differ.

A picture that was shifted, turned a little, stored again, made brighter or given a little noise is
still the same picture. Its copies are each other's nearest neighbors and share a label, so that
neighbors would say that a network learned what it only saw twice. They are recognized at the
images: as gray pictures of at most 32 pixels a side, shifted by up to one of these pixels and
turned by up to six degrees, whatever their brightness and contrast. Two of them are as far apart as
the square root of 1 − r, r being the correlation of their pixels. Twins are at most three tenths as
far apart as samples usually are from their twentieth neighbor, both in these data and around each
of the two; less where the data are so simple that one sample in a hundred would come as near to
another one by chance. How near chance brings them follows from how distances grow from the tenth
neighbor to the twentieth: as the m-th root of the number, in m dimensions. Among fewer than a
hundred samples they must be within a tenth.

One image under two labels, by its bytes or as a twin, is a conflict of labels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from analyzer.measures.ablation.sample_scores import SampleCounts
from analyzer.measures.measure import same
from analyzer.measures.neighbors.pictures import (
    may_correlate,
    picture_distances,
    turned_distances,
)

if TYPE_CHECKING:
    from analyzer.measures.neighbors.votes import NeighborVotes


__all__ = [
    "ConflictPair",
    "Conflicts",
    "ConflictsRecord",
    "conflict_faults",
    "conflicts_record",
    "find_conflicts",
    "find_twins",
]

_LIMIT = 0.3  # of the usual distance to the last of these neighbors, at most
_USUAL = (10, 20)  # neighbors beyond the copies that there may be
_BY_CHANCE = 0.01  # of the samples, at most, are as near to another one
_LOOKED_AT = 5  # nearest ones at each layer that may be twins
_FEW = 100  # samples; fewer tell little of what is usual,
_LIMIT_OF_FEW = 0.1  # so that twins must be nearer there
_SPREAD_OVER = 500  # samples that tell what is usual
_LISTED = 50  # conflicts in audit.json


def find_twins(
    pictures: np.ndarray, nearest: np.ndarray, ranks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows that are twins, int64 (P, 2), the lower row first, sorted; and how far apart.

    None where rows have fewer than twenty neighbors, or pictures are all alike: then nothing is
    usual.

    Args:
        pictures: float32 (N, h, w), see :func:`gray_pictures`.
        nearest: int32 (L, N, k), neighbors by layer, nearest first, the images' layer first; −1
            for none.
        ranks: int64 (N,), of the rows, by what they hold.

    Returns:
        (pairs, distances), the latter float64 (P,).
    """
    none = np.empty((0, 2), np.int64), np.empty(0)
    _, count, _ = nearest.shape
    known = np.flatnonzero((nearest[0] >= 0).sum(axis=1) >= _USUAL[-1])
    if not len(known):
        return none
    step = max(-(-len(known) // _SPREAD_OVER), 1)
    drawn = np.sort(known[np.argsort(ranks[known])[::step]])
    usual = _usual(pictures, nearest[0], drawn)
    limit = min(_limit(usual), _LIMIT if len(known) >= _FEW else _LIMIT_OF_FEW)
    middle = float(np.median(usual[:, 1]))
    if not middle:
        return none
    first = nearest[:, :, :_LOOKED_AT]
    rows = np.broadcast_to(np.arange(count)[None, :, None], first.shape)
    pairs = np.stack([rows, first], axis=-1)[first >= 0].astype(np.int64)
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    pairs = pairs[may_correlate(pictures, pairs, 1 - (limit * middle) ** 2)]
    apart = picture_distances(pictures, pairs)
    doubt = np.flatnonzero((apart > limit * middle) & (apart <= middle))
    apart[doubt] = np.minimum(apart[doubt], turned_distances(pictures, pairs[doubt]))
    near = apart <= limit * middle
    pairs, apart = pairs[near], apart[near]
    around = np.zeros(count)
    asked = np.intersect1d(pairs, known)
    around[asked] = limit * _usual(pictures, nearest[0], asked)[:, 1]
    twins = apart <= around[pairs].min(axis=1)
    return pairs[twins], apart[twins]


def _limit(usual: np.ndarray) -> float:
    """How near twins are, as a part of the distance to the last usual neighbor.

    In m dimensions, one of n neighbors is by chance within a part t of the last one's distance with
    a probability of about n·t^m.

    Args:
        usual: float64 (R, 2), see :func:`_usual`.
    """
    first, last = _USUAL
    growth = float(np.median(np.log(np.maximum(usual[:, 1], 1e-9) / np.maximum(usual[:, 0], 1e-9))))
    dimensions = np.log(last / first) / max(growth, 1e-9)
    return min(_LIMIT, float((_BY_CHANCE / (last - 1)) ** (1 / dimensions)))


def _usual(pictures: np.ndarray, nearest: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """How far rows, int64 (R,), are from their tenth and twentieth neighbor, float64 (R, 2)."""
    if not len(rows):
        return np.empty((0, 2))
    near = nearest[rows].astype(np.int64)
    pairs = np.stack([np.broadcast_to(rows[:, None], near.shape), near], axis=-1).reshape(-1, 2)
    apart = picture_distances(pictures, pairs).reshape(near.shape)
    apart[near < 0] = np.inf
    return np.sort(apart, axis=1)[:, [number - 1 for number in _USUAL]]


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
    distance: float  # of their pictures, 0 to 1.4; 0 for the same bytes


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


def find_conflicts(votes: "NeighborVotes", labels: np.ndarray) -> Conflicts:
    """The nearest sample of another label that looks the same, for each of S samples.

    Args:
        votes: of S samples.
        labels: int64 (S,).
    """
    twin = _of_the_same_bytes(votes.content, labels)
    same_bytes = twin >= 0
    distance = np.where(same_bytes, 0.0, np.nan)
    known = ((votes.twins >= 0) & (votes.twins < len(labels))).all(axis=1)  # or the file is forged
    pairs, apart = votes.twins[known], votes.twin_distance[known]
    rival = labels[pairs[:, 0]] != labels[pairs[:, 1]]
    pairs, apart = pairs[rival], apart[rival]
    one, other = np.concatenate([pairs, pairs[:, ::-1]]).T
    apart = np.tile(apart, 2)
    new = ~same_bytes[one]
    one, other, apart = one[new], other[new], apart[new]
    farthest_first = np.lexsort((other, apart))[::-1]  # so that the nearest is what stays
    twin[one[farthest_first]] = other[farthest_first]
    distance[one[farthest_first]] = apart[farthest_first]
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
    votes: "NeighborVotes",
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
