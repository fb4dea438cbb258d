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

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from analyzer.measures.ablation.sample_scores import SampleCounts
from analyzer.measures.measure import same

if TYPE_CHECKING:
    from analyzer.measures.neighbors.votes import NeighborVotes

_Crop = tuple[slice, slice]

__all__ = [
    "ConflictPair",
    "Conflicts",
    "ConflictsRecord",
    "conflict_faults",
    "conflicts_record",
    "find_conflicts",
    "find_twins",
    "gray_pictures",
    "picture_distances",
    "turned_pictures",
]

PICTURE = 32
"""Pixels of a gray picture's longer side, at most."""

_ROW = 1024  # numbers of a sample that is no picture, at most
_LIMIT = 0.3  # of the usual distance to the last of these neighbors, at most
_USUAL = (10, 20)  # neighbors beyond the copies that there may be
_BY_CHANCE = 0.01  # of the samples, at most, are as near to another one
_LOOKED_AT = 5  # nearest ones at each layer that may be twins
_FEW = 100  # samples; fewer tell little of what is usual,
_LIMIT_OF_FEW = 0.1  # so that twins must be nearer there
_SPREAD_OVER = 500  # samples that tell what is usual
_GRID = 2.0**20  # 1 − r is rounded to 1 / _GRID
_SHIFTED = 6  # pixels of a side along which pictures are shifted, or turned, at least
_ANGLES = (-6, -3, 3, 6)  # degrees
_PAIRS = 4096  # at once
_TURNED = 32  # pictures at once
_CLOSE = 1e-3  # that correlations in float32 may be off by,
_FLAT = 1e-2  # unless a picture varies less than this where it overlaps
_LISTED = 50  # conflicts in audit.json


def gray_pictures(images: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """Gray pictures of mean 0 and variance 1, float32 (B, h, w); all 0 where an image is uniform.

    Args:
        images: (B, C, H, W), (B, H, W, C), (B, H, W) or anything else, which is a row of numbers.
        size: (H, W) of images that are given as rows.
    """
    values = images.astype(np.float64)
    if values.ndim == 4:
        values = values.mean(axis=_channel_axis(*values.shape[1:]))
    elif values.ndim != 3:
        shape = size if size and size[0] * size[1] == values[0].size else (1, -1)
        values = values.reshape(len(values), *shape)
    rows, columns = values.shape[1:]
    most = PICTURE if rows > 1 else _ROW
    step = -(-max(rows, columns) // most)
    if step > 1:
        for axis, length in ((1, rows), (2, columns)):
            starts = np.arange(0, length, step)
            sums = np.add.reduceat(values, starts, axis=axis)
            count = np.diff(starts, append=length)
            values = sums / count.reshape([-1 if one == axis else 1 for one in range(3)])
    # Means and products of rows: how one is summed does not depend on the others.
    flat = np.ascontiguousarray(values.reshape(len(values), -1))
    flat = flat - flat.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.vecdot(flat, flat) / flat.shape[1])[:, None]
    uniform = deviation <= 1e-9
    scaled = np.where(uniform, 0, flat / np.where(uniform, 1, deviation))
    return scaled.astype(np.float32).reshape(values.shape)


def _channel_axis(first: int, second: int, third: int) -> int:
    """Which axis of images (B, first, second, third) has the channels, 1 or 3.

    The one beside a square; where that does not tell, the shorter one.
    """
    if (first == second) != (second == third):
        return 3 if first == second else 1
    return 1 if first <= third else 3


def picture_distances(
    pictures: np.ndarray, pairs: np.ndarray, others: np.ndarray | None = None
) -> np.ndarray:
    """How far apart two pictures are where they lie on each other best, float64 (P,).

    The square root of 1 − r, 0 to 1.4, for the best of nine shifts by up to one pixel; 1 where one
    of them is uniform.

    Args:
        pictures: float32 (N, h, w), see :func:`gray_pictures`.
        pairs: int64 (P, 2).
        others: float32 (N, h, w), what the second of a pair is taken from; the same by default.
    """
    others = pictures if others is None else others
    crops = _crops(*pictures.shape[1:])
    sides = [np.unique(side, return_inverse=True) for side in pairs.T]
    moments = [
        _moments(images, rows, [crop[side] for crop in crops])
        for side, (images, (rows, _)) in enumerate(zip((pictures, others), sides, strict=True))
    ]
    best = np.full(len(pairs), -1.0)
    for start in range(0, len(pairs), _PAIRS):
        some = slice(start, start + _PAIRS)
        one, other = pictures[pairs[some, 0]], others[pairs[some, 1]]
        first, second = (
            found[..., places[some]] for found, (_, places) in zip(moments, sides, strict=True)
        )
        for number, (crop, moved) in enumerate(crops):
            left, right = one[:, *crop], other[:, *moved]
            together = _summed(left, right) / left[0].size - first[number, 0] * second[number, 0]
            scale = np.sqrt(first[number, 1] * second[number, 1])
            correlation = np.where(scale > 1e-6, together / np.maximum(scale, 1e-6), 0.0)
            np.maximum(best[some], correlation, out=best[some])
    return np.sqrt(np.rint(np.clip(1 - best, 0, 2) * _GRID) / _GRID)


def _moments(pictures: np.ndarray, rows: np.ndarray, crops: list[_Crop]) -> np.ndarray:
    """Mean and variance of some pictures' crops, float64 (C, 2, R).

    Args:
        pictures: float32 (N, h, w).
        rows: int64 (R,).
        crops: C of them.
    """
    found = np.empty((len(crops), 2, len(rows)))
    for start in range(0, len(rows), _PAIRS):
        some = slice(start, start + _PAIRS)
        shown = pictures[rows[some]]
        for number, crop in enumerate(crops):
            part = shown[:, *crop]
            size = part[0].size
            mean = part.sum(axis=(1, 2), dtype=np.float64) / size
            found[number, 0, some] = mean
            found[number, 1, some] = np.clip(_summed(part, part) / size - mean**2, 0, None)
    return found


def _summed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The sums of the products of pictures (B, h, w), float64 (B,)."""
    return np.einsum("bhw,bhw->b", one, other).astype(np.float64)


def _crops(rows: int, columns: int) -> list[tuple[_Crop, _Crop]]:
    """Where a picture lies on another one, by shifts of up to a pixel; and the other one on it."""
    shifts = [(y, x) for y in _steps(rows) for x in _steps(columns)]
    return [(_crop(rows, columns, y, x), _crop(rows, columns, -y, -x)) for y, x in shifts]


def _steps(length: int) -> tuple[int, ...]:
    return (-1, 0, 1) if length >= _SHIFTED else (0,)


def _crop(rows: int, columns: int, y: int, x: int) -> _Crop:
    """Where a picture lies on another one that is moved by (y, x)."""
    return (
        slice(max(y, 0), rows + min(y, 0)),
        slice(max(x, 0), columns + min(x, 0)),
    )


def turned_pictures(pictures: np.ndarray, degrees: float) -> np.ndarray:
    """Pictures (S, H, W) turned about their middles, bilinearly; beyond an edge it is continued."""
    above, below, before, behind, lower, later = _corners(*pictures.shape[1:], degrees)
    # Pixel by pixel of all pictures, so that what lies beside each other is read together.
    pixels = np.ascontiguousarray(np.moveaxis(pictures, 0, -1))
    upper_row = pixels[above, before] * (1 - later) + pixels[above, behind] * later
    lower_row = pixels[below, before] * (1 - later) + pixels[below, behind] * later
    found = upper_row * (1 - lower) + lower_row * lower
    return np.ascontiguousarray(np.moveaxis(found, -1, 0))


@functools.lru_cache(maxsize=16)
def _corners(height: int, width: int, degrees: float) -> tuple[np.ndarray, ...]:
    """Which four pixels each pixel of a turned picture lies between, and where.

    Returns:
        Rows above and below and columns before and behind, int64 (H, W), and how far it is from
        the first of each, float32 (H, W, 1).
    """
    middle = ((height - 1) / 2, (width - 1) / 2)
    down, right = (
        axis - half for axis, half in zip(np.indices((height, width)), middle, strict=True)
    )
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    rows = np.clip(cosine * down + sine * right + middle[0], 0, height - 1)
    columns = np.clip(cosine * right - sine * down + middle[1], 0, width - 1)
    above, before = rows.astype(int), columns.astype(int)
    below, behind = np.minimum(above + 1, height - 1), np.minimum(before + 1, width - 1)
    lower, later = (
        (at - first).astype(np.float32) for at, first in ((rows, above), (columns, before))
    )
    return above, below, before, behind, lower[..., None], later[..., None]


def _turned_distances(pictures: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """As :func:`picture_distances`, one of each pair turned by the angle that is best."""
    best = np.full(len(pairs), np.inf)
    if min(pictures.shape[1:]) < _SHIFTED:
        return best
    rows, places = np.unique(pairs, return_inverse=True)
    places = places.reshape(pairs.shape)
    for angle in _ANGLES:
        turned = turned_pictures(pictures[rows], angle)
        for one, other in ((0, 1), (1, 0)):
            moved = np.stack([pairs[:, one], places[:, other]], axis=1)
            np.minimum(best, picture_distances(pictures, moved, turned), out=best)
    return best


def _may_correlate(pictures: np.ndarray, pairs: np.ndarray, least: float) -> np.ndarray:
    """Whether two pictures, shifted and turned, may correlate by ``least`` or more, bool (P,).

    No pair is missed that :func:`picture_distances` finds, but some are let through: products of
    matrices in float32 tell, of each picture at all shifts and angles with all that it is paired
    with. A correlation is the product of pictures of mean 0 and variance 1 where they overlap.

    Args:
        pictures: float32 (N, h, w), see :func:`gray_pictures`.
        pairs: int64 (P, 2).
        least: above 0.
    """
    count, rows, columns = pictures.shape
    crops = _crops(rows, columns)
    angles = _ANGLES if min(rows, columns) >= _SHIFTED else ()
    versions, shifts = (1 + len(angles)) * len(crops), np.arange(len(crops))
    length = rows * columns
    overlaps = np.zeros((len(crops), rows, columns), np.float32)
    for number, (_, moved) in enumerate(crops):
        overlaps[number, *moved] = 1
    size = overlaps.sum(axis=(1, 2))
    mean, spread, flat = _spread(pictures, overlaps)
    inverse = np.tile(1 / spread, 1 + len(angles))
    # Products with what is moved lack those of the means, which follow in further columns.
    beside = np.concatenate([pictures.reshape(count, length), mean], axis=1)
    directed = np.concatenate([pairs, pairs[:, ::-1]])
    order = np.argsort(directed[:, 0], kind="stable")
    partners, starts = directed[order, 1], np.searchsorted(directed[order, 0], range(count + 1))
    ordered = np.empty(len(directed), np.float32)
    held = np.zeros((_TURNED, 1 + len(angles), len(crops), length + len(crops)), np.float32)
    for start in range(0, count, _TURNED):
        some = pictures[start : start + _TURNED]
        turned = np.stack([some, *(turned_pictures(some, angle) for angle in angles)], axis=1)
        # As many shifts go one way as the other: of the crops, the last moves like the first.
        means, spreads, flat_ones = _spread(turned, overlaps[::-1])
        flat[start : start + _TURNED] |= flat_ones.any(axis=1)
        moved_ones = held[: len(some)]  # 0 where they do not reach
        at = moved_ones[..., :length].reshape(*means.shape, rows, columns)
        for number, (crop, moved) in enumerate(crops):
            at[:, :, number, *moved] = turned[:, :, *crop]
        moved_ones[:, :, shifts, length + shifts] = -means * size
        scales = (1 / (size * spreads)).reshape(len(some), versions)
        for place, one in enumerate(moved_ones.reshape(len(some), versions, -1)):
            own = slice(starts[start + place], starts[start + place + 1])
            others = partners[own]
            together = beside[others] @ one.T
            ordered[own] = (together * scales[place] * inverse[others]).max(axis=1)
    best = np.empty_like(ordered)
    best[order] = ordered
    best = best.reshape(2, -1).max(axis=0)
    return (best >= least - _CLOSE) | flat[pairs].any(axis=1)


def _spread(
    pictures: np.ndarray, overlaps: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means and standard deviations of pictures (…, h, w) where they overlap, float32 (…, C).

    Args:
        pictures: float32.
        overlaps: float32 (C, h, w), 1 where they do.

    Returns:
        (means, deviations, whether one of them is so small that it tells nothing, bool (…)).
    """
    values, inside = pictures.reshape(*pictures.shape[:-2], -1), overlaps.reshape(len(overlaps), -1)
    size = inside.sum(axis=1)
    means, squares = (one @ inside.T / size for one in (values, values**2))
    variance = squares - means**2
    return means, np.sqrt(np.maximum(variance, _FLAT)), (variance < _FLAT).any(axis=-1)


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
    pairs = pairs[_may_correlate(pictures, pairs, 1 - (limit * middle) ** 2)]
    apart = picture_distances(pictures, pairs)
    doubt = np.flatnonzero((apart > limit * middle) & (apart <= middle))
    apart[doubt] = np.minimum(apart[doubt], _turned_distances(pictures, pairs[doubt]))
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
