"""Exact search for the nearest vectors by cosine similarity, and the vectors that it compares."""

import numpy as np

from analyzer.errors import ModelError

__all__ = [
    "SKETCH",
    "VectorSearch",
    "count_sketch",
    "nearest_neighbors",
    "no_neighbors",
    "unit_vectors",
]

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
        asked: int64 (B,), rows to find the neighbors of.

    Returns:
        Numbers of rows, nearest first; −1 where there are no others left.
    """
    search = VectorSearch(vectors, contents, ranks)
    found, similar = no_neighbors(len(asked), count)
    near = vectors[asked] @ vectors.T  # (B, N)
    search.choose(near, asked, slice(0, len(vectors)), found, similar)
    return found


def no_neighbors(rows: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """What :meth:`VectorSearch.compare` begins with: nothing found yet.

    Returns:
        (found, similar): numbers of rows, int32 (R, k), −1 for none; and how similar they are,
        float32 (R, k).
    """
    return np.full((rows, count), -1, np.int32), np.full((rows, count), _APART)


class VectorSearch:
    """The nearest among N vectors that are compared block by block, each pair once.

    As :func:`nearest_neighbors` says.
    """

    def __init__(self, vectors: np.ndarray, contents: np.ndarray, ranks: np.ndarray):
        self._vectors, self._contents, self._ranks = vectors, contents, ranks
        _, kinds, sizes = np.unique(contents, return_inverse=True, return_counts=True)
        self._repeated = sizes[kinds] > 1

    def compare(self, rows: slice, found: np.ndarray, similar: np.ndarray, at_once: int) -> None:
        """Compare rows with those before them and with each other, changing what is found.

        Where all rows up to ``rows.stop`` have been compared, ``found`` is what
        :func:`nearest_neighbors` says of them among themselves.

        Args:
            rows: that have not been compared with any others; all before them have.
            found: int32 (N, k), see :func:`no_neighbors`.
            similar: float32 (N, k).
            at_once: rows that are compared with as many others.
        """
        some = self._vectors[rows]
        for start in range(0, rows.start, at_once):
            earlier = slice(start, min(start + at_once, rows.start))
            near = some @ self._vectors[earlier].T
            for one, other, seen in ((rows, earlier, near), (earlier, rows, near.T)):
                numbers = np.arange(one.start, one.stop)
                self.choose(seen, numbers, other, found[one], similar[one])
        numbers = np.arange(rows.start, rows.stop)
        # Of a matrix with itself half the products are computed.
        self.choose(some @ some.T, numbers, rows, found[rows], similar[rows])

    def choose(
        self,
        near: np.ndarray,
        rows: np.ndarray,
        columns: slice,
        found: np.ndarray,
        similar: np.ndarray,
    ) -> None:
        """Let rows have the nearest of what they have and of the columns, in place.

        Args:
            near: float32 (B, C), similarities of rows and columns; those of no neighbors change.
            rows: int64 (B,).
            columns: of C rows.
            found: int32 (B, k), of the rows.
            similar: float32 (B, k), of the rows.
        """
        for start in range(0, len(rows), _ROWS):  # within the processor's caches
            part = slice(start, start + _ROWS)
            some, own = np.ascontiguousarray(near[part]), rows[part]
            here = (own >= columns.start) & (own < columns.stop)
            some[here, own[here] - columns.start] = _APART
            for place in np.flatnonzero(self._repeated[own]):
                some[place, self._contents[columns] == self._contents[own[place]]] = _APART
            found[part], similar[part] = self._nearest(
                some, own, columns, found[part], similar[part]
            )

    def _nearest(
        self,
        near: np.ndarray,
        rows: np.ndarray,
        columns: slice,
        found: np.ndarray,
        similar: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`choose`, with −2 for the similarity of those that are no neighbors."""
        count = found.shape[1]
        least = np.maximum(_at_most_kth(near, count), similar[:, -1]) - _SLACK
        flat = np.flatnonzero(near >= least[:, None])
        row, place = np.divmod(flat, near.shape[1])
        number = np.bincount(row, minlength=len(rows))
        crowded = np.flatnonzero(number > _CROWD)
        kept = number[row] <= _CROWD
        flat, row, place = flat[kept], row[kept], place[kept]
        number[crowded] = 0
        # The candidates of each row in a row of their own, beside what was found already.
        before = count if (found >= 0).any() else 0
        width = before + max(int(number.max(initial=0)), count)
        likeness = np.full((len(rows), width), _APART, np.float32)
        candidates = np.zeros((len(rows), width), np.int64)
        likeness[:, :before], candidates[:, :before] = similar[:, :before], found[:, :before]
        column = before + np.arange(len(row)) - np.repeat(np.cumsum(number) - number, number)
        likeness[row, column] = near.ravel()[flat]
        candidates[row, column] = columns.start + place
        if len(crowded):
            beside = slice(before, before + count)
            candidates[crowded, beside], likeness[crowded, beside] = self._among_all(
                rows[crowded], columns, near[crowded] == _APART, count
            )
        order = np.argsort(-likeness, axis=1, kind="stable")
        likeness = np.take_along_axis(likeness, order, axis=1)
        candidates = np.take_along_axis(candidates, order, axis=1)
        there = likeness >= np.maximum(likeness[:, count - 1] - _SLACK, _APART / 2)[:, None]
        close = (likeness[:, :-1] - likeness[:, 1:] <= _SLACK) & there[:, 1:]
        unsure = np.zeros(likeness.shape, bool)
        unsure[:, :-1] |= close
        unsure[:, 1:] |= close
        rounded = _rounded(likeness)
        row, column = np.nonzero(unsure)
        rounded[row, column] = _similarities(self._vectors, rows[row], candidates[row, column])
        best = np.lexsort((self._ranks[candidates], -rounded, ~there), axis=1)[:, :count]
        chosen, rounded, there = (
            np.take_along_axis(one, best, axis=1) for one in (candidates, rounded, there)
        )
        return np.where(there, chosen, -1), np.where(there, rounded / _GRID, _APART)

    def _among_all(
        self, rows: np.ndarray, columns: slice, apart: np.ndarray, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The nearest of the columns, all similarities in float64.

        Args:
            rows: int64 (B,).
            columns: of C rows.
            apart: bool (B, C), where they are no neighbors.
            count: k, at most C.

        Returns:
            (numbers of rows, int64 (B, k), and how similar they are, float64 (B, k)), −2 for none.
        """
        own = self._vectors[rows].astype(np.float64)
        near = np.concatenate(
            [
                _rounded(own @ self._vectors[columns][start : start + _COLUMNS].T.astype(float))
                for start in range(0, columns.stop - columns.start, _COLUMNS)
            ],
            axis=1,
        )
        near[apart] = _NEVER
        by_rank = np.argsort(self._ranks[columns])
        near = near[:, by_rank]
        kth = np.partition(near, -count, axis=1)[:, -count]
        found = np.empty((len(rows), count), np.int64)
        similar = np.empty((len(rows), count))
        for row, (values, least) in enumerate(zip(near, kth, strict=True)):
            tied = np.flatnonzero(values >= least)
            best = tied[np.argsort(-values[tied].astype(np.int64), kind="stable")[:count]]
            found[row] = columns.start + by_rank[best]
            similar[row] = np.where(values[best] == _NEVER, _APART, values[best] / _GRID)
        return found, similar


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


def _rounded(similarity: np.ndarray) -> np.ndarray:
    return np.rint(similarity * _GRID).astype(np.int32)
