"""Whether what a network gives for an image depends on the other images of its batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from analyzer.errors import ModelError

__all__ = ["CheckedSizes"]

_ALONE, _ALONE_IN_SMALLER = 5, 2  # rows of a batch that are run again without the others
_ROUNDING = 0.01  # of the range of scores, that float16 and 8 bits may move them by
_LAST_PLACES = 1e-5  # of the largest: scores all but alike have a range that rounding makes


@dataclass(slots=True)
class CheckedSizes:
    """The sizes of batches at which rows of a session were held against the same rows alone.

    A network can change its answers at any size of batch, so each that is really run is checked:
    once, by a few rows, and by more rows where it is the largest so far.
    """

    _sizes: set[int] = field(default_factory=lambda: {1})

    def __contains__(self, rows: int) -> bool:
        return rows in self._sizes

    def check(
        self,
        output: str,
        together: Sequence[np.ndarray],
        alone: Callable[[slice], Sequence[np.ndarray]],
        *,
        exact: bool = False,
    ) -> None:
        """Check a batch, if none of its size was checked before.

        Args:
            output: of the network, that is compared.
            together: arrays (B, …), what was found in one batch.
            alone: gives arrays (1, …), what is found for a row of it in a batch of its own.
            exact: for labels, which rounding does not move.

        Raises:
            ModelError: the two differ by more than rounding could make them.
        """
        rows = len(together[0])
        if rows in self:
            return
        count = _ALONE if rows > max(self._sizes) else _ALONE_IN_SMALLER
        self._sizes.add(rows)
        places = np.unique(np.linspace(0, rows - 1, count).astype(int)).tolist()
        found = zip(*(alone(slice(place, place + 1)) for place in places), strict=True)
        pairs = zip(map(np.concatenate, found), together, strict=True)
        if not all(_alike(one, batch[places], exact=exact) for one, batch in pairs):
            raise ModelError(
                f"The network's output {output} for an image depends on the other images of its "
                "batch, so there is no one answer to count. Export the network so that nothing is "
                "averaged, normalized or compared across the batch, and nothing depends on its "
                "size."
            )


def _alike(alone: np.ndarray, together: np.ndarray, *, exact: bool) -> bool:
    if exact:
        return np.array_equal(alone, together)
    if alone.shape != together.shape:
        return False
    step = 1.0 if together.dtype.kind in "biu" else 0.0  # of integers, by rounding before
    alone, together = alone.astype(np.float64), together.astype(np.float64)
    finite = together[np.isfinite(together)]
    if finite.size:
        step = max(step, _ROUNDING * np.ptp(finite), _LAST_PLACES * np.abs(finite).max())
    return bool(np.isclose(alone, together, rtol=0, atol=step, equal_nan=True).all())
