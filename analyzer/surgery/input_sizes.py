"""The sizes of a network's inputs: the batch set free, an image's fixed."""

import numpy as np
import onnx_ir as ir

from analyzer.surgery.graph import (
    ancestors,
    attribute,
    constant,
    descendants,
    dimensions,
    find_value,
    get_value,
    is_op,
    name_of,
    operand,
    shape_of,
    size_of,
)
from analyzer.surgery.shapes import infer_shapes

__all__ = ["BATCH", "fix_sizes", "free_batch", "knows_sizes"]

BATCH = "N"  # name of the batch axis where the network has none

_SMALL = 1 << 12  # elements; what is computed from shapes has fewer
_FEW = 64  # inputs; what is computed from shapes has fewer, and onnx-ir removes nodes in the square


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
    freed = model.clone()
    sizes = {
        shape[0]
        for name in images
        if (shape := dimensions(find_value(freed.graph, name))) and isinstance(shape[0], int)
    }
    if not sizes:
        return freed, None
    (size, *others) = sizes
    graph = freed.graph
    inputs = [v for v in graph.inputs if not v.is_initializer()]
    sources = [v for v in inputs if (dimensions(v) or (None,))[0] == size]
    flowing = descendants(graph, sources) & ancestors(graph, graph.outputs)
    if others or not all(_batch_first(v, size) for v in flowing):
        return freed, size
    for node in graph:
        if is_op(node, "Reshape") and node.inputs[0] in flowing:
            _free_reshape(graph, node, size)
    for value in descendants(graph, sources, data=False) - flowing:
        value.shape = None  # found for the fixed size, and may follow it
    for value in flowing:
        rest = shape_of(value)[1:]
        value.shape = ir.Shape([BATCH, *rest]) if value in sources else None
    freed = infer_shapes(freed)
    if any((dimensions(v) or (None,))[0] != BATCH for v in flowing):
        return model.clone(), size
    return freed, None


def fix_sizes(model: ir.Model, image: str, shape: tuple[int, ...]) -> ir.Model:
    """Give the input called ``image`` that shape, and infer the others again, in place.

    What was computed from shapes becomes constants.
    """
    for node in model.graph:
        for value in node.outputs:
            value.shape = None
    get_value(model.graph, image).shape = ir.Shape(shape)
    model = infer_shapes(model)
    while _fold(model):
        model = infer_shapes(model)
    return model


def knows_sizes(graph: ir.Graph, image: str, shape: tuple[int, ...]) -> bool:
    """Whether :func:`fix_sizes` would change nothing but the first axis, of the batch.

    Every node then depends on the images, and every size but that of the batch is a number.

    Args:
        graph: of a network without inputs but its images.
        image: name of the input that takes them.
        shape: of one image.
    """
    value = get_value(graph, image)
    batch, *rest = dimensions(value) or (None,)
    if not isinstance(batch, str) or tuple(rest) != shape:
        return False
    flowing = descendants(graph, [value])
    made = [v for node in graph for v in node.outputs]
    return flowing.issuperset(made) and all(
        (dimensions(v) or (None,))[0] == batch and size_of(v, first_axis=1) is not None
        for v in made
        if v.uses() or v.is_graph_output()
    )


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
    target, source = constant(operand(node, 1)), dimensions(operand(node))
    if target is None or target.size == 0 or target[0] != size:
        return
    if not source or source[0] != size or (attribute(node, "allowzero", 0) and not target.all()):
        return
    node.attributes.pop("allowzero", None)
    tensor = ir.tensor(np.array([0, *target[1:]], np.int64))
    value = ir.val(f"{node.outputs[0].name}_free_shape", const_value=tensor)
    graph.register_initializer(value)
    node.replace_input_with(1, value)


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
        shape, size = dimensions(node.inputs[0]), size_of(node.inputs[0])
        if shape is None or size is None:
            return None
        part = shape[attribute(node, "start", 0) : attribute(node, "end", None)]
        return np.array(size if is_op(node, "Size") else part, np.int64)
    if is_op(node, "Cast") and (weights := constant(node.outputs[0])) is not None:
        return weights  # stored in a narrower type: as large as they may be
    if len(node.inputs) > _FEW:
        return None
    operands = [v for v in node.inputs if v is not None]
    known = {name_of(v): array for v in operands if (array := constant(v)) is not None}
    if not known or any(v.name not in known for v in operands):
        return None
    if any(array.size > _SMALL for array in known.values()):
        return None
    size = size_of(node.outputs[0])
    if node.domain or (size is not None and size > _SMALL):
        return None
    # Imported here: most audits need no evaluator.
    from onnx.reference import ReferenceEvaluator

    try:
        evaluator = ReferenceEvaluator(ir.to_proto(node), opsets=dict(model.opset_imports))
        (outcome,) = evaluator.run(None, known)
    except Exception:  # what cannot be evaluated is left as it is
        return None
    return outcome if isinstance(outcome, np.ndarray) and outcome.size <= _SMALL else None
