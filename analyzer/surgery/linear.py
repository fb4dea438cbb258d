"""Suffixes that begin with a linear operator on the masked features.

Where the classifier is a stack of matrix products, the first of them sees the units one by one,
so that going from n to n + 1 removed units needs one unit's share and not the whole product.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.records import LinearHead
from analyzer.surgery.graph import (
    attribute,
    constant,
    dimensions,
    find_value,
    is_op,
    leading_to,
    readers,
)
from analyzer.surgery.halves import imported
from analyzer.surgery.layout import Layout
from analyzer.surgery.plan import Plan
from analyzer.surgery.writing import save

__all__ = ["write_linear_head"]


@dataclass(frozen=True)
class _Product:
    """A matrix product with constants, over the features of a sample."""

    value: ir.Value  # z
    weights: np.ndarray  # float32 (outer × M × inner, D)
    bias: np.ndarray  # float32 (D,)


def write_linear_head(model: ir.Model, plan: Plan, folder: Path) -> LinearHead | None:
    """Write the weights and the tail of a suffix that begins with a linear operator.

    Args:
        model: The network as it was planned.
        plan: Where it is cut.
        folder: Takes ``weights.npy``, ``bias.npy`` and ``tail.onnx``.

    Returns:
        None when the suffix begins otherwise, or reads anything but the masked features.
    """
    if plan.side or plan.shapes or plan.flatten:
        return None
    graph = model.graph
    found = _product(graph, find_value(graph, plan.tensor), plan.layout)
    if found is None:
        return None
    units, layout = plan.site.channels, plan.layout
    weights = found.weights.reshape(layout.outer, units, layout.inner, -1)
    weights = np.moveaxis(weights, 1, 0).reshape(units, layout.outer * layout.inner, -1)
    np.save(folder / "weights.npy", np.ascontiguousarray(weights))
    np.save(folder / "bias.npy", found.bias)
    tail, name = None, ""
    if not _ranks_classes(found.value, graph.outputs[0]):
        tail, name = folder / "tail.onnx", f"{found.value.name}_running"
        save(_tail(model, found.value.name, name), tail)
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
    node = _only_reader(graph, value)
    if node is None or value.dtype != ir.DataType.FLOAT or len(dimensions(value) or ()) != 2:
        return None
    if is_op(node, "Gemm") and node.inputs[0] is value and not attribute(node, "transA", 0):
        weights = constant(node.inputs[1])
        bias = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else 0.0
        if weights is None or bias is None:
            return None
        weights = weights.T if attribute(node, "transB", 0) else weights
        alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
        if alpha != 1:  # weights can be large: no copy without need
            weights = weights * np.float32(alpha)
        bias = bias * np.float32(beta)
        return _checked(node.outputs[0], weights, bias)
    if is_op(node, "MatMul") and node.inputs[0] is value:
        weights = constant(node.inputs[1])
        if weights is None or weights.ndim != 2:
            return None
        product = node.outputs[0]
        after = _only_reader(graph, product)
        if after is not None and is_op(after, "Add") and not product.is_graph_output():
            other = after.inputs[1 if after.inputs[0] is product else 0]
            bias = constant(other)
            if bias is not None and bias.size in (1, weights.shape[1]):
                return _checked(after.outputs[0], weights, bias)
        return _checked(product, weights, 0.0)
    return None


def _checked(value: ir.Value, weights: np.ndarray, bias: np.ndarray | float) -> _Product | None:
    if np.size(bias) not in (1, weights.shape[1]):
        return None
    bias = np.broadcast_to(np.asarray(bias, np.float32).reshape(-1), weights.shape[1])
    return _Product(value, np.asarray(weights, np.float32), np.ascontiguousarray(bias))


def _only_reader(graph: ir.Graph, value: ir.Value) -> ir.Node | None:
    """The one node on the way to the scores that reads ``value``."""
    alive = leading_to(graph, graph.outputs)
    nodes = [node for node in readers(value) if any(v in alive for v in node.outputs)]
    return nodes[0] if len(nodes) == 1 else None


def _ranks_classes(value: ir.Value, scores: ir.Value) -> bool:
    """Whether ``scores`` follow from ``value`` by what never changes which class is highest."""
    while scores is not value:
        node = scores.producer()
        if node is None or not is_op(node, "Softmax", "LogSoftmax", "Identity"):
            return False
        last = attribute(node, "axis", -1)
        if not is_op(node, "Identity") and last not in (-1, len(dimensions(scores) or ()) - 1):
            return False
        scores = node.inputs[0]
    return True


def _tail(model: ir.Model, tensor: str, name: str) -> ir.Model:
    """``tensor``, now an input called ``name`` → class scores."""
    model = model.clone()
    value = imported(model.graph, tensor, name)
    passes.RemoveUnusedNodesPass()(model)
    model.graph.inputs.clear()
    model.graph.inputs.append(value)
    return model
