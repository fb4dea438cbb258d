"""Gray pictures of images, and how far apart two of them are, shifted and turned."""

import functools

import numpy as np

__all__ = [
    "PICTURE",
    "gray_pictures",
    "may_correlate",
    "picture_distances",
    "turned_distances",
    "turned_pictures",
]

PICTURE = 32
"""Pixels of a gray picture's longer side, at most."""

_ROW = 1024  # numbers of a sample that is no picture, at most
_GRID = 2.0**20  # 1 − r is rounded to 1 / _GRID
_SHIFTED = 6  # pixels of a side along which pictures are shifted, or turned, at least
_ANGLES = (-6, -3, 3, 6)  # degrees
_PAIRS = 4096  # at once
_TURNED = 32  # pictures at once
_CLOSE = 1e-3  # that correlations in float32 may be off by,
_FLAT = 1e-2  # unless a picture varies less than this where it overlaps
_Crop = tuple[slice, slice]


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


def turned_distances(pictures: np.ndarray, pairs: np.ndarray) -> np.ndarray:
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


def may_correlate(pictures: np.ndarray, pairs: np.ndarray, least: float) -> np.ndarray:
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
