"""Whether what a network gives for an image depends on the other images of its batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from analyzer.errors import ModelError

__all__ = ["CheckedSizes"]

_ALONE, _ALONE_IN_SMALLER = 5, 2  # rows of a batch that are run again without the others
_ROUNDING = 0.01  # of the range of scores, that float16 and 8 bits may move them by
_LAST_PLACES = 1e-5  # of the largest: scores all but alike have a range that rounding makes
_ULPS = 4  # that rounding may move a score by where nothing else is as large


@dataclass(slots=True)
class CheckedSizes:
    """The sizes of batches at which rows of a session were held against the same rows alone.

    A network can change its answers at any size of batch, so each that is really run is checked:
    once, by a few rows, and by more rows where it is the largest so far.
    """

    _sizes: set[int] = field(default_factory=lambda: {1})
    _shape: tuple[int, ...] | None = None  # of the scores of one image

    def __contains__(self, rows: int) -> bool:
        return rows in self._sizes

    def check(
        self,
        output: str,
        together: Sequence[np.ndarray],
        alone: Callable[[slice], Sequence[np.ndarray]],
        *,
        exact: bool = False,
        scores: bool = True,
    ) -> None:
        """Check a batch, if none of its size was checked before.

        Args:
            output: of the network, that is compared.
            together: arrays (B, …), what was found in one batch.
            alone: gives arrays (1, …), what is found for a row of it in a batch of its own.
            exact: for labels, which rounding does not move.
            scores: whether the last of the arrays holds class scores (B, K).

        Raises:
            ModelError: the two differ by more than rounding could make them, or some images have
                more scores than others.
        """
        rows = len(together[0])
        if scores:
            self._hold_shape(output, together[-1])
        if rows in self:
            return
        count = _ALONE if rows > max(self._sizes) else _ALONE_IN_SMALLER
        self._sizes.add(rows)
        places = np.unique(np.linspace(0, rows - 1, count).astype(int)).tolist()
        singly = [alone(slice(place, place + 1)) for place in places]
        for one in singly if scores else ():
            self._hold_shape(output, one[-1])
        found = zip(*singly, strict=True)
        pairs = list(zip(map(np.concatenate, found), together, strict=True))
        alike = all(_alike(one, batch[places], exact=exact) for one, batch in pairs)
        if alike and scores and not exact:
            alike = _compete_alike(*pairs[-1], places)
        if not alike:
            raise ModelError(
                f"The network's output {output} for an image depends on the other images of its "
                "batch, so there is no one answer to count. Export the network so that nothing is "
                "averaged, normalized or compared across the batch, and nothing depends on its "
                "size."
            )

    def _hold_shape(self, output: str, scores: np.ndarray) -> None:
        shape = scores.shape[1:]
        if self._shape is None:
            self._shape = shape
        elif shape != self._shape:
            raise ModelError(
                f"The network's output {output} has the shape {self._shape} for some images and "
                f"{shape} for others, so there are no classes to count. Export the network so that "
                "the number of its scores does not depend on the image."
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


def _compete_alike(alone: np.ndarray, together: np.ndarray, places: Sequence[int]) -> bool:
    """Whether the scores that decide are as far from each other alone as in the batch.

    A class that is never first or second, as one that a score of −1e9 switches off, does not say
    how far rounding moves the others; neither does what all scores of an image have in common.

    Args:
        alone: scores (P, K) of some of the images.
        together: scores (B, K) of all of them.
        places: of the P among the B.
    """
    if together.ndim != 2 or together.shape[1] < 2 or together.dtype.kind != "f":
        return True
    step = _ULPS * float(np.finfo(together.dtype).eps)
    alone, together = alone.astype(np.float64), together.astype(np.float64)
    columns = np.unique(np.argpartition(-together, 1, axis=1)[:, :2])
    first, first_alone = (some.max(axis=1, keepdims=True) for some in (together, alone))
    behind, behind_alone = together[:, columns], alone[:, columns]
    if not all(np.isfinite(some).all() for some in (first, first_alone, behind, behind_alone)):
        return True  # these are compared one by one
    behind, behind_alone = behind - first, behind_alone - first_alone
    most = _ROUNDING * np.ptp(behind) + step * np.abs(together[:, columns]).max()
    return bool((np.abs(behind_alone - behind[places]) <= most).all())
