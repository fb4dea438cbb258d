"""Freeing the batch axis of a network that was exported for a fixed number of images."""

import numpy as np
import onnx_ir as ir

from analyzer.surgery.graph import (
    attribute,
    constant,
    depending,
    dimensions,
    find_value,
    is_op,
    leading_to,
)
from analyzer.surgery.shapes import infer_shapes

__all__ = ["BATCH", "free_batch"]

BATCH = "N"  # name of the batch axis where the network has none


def free_batch(model: ir.Model, images: tuple[str, ...]) -> tuple[ir.Model, int | None]:
    """Make the first axis of the inputs symbolic, where that can be shown to be right.

    The proof is by shapes. Every value between the inputs and the outputs must have the batch
    first, no operator may work along that axis, and after constants in ``Reshape`` targets
    that repeat the batch size have been replaced, shape inference must find the symbolic size
    first in every one of them.

    Args:
        model: The network; not changed.
        images: Names of its image inputs.

    Returns:
        A clone with a free batch axis and None; or a plain clone and the batch size that the
        network stays fixed to.
    """
    fixed = model.clone()
    sizes = {
        shape[0]
        for name in images
        if (shape := dimensions(find_value(fixed.graph, name))) and isinstance(shape[0], int)
    }
    if not sizes:
        return fixed, None
    (size, *others) = sizes
    freed = model.clone()
    graph = freed.graph
    inputs = [v for v in graph.inputs if not v.is_initializer()]
    sources = [v for v in inputs if (dimensions(v) or (None,))[0] == size]
    flowing = depending(graph, sources) & leading_to(graph, graph.outputs)
    if others or not all(_batch_first(v, size) for v in flowing):
        return fixed, size
    for node in graph:
        if is_op(node, "Reshape") and node.inputs[0] in flowing:
            _free_reshape(graph, node, size)
    for value in depending(graph, sources, data=False) - flowing:
        value.shape = None  # found for the fixed size, and may follow it
    for value in flowing:
        value.shape = ir.Shape([BATCH, *value.shape[1:]]) if value in sources else None
    freed = infer_shapes(freed)
    if any((dimensions(v) or (None,))[0] != BATCH for v in flowing):
        return fixed, size
    return freed, None


def _batch_first(value: ir.Value, size: int) -> bool:
    """Whether the value has ``size`` first, and its maker does not work along that axis."""
    shape = dimensions(value)
    if not shape or shape[0] != size:
        return False
    node = value.producer()
    if node is None:
        return True
    axis = attribute(node, "axis", 1)
    rank = len(dimensions(node.inputs[0]) or shape) if node.inputs else len(shape)
    return axis not in (0, -rank) and not is_op(node, "CumSum")


def _free_reshape(graph: ir.Graph, node: ir.Node, size: int) -> None:
    """Let a target that repeats the batch size take it from the input: 0 copies."""
    target = constant(node.inputs[1])
    source = dimensions(node.inputs[0])
    if target is None or target.size == 0 or target[0] != size:
        return
    if not source or source[0] != size or (attribute(node, "allowzero", 0) and not target.all()):
        return
    node.attributes.pop("allowzero", None)
    tensor = ir.tensor(np.array([0, *target[1:]], np.int64))
    value = ir.val(f"{node.outputs[0].name}_free_shape", const_value=tensor)
    graph.register_initializer(value)
    node.replace_input_with(1, value)
