"""Cumulative unit ablation (§3.1 of the paper) over labeled samples, class by class.

The samples are processed sorted by class, in groups of whole classes whose features fit into
memory. For each group the prefix runs once per sample; then the unit order of its classes is
known, and the evaluations of the sweep are run chunk by chunk. A class too large for memory is read
twice: once for its unit order, once chunk by chunk for the sweep. Every chunk ends in a state from
which an interrupted run resumes to the same integers.

A ranking that compares classes is known once all of them were read: then all groups are read
before the first is swept, and once more for the sweep where not everything fits into memory.

With a tolerance the classes are processed one by one, and one that fits into memory is a chunk.

On several devices each gets a shard of whole classes, and all are swept at once. A shard is classes
that follow one another, so that its counts are a stretch of the whole's. Each has a state of its
own, which no other thread writes to; only saving and reporting are common.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from analyzer.common_types import Progress
from analyzer.data import Batch, Samples
from analyzer.errors import DeviceError, ModelError, parameter
from analyzer.measures.ablation.linear_head import Head
from analyzer.measures.ablation.prefix_and_suffix import CutNetwork, Features
from analyzer.measures.ablation.ranking_and_evaluations import (
    Evaluations,
    Ranking,
    necessary_evaluations,
)
from analyzer.measures.ablation.sample_scores import keep_scores
from analyzer.measures.ablation.sweep_state import SweepState
from analyzer.measures.checkpoint import Checkpoint
from analyzer.runtime.batch_size import images_at_once

if TYPE_CHECKING:
    from analyzer.measures.ablation.tolerance import Tolerance

__all__ = [
    "SweepOptions",
    "ablate",
    "resumed_shards",
    "split_into_shards",
    "sweep_shards",
]

_CHUNK_CELLS = 1 << 18  # samples × units in one chunk of the sweep
_CHUNK_PART = 8  # of the memory, at most one in so many parts


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """How a sweep is run."""

    memory: int  # bytes that features may take
    tolerance: "Tolerance | None" = None  # estimate the counts, to this tolerance; None: exact ones
    ranking: Ranking = field(default_factory=Ranking)  # what the units of a class are ranked by
    names_classes: bool = False  # the network itself makes classes of its scores


def ablate(
    network: CutNetwork,
    samples: Samples,
    state: SweepState,
    options: SweepOptions,
    *,
    save: Callable[[SweepState], None],
    progress: Progress,
) -> None:
    """Resume from ``state``, and change it until every sample is counted.

    Args:
        save: called with the state now and then; a later call can resume from it.
        progress: called for the stages "network" and "sweep", in samples.

    Raises:
        ModelError: see :meth:`CutNetwork.features`; or the network makes classes of scores that
            are not numbers.
        DataError: a label lies outside the network's classes, or see :meth:`Ranking.orders`.
    """
    _Ablation(network, samples, state, options, save, progress).run()
    save(state)


@dataclass(frozen=True, slots=True)
class _Known:
    """What one batch of the prefix gave."""

    places: np.ndarray  # int64 (B,)
    features: Features


class _Ablation:
    """One call of :func:`ablate`; places are positions in the sequence sorted by class."""

    def __init__(
        self,
        network: CutNetwork,
        samples: Samples,
        state: SweepState,
        options: SweepOptions,
        save: Callable[[SweepState], None],
        progress: Progress,
    ):
        self.network, self.state, self.load = network, state, samples.load
        self.memory, self.ranking = options.memory, options.ranking
        self.names_classes = options.names_classes
        self.checkpoint, self.progress = Checkpoint(save), progress
        # Whole curves cost a matrix product: there is nothing to gain from fewer evaluations.
        linear = network.head is not None and network.head.tail is None
        self.tolerance = None if linear else options.tolerance
        sequence = samples.sequence()
        self.indices, self.labels = samples.indices[sequence], samples.labels[sequence]
        self.batch, self.bytes_per_sample = self._measured()
        chunk = min(
            _CHUNK_CELLS // state.order.shape[1],
            self.memory // (_CHUNK_PART * self.bytes_per_sample),  # a chunk is copied together
        )
        self.chunk = max(chunk // self.batch, 1) * self.batch

    def run(self) -> None:
        groups = [(start, stop) for start, stop in self._groups() if stop > self.state.swept]
        together = [groups] if self.ranking.compares_classes else [[group] for group in groups]
        for ranked in filter(None, together):
            kept = self._rank_units(ranked)
            for start, stop in ranked:
                self._sweep_group(start, stop, kept)

    def _sweep_group(self, start: int, stop: int, kept: dict[int, _Known]) -> None:
        """Count what is left of a group, chunk by chunk."""
        estimate = self._can_estimate(stop - start)
        chunk = stop - start if estimate else self.chunk
        for at in range(max(start, self.state.swept), stop, chunk):
            self._sweep(at, min(at + chunk, stop), kept, estimate=estimate)
            self.checkpoint(self.state)

    def _measured(self) -> tuple[int, int]:
        """Images in one run of the prefix, and bytes of features that a sample takes."""
        for batch in self.load(self.indices, 1):
            if len(batch.indices):
                fixed, device = self.network.cut.batch, self.network.prefix.device
                images = fixed or images_at_once(batch.images.nbytes, device)
                return images, self.network.features(batch.images).nbytes
        return 1, 1  # not one can be read: all that is left is to name them

    def _groups(self) -> Iterator[tuple[int, int]]:
        """Ranges of places: whole classes whose features fit into memory together."""
        limit = 0 if self.tolerance else max(self.memory // self.bytes_per_sample, 1)
        ends = np.flatnonzero(np.diff(self.labels, append=-1)) + 1
        start = last = 0
        for end in ends.tolist():
            if end - start > limit and last > start:
                yield start, last
                start = last
            last = end
        yield start, last

    def _features(self, start: int, stop: int) -> Iterator[tuple[int, Batch, _Known | None]]:
        """Run the prefix batch by batch: the batch's first place, the batch, its features.

        None for those of a batch of which nothing could be read.
        """
        place_of = dict(zip(self.indices[start:stop].tolist(), range(start, stop), strict=True))
        at = start
        for batch in self.load(self.indices[start:stop], self.batch):
            began = time.perf_counter()
            places = np.array([place_of[index] for index in batch.indices.tolist()], dtype=np.int64)
            known = None
            if len(places):
                known = _Known(places, self.network.features(batch.images))
                self.state.prefix_seconds += time.perf_counter() - began
            yield at, batch, known
            at += self.batch

    def _rank_units(self, groups: list[tuple[int, int]]) -> dict[int, _Known]:
        """The unit order of the classes of groups; gives what the sweep needs if that fits."""
        state = self.state
        kept: dict[int, _Known] = {}
        start, stop = groups[0][0], groups[-1][1]
        if state.ordered >= stop:
            return kept
        keep = (stop - start) * self.bytes_per_sample <= self.memory
        first, last = self.labels[start], self.labels[stop - 1]
        activity = np.zeros((last - first + 1, state.order.shape[1]))  # float64: sums over samples
        state.samples[first : last + 1] = 0
        state.read[start:stop] = False
        for group in groups:
            for at, batch, known in self._features(*group):
                if batch.skipped:
                    reasons = [f"{unread.name}: {unread.reason}" for unread in batch.skipped]
                    state.skipped = np.append(state.skipped, reasons)
                if known is not None:
                    classes = self.labels[known.places]
                    np.add.at(activity, classes - first, known.features.activity)
                    np.add.at(state.samples, classes, 1)
                    state.read[known.places] = True
                    state.digests[known.places] = batch.digests
                    if keep:
                        kept[at] = known
                self.progress("network", min(at + self.batch, group[1]), len(self.labels))
        present = np.unique(self.labels[start:stop][state.read[start:stop]])
        mean = activity[present - first] / state.samples[present, None]
        state.order[present] = self.ranking.orders(mean, present)
        state.ordered = stop
        return kept

    def _sweep(self, start: int, stop: int, kept: dict[int, _Known], *, estimate: bool) -> None:
        """Run the evaluations of the samples from ``start`` to ``stop`` and count them."""
        state = self.state
        if kept:
            known = [kept.pop(at) for at in range(start, stop, self.batch) if at in kept]
        else:
            parts = (part for _, _, part in self._features(start, stop))
            known = [part for part in parts if part is not None]
        began = time.perf_counter()
        for part in known:
            self._keep_baseline(part.places, part.features)
        if not estimate:
            for places, found in self._together(known):
                head = self._head(found)
                if head is None:
                    self._count_by_suffix(places, found)
                else:
                    self._count_by_head(head, places, found)
            self._refuse_unnamed()
        elif known and self.tolerance is not None:
            self._estimate(self.tolerance, list(self._together(known)))
            self._refuse_unnamed()
        state.swept = stop
        state.sweep_seconds += time.perf_counter() - began
        self.progress("sweep", stop, len(self.labels))

    def _keep_baseline(self, places: np.ndarray, found: Features) -> None:
        """Keep what the scores say with nothing removed: one run a sample, not counted as such."""
        scores = self.network.intact_scores(found)
        self.state.add_scores(
            places, keep_scores(scores, self.labels[places], self.network.precision)
        )

    def _together(self, known: list[_Known]) -> Iterator[tuple[np.ndarray, Features]]:
        """Places and features, of all batches in one unless they lie on a device."""
        if any(part.features.on_device for part in known):
            yield from ((part.places, part.features) for part in known)
        elif known:
            places = np.concatenate([part.places for part in known])
            yield places, Features.joined([part.features for part in known])

    def _head(self, found: Features) -> Head | None:
        """The head, where what it sums up is numbers."""
        head = self.network.head
        usable = head is not None and head.can_sum(found.arrays[head.features])
        return head if usable else None

    def _refuse_unnamed(self) -> None:
        """Refuse scores that are not numbers of a network that makes a class of them itself."""
        if self.names_classes and (said := self.state.unnamed_sentence()):
            raise ModelError(
                f"{said} The network still makes a class of them, which means nothing. Export it "
                f"with its scores as output, or choose another {parameter('site')}."
            )

    def _count_by_head(self, head: Head, places: np.ndarray, found: Features) -> None:
        """Count samples of a network whose suffix begins with a matrix product, by class."""
        labels, values = self.labels[places], found.arrays[head.features]
        starts = np.flatnonzero(np.diff(labels, prepend=-1))
        for start, stop in zip(starts, [*starts[1:], len(labels)], strict=True):
            mine, label = slice(start, stop), int(labels[start])
            order, active = self.state.order[label], found.active[mine]
            if head.tail is None:
                right = head.right_everywhere(values[mine], order, label)
                self.state.add_everywhere(places[mine], label, right)
            else:
                evaluations = necessary_evaluations(active[:, order], share_empty=True)
                named = head.classes(values[mine], active, order, evaluations)
                self.state.add(places[mine], labels[mine], evaluations, named)

    def _count_by_suffix(self, places: np.ndarray, found: Features) -> None:
        """Count samples by running the suffix for every evaluation in which something changes."""
        labels = self.labels[places]
        order = self.state.order[labels]  # (C, M)
        evaluations = necessary_evaluations(
            np.take_along_axis(found.active, order, axis=1), share_empty=self._share_empty
        )
        named = self.network.classes(found, _ranks(order), evaluations)
        self.state.add(places, labels, evaluations, named)

    @property
    def _share_empty(self) -> bool:
        """Whether all samples look alike with every unit removed."""
        return set(self.network.cut.skip_inputs) <= set(self.network.cut.shared_inputs)

    def _can_estimate(self, samples: int) -> bool:
        """Whether a class of so many samples is estimated: one too large for memory is exact."""
        if self.tolerance is None:
            return False
        from analyzer.measures.ablation.tolerance import CELL_BYTES

        units = self.state.order.shape[1]
        size = self.bytes_per_sample + 2 * (units + 1) * CELL_BYTES
        return samples * size <= self.memory

    def _estimate(self, tolerance: "Tolerance", parts: list[tuple[np.ndarray, Features]]) -> None:
        """Count the samples of a class as well as the tolerance asks."""
        from analyzer.measures.ablation.interpolated_curves import UNNAMED_MARGIN, logit_margin
        from analyzer.measures.ablation.tolerance import estimate_class

        network, state = self.network, self.state
        places = np.concatenate([part for part, _ in parts])
        label = int(self.labels[places[0]])
        order, judge = state.order[label], partial(logit_margin, label=label)
        rank = _ranks(order)
        heads = [self._head(found) for _, found in parts]
        starts = np.cumsum([0, *(len(part) for part, _ in parts)])

        def run(sample: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
            margins = np.empty(len(sample), dtype=np.float32)
            stretches = zip(starts, starts[1:], parts, heads, strict=False)
            for start, stop, (_, found), head in stretches:
                mine = np.flatnonzero((sample >= start) & (sample < stop))
                if not len(mine):
                    continue
                asked = Evaluations.asked(sample[mine] - start, low[mine], high[mine])
                if head is not None and head.pays(asked):
                    values = found.arrays[head.features]
                    margins[mine] = head.classes(values, found.active, order, asked, judge)
                else:
                    ranks = np.broadcast_to(rank, found.active.shape)
                    margins[mine] = network.classes(found, ranks, asked, judge)
            unnamed = np.isnan(margins)
            state.add_unnamed(label, np.where(low, low, len(order) - high)[unnamed])
            return np.where(unnamed, UNNAMED_MARGIN, margins)

        number = int(np.count_nonzero(state.samples[: label + 1]))
        estimate = estimate_class(
            np.concatenate([found.active for _, found in parts])[:, order],
            run,
            label,
            tolerance,
            tolerance.allowance(number, state.cost),
            share_empty=self._share_empty,
        )
        state.add_estimate(places, label, estimate)


def _ranks(order: np.ndarray) -> np.ndarray:
    """The rank of each channel, of orders (…, M)."""
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(order.shape[-1])[None, :], axis=-1)
    return rank


def split_into_shards(samples: Samples, shards: int) -> tuple[Samples, ...]:
    """Whole classes to each shard, about as many samples to each; fewer shards where classes end.

    A class goes to the shard that its middle falls into.
    """
    if shards == 1:
        return (samples,)
    _, number, count = np.unique(samples.labels, return_inverse=True, return_counts=True)
    middle = count.cumsum() - count / 2
    shard = (middle * shards / len(samples.labels)).astype(np.int64)[number]  # (S,)
    return tuple(
        replace(samples, indices=samples.indices[shard == one], labels=samples.labels[shard == one])
        for one in np.unique(shard)
    )


def sweep_shards(
    networks: Sequence[CutNetwork],
    shards: Sequence[Samples],
    states: Sequence[SweepState],
    options: SweepOptions,
    *,
    save: Callable[[Mapping[str, np.ndarray]], None],
    progress: Progress,
) -> None:
    """Resume from the states, and change them until every sample of every shard is counted.

    With a tolerance, what wrong guesses may cost is split too: estimates, unlike exact counts,
    can depend on the number of shards, within their bounds.

    Args:
        networks: the same one on each shard's device.
        states: of the shards; :meth:`SweepState.joined` makes one of them.
        options: the memory is for all shards together.
        save: called with arrays from which :func:`resumed_shards` makes states to resume from.
        progress: called for the stages "network" and "sweep", in samples of all shards.

    Raises:
        DeviceError: the ranking compares classes, and they are in different shards.
        ModelError, DataError: as :func:`ablate`; the first of any shard, once
            the others have come to a halt.
    """
    if len(shards) == 1:
        (network,), (shard,), (state,) = networks, shards, states
        ablate(
            network,
            shard,
            state,
            options,
            save=lambda state: save(state.arrays()),
            progress=progress,
        )
        return
    if options.ranking.compares_classes:
        raise DeviceError(
            f"{parameter('rank', options.ranking.by)} compares all classes with each other, so one "
            f"device has to see them all. Name a single {parameter('device')}."
        )
    tolerance = options.tolerance and replace(options.tolerance, shards=len(shards))
    memory = max(options.memory // len(shards), 1)
    own_options = replace(options, memory=memory, tolerance=tolerance)
    common = _Common(states, sum(len(shard.labels) for shard in shards), save, progress)

    def work(number: int) -> None:
        ablate(
            networks[number],
            shards[number],
            states[number],
            own_options,
            save=lambda state: common.save(number, state),
            progress=lambda stage, done, _: common.report(number, stage, done),
        )

    with ThreadPoolExecutor(len(shards), "shard") as pool:
        try:
            for finished in as_completed([pool.submit(work, n) for n in range(len(shards))]):
                finished.result()
        except BaseException:  # a shard failed, or somebody pressed Ctrl-C
            common.stop()
            raise


def resumed_shards(
    states: Sequence[SweepState], arrays: Mapping[str, np.ndarray]
) -> list[SweepState]:
    """The states that :func:`sweep_shards` saved, of the same shapes as ``states``.

    Raises:
        AuditFolderError: the arrays are of other shards.
    """
    return [
        state.resumed(
            {name: arrays[_key(name, n)] for name in state.arrays() if _key(name, n) in arrays}
        )
        for n, state in enumerate(states)
    ]


class _Stopped(Exception):
    """Another shard failed."""


class _Common:
    """What shards have in common, from whichever thread it is called."""

    def __init__(
        self,
        states: Sequence[SweepState],
        total: int,
        save: Callable[[Mapping[str, np.ndarray]], None],
        progress: Progress,
    ):
        self._total, self._save, self._progress = total, save, progress
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._kept = [_copied(state) for state in states]
        self._done = {
            "network": [state.ordered for state in states],
            "sweep": [state.swept for state in states],
        }

    def save(self, number: int, state: SweepState) -> None:
        """Save what one shard has counted beside the last that the others had."""
        with self._lock:
            self._kept[number] = _copied(state)
            self._save(
                {
                    _key(name, n): array
                    for n, kept in enumerate(self._kept)
                    for name, array in kept.items()
                }
            )

    def report(self, number: int, stage: str, done: int) -> None:
        if self._stopped.is_set():
            raise _Stopped
        with self._lock:
            self._done[stage][number] = done
            self._progress(stage, sum(self._done[stage]), self._total)

    def stop(self) -> None:
        """Bring every shard to a halt where it next reports how far it is."""
        self._stopped.set()


def _copied(state: SweepState) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in state.arrays().items()}


def _key(name: str, shard: int) -> str:
    """The first shard is saved as the only one is."""
    return f"{name}@{shard}" if shard else name
