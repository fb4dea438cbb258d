"""A network for images of one size in batches of one size: every shape a plain number."""

from math import prod

import numpy as np
import onnx_ir as ir

from analyzer.surgery.graph import attribute, constant, dimensions, find_value, is_op
from analyzer.surgery.shapes import infer_shapes

__all__ = ["explicit_pads", "fix_sizes", "size_of"]

_SMALL = 1 << 12  # elements; what is computed from shapes has fewer


def fix_sizes(model: ir.Model, image: str, shape: tuple[int, ...]) -> ir.Model:
    """Give the input called ``image`` that shape, and infer the others anew, in place.

    What was computed from shapes becomes constants.
    """
    for node in model.graph:
        for value in node.outputs:
            value.shape = None
    find_value(model.graph, image).shape = ir.Shape(shape)
    model = infer_shapes(model)
    while _fold(model):
        model = infer_shapes(model)
    return model


def explicit_pads(model: ir.Model) -> None:
    """Write out the padding that convolutions and pools derive from their input's size."""
    for node in model.graph:
        mode = attribute(node, "auto_pad", "NOTSET")
        if not is_op(node, "AveragePool", "Conv", "LpPool", "MaxPool") or "SAME" not in mode:
            continue
        sizes = dimensions(node.inputs[0])[2:]
        kernel = attribute(node, "kernel_shape", None) or dimensions(node.inputs[1])[2:]
        ones = [1] * len(sizes)
        strides = attribute(node, "strides", ones)
        missing = [
            max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
            for size, k, stride, dilation in zip(
                sizes, kernel, strides, attribute(node, "dilations", ones), strict=True
            )
        ]
        less, more = [m // 2 for m in missing], [m - m // 2 for m in missing]
        node.attributes.pop("auto_pad")
        pads = less + more if mode == "SAME_UPPER" else more + less
        node.attributes["pads"] = ir.AttrInt64s("pads", pads)


def size_of(value: ir.Value) -> int | None:
    """How many numbers a value holds; None where its shape is not all plain numbers."""
    shape = dimensions(value)
    if shape is None or not all(isinstance(d, int) for d in shape):
        return None
    return prod(shape)


def _fold(model: ir.Model) -> bool:
    """Make initializers of what small constants, known shapes and weights stored in a narrower
    type determine; whether any was.
    """
    graph = model.graph
    folded = False
    for node in tuple(graph):
        outcome = _outcome(node, model)
        if outcome is None or len(node.outputs) > 1 or node.outputs[0].is_graph_output():
            continue
        value = node.outputs[0]
        known = ir.val(f"{value.name}_known", const_value=ir.tensor(outcome))
        graph.register_initializer(known)
        value.replace_all_uses_with(known)
        graph.remove(node, safe=True)
        folded = True
    return folded


def _outcome(node: ir.Node, model: ir.Model) -> np.ndarray | None:
    """The one output of a node, where it is known, and small or weights."""
    if is_op(node, "Shape", "Size"):
        shape = dimensions(node.inputs[0])
        if shape is None or not all(isinstance(d, int) for d in shape):
            return None
        part = shape[attribute(node, "start", 0) : attribute(node, "end", None)]
        return np.array(prod(shape) if is_op(node, "Size") else part, np.int64)
    if is_op(node, "Cast") and (weights := constant(node.outputs[0])) is not None:
        return weights  # stored in a narrower type: as large as they may be
    known = {v.name: constant(v) for v in node.inputs if v is not None}
    if not known or any(v is None or v.size > _SMALL for v in known.values()):
        return None
    size = size_of(node.outputs[0])
    if node.domain or (size is not None and size > _SMALL):
        return None
    # Imported here: most audits need no evaluator.
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(ir.to_proto(node), opsets=dict(model.opset_imports))
    try:
        (outcome,) = evaluator.run(None, known)
    except Exception:  # what cannot be evaluated is left as it is
        return None
    return outcome if outcome.size <= _SMALL else None
