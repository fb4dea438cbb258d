"""The operators that a mask may sink past: each works on every channel apart and turns a removed
channel into a removed one, to the bit."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from analyzer.surgery.graph import attribute, axes_of, constant, dimensions, is_op
from analyzer.surgery.layout import Layout, move
from analyzer.surgery.removed import zero_point

__all__ = ["follow"]


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
    """No further output, such as pooling indices or a dropout mask, is read."""
    return all(not v.uses() and not v.is_graph_output() for v in at.node.outputs[1:])


def _elementwise(at: _At) -> Layout | None:
    return at.layout if _first_input(at) else None


def _cast(at: _At) -> Layout | None:
    kind = ir.DataType(attribute(at.node, "to", 0))
    return at.layout if kind.is_floating_point() or kind.is_integer() else None


def _clip(at: _At) -> Layout | None:
    """Zero stays zero between bounds on either side of it."""
    if not _first_input(at):
        return None
    bounds = []
    for index, name in ((1, "min"), (2, "max")):
        given = at.node.inputs[index] if len(at.node.inputs) > index else None
        if given is None:
            bounds.append(attribute(at.node, name, 0.0))
        elif (array := constant(given)) is not None:
            bounds.append(float(array.reshape(())))
        else:
            return None
    return at.layout if bounds[0] <= 0 <= bounds[1] else None


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
    weight = constant(at.node.inputs[1])
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
    scale = constant(at.node.inputs[1])
    if scale is None or scale.size != 1 or not scale > 0 or not _first_input(at):
        return None
    return None if zero_point(at.node.outputs[0]) is None else at.layout


def _dequantize(at: _At) -> Layout | None:
    """The code for zero becomes zero, where it is the one that is subtracted."""
    scale = constant(at.node.inputs[1])
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
        ("Abs", "Celu", "Elu", "Erf", "Gelu", "HardSwish", "Identity", "LeakyRelu", "Mish",
         "PRelu", "Relu", "Selu", "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu"),
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
    "Clip": _clip,
    "Conv": _depthwise,
    "DequantizeLinear": _dequantize,
    "Dropout": _dropout,
    "Pad": _pad,
    "QuantizeLinear": _quantize,
}  # fmt: skip


def follow(node: ir.Node, value: ir.Value, layout: Layout, channels: int) -> Layout | None:
    """Where the channels of ``value`` are in the output of ``node``.

    None where a removed channel may come out as something else, or the channels mix.
    """
    rule = _RULES.get(node.op_type) if is_op(node, node.op_type) else None
    if rule is None or (zero_point(value) != 0 and not is_op(node, *_FOR_ANY_ZERO)):
        return None
    return rule(_At(node, value, layout, channels))
