"""Where tensors keep their channels: through one operator, and through a whole network."""

from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from analyzer.surgery.graph import (
    CONVOLUTIONS,
    Dimensions,
    attribute,
    axes_of,
    dimensions,
    is_op,
    operand,
    reads,
    size_of,
)

__all__ = ["KEEPING_PLACES", "Flow", "Layout", "move", "trace"]

KEEPING_PLACES = (
    "Add", "BatchNormalization", "Cast", "DequantizeLinear", "Div", "Dropout",
    "GroupNormalization", "Identity", "InstanceNormalization", "Mul", "QuantizeLinear", "Sub",
    "Sum",
)  # fmt: skip
"""Between a convolution and its activation: these keep every channel where it is."""

_REDUCTIONS = (
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2",
    "ReduceSumSquare", "ReduceProd", "ReduceLogSum", "ReduceLogSumExp",
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """M channels along one axis of length ``outer`` × M × ``inner``, in row-major order.

    Plain channels have ``outer`` = ``inner`` = 1. Flattening NCHW leaves each channel a run of
    H·W positions (``inner``), flattening NHWC repeats the channels H·W times (``outer``).
    Axis 0 is the batch.
    """

    axis: int
    outer: int = 1
    inner: int = 1

    @property
    def plain(self) -> bool:
        return self.outer == self.inner == 1


@dataclass(frozen=True)
class Flow:
    """What is known of every value of a graph that stems from an input."""

    images: tuple[ir.Value, ...]  # the inputs that a convolution stems from, else all of them
    axis: dict[ir.Value, int]  # channel axis, where it is known
    convolution: dict[ir.Value, ir.Node]  # the nearest convolution it stems from
    # What a reshape made that splits channels or joins them, as group normalization is exported: a
    # value of known channels, in whose order the elements still are.
    folded: dict[ir.Value, ir.Value]


def trace(graph: ir.Graph) -> Flow:
    """Follow channels and convolutions from the inputs of ``graph`` to its outputs."""
    inputs = [v for v in graph.inputs if not v.is_initializer()]
    stem = {v: 1 << i for i, v in enumerate(inputs)}  # bits: the inputs it depends on through data
    images = 0  # likewise: the inputs that a convolution stems from
    axis: dict[ir.Value, int] = {}
    convolution: dict[ir.Value, ir.Node] = {}
    folded: dict[ir.Value, ir.Value] = {}
    place: dict[ir.Node, int] = {}
    for index, node in enumerate(graph):
        place[node] = index
        varying = [] if is_op(node, "Shape", "Size") else [v for v in reads(node) if v in stem]
        if not varying:
            continue
        origin = 0
        for value in varying:
            origin |= stem[value]
        nearest: ir.Node | None
        if is_op(node, *CONVOLUTIONS):
            nearest = node
            images |= stem.get(operand(node), 0)
        else:
            nearest = max(
                (convolution[v] for v in varying if v in convolution),
                key=place.__getitem__,
                default=None,
            )
        for output in node.outputs:
            stem[output] = origin
            if nearest is not None:
                convolution[output] = nearest
            if (place_of := _channel_axis(node, output, axis)) is not None:
                axis[output] = place_of
            elif (source := _folded_from(node, axis, folded)) is not None:
                if is_op(node, "Reshape") and _same_sizes(output, source):
                    axis[output] = axis[source]
                else:
                    folded[output] = source
    found = tuple(v for i, v in enumerate(inputs) if images >> i & 1)
    return Flow(found or tuple(inputs), axis, convolution, folded)


def move(node: ir.Node, value: ir.Value, layout: Layout, channels: int) -> Layout | None:
    """Follow the channels of ``value`` through an operator that only rearranges elements.

    Args:
        node: A ``Transpose``, or one of the operators that keep the row-major order
            (``Flatten``, ``Reshape``, ``Squeeze``, ``Unsqueeze``), reading ``value`` first.
        value: The tensor whose channels are followed.
        layout: Where they are in ``value``.
        channels: M.

    Returns:
        Where they are in the node's output; None for any other operator, when the batch axis
        does not stay first, or when that cannot be shown from the shapes.
    """
    if not node.inputs or node.inputs[0] is not value:
        return None
    if is_op(node, "Transpose"):
        return _transposed(node, value, layout)
    if is_op(node, "Unsqueeze", "Squeeze"):
        return _squeezed(node, value, layout)
    if is_op(node, "Flatten", "Reshape"):
        return _reshaped(value, node.outputs[0], layout, channels)
    return None


def _channel_axis(node: ir.Node, output: ir.Value, axis: dict[ir.Value, int]) -> int | None:
    """The channel axis of a node's output, from those of its inputs."""
    shape = dimensions(output)
    if shape is None:
        return None
    if is_op(node, *CONVOLUTIONS, "Gemm"):
        return 1
    if is_op(node, "MatMul", "MatMulInteger", "QLinearMatMul") and len(shape) > 1:
        return len(shape) - 1
    known = [v for v in node.inputs if v is not None and v in axis]
    if not known:
        return None
    value = known[0]
    source = dimensions(value)
    if is_op(node, "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Reshape"):
        channels = source[axis[value]] if source else None
        if not isinstance(channels, int):
            return None
        moved = move(node, value, Layout(axis[value]), channels)
        return moved.axis if moved is not None and moved.plain else None
    if is_op(node, *_REDUCTIONS) and (source is None or len(source) != len(shape)):
        return None
    # Broadcasting aligns axes at the end; everything else that keeps the rank keeps the axis.
    ranked = [(v, dims) for v in known if (dims := dimensions(v))]
    found = {len(shape) - len(dims) + axis[v] for v, dims in ranked}
    return found.pop() if len(found) == 1 else None


def _folded_from(
    node: ir.Node, axis: dict[ir.Value, int], folded: dict[ir.Value, ir.Value]
) -> ir.Value | None:
    """The value of known channels in whose order a node's elements are, where theirs are not."""
    if is_op(node, "Reshape"):
        value = operand(node)
        return folded.get(value, value if value in axis else None)
    if not is_op(node, *KEEPING_PLACES):
        return None
    sources = {folded[v] for v in node.inputs if v is not None and v in folded}
    return sources.pop() if len(sources) == 1 else None


def _same_sizes(value: ir.Value, source: ir.Value) -> bool:
    """Whether two values have one shape, which is known."""
    shape = dimensions(value)
    return shape is not None and None not in shape and shape == dimensions(source)


def _transposed(node: ir.Node, value: ir.Value, layout: Layout) -> Layout | None:
    permutation = attribute(node, "perm", None)
    if permutation is None:
        shape = dimensions(value)
        if shape is None:
            return None
        permutation = range(len(shape))[::-1]
    permutation = list(permutation)
    if permutation[0] != 0:
        return None
    return Layout(permutation.index(layout.axis), layout.outer, layout.inner)


def _squeezed(node: ir.Node, value: ir.Value, layout: Layout) -> Layout | None:
    """Follow ``Squeeze`` and ``Unsqueeze`` by their axes, so that sizes need not be known."""
    before, after = dimensions(value), dimensions(node.outputs[0])
    if before is None:
        return None
    axes = axes_of(node)
    if is_op(node, "Unsqueeze"):
        if axes is None:
            return None
        rank = len(before) + len(axes)
        new = {int(a) % rank for a in axes}
        kept = [i for i in range(rank) if i not in new]
        axis, batch = kept[layout.axis], kept[0]
    else:
        if axes is None:  # every axis of size 1
            if after is None or any(not isinstance(d, int) for d in before[1:]):
                return None
            axes = [i for i, d in enumerate(before) if d == 1 and i > 0]
            if len(before) - len(axes) != len(after):
                return None
        gone = {int(a) % len(before) for a in axes}
        if layout.axis in gone or 0 in gone:
            return None
        axis, batch = layout.axis - sum(a < layout.axis for a in gone), 0
    return Layout(axis, layout.outer, layout.inner) if batch == 0 else None


def _reshaped(before: ir.Value, after: ir.Value, layout: Layout, channels: int) -> Layout | None:
    """Find the output axis that holds all channels, given the sizes on either side.

    Per sample the elements are ordered as (outside, channel, inside). The output keeps that
    order, so the channels lie in the axis whose dimensions before multiply to a divisor of
    ``outside`` and whose dimensions after multiply to a divisor of ``inside``.
    """
    sizes, target = _sizes_per_sample(before), _sizes_per_sample(after)
    if sizes is None or not target or prod(sizes) != prod(target):
        return None  # also where the batch axis takes part
    outside = prod(sizes[: layout.axis - 1]) * layout.outer
    inside = prod(sizes[layout.axis :]) * layout.inner
    for place, size in enumerate(target):
        lead, tail = prod(target[:place]), prod(target[place + 1 :])
        if lead and tail and outside % lead == 0 and inside % tail == 0:
            found = Layout(place + 1, outside // lead, inside // tail)
            if found.outer * channels * found.inner == size:
                return found
    return None


def _sizes_per_sample(value: ir.Value) -> list[int] | None:
    """The sizes of a tensor's axes behind the batch; None where they are not all known."""
    shape: Dimensions | None = dimensions(value)
    if not shape or size_of(value, first_axis=1) is None:
        return None
    return [d for d in shape[1:] if isinstance(d, int)]
