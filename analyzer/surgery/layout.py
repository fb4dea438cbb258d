"""Where a tensor keeps its channels, and where they go when it is reshaped or transposed."""

from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from analyzer.surgery.graph import attribute, axes_of, dimensions, is_op

__all__ = ["Layout", "move"]


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
    source, target = dimensions(before), dimensions(after)
    if not source or not target or len(target) < 2:
        return None
    sizes = source[1:]
    if any(not isinstance(d, int) for d in sizes + target[1:]):
        return None
    if prod(sizes) != prod(target[1:]):
        return None  # the batch axis takes part
    outside = prod(source[1 : layout.axis]) * layout.outer
    inside = prod(source[layout.axis + 1 :]) * layout.inner
    for axis in range(1, len(target)):
        lead, tail = prod(target[1:axis]), prod(target[axis + 1 :])
        if lead and tail and outside % lead == 0 and inside % tail == 0:
            found = Layout(axis, outside // lead, inside // tail)
            if found.outer * channels * found.inner == target[axis]:
                return found
    return None
