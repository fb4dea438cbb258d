"""Batches of preprocessed samples, made ahead of their use in worker threads."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from analyzer.data import decode_images
from analyzer.data.preprocessing.steps import Preprocessing, numpy_dtype
from analyzer.data.source import Source, digest, reason_of
from analyzer.errors import DataError

__all__ = ["Batch", "KeptPictures", "Load", "Samples", "Skipped", "read_batches"]

_CHUNK = 8  # encoded images a task decodes: amortises the hand-over, keeps all threads busy
_NOT_FINITE = "it holds values that are not finite numbers"
_AHEAD = 2  # batches prepared beyond the one in use


@dataclass(frozen=True, slots=True)
class Skipped:
    """A sample that could not be read."""

    index: int  # in the source
    name: str
    reason: str


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Samples ready for the network. B samples, fewer than asked for where some were skipped."""

    indices: np.ndarray  # int64 (B,): in the source, in the order asked for
    images: np.ndarray  # (B, *preprocessing.shape), of the input's type
    digests: np.ndarray  # uint8 (B, 32): sha256 of each sample as it is stored
    skipped: tuple[Skipped, ...] = ()
    fed: np.ndarray = field(default_factory=lambda: np.empty((0, 32), np.uint8))
    # uint8 (B, 32): sha256 of each image; (0, 32) unless asked for

    def __len__(self) -> int:
        return len(self.indices)


Load = Callable[[np.ndarray, int], Iterator[Batch]]
"""Reads samples, given indices int64 (S',) and a batch size; cut into batches at fixed places."""


@dataclass(frozen=True, slots=True)
class Samples:
    """The class data, S samples, whoever stores them."""

    indices: np.ndarray  # int64 (S,): what to ask ``load`` for, in the order of the data
    labels: np.ndarray  # int64 (S,)
    load: Load

    def sequence(self) -> np.ndarray:
        """int64 (S,): the samples by class, within a class in the order of the data."""
        return np.argsort(self.labels, kind="stable")

    def spread(self, count: int) -> np.ndarray | None:
        """Up to ``count`` images, (B, …), from all over the data; None if none can be read."""
        places = np.unique(np.linspace(0, len(self.indices) - 1, count).astype(int))
        for indices in (self.indices[places], self.indices):
            for batch in self.load(indices, count):
                if len(batch.indices):
                    return batch.images
        return None


class KeptPictures:
    """Pictures, decoded, resized and cropped, that are kept for the next reading if there is room.

    Those that came first stay: every reading is in one order, and would drop what it wants next.

    Args:
        room: bytes that they may take.
    """

    def __init__(self, room: int):
        self._room = room
        self._kept: dict[int, tuple[np.ndarray, bytes]] = {}
        self._lock = threading.Lock()

    def get(self, index: int) -> tuple[np.ndarray, bytes] | None:
        """The picture of a sample, uint8 (H, W) or (H, W, C), and sha256 of it as it is stored."""
        return self._kept.get(index)

    def keep(self, index: int, picture: np.ndarray, stored: bytes) -> None:
        """Keep what :meth:`get` then gives, if there is room."""
        with self._lock:
            if index not in self._kept and picture.nbytes <= self._room:
                self._room -= picture.nbytes
                self._kept[index] = picture, stored


def read_batches(
    source: Source,
    preprocessing: Preprocessing,
    indices: np.ndarray | Sequence[int],
    batch_size: int,
    *,
    skip_bad: bool = False,
    fed: bool = False,
    kept: KeptPictures | None = None,
    threads: int | None = None,
) -> Iterator[Batch]:
    """Read, decode and preprocess samples, in the order of ``indices``.

    Memory is bounded: three batches at any time. Closing the iterator ends the threads.

    Args:
        source: the samples.
        preprocessing: resolved for this source.
        indices: of the samples wanted, (S',).
        batch_size: samples a batch; the last one may hold fewer.
        skip_bad: leave unreadable samples out of their batch, which names them; a batch can
            come out empty.
        fed: also tell what the network is fed of each sample.
        kept: pictures of earlier readings of the same source with the same preprocessing.
        threads: that decode; the number of usable cores by default.

    Raises:
        DataError: a sample is unreadable (without ``skip_bad``) or comes out at another size.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    indices = np.asarray(indices, np.int64)
    parts = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    kept = kept or KeptPictures(room=0)
    with ThreadPoolExecutor(threads or _usable_cores(), "decode") as pool:
        pending: deque[_Pending] = deque()
        try:
            for part in parts:
                pending.append(_begin(pool, source, preprocessing, part, skip_bad, fed, kept))
                if len(pending) > _AHEAD:
                    yield _end(pending.popleft())
            while pending:
                yield _end(pending.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, eq=False, slots=True)
class _Pending:
    """A batch being made: tasks write into its arrays and return what they skipped."""

    batch: Batch
    tasks: list[Future]


def _begin(
    pool: ThreadPoolExecutor,
    source: Source,
    preprocessing: Preprocessing,
    indices: np.ndarray,
    skip_bad: bool,
    fed: bool,
    kept: KeptPictures,
) -> _Pending:
    batch = Batch(
        indices,
        np.empty((len(indices), *preprocessing.shape), numpy_dtype(preprocessing.dtype)),
        np.empty((len(indices), 32), np.uint8),
        fed=np.empty((len(indices) if fed else 0, 32), np.uint8),
    )
    array = source.array
    if array is not None and (preprocessing.as_stored or preprocessing.keeps(*array.shape[1:3])):
        tasks = [pool.submit(_fill_from_array, array, source, preprocessing, batch, skip_bad)]
    else:
        tasks = [
            pool.submit(
                _fill, source, preprocessing, batch, slice(start, start + _CHUNK), skip_bad, kept
            )
            for start in range(0, len(indices), _CHUNK)
        ]
    return _Pending(batch, tasks)


def _end(pending: _Pending) -> Batch:
    # Here, as the threads of the tasks do not know whether flags or parameters are meant.
    skipped = [
        replace(bad, reason=str(DataError(bad.reason)))
        for task in pending.tasks
        for bad in task.result()
    ]
    batch = pending.batch
    if not skipped:
        return batch
    good = ~np.isin(batch.indices, [bad.index for bad in skipped])
    return Batch(
        batch.indices[good],
        batch.images[good],
        batch.digests[good],
        tuple(skipped),
        batch.fed[good] if len(batch.fed) else batch.fed,
    )


def _tell(batch: Batch, slot: int, stored: bytes) -> None:
    """Keep the digests of a sample that is in its place; ``stored`` is that of what is stored."""
    batch.digests[slot] = np.frombuffer(stored, np.uint8)
    if len(batch.fed):
        image = batch.images[slot].view(np.uint8)  # bfloat16 is no type of a buffer
        batch.fed[slot] = np.frombuffer(digest(image), np.uint8)


def _fill_from_array(
    array: np.ndarray, source: Source, preprocessing: Preprocessing, batch: Batch, skip_bad: bool
) -> list[Skipped]:
    """Make a whole batch from rows of the source's array at once: nothing is resized."""
    rows = np.ascontiguousarray(array[batch.indices])
    with np.errstate(over="ignore"):  # what becomes infinite is found below
        preprocessing.finish(rows, batch.images)
    skipped = []
    for slot in np.flatnonzero(~_finite(rows, batch.images)).tolist():
        index = int(batch.indices[slot])
        reason = _NOT_FINITE if not np.isfinite(rows[slot]).all() else _overflow(preprocessing)
        if not skip_bad:
            raise DataError(source.unreadable(index, reason))
        skipped.append(Skipped(index, source.names[index], reason))
    for slot, row in enumerate(rows):
        _tell(batch, slot, digest(row))
    return skipped


def _finite(stored: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Whether all values of each sample are finite numbers, as stored and as fed, bool (B,)."""
    found = np.ones(len(stored), bool)
    if stored.dtype == np.uint8:
        return found
    for values in (stored, images):
        if values.dtype.kind not in "biu":
            found &= np.isfinite(values).reshape(len(values), -1).all(axis=1)
    return found


def _overflow(preprocessing: Preprocessing) -> str:
    return f"it holds values that are infinite as {preprocessing.dtype}, which the network takes"


def _fill(
    source: Source,
    preprocessing: Preprocessing,
    batch: Batch,
    slots: slice,
    skip_bad: bool,
    kept: KeptPictures,
) -> list[Skipped]:
    """Make some samples of a batch one by one."""
    skipped = []
    for slot in range(*slots.indices(len(batch))):
        index = int(batch.indices[slot])
        try:
            picture, stored = kept.get(index) or _read_picture(source, preprocessing, index, kept)
        except _UnreadableError as error:
            if not skip_bad:
                raise DataError(source.unreadable(index, error.reason)) from error
            skipped.append(Skipped(index, source.names[index], error.reason))
            continue
        preprocessing.finish(picture[None], batch.images[slot : slot + 1])
        _tell(batch, slot, stored)
    return skipped


class _UnreadableError(Exception):
    """A sample cannot be read or decoded; one that does not come out at the right size can."""

    def __init__(self, reason: str):
        self.reason = reason


def _read_picture(
    source: Source, preprocessing: Preprocessing, index: int, kept: KeptPictures
) -> tuple[np.ndarray, bytes]:
    """What :meth:`KeptPictures.get` gives of a sample that was not kept."""
    image: Image.Image | np.ndarray
    try:
        stored = source.stored(index)
        if isinstance(stored, bytes):
            image = decode_images.decode(stored, exif=preprocessing.exif, budgets=source.budgets)
        else:
            image = stored
    except (OSError, DataError) as error:
        raise _UnreadableError(reason_of(error)) from error
    try:
        picture = preprocessing.picture(image)
    except DataError as error:
        raise DataError(f"{source.names[index]} in {source.source} {error.message}") from error
    found = picture, digest(stored)
    kept.keep(index, *found)
    return found


def _usable_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
