"""Exact search for the nearest vectors by cosine similarity, and the vectors that it compares."""

import numpy as np

from analyzer.errors import ModelError

__all__ = ["SKETCH", "count_sketch", "nearest_neighbors", "unit_vectors"]

SKETCH = 1024
"""Numbers that a vector has at most."""

_SEED = 0x6E65_6967  # of the count sketch, the same for every network
_COLUMNS = 4096  # of the similarity matrix at once, where they are computed in float64
_GRID = 2.0**20  # similarities are rounded to 1 / _GRID
# A product of unit vectors in float32 is off by less; so is what rounding to the grid moves.
_SLACK = np.float32(2e-5)
_APART = np.float32(-2)  # the similarity of rows that are no neighbors, below that of any others
_NEVER = np.iinfo(np.int32).min
_CROWD = 256  # candidates; float32 does not tell more of them apart
_GROUPS = 512  # of columns
_ROWS = 256  # at once
_PAIRS = 1024  # at once


def unit_vectors(values: np.ndarray, tensor: str = "activations") -> np.ndarray:
    """Vectors of unit length, float32 (B, D) of at most 1,024 numbers; zeros stay zeros.

    Args:
        values: (B, D) of any type of number.
        tensor: what the error calls them.

    Raises:
        ModelError: one is not finite.
    """
    values = values.astype(np.float64) if values.shape[1] <= SKETCH else count_sketch(values)
    if not np.isfinite(values).all():
        raise ModelError(
            f"The values at {tensor!r} are not finite numbers for an image, so it has no "
            "neighbors there. Check the preprocessing, or leave neighbors out."
        )
    # Products of rows: how one is summed does not depend on the others.
    lengths = np.sqrt(np.vecdot(values, values))
    return (values / np.where(lengths > 0, lengths, 1)[:, None]).astype(np.float32)


def count_sketch(values: np.ndarray) -> np.ndarray:
    """Each position added to one of 1,024 places with a sign, float64 (B, 1024).

    Place and sign depend on the position and on D alone, and are the same everywhere: they come
    from PCG64's raw bits. Inner products are kept in expectation (Charikar, Chen & Farach-Colton
    2002).

    Args:
        values: (B, D).
    """
    bits = np.random.PCG64([_SEED, values.shape[1]]).random_raw(values.shape[1])
    places = (bits >> np.uint64(54)).astype(np.int64)  # the first ten bits
    signs = np.float32(1) - np.float32(2) * (bits & np.uint64(1)).astype(np.float32)
    sketches = [np.bincount(places, row * signs, minlength=SKETCH) for row in values]
    return np.array(sketches).reshape(len(values), SKETCH)


def nearest_neighbors(
    vectors: np.ndarray, contents: np.ndarray, ranks: np.ndarray, count: int, asked: np.ndarray
) -> np.ndarray:
    """The ``count`` nearest others of some rows by cosine similarity, int32 (B, count).

    Exact: similarity is that of float64, rounded to 2⁻²⁰; of equally near ones the lower rank is
    nearer. float32 only tells candidates, and those apart that it can; where too many lie close
    together, it does not. Takes memory for B · N numbers in float32.

    Args:
        vectors: float32 (N, D), of unit length or zero.
        contents: int64 (N,); rows of the same number never are neighbors.
        ranks: int64 (N,), all different.
        count: k.
        asked: int64 (B,), rows to find the neighbors of. All rows in their order take half the
            time, since similarity is symmetric.

    Returns:
        Numbers of rows, nearest first; −1 where there are no others left.
    """
    everyone = np.array_equal(asked, np.arange(len(vectors)))
    near = (vectors if everyone else vectors[asked]) @ vectors.T  # (B, N)
    _, kinds, sizes = np.unique(contents, return_inverse=True, return_counts=True)
    repeated = sizes[kinds] > 1
    found = np.full((len(asked), count), -1, np.int32)
    for start in range(0, len(asked), _ROWS):  # within the processor's caches
        rows, some = asked[start : start + _ROWS], near[start : start + _ROWS]
        some[np.arange(len(rows)), rows] = _APART
        for place in np.flatnonzero(repeated[rows]):
            some[place, contents == contents[rows[place]]] = _APART
        found[start : start + _ROWS] = _nearest(vectors, ranks, some, rows, count)
    return found


def _nearest(
    vectors: np.ndarray, ranks: np.ndarray, near: np.ndarray, rows: np.ndarray, count: int
) -> np.ndarray:
    """As :func:`nearest_neighbors`, for rows with these float32 similarities (B, N)."""
    flat = np.flatnonzero(near >= (_at_most_kth(near, count) - _SLACK)[:, None])
    row, place = np.divmod(flat, len(vectors))
    number = np.bincount(row, minlength=len(rows))
    crowded = number > _CROWD
    kept = ~crowded[row]
    flat, row, place = flat[kept], row[kept], place[kept]
    number[crowded] = 0
    # The candidates of each row in a row of their own.
    column = np.arange(len(row)) - np.repeat(np.cumsum(number) - number, number)
    shape = (len(rows), max(int(number.max(initial=0)), count))
    similar, candidates = np.full(shape, _APART, np.float32), np.zeros(shape, np.int64)
    similar[row, column], candidates[row, column] = near.ravel()[flat], place
    order = np.argsort(-similar, axis=1, kind="stable")
    similar = np.take_along_axis(similar, order, axis=1)
    candidates = np.take_along_axis(candidates, order, axis=1)
    there = similar >= np.maximum(similar[:, count - 1] - _SLACK, _APART / 2)[:, None]
    close = (similar[:, :-1] - similar[:, 1:] <= _SLACK) & there[:, 1:]
    unsure = np.zeros(shape, bool)
    unsure[:, :-1] |= close
    unsure[:, 1:] |= close
    rounded = _rounded(similar)
    row, column = np.nonzero(unsure)
    rounded[row, column] = _similarities(vectors, rows[row], candidates[row, column])
    best = np.lexsort((ranks[candidates], -rounded, ~there), axis=1)[:, :count]
    found = np.take_along_axis(candidates, best, axis=1)
    found[~np.take_along_axis(there, best, axis=1)] = -1
    if crowded.any():
        same = near[crowded] == _APART
        found[crowded] = _among_all(vectors, rows[crowded], same, ranks, count)
    return found


def _at_most_kth(near: np.ndarray, count: int) -> np.ndarray:
    """What the ``count`` largest numbers of each row of (B, N) reach, or a little less, (B,).

    Of groups of columns that lie far apart, the largest of each; then the ``count`` largest of
    those. −2 where there are fewer numbers.
    """
    columns = near.shape[1]
    if columns < count:
        return np.full(len(near), _APART)
    if columns < 2 * _GROUPS:
        most = near
    else:
        most = near[:, :_GROUPS].copy()
        for start in range(_GROUPS, columns - _GROUPS + 1, _GROUPS):
            np.maximum(most, near[:, start : start + _GROUPS], out=most)
    return np.partition(most, -count, axis=1)[:, -count]


def _similarities(vectors: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of rows pair by pair, in float64 and rounded, int32 (P,)."""
    found = np.empty(len(one), np.int32)
    for start in range(0, len(one), _PAIRS):
        some = slice(start, start + _PAIRS)
        left, right = (vectors[side[some]].astype(np.float64) for side in (one, other))
        found[some] = _rounded(np.einsum("pd,pd->p", left, right))
    return found


def _among_all(
    vectors: np.ndarray, asked: np.ndarray, same: np.ndarray, ranks: np.ndarray, count: int
) -> np.ndarray:
    """As :func:`nearest_neighbors`, all similarities in float64; ``same`` is bool (B, N)."""
    own = vectors[asked].astype(np.float64)
    near = np.concatenate(
        [
            _rounded(own @ vectors[start : start + _COLUMNS].T.astype(np.float64))
            for start in range(0, len(vectors), _COLUMNS)
        ],
        axis=1,
    )
    near[same] = _NEVER
    by_rank = np.argsort(ranks)
    near = near[:, by_rank]
    kth = np.partition(near, -count, axis=1)[:, -count]
    found = np.empty((len(asked), count), np.int64)
    for row, (values, least) in enumerate(zip(near, kth, strict=True)):
        tied = np.flatnonzero(values >= least)
        best = tied[np.argsort(-values[tied].astype(np.int64), kind="stable")[:count]]
        found[row] = np.where(values[best] == _NEVER, -1, by_rank[best])
    return found


def _rounded(similarity: np.ndarray) -> np.ndarray:
    return np.rint(similarity * _GRID).astype(np.int32)
