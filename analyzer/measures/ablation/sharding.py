"""One sweep on several devices: each gets a shard of whole classes, and all are swept at once.

A shard is classes that follow one another, so that its counts are a stretch of the whole's. Each
has a state of its own, which no other thread writes to; only saving and reporting are common.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace

import numpy as np

from analyzer.errors import DeviceError, parameter
from analyzer.measures.ablation.cut_network import CutNetwork
from analyzer.measures.ablation.sweep import SweepOptions, ablate
from analyzer.measures.ablation.sweep_state import SweepState
from analyzer.records import Progress
from analyzer.runtime.batching import Samples

__all__ = ["resumed_shards", "split_into_shards", "sweep_shards"]


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
