"""Inferring shapes, and settling the targets of ``Reshape`` that a network computes.

Exporters write ``x.view(x.size(0), -1)`` as ``Shape`` → ``Gather`` → ``Concat`` → ``Reshape``.
Followed symbolically, most such targets are constants but for sizes that the input already has,
which a constant target copies with 0. Without the detour the reshape's output has a known
shape, the channels can be followed through it, and nothing ties it to the rest of the graph.
"""

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.surgery.graph import attribute, constant, dimensions, is_op, operand
from analyzer.surgery.graph_builder import GraphBuilder

__all__ = ["infer_shapes"]

_Size = int | str | None  # an element of a shape: known, symbolic, unknown
_LONGEST = 16  # elements of a tensor that is followed; shapes are shorter


def infer_shapes(model: ir.Model) -> ir.Model:
    """Infer shapes in place, settling ``Reshape`` targets until none is left to settle."""
    while True:
        model = passes.ShapeInferencePass(check_type=False, strict_mode=False)(model).model
        if not _settle_reshapes(model.graph):
            return model
        passes.RemoveUnusedNodesPass()(model)


def _settle_reshapes(graph: ir.Graph) -> bool:
    """Replace computed targets by constants where they are known; whether any was."""
    known: dict[ir.Value, list[_Size] | None] = {}
    targets: dict[ir.Node, list[int]] = {}
    for node in graph:
        if is_op(node, "Reshape") and constant(node.inputs[1]) is None:
            target = _target(node, _sizes(operand(node, 1), known))
            if target is not None:
                targets[node] = target
    if not targets:
        return False
    new = GraphBuilder(graph, "settled")
    for node, target in targets.items():
        new.stem = f"{node.outputs[0].name}_shape"
        node.replace_input_with(1, new.constant(target))
    return True


def _target(node: ir.Node, sizes: list[_Size] | None) -> list[int] | None:
    """A constant target that does the same; one unknown size is left to be inferred (−1)."""
    source = dimensions(node.inputs[0])
    if sizes is None or source is None or attribute(node, "allowzero", 0):
        return None
    target: list[int] = []
    for axis, size in enumerate(sizes):
        if isinstance(size, str) and axis < len(source) and size == source[axis]:
            target.append(0)
        else:
            target.append(size if isinstance(size, int) else -1)
    return target if target.count(-1) <= 1 else None


def _sizes(value: ir.Value, known: dict[ir.Value, list[_Size] | None]) -> list[_Size] | None:
    """The elements of an integer tensor that is computed from shapes, flattened."""
    if value not in known:
        known[value] = _follow(value, known)
    return known[value]


def _follow(value: ir.Value, known: dict[ir.Value, list[_Size] | None]) -> list[_Size] | None:
    array = constant(value)
    if array is not None:
        small = array.size <= _LONGEST and np.issubdtype(array.dtype, np.integer)
        return [int(v) for v in array.ravel()] if small else None
    node = value.producer()
    if is_op(node, "Shape"):
        shape = dimensions(node.inputs[0])
        if shape is None:
            return None
        return list(shape[attribute(node, "start", 0) : attribute(node, "end", None)])
    if is_op(node, "Concat"):
        joined: list[_Size] = []
        for part in node.inputs:
            sizes = None if part is None else _sizes(part, known)
            if sizes is None:
                return None
            joined += sizes
        return joined
    if not is_op(node, "Cast", "Gather", "Identity", "Slice", "Squeeze", "Unsqueeze"):
        return None
    source = _sizes(operand(node), known)
    if source is None or len(dimensions(node.inputs[0]) or ()) > 1:
        return None
    if is_op(node, "Gather"):
        indices = constant(node.inputs[1])
        return None if indices is None else [source[int(i)] for i in indices.ravel()]
    if is_op(node, "Slice"):
        return _slice(node, source)
    return source


def _slice(node: ir.Node, source: list[_Size]) -> list[_Size] | None:
    starts, ends = attribute(node, "starts", None), attribute(node, "ends", None)
    steps: np.ndarray | None = np.ones(1, np.int64)
    if starts is None:
        starts, ends = constant(node.inputs[1]), constant(node.inputs[2])
        if len(node.inputs) > 4 and node.inputs[4] is not None:
            steps = constant(node.inputs[4])
    if starts is None or ends is None or steps is None:
        return None
    return source[int(starts[0]) : int(ends[0]) : int(steps[0])]
