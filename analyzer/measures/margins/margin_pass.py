"""One pass over the samples for their margins, and for how far each layer's values spread.

The spread is Σ_n ‖x_n − mean‖² over all samples so far. A batch brings its own mean and spread;
two of each become one as Chan, Golub and LeVeque (1979) do it, which cancels nothing, so that
sums over any number of samples keep their digits. A layer costs as many numbers as it has.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from analyzer.errors import ModelError, parameter
from analyzer.records import MarginGraph, Progress
from analyzer.runtime.batching import Samples, padded
from analyzer.runtime.sessions import open_session

__all__ = ["MarginTally", "measure_margins"]

_CHECKPOINT_SECONDS = 5.0


@dataclass(slots=True)
class MarginTally:
    """What a pass over S samples has found so far, at L layers of D_l numbers each."""

    margin: np.ndarray  # float64 (S,): f_i − f_j; NaN where a sample was not read
    squares: np.ndarray  # float64 (S, L): ‖∇_{x^l}(f_i − f_j)‖²
    mean: list[np.ndarray]  # L of float64 (D_l,), over the samples read
    spread: np.ndarray  # float64 (L,): Σ_n ‖x^l_n − mean‖²
    read: int = 0  # samples
    at: int = 0  # samples before this place are done
    seconds: float = 0.0

    @classmethod
    def start(cls, samples: int, graph: MarginGraph) -> "MarginTally":
        """Nothing measured yet."""
        return cls(
            margin=np.full(samples, np.nan),
            squares=np.full((samples, len(graph.layers)), np.nan),
            mean=[np.zeros(layer.size) for layer in graph.layers],
            spread=np.zeros(len(graph.layers)),
        )

    @property
    def total_variation(self) -> np.ndarray:
        """sqrt(Σ_k Var_n[x^l_{n,k}]), float64 (L,)."""
        return np.sqrt(self.spread / max(self.read, 1))

    def add(self, layer: int, mean: np.ndarray, variance: float, samples: int) -> None:
        """Bring in a batch's mean (D_l,) and Σ_k Var_n[x_{n,k}], before it is counted as read."""
        apart = mean.astype(np.float64) - self.mean[layer]
        both = self.read + samples
        self.spread[layer] += samples * (variance + self.read / both * float(apart @ apart))
        self.mean[layer] += samples / both * apart

    def arrays(self) -> dict[str, np.ndarray]:
        """What :meth:`restore` takes."""
        means = {f"mean_{layer}": mean for layer, mean in enumerate(self.mean)}
        return {
            "margin": self.margin,
            "squares": self.squares,
            "spread": self.spread,
            "counts": np.array([self.read, self.at]),
            "seconds": np.array(self.seconds),
            **means,
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Goes back to where :meth:`arrays` was called, for the same samples and layers."""
        self.margin, self.squares = arrays["margin"], arrays["squares"]
        self.spread = arrays["spread"]
        self.mean = [arrays[f"mean_{layer}"] for layer in range(len(self.mean))]
        self.read, self.at = (int(count) for count in arrays["counts"])
        self.seconds = float(arrays["seconds"])


def measure_margins(
    graph: MarginGraph,
    samples: Samples,
    tally: MarginTally,
    *,
    device: str = "auto",
    threads: int = 0,
    save: Callable[[MarginTally], None] = lambda tally: None,
    progress: Progress = lambda stage, done, total: None,
) -> str:
    """Goes on from ``tally`` until every sample is done.

    Args:
        save: called with the tally now and then, in a state that a later call can go on from.
        progress: told of the stage "margins", in samples.

    Returns:
        The device that the graph ran on.

    Raises:
        ModelError: the graph cannot be run, or a margin or gradient is not a number.
        OutOfMemory: a batch does not fit; a graph of smaller batches may, from the same tally.
    """
    session = open_session(graph.path, device, threads=threads, custom_ops=graph.custom_ops)
    saved = time.monotonic()
    for batch in samples.load(samples.indices[tally.at :], graph.batch):
        began = time.perf_counter()
        chunk = slice(tally.at, tally.at + graph.batch)
        if count := len(batch.indices):
            places = tally.at + np.flatnonzero(np.isin(samples.indices[chunk], batch.indices))
            weight = np.zeros(graph.batch, dtype=np.float32)
            weight[:count] = 1 / count
            found = session.run(
                {
                    graph.image: padded(batch.images, graph.batch),
                    graph.label: padded(samples.labels[places], graph.batch),
                    graph.weight: weight,
                }
            )
            named = dict(zip(session.outputs, found, strict=True))
            tally.margin[places] = named[graph.margin][:count]
            for number, layer in enumerate(graph.layers):
                tally.squares[places, number] = named[layer.squares][:count]
                tally.add(number, named[layer.mean], float(named[layer.variance]), count)
            _check(tally, places, graph)
            tally.read += count
        tally.at = min(chunk.stop, len(samples.indices))
        tally.seconds += time.perf_counter() - began
        progress("margins", tally.at, len(samples.indices))
        if time.monotonic() - saved > _CHECKPOINT_SECONDS:
            save(tally)
            saved = time.monotonic()
    save(tally)
    return session.device


def _check(tally: MarginTally, places: np.ndarray, graph: MarginGraph) -> None:
    """Raises ModelError where something is no number."""
    if not np.isfinite(tally.margin[places]).all():
        raise ModelError(
            "Two logits of an image are not finite numbers, so there is no margin between them. "
            f"Check the preprocessing, or audit the network without {parameter('margins')}."
        )
    bad = ~np.isfinite(tally.squares[places]).all(axis=0) | ~np.isfinite(tally.spread)
    if bad.any():
        raise ModelError(
            f"The values or gradients at {graph.layers[int(bad.argmax())].tensor!r} are not "
            "finite numbers for an image, so its margin is unknown. Check the preprocessing, or "
            f"audit the network without {parameter('margins')}."
        )
