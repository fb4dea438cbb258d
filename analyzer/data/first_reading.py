"""Samples are read more than once where they do not fit into memory: are they still the same?"""

from collections.abc import Callable, Iterator

import numpy as np

from analyzer.data.batch import Batch
from analyzer.errors import DataError

__all__ = ["FirstReading"]

Load = Callable[[np.ndarray, int], Iterator[Batch]]

_UNKNOWN, _READ, _SKIPPED = 0, 1, 2


class FirstReading:
    """What samples were when they were first read; every later reading is held against it."""

    def __init__(self, samples: int):
        """Nothing read yet of ``samples`` samples."""
        self._digests = np.zeros((samples, 32), np.uint8)
        self._state = np.zeros(samples, np.uint8)

    def guarded(self, load: Load) -> Load:
        """``load``, except that it raises a DataError where a sample has changed."""

        def load_and_check(indices: np.ndarray, batch_size: int) -> Iterator[Batch]:
            for batch in load(indices, batch_size):
                self.check(batch.indices, batch.digests)
                self._mark([bad.index for bad in batch.skipped], _SKIPPED)
                yield batch

        return load_and_check

    def check(self, indices: np.ndarray, digests: np.ndarray) -> None:
        """Hold samples against their first reading, or keep them where this is it.

        Args:
            indices: int64 (B,), of the samples.
            digests: uint8 (B, 32), sha256 of each as it is stored.

        Raises:
            DataError: a sample is not what it was.
        """
        known = self._state[indices] == _READ
        if not np.array_equal(self._digests[indices[known]], digests[known]):
            raise _changed()
        self._mark(indices, _READ)
        self._digests[indices[~known]] = digests[~known]

    def digests(self, indices: np.ndarray) -> np.ndarray | None:
        """uint8 (B, 32), of samples that were all read; None unless they were."""
        if (self._state[indices] != _READ).any():
            return None
        return self._digests[indices]

    def _mark(self, indices: np.ndarray | list[int], state: int) -> None:
        before = self._state[indices]
        if ((before != _UNKNOWN) & (before != state)).any():
            raise _changed()
        self._state[indices] = state


def _changed() -> DataError:
    return DataError(
        "A sample has changed since it was first read. Leave the data alone until the audit is "
        "done, and start it again."
    )
