"""Whether samples are what they were when they were first read.

They are read more than once where they do not fit into memory, and again after an interruption.
"""

from collections.abc import Iterator

import numpy as np

from analyzer.common_types import Progress
from analyzer.data.batches import Batch, Load
from analyzer.data.source import LEAVE_ALONE, Sample, Source, digest
from analyzer.errors import DataError, parameter

__all__ = ["FirstReading"]

_UNKNOWN, _READ, _SKIPPED, _EARLIER = range(4)  # states of a sample; the last: in an earlier run
_KNOWN = (_READ, _EARLIER)


class FirstReading:
    """What samples were when they were first read; every later reading is held against it."""

    def __init__(self, source: Source):
        """Nothing read yet of ``source``."""
        self._source = source
        self._digests = np.zeros((len(source), 32), np.uint8)
        self._state = np.full(len(source), _UNKNOWN, np.uint8)

    def guarded(self, load: Load) -> Load:
        """``load``, except that it raises a DataError where a sample has changed."""

        def load_and_check(indices: np.ndarray, batch_size: int) -> Iterator[Batch]:
            for batch in load(indices, batch_size):
                self.check(batch.indices, batch.digests)
                self.skip(np.array([bad.index for bad in batch.skipped], np.int64))
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
        self._hold(indices, digests)
        self._mark(indices, _READ)

    def skip(self, indices: np.ndarray) -> None:
        """Keep that samples cannot be read.

        Args:
            indices: int64 (B,), of the samples.

        Raises:
            DataError: one could be read.
        """
        self._mark(indices, _SKIPPED)

    def sample(self, index: int) -> Sample:
        """Read and decode one sample.

        Raises:
            DataError: it cannot be read, or is not what it was.
        """
        try:
            sample = self._source.read(index)
        except DataError as error:
            if self._state[index] in _KNOWN:
                raise self._changed(index) from error
            raise
        self.check(np.array([index]), np.frombuffer(sample.digest, np.uint8)[None])
        return sample

    def take_over(self, indices: np.ndarray, digests: np.ndarray) -> None:
        """Keep what an interrupted run read; :meth:`confirm` reads it again.

        Raises:
            DataError: a sample is not what it was.
        """
        self._hold(indices, digests, earlier=True)
        self._mark(indices[self._state[indices] != _READ], _EARLIER)

    def read(self, indices: np.ndarray, progress: Progress) -> np.ndarray | None:
        """Read samples now, without decoding them: sha256 of each, uint8 (B, 32).

        Args:
            indices: int64 (B,), of the samples.
            progress: called with the stage "read", in samples.

        Returns:
            None if one cannot be read.

        Raises:
            DataError: a sample is not what it was.
        """
        digests = np.empty((len(indices), 32), np.uint8)
        for place, index in enumerate(indices.tolist()):
            try:
                digests[place] = np.frombuffer(digest(self._source.stored(index)), np.uint8)
            except (OSError, DataError):
                return None
            progress("read", place + 1, len(indices))
        self.check(indices, digests)
        return digests

    def digests(self, indices: np.ndarray) -> np.ndarray | None:
        """uint8 (B, 32), of samples that were all read; None unless they were."""
        if not np.isin(self._state[indices], _KNOWN).all():
            return None
        return self._digests[indices]

    def confirm(self) -> None:
        """Hold the data as they are now against all that was read of them, in the end.

        What was read once can be of two data sets: some samples of one, some of the next. Samples
        are read again only where files have changed, or where an interrupted run had read them.

        Raises:
            DataError: a sample, its label or its name is not what it was.
        """
        source, now = self._source, self._source
        doubtful = self._state == _EARLIER
        if not source.store.is_as_opened():
            now, doubtful = self._reopened(), self._state != _UNKNOWN
        self._read_again(now, doubtful)
        if not now.store.is_as_opened():
            raise DataError(f"{source.source} has changed since it was read. {LEAVE_ALONE}")

    def confirm_earlier(self) -> None:
        """Hold the data against what an interrupted run read, now and not in the end.

        Raises:
            DataError: a sample is not what it was.
        """
        earlier = self._state == _EARLIER
        self._read_again(self._source, earlier)
        self._state[earlier] = _READ

    def _read_again(self, now: Source, doubtful: np.ndarray) -> None:
        """Refuse samples, where ``doubtful``, bool (S,), that are in ``now`` not what they were."""
        for index in np.flatnonzero(doubtful).tolist():
            state = self._state[index]
            try:
                found = now.read(index).digest if state == _SKIPPED else digest(now.stored(index))
            except (OSError, DataError):
                found = None
            if found != (None if state == _SKIPPED else self._digests[index].tobytes()):
                raise self._changed(index, earlier=state == _EARLIER)

    def _reopened(self) -> Source:
        """The data as they are now, with the same samples by name and label."""
        source = self._source
        try:
            now = source if source.reopen is None else source.reopen()
        except DataError:
            now = None
        if (
            now is None
            or not np.array_equal(now.labels, source.labels)
            or now.class_names != source.class_names
            or any(one != other for one, other in zip(now.names, source.names, strict=True))
        ):
            raise DataError(f"{source.source} has changed since it was opened. {LEAVE_ALONE}")
        return now

    def _hold(self, indices: np.ndarray, digests: np.ndarray, *, earlier: bool = False) -> None:
        known = np.isin(self._state[indices], _KNOWN)
        differs = (self._digests[indices] != digests).any(axis=1) & known
        if differs.any():
            index = int(indices[differs][0])
            raise self._changed(index, earlier=earlier or self._state[index] == _EARLIER)
        self._digests[indices[~known]] = digests[~known]

    def _mark(self, indices: np.ndarray, state: int) -> None:
        before = self._state[indices]
        readable = np.isin(before, _KNOWN) if state == _SKIPPED else before == _SKIPPED
        if readable.any():
            raise self._changed(int(indices[readable][0]))
        self._state[indices] = state

    def _changed(self, index: int, *, earlier: bool = False) -> DataError:
        name = f"{self._source.names[index]} in {self._source.source} has changed since"
        if earlier:
            return DataError(
                f"{name} an interrupted run of this audit read it. Pass {parameter('fresh', True)} "
                "to start again."
            )
        return DataError(f"{name} it was first read. {LEAVE_ALONE}")
