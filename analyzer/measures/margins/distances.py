"""The margin-based estimate (Jiang et al. 2019), which the paper compares its own with.

Of a sample x with label i and the class j that scores highest of the others, at layer l:

    d_l(x) = (f_i − f_j) / sqrt(10⁻⁶ + ‖∇_{x^l}(f_i − f_j)‖²) / sqrt(Σ_k Var_n[x^l_{n,k}])

Five numbers describe how d_l is distributed over the training samples that are classified
correctly; their logarithms are the features of a linear model of the gap.

One pass over the samples gives their margins, and how far each layer's values spread. The spread is
Σ_n ‖x_n − mean‖² over all samples so far. A batch brings its own mean and spread; two of each
become one as Chan, Golub and LeVeque (1979) do it, which cancels nothing, so that sums over any
number of samples keep their digits. A layer costs as many numbers as it has.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from analyzer import runtime
from analyzer.common_types import MarginGraph, Progress
from analyzer.errors import AuditFolderError, ModelError, parameter
from analyzer.measures.checkpoint import Checkpoint
from analyzer.runtime.batch_size import padded

if TYPE_CHECKING:
    from analyzer.data import Samples

__all__ = [
    "LAYERS",
    "MARGIN_FEATURES",
    "MARGIN_PREFIX",
    "MarginFeatures",
    "MarginState",
    "compute_margin_features",
    "margin_column",
    "margin_obstacle",
    "measure_margins",
    "normalized_margins",
]

MARGIN_PREFIX = "margin_"
LAYERS = 4  # at most: the images, and three by depth

_DIGEST = 32  # bytes of a sha256
_FLOOR = 1e-6
_FENCE = 1.5  # interquartile ranges
_TOO_MANY_TO_OPTIMIZE = 10_000  # nodes of the graph; it would take longer than it saves


@dataclass(frozen=True, slots=True)
class MarginFeatures:
    """Natural logarithms of five numbers of a distribution."""

    q1: float
    q2: float
    q3: float
    lower: float  # smallest value that is not below Q1 − 1.5 · (Q3 − Q1)
    upper: float  # largest value that is not above Q3 + 1.5 · (Q3 − Q1)


MARGIN_FEATURES = tuple(field.name for field in fields(MarginFeatures))


def normalized_margins(
    margin: np.ndarray, squares: np.ndarray, total_variation: np.ndarray
) -> np.ndarray:
    """d_l of every sample.

    Args:
        margin: float ndarray of shape (S,), f_i − f_j.
        squares: float ndarray of shape (S, L), ‖∇_{x^l}(f_i − f_j)‖².
        total_variation: float ndarray of shape (L,), sqrt(Σ_k Var_n[x^l_{n,k}]), above 0.

    Returns:
        float64 ndarray of shape (S, L); negative where another class scores higher than i.
    """
    margin, squares = np.asarray(margin, np.float64), np.asarray(squares, np.float64)
    return margin[:, None] / np.sqrt(_FLOOR + squares) / total_variation


def compute_margin_features(distances: np.ndarray) -> MarginFeatures:
    """The features of one layer.

    Quartiles are interpolated linearly between samples. A sample whose two classes score alike
    has no logarithm and is left out, like one that is classified wrongly.

    Args:
        distances: float ndarray of shape (S,), d_l; of at least one sample above 0.
    """
    correct = distances[distances > 0]
    q1, q2, q3 = np.quantile(correct, [0.25, 0.5, 0.75])
    reach = _FENCE * (q3 - q1)
    lower, upper = correct[correct >= q1 - reach].min(), correct[correct <= q3 + reach].max()
    return MarginFeatures(*(float(value) for value in np.log([q1, q2, q3, lower, upper])))


def margin_column(layer: int, feature: str) -> str:
    """What tables call a feature of the layer of that number; 0 is the images."""
    return f"{MARGIN_PREFIX}{layer}_{feature}"


def margin_obstacle(columns: Mapping[str, np.ndarray], networks: int) -> str:
    """Why the margin-based estimate cannot be fitted, in a sentence; "" where it can.

    Args:
        columns: its features, of all networks.
        networks: how many of them the smallest fit has.
    """
    missing = {name: int((~np.isfinite(values)).sum()) for name, values in columns.items()}
    name = max(missing, key=missing.__getitem__)
    if missing[name]:
        return (
            f"The margin-based estimate is not scored: {missing[name]} networks have no {name}. "
            "Audit all networks with --margins."
        )
    if networks <= len(columns):
        return (
            f"The margin-based estimate is not scored: its {len(columns)} features need more "
            f"than the {networks} networks that are fitted on in a split. Add networks."
        )
    return ""


@dataclass(slots=True)
class MarginState:
    """What a pass over S samples has found so far, at L layers of D_l numbers each."""

    margin: np.ndarray  # float64 (S,): f_i − f_j; NaN where a sample was not read
    squares: np.ndarray  # float64 (S, L): ‖∇_{x^l}(f_i − f_j)‖²
    mean: list[np.ndarray]  # L of float64 (D_l,), over the samples read
    spread: np.ndarray  # float64 (L,): Σ_n ‖x^l_n − mean‖²
    digests: np.ndarray  # uint8 (S, 32): sha256 of what was read
    read: int = 0  # samples
    at: int = 0  # samples before this place are done
    seconds: float = 0.0

    @classmethod
    def start(cls, samples: int, graph: MarginGraph) -> "MarginState":
        """Nothing measured yet."""
        return cls(
            margin=np.full(samples, np.nan),
            squares=np.full((samples, len(graph.layers)), np.nan),
            mean=[np.zeros(layer.size) for layer in graph.layers],
            spread=np.zeros(len(graph.layers)),
            digests=np.zeros((samples, _DIGEST), np.uint8),
        )

    @property
    def total_variation(self) -> np.ndarray:
        """sqrt(Σ_k Var_n[x^l_{n,k}]), float64 (L,)."""
        return np.sqrt(self.spread / max(self.read, 1))

    def add(self, layer: int, mean: np.ndarray, variance: float, samples: int) -> None:
        """Bring in a batch's mean (D_l,) and Σ_k Var_n[x_{n,k}], before it is counted as read.

        Raises:
            ModelError: there are not as many numbers as the network's shapes say.
        """
        if mean.shape != self.mean[layer].shape:
            raise ModelError(
                f"A tensor that margins are measured at has {mean.size:,} values for an image, and "
                f"{self.mean[layer].size:,} by the shapes of the network. Export the network "
                "again, or leave margins out."
            )
        apart = mean.astype(np.float64) - self.mean[layer]
        both = self.read + samples
        self.spread[layer] += samples * (variance + self.read / both * float(apart @ apart))
        self.mean[layer] += samples / both * apart

    def arrays(self) -> dict[str, np.ndarray]:
        """What :meth:`resumed` takes."""
        means = {f"mean_{layer}": mean for layer, mean in enumerate(self.mean)}
        return {
            "margin": self.margin,
            "squares": self.squares,
            "spread": self.spread,
            "digests": self.digests,
            "counts": np.array([self.read, self.at]),
            "seconds": np.array(self.seconds),
            **means,
        }

    def resumed(self, arrays: Mapping[str, np.ndarray]) -> "MarginState":
        """The state in which :meth:`arrays` was called, for the same samples and layers.

        Raises:
            AuditFolderError: it is of other samples or layers.
        """
        fits = all(
            name in arrays
            and arrays[name].shape == own.shape
            and (not own.ndim or arrays[name].dtype == own.dtype)
            for name, own in self.arrays().items()
        )
        if not fits:
            raise AuditFolderError(
                "The unfinished margins are of other samples or other settings. Start again."
            )
        read, at = (int(count) for count in arrays["counts"])
        return MarginState(
            margin=arrays["margin"].copy(),
            squares=arrays["squares"].copy(),
            mean=[arrays[f"mean_{layer}"].copy() for layer in range(len(self.mean))],
            spread=arrays["spread"].copy(),
            digests=arrays["digests"].copy(),
            read=read,
            at=at,
            seconds=float(arrays["seconds"]),
        )


def measure_margins(
    graph: MarginGraph,
    samples: "Samples",
    state: MarginState,
    *,
    device: str = "auto",
    threads: int = 0,
    save: Callable[[MarginState], None] = lambda state: None,
    progress: Progress = lambda stage, done, total: None,
) -> str:
    """Measure, from ``state`` on, until every sample is done.

    Args:
        save: called with the state now and then, and at the end; a later call can resume from it.
        progress: called with the stage "margins", in samples.

    Returns:
        The device that the graph ran on.

    Raises:
        ModelError: the graph cannot be run, or a margin or gradient is not a number.
        OutOfMemory: a batch does not fit; a graph of smaller batches may, from the same state.
    """
    session = runtime.open_session(
        graph.path,
        device,
        threads=threads,
        custom_ops=graph.custom_ops,
        optimized=graph.nodes < _TOO_MANY_TO_OPTIMIZE,
    )
    checkpoint = Checkpoint(save)
    for batch in samples.load(samples.indices[state.at :], graph.batch):
        began = time.perf_counter()
        chunk = slice(state.at, state.at + graph.batch)
        if count := len(batch.indices):
            places = state.at + np.flatnonzero(np.isin(samples.indices[chunk], batch.indices))
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
            state.digests[places] = batch.digests
            state.margin[places] = named[graph.margin][:count]
            for number, layer in enumerate(graph.layers):
                state.squares[places, number] = named[layer.squares][:count]
                state.add(number, named[layer.mean], float(named[layer.variance]), count)
            _check(state, places, graph)
            state.read += count
        state.at = min(chunk.stop, len(samples.indices))
        state.seconds += time.perf_counter() - began
        progress("margins", state.at, len(samples.indices))
        checkpoint(state)
    save(state)
    return session.device


def _check(state: MarginState, places: np.ndarray, graph: MarginGraph) -> None:
    """Raise a ModelError where something is not a number."""
    if not np.isfinite(state.margin[places]).all():
        raise ModelError(
            "Two logits of an image are not finite numbers, so there is no margin between them. "
            f"Check the preprocessing, or audit the network without {parameter('margins')}."
        )
    bad = ~np.isfinite(state.squares[places]).all(axis=0) | ~np.isfinite(state.spread)
    if bad.any():
        raise ModelError(
            f"The values or gradients at {graph.layers[int(bad.argmax())].tensor!r} are not "
            "finite numbers for an image, so its margin is unknown. Check the preprocessing, or "
            f"audit the network without {parameter('margins')}."
        )
