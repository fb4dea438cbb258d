"""One ablation on several devices: whole classes are dealt out, and all shares worked off at once.

A share is classes that follow one another, so that its counts are a stretch of the whole's. Each
has a tally of its own, which no other thread writes to; only keeping and telling are common.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace

import numpy as np

from analyzer.errors import DeviceError
from analyzer.measures.ablation.cut_network import CutNetwork
from analyzer.measures.ablation.sweep import BY_L1_NORM, ablate
from analyzer.measures.ablation.sweep_state import Tally
from analyzer.measures.ablation.tolerance import Tolerance
from analyzer.measures.ablation.unit_order import Ranking
from analyzer.records import Progress
from analyzer.runtime.samples import Samples

__all__ = ["ablate_shares", "deal", "restored"]


def deal(samples: Samples, shares: int) -> tuple[Samples, ...]:
    """Whole classes to each share, about as many samples to each; fewer shares where classes end.

    A class goes to the share that its middle falls into.
    """
    if shares == 1:
        return (samples,)
    _, number, count = np.unique(samples.labels, return_inverse=True, return_counts=True)
    middle = count.cumsum() - count / 2
    share = (middle * shares / len(samples.labels)).astype(np.int64)[number]  # (S,)
    return tuple(
        replace(samples, indices=samples.indices[share == one], labels=samples.labels[share == one])
        for one in np.unique(share)
    )


def ablate_shares(
    networks: Sequence[CutNetwork],
    shares: Sequence[Samples],
    tallies: Sequence[Tally],
    *,
    memory: int,
    save: Callable[[Mapping[str, np.ndarray]], None],
    progress: Progress,
    tolerance: Tolerance | None = None,
    ranking: Ranking = BY_L1_NORM,
) -> Tally:
    """Goes on from the tallies until every sample of every share is counted; all in one tally.

    With a tolerance, what wrong guesses may cost is dealt out too: estimates, unlike exact counts,
    can depend on the number of shares, within their bounds.

    Args:
        networks: the same one on each share's device.
        tallies: of the shares; they are written to.
        memory: bytes that features may take, of all shares together.
        save: called with arrays from which :func:`restored` makes tallies to go on from.
        progress: told of the stages "network" and "sweep", in samples of all shares.
        tolerance, ranking: as in :func:`analyzer.measures.ablation.ablate`.

    Raises:
        DeviceError: the ranking compares classes, and they are in different shares.
        ModelError, DataError: as :func:`ablate`; the first of any share, once
            the others have come to a halt.
    """
    if len(shares) == 1:
        return ablate(
            networks[0],
            shares[0],
            tallies[0],
            memory=memory,
            save=lambda tally: save(tally.arrays()),
            progress=progress,
            tolerance=tolerance,
            ranking=ranking,
        )
    if ranking.compares_classes:
        raise DeviceError(
            f"--rank {ranking.by} compares all classes with each other, so one device has to see "
            "them all; name a single one with --device"
        )
    common = _Common(tallies, sum(len(share.labels) for share in shares), save, progress)

    def work(number: int) -> None:
        ablate(
            networks[number],
            shares[number],
            tallies[number],
            memory=max(memory // len(shares), 1),
            save=lambda tally: common.save(number, tally),
            progress=lambda stage, done, _: common.tell(number, stage, done),
            tolerance=tolerance and replace(tolerance, shares=len(shares)),
            ranking=ranking,
        )

    with ThreadPoolExecutor(len(shares), "share") as pool:
        try:
            for finished in as_completed([pool.submit(work, n) for n in range(len(shares))]):
                finished.result()
        except BaseException:  # a share failed, or somebody pressed Ctrl-C
            common.stop()
            raise
    return Tally.joined(tallies)


def restored(tallies: Sequence[Tally], arrays: Mapping[str, np.ndarray]) -> list[Tally]:
    """The tallies that :func:`ablate_shares` kept.

    Raises:
        AuditFolderError: the arrays are of other shares.
    """
    return [
        tally.restored(
            {name: arrays[_key(name, n)] for name in tally.arrays() if _key(name, n) in arrays}
        )
        for n, tally in enumerate(tallies)
    ]


class _Stopped(Exception):
    """Another share failed."""


class _Common:
    """What shares have in common, from whichever thread it is called."""

    def __init__(
        self,
        tallies: Sequence[Tally],
        total: int,
        save: Callable[[Mapping[str, np.ndarray]], None],
        progress: Progress,
    ):
        self._total, self._save, self._progress = total, save, progress
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._kept = [_copied(tally) for tally in tallies]
        self._done = {
            "network": [tally.ordered for tally in tallies],
            "sweep": [tally.swept for tally in tallies],
        }

    def save(self, number: int, tally: Tally) -> None:
        """Keeps what one share has counted beside the last that the others had."""
        with self._lock:
            self._kept[number] = _copied(tally)
            self._save(
                {
                    _key(name, n): array
                    for n, kept in enumerate(self._kept)
                    for name, array in kept.items()
                }
            )

    def tell(self, number: int, stage: str, done: int) -> None:
        if self._stopped.is_set():
            raise _Stopped
        with self._lock:
            self._done[stage][number] = done
            self._progress(stage, sum(self._done[stage]), self._total)

    def stop(self) -> None:
        """Brings every share to a halt where it next tells how far it is."""
        self._stopped.set()


def _copied(tally: Tally) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in tally.arrays().items()}


def _key(name: str, share: int) -> str:
    """The first share is kept as the only one is."""
    return f"{name}@{share}" if share else name
