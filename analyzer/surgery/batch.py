"""Freeing the batch axis of a network that was exported for a fixed number of images."""

import numpy as np
import onnx_ir as ir

from analyzer.surgery.graph import attribute, constant, depending, dimensions, find_value, is_op
from analyzer.surgery.shapes import infer_shapes

__all__ = ["BATCH", "free_batch"]

BATCH = "N"  # name of the batch axis where the network has none


def free_batch(model: ir.Model, images: tuple[str, ...]) -> tuple[ir.Model, int | None]:
    """Make the first axis of the inputs symbolic, where that can be shown to be right.

    The proof is by shape inference: after constants in ``Reshape`` targets that repeat the
    batch size have been replaced, every value that had the fixed size first must come out
    with the symbolic one.

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
    if others:
        return fixed, size
    freed = model.clone()
    graph = freed.graph
    inputs = [v for v in graph.inputs if not v.is_initializer()]
    sources = [v for v in inputs if (dimensions(v) or (None,))[0] == size]
    flowing = depending(graph, sources)
    batched = {v.name for v in flowing if (dimensions(v) or (None,))[0] == size}
    for node in graph:
        if is_op(node, "Reshape") and node.inputs[0] in flowing:
            _free_reshape(graph, node, size)
    for value in flowing:
        value.shape = None
        if value in sources:
            shape = dimensions(find_value(fixed.graph, value.name))
            value.shape = ir.Shape([BATCH, *shape[1:]])
    freed = infer_shapes(freed)
    for value in flowing:
        shape = dimensions(value)
        if value.name in batched and (not shape or shape[0] != BATCH):
            return fixed, size
    return freed, None


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
