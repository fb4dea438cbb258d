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
_SLACK = 2e-5
_NEVER = np.iinfo(np.int32).min
_SPARE = 22  # candidates beyond k that float32 proposes


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
    # Row by row: how a row is summed must not depend on the others.
    lengths = np.array([np.sqrt(row @ row) for row in values])
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
    signs = 1.0 - 2.0 * (bits & np.uint64(1))
    sketches = [np.bincount(places, row * signs, minlength=SKETCH) for row in values]
    return np.array(sketches).reshape(len(values), SKETCH)


def nearest_neighbors(
    vectors: np.ndarray, contents: np.ndarray, ranks: np.ndarray, count: int, asked: np.ndarray
) -> np.ndarray:
    """The ``count`` nearest others of some rows by cosine similarity, int32 (B, count).

    Exact: similarity is that of float64, rounded to 2⁻²⁰; of equally near ones the lower rank is
    nearer. float32 only proposes candidates, and where too many lie close together, it does not.

    Args:
        vectors: float32 (N, D), of unit length or zero.
        contents: int64 (N,); rows of the same number never are neighbors.
        ranks: int64 (N,), all different.
        count: k.
        asked: int64 (B,), rows to find the neighbors of.

    Returns:
        Numbers of rows, nearest first; −1 where there are no others left.
    """
    same = contents[asked, None] == contents
    near = vectors[asked] @ vectors.T  # (B, N)
    near[same] = -np.inf
    most = min(count + _SPARE, len(vectors))
    candidates = np.argpartition(near, -most, axis=1)[:, -most:]
    lowest, kth = (
        np.partition(np.take_along_axis(near, candidates, axis=1), -place, axis=1)[:, -place]
        for place in (most, min(count, most))
    )
    # Row by row, within the processor's caches.
    exact = np.array(
        [
            vectors[near_by].astype(np.float64) @ vectors[row].astype(np.float64)
            for row, near_by in zip(asked, candidates, strict=True)
        ]
    )
    found = np.full((len(asked), count), -1, np.int32)
    best = _best(_rounded(exact), np.take_along_axis(same, candidates, axis=1), ranks[candidates])
    chosen = np.take_along_axis(candidates, best[:, :count], axis=1)
    found[:, : chosen.shape[1]] = np.where(np.take_along_axis(same, chosen, axis=1), -1, chosen)
    crowded = (lowest > kth - _SLACK) & (most < len(vectors))
    if crowded.any():
        found[crowded] = _among_all(vectors, asked[crowded], same[crowded], ranks, count)
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


def _best(near: np.ndarray, same: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """The order of the columns of (B, C), nearest first, those to leave out last."""
    return np.lexsort((ranks, -near.astype(np.int64), same), axis=1)


def _rounded(similarity: np.ndarray) -> np.ndarray:
    return np.rint(similarity * _GRID).astype(np.int32)
