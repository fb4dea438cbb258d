"""A suffix that begins with a matrix product: its weights, and what comes behind it.

Where the classifier is a stack of matrix products, the first of them sees the units one by one, so
that going from n to n + 1 removed units needs one unit's share and not the whole product. A
convolution whose kernel covers its whole input, as 1 × 1 behind a global pool, is one of them.
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.common_types import LinearHead
from analyzer.output_files import write_array
from analyzer.surgery.cut_plan import Plan
from analyzer.surgery.graph import (
    GraphBuilder,
    ancestors,
    attribute,
    constant,
    consumers,
    dimensions,
    extract_model,
    get_value,
    is_captured,
    is_op,
    name_of,
    operand,
    replace_with_input,
    shape_of,
)
from analyzer.surgery.inputs_and_outputs import flatten_scores
from analyzer.surgery.layout import Layout
from analyzer.surgery.saving import save_part

__all__ = ["write_linear_head"]

_SAME_ELEMENTS = ("Flatten", "Identity", "Reshape", "Squeeze")


@dataclass(frozen=True)
class _Product:
    """A matrix product with constants, over the features of a sample."""

    value: ir.Value  # z, (N, D) or (N, D, 1, …)
    layout: Layout  # of the features, flattened
    weights: np.ndarray  # float32 (outer × M × inner, D)
    bias: np.ndarray  # float32 (D,)


def write_linear_head(model: ir.Model, plan: Plan, folder: Path) -> LinearHead | None:
    """Write the weights and the tail of a suffix that begins with a linear operator.

    Args:
        model: Which is cut; it stays as it is.
        plan: Where it is cut.
        folder: Takes ``weights.npy``, ``bias.npy`` and ``tail.onnx``.

    Returns:
        None when the suffix begins otherwise, or reads anything but the masked features.
    """
    if plan.skip_inputs or plan.shapes:
        return None
    graph = model.graph
    found = _product(graph, get_value(graph, plan.tensor), plan.layout)
    if found is None:
        return None
    units, layout = plan.site.channels, found.layout
    apart = found.weights.reshape(layout.outer, units, layout.inner, -1)
    weights = np.moveaxis(apart, 1, 0).reshape(units, layout.outer * layout.inner, -1)
    write_array(folder / "weights.npy", np.ascontiguousarray(weights))
    write_array(folder / "bias.npy", found.bias)
    tail, name = None, ""
    if not _ranks_classes(found.value, graph.outputs[0]):
        tail, name = folder / "tail.onnx", f"{found.value.name}_running"
        save_part(_tail(model, plan, name_of(found.value), name), tail)
    return LinearHead(
        weights=folder / "weights.npy",
        bias=folder / "bias.npy",
        outer=layout.outer,
        inner=layout.inner,
        tail=tail,
        tail_input=name,
    )


def _product(graph: ir.Graph, value: ir.Value, layout: Layout) -> _Product | None:
    """The matrix product that alone reads ``value``, with the bias added behind it."""
    if not any(is_op(node, "Conv", "Gemm", "MatMul") for node in consumers(value)):
        return None
    node = _only_consumer(graph, value)
    if node is None or value.dtype != ir.DataType.FLOAT or node.inputs[0] is not value:
        return None
    if is_op(node, "Conv"):
        return _convolution(node, value, layout)
    if len(dimensions(value) or ()) != 2:
        return None
    if is_op(node, "Gemm") and not attribute(node, "transA", 0):
        weights = constant(node.inputs[1])
        bias = _bias(node)
        if weights is None or bias is None:
            return None
        weights = weights.T if attribute(node, "transB", 0) else weights
        alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
        if alpha != 1:  # weights can be large: no copy without need
            weights = weights * np.float32(alpha)
        return _checked(node.outputs[0], layout, weights, bias * np.float32(beta))
    if is_op(node, "MatMul"):
        weights = constant(node.inputs[1])
        if weights is None or weights.ndim != 2:
            return None
        product = node.outputs[0]
        after = _only_consumer(graph, product)
        if after is not None and is_op(after, "Add") and not product.is_graph_output():
            other = after.inputs[1 if after.inputs[0] is product else 0]
            bias = constant(other)
            if bias is not None and bias.size in (1, weights.shape[1]):
                return _checked(after.outputs[0], layout, weights, bias)
        return _checked(product, layout, weights, 0.0)
    return None


def _convolution(node: ir.Node, value: ir.Value, layout: Layout) -> _Product | None:
    """A convolution that gives a single position, for its kernel covers the whole input."""
    kernels, bias = constant(node.inputs[1]), _bias(node)
    if kernels is None or bias is None or layout != Layout(1):
        return None
    size = kernels.shape[2:]
    padded = attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if (padded and max(size) > 1) or any(attribute(node, "pads", ())):
        return None
    if attribute(node, "group", 1) != 1 or (dimensions(value) or ())[2:] != size:
        return None
    weights = kernels.reshape(len(kernels), -1).T  # (M × positions, D)
    return _checked(node.outputs[0], Layout(1, inner=prod(size)), weights, bias)


def _bias(node: ir.Node) -> np.ndarray | float | None:
    """What is added to a product: 0 where nothing is, None where it is not constant."""
    return constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else 0.0


def _checked(
    value: ir.Value, layout: Layout, weights: np.ndarray, bias: np.ndarray | np.floating | float
) -> _Product | None:
    if np.size(bias) not in (1, weights.shape[1]):
        return None
    bias = np.broadcast_to(np.asarray(bias, np.float32).reshape(-1), weights.shape[1])
    return _Product(value, layout, np.asarray(weights, np.float32), np.ascontiguousarray(bias))


def _only_consumer(graph: ir.Graph, value: ir.Value) -> ir.Node | None:
    """The one node on the way to the scores that reads ``value``."""
    if is_captured(value):
        return None
    nodes = consumers(value)
    if len(nodes) > 1 or value.is_graph_output():
        alive = ancestors(graph, graph.outputs)
        nodes = [node for node in nodes if not alive.isdisjoint(node.outputs)]
    return nodes[0] if len(nodes) == 1 else None


def _ranks_classes(value: ir.Value, scores: ir.Value) -> bool:
    """Whether ``scores`` follow from ``value`` by what never changes which class is highest."""
    while scores is not value:
        node = scores.producer()
        if not is_op(node, "Softmax", "LogSoftmax", *_SAME_ELEMENTS):
            return False
        shape, before = dimensions(scores) or (), dimensions(operand(node)) or ()
        # (N, K) or (N, K, 1, …), so that the elements stay where they are.
        if any(len(one) < 2 or set(one[2:]) > {1} for one in (shape, before)):
            return False
        if shape[1] != before[1]:
            return False
        if not is_op(node, *_SAME_ELEMENTS) and attribute(node, "axis", -1) % len(shape) != 1:
            return False
        scores = operand(node)
    return True


def _tail(model: ir.Model, plan: Plan, tensor: str, name: str) -> ir.Model:
    """``tensor``, now an input (N, D) called ``name`` → class scores."""
    graph = model.graph
    model = extract_model(model, [get_value(graph, tensor)], graph.outputs)
    graph = model.graph
    z = replace_with_input(graph, get_value(graph, tensor), name)
    if plan.flatten:
        flatten_scores(graph, plan.scores)
    shape = shape_of(z)
    if len(shape) > 2:
        z.name = f"{name}_spread"
        flat = ir.val(name, dtype=z.dtype, shape=shape[:2])
        new = GraphBuilder(graph, name)
        z.replace_all_uses_with(new.op("Reshape", flat, new.constant([-1, *shape[1:]])))
        new.insert_first()
        z = flat
    passes.RemoveUnusedNodesPass()(model)
    graph.inputs.clear()
    graph.inputs.append(z)
    return model
