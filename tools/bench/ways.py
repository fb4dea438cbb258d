"""The ways of counting that the benchmark holds against each other."""

import time
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analyzer import data, runtime
from analyzer.measures.ablation.prefix_and_suffix import CutNetwork, Features
from analyzer.measures.ablation.sweep import SweepOptions, ablate
from analyzer.measures.ablation.sweep_state import SweepState
from analyzer.measures.ablation.tolerance import Tolerance

if TYPE_CHECKING:
    import torch

__all__ = [
    "Counts",
    "active_share",
    "by_hooks",
    "by_reference",
    "in_memory",
    "one_pass",
    "ours",
]

_BATCH = 256
_HOOKED = 3  # values of n that the hooks are measured on
_NEAR = 1e-5

_Batch = namedtuple("_Batch", "indices images digests skipped")


@dataclass(frozen=True)
class Counts:
    """What the reference way counted."""

    curves: np.ndarray  # int64 (2, K', M + 1)
    near_ties: int
    seconds: float  # of the suffix alone


def one_pass(model: Path, images: np.ndarray) -> float:
    """Seconds of the original network over the images, once, in a session that has run nothing."""
    session = runtime.open_session(model, "cpu")
    size = runtime.images_at_once(images[0].nbytes, "cpu")
    began = time.perf_counter()
    for start in range(0, len(images), size):
        session.run({"images": images[start : start + size]})
    return time.perf_counter() - began


def ours(
    network: CutNetwork,
    images: np.ndarray,
    labels: np.ndarray,
    tolerance: Tolerance | None = None,
) -> SweepState:
    """An ablation by the package."""
    samples = in_memory(images, labels)
    classes = network.features(images[:1])
    classes = network.scores(classes, np.ones((1, network.cut.site.channels), np.float32)).shape[1]
    state = SweepState.start(len(labels), classes, network.cut.site.channels)
    ablate(
        network,
        samples,
        state,
        SweepOptions(memory=2 << 30, tolerance=tolerance),
        save=lambda state: None,
        progress=lambda stage, done, total: None,
    )
    return state


def active_share(network: CutNetwork, images: np.ndarray) -> float:
    """The share of pairs of sample and unit that are active, of the first images."""
    starts = range(0, min(len(images), 256), 64)
    some = [network.features(images[start : start + 64]).active for start in starts]
    return float(np.concatenate(some).mean())


def in_memory(images: np.ndarray, labels: np.ndarray) -> data.Samples:
    """Samples that need no reading."""
    digests = np.zeros((len(images), 32), dtype=np.uint8)

    def load(indices: np.ndarray, size: int):
        for start in range(0, len(indices), size):
            part = indices[start : start + size]
            yield _Batch(part, images[part], digests[part], ())

    return data.Samples(np.arange(len(labels)), labels, load)


def by_reference(
    network: CutNetwork, images: np.ndarray, labels: np.ndarray, order: np.ndarray
) -> Counts:
    """The suffix once per n, order and class, all samples of the class in one batch."""
    units = network.cut.site.channels
    present = np.unique(labels)
    curves = np.zeros((2, present[-1] - present[0] + 1, units + 1), dtype=np.int64)
    near = 0
    seconds = 0.0
    for label in present:
        mine = images[labels == label]
        parts = [network.features(mine[i : i + _BATCH]) for i in range(0, len(mine), _BATCH)]
        found = Features.joined(parts)
        began = time.perf_counter()
        for number, removal in enumerate((order[label], order[label][::-1])):
            mask = np.ones((1, units), dtype=np.float32)
            for n in range(units + 1):
                if n:
                    mask[0, removal[n - 1]] = 0
                feeds = {**found.values, **found.shared, network.cut.mask: mask}
                scores = network.suffix.run(feeds)[0]
                curves[number, label - present[0], n] = (scores.argmax(axis=1) == label).sum()
                near += _near_ties(scores)
        seconds += time.perf_counter() - began
    return Counts(curves, near, seconds)


def by_hooks(network: "torch.nn.Sequential", images: "torch.Tensor", order: np.ndarray) -> float:
    """Seconds of the whole network under a hook for every n and both orders, scaled from a few."""
    import torch  # here, for what measures without hooks needs none

    place = max(
        i
        for i, layer in enumerate(network)
        if isinstance(layer, torch.nn.ReLU | torch.nn.ReLU6) or hasattr(layer, "shortcut")
        if not any(isinstance(before, torch.nn.Flatten) for before in network[:i])
    )
    mask = torch.ones(len(order))
    handle = network[place].register_forward_hook(
        lambda module, inputs, output: output * mask[:, None, None]
    )
    began = time.perf_counter()
    with torch.inference_mode():
        for n in range(_HOOKED):
            mask[order[:n].copy()] = 0
            for part in images.split(_BATCH):
                network(part)
    seconds = time.perf_counter() - began
    handle.remove()
    return seconds / _HOOKED * 2 * (len(order) + 1)


def _near_ties(scores: np.ndarray) -> int:
    top = np.partition(scores, -2, axis=1)[:, -2:]
    return int((top[:, 1] - top[:, 0] <= _NEAR * np.abs(scores).max(axis=1)).sum())
