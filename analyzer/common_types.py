"""What the parts of the analyzer hand to each other: frozen records, numpy and stdlib only.

Words and symbols are those of the method: S samples, K classes, M channels (units) of the site.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyzer.errors import parameter

__all__ = [
    "DIVISION_GUARD",
    "GUARDS",
    "GUARD_SIZES",
    "TURNS_GUARD",
    "ActivationGraph",
    "ActivationLayer",
    "Answer",
    "Cut",
    "ExtraInput",
    "GapEstimate",
    "LinearHead",
    "MarginGraph",
    "MarginLayer",
    "NetworkInfo",
    "Progress",
    "Site",
    "TensorInfo",
]

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total) as long work proceeds; ``total`` is fixed within a stage."""

DIVISION_GUARD, TURNS_GUARD = "division_guard", "turns_guard"
GUARD_SIZES = {DIVISION_GUARD: 7919, TURNS_GUARD: 7927}
"""The last axis that a guard of such a name asks for when it fails: no network's own sizes."""
GUARDS = {
    DIVISION_GUARD: (
        "divides integers by 0, or the least integer by -1, which has no result and can stop the "
        "process. Export it without"
    ),
    TURNS_GUARD: (
        "takes more turns in a loop than the budget allows. If you trust where it comes from, pass "
        f"{parameter('budget', 'turns=none')}"
    ),
}
"""What a network did whose node of such a name failed: the end of a sentence without its stop."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a network."""

    name: str
    dtype: str  # numpy name, e.g. "float32"
    shape: tuple[int | str | None, ...]  # int: fixed, str: symbolic, None: unknown

    @property
    def fixed_batch(self) -> int | None:
        """The size that the first axis is fixed to; None when it is free."""
        return self.shape[0] if self.shape and isinstance(self.shape[0], int) else None


@dataclass(frozen=True, slots=True)
class ExtraInput:
    """What an input is fed that takes no images: the same for every image."""

    name: str
    value: np.ndarray  # of the input's type; its first axis 1 where it is the batch
    per_image: bool  # the first axis is the batch

    def repeated(self, count: int) -> np.ndarray:
        """For a batch of ``count`` images."""
        return np.repeat(self.value, count, axis=0) if self.per_image else self.value


@dataclass(frozen=True, slots=True)
class NetworkInfo:
    """What an ONNX file says about itself."""

    path: Path
    sha256: str  # of the file, followed by its external data files where there are any
    bytes: int  # the same files together
    producer: str  # "pytorch 2.13.0"; "" when the file does not say
    opset: int  # of the default domain
    inputs: tuple[TensorInfo, ...]  # without initializers
    outputs: tuple[TensorInfo, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The output that tells the class, and how it is read."""

    output: str
    # "scores": the highest of K; "labels": the class itself; "logit" and "probability": one
    # score, class 1 where it is above 0 or ½
    kind: str


@dataclass(frozen=True, slots=True)
class Site:
    """The tensor that is masked."""

    tensor: str  # name of the value in the graph
    axis: int  # channel axis, never negative
    channels: int  # M
    kind: str  # "activation", "convolution" (raw output) or "tensor" (named by the caller)
    operator: str  # the operator (or decomposed activation) that makes it: "Relu", "SiLU", …
    convolution: str | None  # name of the nearest convolution it stems from
    shape: tuple[int | str | None, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LinearHead:
    """A suffix that begins with a linear operator on the masked features: z = Σ_i U_i·W_i + b.

    Removing one more unit takes one unit's share from z, instead of a whole product.
    """

    weights: Path  # .npy, float32 (M, P, D): P positions a channel, D values
    bias: Path  # .npy, float32 (D,)
    outer: int  # features are (N, outer × M × inner), P = outer × inner
    inner: int
    tail: Path | None  # ONNX, z (N, D) → scores; None where z ranks the classes as they do
    tail_input: str


@dataclass(frozen=True, slots=True)
class Cut:
    """A network cut at its site into two ONNX files; plain data, so that it travels to workers.

    The prefix maps the network's own inputs to ``features``, ``skip_inputs``, ``activity`` and
    ``active``. The suffix maps ``features``, ``skip_inputs`` and ``mask`` to ``scores``. Both
    have a free batch axis, the first of every value except those named in ``shared_inputs``,
    which do not depend on the sample.
    """

    prefix: Path
    suffix: Path
    site: Site
    tensor: str  # original name of the tensor that is cut; differs from site.tensor when sunk
    features: str
    skip_inputs: tuple[str, ...]  # values that bypass the cut into the suffix
    shared_inputs: tuple[str, ...]  # those of ``skip_inputs`` without a batch axis
    activity: str  # prefix output, float32 (N, M): Σ_xy |U_i(x, y)| at the site
    active: str  # prefix output, bool (N, M): the unit's map at the cut is not all zero
    mask: str  # suffix input, float32 (N or 1, M): 1 keep, 0 remove
    scores: str  # suffix output (N, K)
    batch: int | None  # batch size the network is fixed to; None when free
    warnings: tuple[str, ...] = ()
    head: LinearHead | None = None  # how the suffix begins, where that is linear
    custom_ops: Path | None = None  # library of operators that it needs
    # Elements of the largest tensor that each makes of one image, as far as shapes tell.
    largest_in_prefix: int = 0
    largest_in_suffix: int = 0


@dataclass(frozen=True, slots=True)
class MarginLayer:
    """A tensor x^l that margins are measured at, and what a :class:`MarginGraph` says of it."""

    tensor: str  # its name in the network
    operator: str  # the operator (or decomposed activation) that makes it; "input" for the images
    size: int  # D, numbers a sample
    squares: str  # output, float32 (B,): ‖∇_{x^l}(f_i − f_j)‖²
    mean: str  # output, float32 (D,): of the samples that count
    variance: str  # output, float32 (): Σ_k Var_n[x^l_{n,k}] of the samples that count


@dataclass(frozen=True, slots=True)
class MarginGraph:
    """A network that computes the margins of its own answers; plain data.

    f are its class scores, before a final softmax or sigmoid; i is the label, j the class with
    the highest score of the others.
    """

    path: Path
    image: str  # input (B, …)
    label: str  # input, int64 (B,)
    weight: str  # input, float32 (B,): 1 / number of samples that count, 0 for those that do not
    margin: str  # output, float32 (B,): f_i − f_j
    layers: tuple[MarginLayer, ...]  # the images first, then by depth
    batch: int  # B
    nodes: int = 0  # of the graph
    custom_ops: Path | None = None  # library of operators that it needs


@dataclass(frozen=True, slots=True)
class ActivationLayer:
    """A tensor that activations are read from."""

    name: str  # "images", "first", "third", "two_thirds", "last": how deep it lies
    tensor: str  # its name in the network
    operator: str  # the operator (or decomposed activation) that makes it; "input" for the images
    output: str | None  # output that gives it, float32 (B, …); None for the images themselves
    size: int | None = None  # numbers of an image in it; None where the shapes do not say


@dataclass(frozen=True, slots=True)
class ActivationGraph:
    """A network that gives its activations at some layers instead of an answer; plain data."""

    path: Path
    image: str  # input (B, …)
    layers: tuple[ActivationLayer, ...]  # by depth; shallow networks name one tensor twice
    batch: int | None  # batch size the network is fixed to; None when free
    custom_ops: Path | None = None  # library of operators that it needs
    operations: int | None = None  # multiply-adds of the whole network for an image; as above
    largest: int = 0  # elements of the largest tensor made of one image, as far as shapes tell


@dataclass(frozen=True, slots=True)
class GapEstimate:
    """The estimated generalization gap of one network (Eq. 7) with its prediction interval."""

    estimate: float
    low: float
    high: float
    coverage: float  # nominal coverage of [low, high], e.g. 0.9
    inside_range: bool  # features and conditions are like those the gap model was fitted on
    warnings: tuple[str, ...] = ()
