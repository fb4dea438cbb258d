"""How far down a mask may be applied with the same result.

To sink the mask is to move it past operators that keep removed channels at zero. An operator may
be passed when it works on every channel apart and turns a channel of zeros into zeros, to the bit.
Masking after it is then the same as masking before it, but what is cached per sample and what is
run per evaluation both get smaller. Whether an activation is such an operator stands in the table
of :mod:`analyzer.surgery.activations`, for all others here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from analyzer.surgery.activations import Activation, single_activation
from analyzer.surgery.graph import (
    attribute,
    axes_of,
    constant,
    consumers,
    dimensions,
    is_captured,
    is_op,
    operand,
    size_of,
)
from analyzer.surgery.layout import Layout, move
from analyzer.surgery.mask import keeps_zero_point, zero_point

__all__ = ["Sunk", "sink", "sinks_to"]


@dataclass(frozen=True)
class Sunk:
    """How far down a mask may be applied with the same result."""

    value: ir.Value  # the tensor to mask instead
    layout: Layout
    passed: tuple[str, ...]  # the operators between the site and it


@dataclass(frozen=True)
class _Step:
    """A tensor that a mask may sink to, and the operator just above it."""

    value: ir.Value
    layout: Layout
    passed: str


def sink(
    value: ir.Value,
    layout: Layout,
    channels: int,
    *,
    alive: set[ir.Value],
    activations: dict[ir.Value, Activation],
) -> Sunk:
    """Find the tensor below ``value`` where masking is the same and cheapest.

    Args:
        value: The site's tensor.
        layout: Where it keeps its channels.
        channels: M.
        alive: The values that the scores depend on through data; other consumers do not count.
        activations: The graph's activations, so that decomposed ones can be passed as one.

    Returns:
        The furthest tensor whose size per sample is least.
    """
    best, least, passed = _Step(value, layout, ""), _size(value), 0
    names: list[str] = []
    for here in _steps(value, layout, channels, alive, activations):
        if here.value.is_graph_output():
            break  # the scores themselves are the suffix's to make
        names.append(here.passed)
        if (size := _size(here.value)) <= least:
            best, least, passed = here, size, len(names)
    return Sunk(best.value, best.layout, tuple(names[:passed]))


def sinks_to(
    value: ir.Value,
    layout: Layout,
    channels: int,
    goals: set[ir.Value],
    *,
    alive: set[ir.Value],
    activations: dict[ir.Value, Activation],
) -> bool:
    """Whether one of ``goals`` is the same channels, each by itself, as ``value``."""
    steps = _steps(value, layout, channels, alive, activations)
    return value in goals or any(s.value in goals and s.layout.plain for s in steps)


def _steps(
    value: ir.Value,
    layout: Layout,
    channels: int,
    alive: set[ir.Value],
    activations: dict[ir.Value, Activation],
) -> Iterator[_Step]:
    """Every tensor below ``value`` that a mask may sink to, one after the other."""
    by_input = {a.input: a for a in activations.values() if len(a.nodes) > 1}
    zero = zero_point(value)
    while not is_captured(value):
        nodes = [n for n in consumers(value) if any(v in alive for v in n.outputs)]
        activation = by_input.get(value)
        if activation is not None and activation.keeps_zero and set(nodes) <= set(activation.nodes):
            value, zero, passed = activation.output, zero_point(activation.output), activation.name
        elif len(nodes) == 1:
            (node,) = nodes
            moved = _follow(node, value, layout, channels, zero)
            if moved is None:
                return
            value, layout, passed = node.outputs[0], moved, node.op_type
            if not keeps_zero_point(node):  # a walk up through all that does, otherwise
                zero = zero_point(value)
        else:
            return
        yield _Step(value, layout, passed)


def _size(value: ir.Value) -> float:
    """Elements per sample; infinite when not known, so that unknown sizes compare equal."""
    size = size_of(value, first_axis=1)
    return np.inf if size is None else size


def _follow(
    node: ir.Node, value: ir.Value, layout: Layout, channels: int, zero: int | None
) -> Layout | None:
    """Where the channels of ``value``, whose zero point is ``zero``, are in the output of ``node``.

    None where a removed channel may come out as something else, or the channels mix.
    """
    if zero != 0 and not is_op(node, *_FOR_ANY_ZERO):
        return None
    at = _At(node, value, layout, channels)
    activation = single_activation(node)
    if activation is not None:
        return _elementwise(at) if activation.keeps_zero else None
    rule = _RULES.get(node.op_type) if is_op(node, node.op_type) else None
    return None if rule is None else rule(at)


@dataclass(frozen=True)
class _At:
    """What a rule may look at: the node, the tensor it reads, and where its channels are."""

    node: ir.Node
    value: ir.Value
    layout: Layout
    channels: int

    @property
    def spatial(self) -> bool:
        """Whether axis 1 holds the plain channels, as pooling and convolution expect."""
        return self.layout == Layout(1)


_Rule = Callable[[_At], Layout | None]


def _first_input(at: _At) -> bool:
    """The tensor is the node's data, and only that."""
    return [v is at.value for v in at.node.inputs].index(True) == 0 and (
        sum(v is at.value for v in at.node.inputs) == 1
    )


def _only_first_output(at: _At) -> bool:
    """No other output, such as pooling indices or a dropout mask, is read."""
    return all(not v.uses() and not v.is_graph_output() for v in at.node.outputs[1:])


def _elementwise(at: _At) -> Layout | None:
    return at.layout if _first_input(at) else None


_MASKED = {  # types of which onnxruntime has a ``Where``
    getattr(ir.DataType, name)
    for name in ("FLOAT", "DOUBLE", "FLOAT16", "INT8", "UINT8", "INT32", "UINT32", "INT64")
}


def _cast(at: _At) -> Layout | None:
    return at.layout if attribute(at.node, "to", 0) in _MASKED else None


def _scale(at: _At) -> Layout | None:
    """A product with, or quotient by, finite constants that do not widen the tensor."""
    others = [v for v in at.node.inputs if v is not at.value]
    if len(others) != 1 or (is_op(at.node, "Div") and not _first_input(at)):
        return None
    factor = constant(others[0])
    if factor is None or not np.all(np.isfinite(factor.astype(np.float64))):
        return None
    if is_op(at.node, "Div") and not np.all(factor):
        return None
    same = dimensions(at.node.outputs[0]) == dimensions(at.value) is not None
    return at.layout if same or (factor.size == 1 and factor.ndim <= 1) else None


def _dropout(at: _At) -> Layout | None:
    """Dropout at inference; in training mode it draws at random."""
    training = at.node.inputs[2] if len(at.node.inputs) > 2 else None
    if training is not None:
        array = constant(training)
        if array is None or array.any():
            return None
    return at.layout if _first_input(at) and _only_first_output(at) else None


def _pool(at: _At) -> Layout | None:
    """Pooling windows that all hold at least one element of the tensor itself.

    A window of nothing but padding would be −∞ (max) or 0/0 (average) instead of zero.
    """
    pads = attribute(at.node, "pads", [])
    kernel = attribute(at.node, "kernel_shape", [])
    dilated = any(d != 1 for d in attribute(at.node, "dilations", []))
    ceil = attribute(at.node, "ceil_mode", 0)
    narrow = all(p < k for p, k in zip(pads, [*kernel, *kernel], strict=False))
    if any(pads) and (dilated or ceil or not narrow):
        return None
    return at.layout if at.spatial and _only_first_output(at) else None


def _global_pool(at: _At) -> Layout | None:
    return at.layout if at.spatial else None


def _reduce(at: _At) -> Layout | None:
    """A reduction over axes other than the batch and the channels."""
    shape = dimensions(at.value)
    axes = axes_of(at.node)
    if not axes or shape is None:
        return None
    gone = {int(a) % len(shape) for a in axes}
    if gone & {0, at.layout.axis}:
        return None
    if attribute(at.node, "keepdims", 1):
        return at.layout
    axis = at.layout.axis - sum(a < at.layout.axis for a in gone)
    return Layout(axis, at.layout.outer, at.layout.inner)


def _rearrange(at: _At) -> Layout | None:
    return move(at.node, at.value, at.layout, at.channels)


def _depthwise(at: _At) -> Layout | None:
    """A convolution of every channel by itself, one to one, without bias."""
    weight = constant(operand(at.node, 1))
    bias = at.node.inputs[2] if len(at.node.inputs) > 2 else None
    if weight is None or not at.spatial or not _first_input(at):
        return None
    if attribute(at.node, "group", 1) != at.channels or weight.shape[0] != at.channels:
        return None
    if bias is not None and ((array := constant(bias)) is None or array.any()):
        return None
    return at.layout if np.all(np.isfinite(weight.astype(np.float64))) else None


def _pad(at: _At) -> Layout | None:
    """Padding of the spatial axes by zeros or by the tensor's own elements."""
    inputs = list(at.node.inputs) + [None] * 4
    pads = attribute(at.node, "pads", None)
    if pads is None:
        pads = constant(inputs[1])
    fill = 0 if inputs[2] is None else constant(inputs[2])
    fill = attribute(at.node, "value", fill)
    if pads is None or fill is None or np.any(fill) or inputs[3] is not None:
        return None
    rank = len(pads) // 2
    fixed = {0, at.layout.axis}
    return None if any(pads[a] or pads[a + rank] for a in fixed) else at.layout


def _quantize(at: _At) -> Layout | None:
    """Zero becomes the zero point, which is the zero of what follows; and the other way."""
    scale = constant(operand(at.node, 1))
    if scale is None or scale.size != 1 or not scale > 0 or not _first_input(at):
        return None
    return None if zero_point(at.node.outputs[0]) is None else at.layout


def _dequantize(at: _At) -> Layout | None:
    """The code for zero becomes zero, where it is the one that is subtracted."""
    scale = constant(operand(at.node, 1))
    point = constant(at.node.inputs[2]) if len(at.node.inputs) > 2 else np.zeros(1)
    if scale is None or scale.size != 1 or point is None or not _first_input(at):
        return None
    return at.layout if np.all(point == zero_point(at.value)) else None


# Operators whose rules hold whatever the code for zero is.
_FOR_ANY_ZERO = (
    "DequantizeLinear", "Flatten", "Identity", "MaxPool", "Reshape", "Squeeze", "Transpose",
    "Unsqueeze",
)  # fmt: skip


_RULES: dict[str, _Rule] = {
    **dict.fromkeys(
        ("Abs", "Erf", "Identity", "Sqrt"),
        _elementwise,
    ),
    **dict.fromkeys(("AveragePool", "LpPool", "MaxPool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool"), _global_pool),
    **dict.fromkeys(
        ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum",
         "ReduceSumSquare"),
        _reduce,
    ),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"), _rearrange),
    **dict.fromkeys(("Div", "Mul"), _scale),
    "Cast": _cast,
    "Conv": _depthwise,
    "DequantizeLinear": _dequantize,
    "Dropout": _dropout,
    "Pad": _pad,
    "QuantizeLinear": _quantize,
}  # fmt: skip
