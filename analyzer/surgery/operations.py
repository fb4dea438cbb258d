"""What running nodes costs, counted in multiply-adds: the same on every machine."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from analyzer.surgery.graph import CONVOLUTIONS, attribute, dimensions, name_of, size_of

__all__ = ["factor_of", "is_counted", "multiply_adds"]

_PRODUCTS = ("Gemm", "MatMul", "QLinearMatMul")


def multiply_adds(
    nodes: Iterable[ir.Node], sizes: Mapping[str, tuple[int, ...]] | None = None
) -> int | None:
    """Multiply-adds of convolutions and matrix products for one sample.

    Args:
        nodes: what is counted.
        sizes: shapes of tensors by name, where the graph does not say them.

    Returns:
        None where a shape is not known.
    """
    total = 0
    for node in filter(is_counted, nodes):
        found = _products(node, sizes or {})
        if found is None:
            return None
        total += found
    return total


def is_counted(node: ir.Node) -> bool:
    """Whether a node is what the cost is counted by."""
    return node.op_type in CONVOLUTIONS or node.op_type in _PRODUCTS


def factor_of(node: ir.Node) -> ir.Value | None:
    """What a node multiplies its input with."""
    return node.inputs[3 if node.op_type.startswith("QLinear") else 1]


def _products(node: ir.Node, known: Mapping[str, tuple[int, ...]]) -> int | None:
    """Outputs of a node for one sample, times the products that each sums."""
    output, factor = node.outputs[0], factor_of(node)
    measured = known.get(name_of(output))
    outputs = size_of(output, first_axis=1) if measured is None else int(np.prod(measured[1:]))
    weights: Sequence[int | str | None] | None = dimensions(factor)
    if factor is not None and name_of(factor) in known:
        weights = known[name_of(factor)]
    if outputs is None or not weights:
        return None
    if node.op_type in _PRODUCTS:  # of which the other sizes, as the batch, may be open
        transposed = node.op_type == "Gemm" and attribute(node, "transB", 0)
        inner = weights[1 if transposed else -2 if len(weights) > 1 else 0]
        return outputs * inner if isinstance(inner, int) else None
    sizes = [d for d in weights if isinstance(d, int)]
    if len(sizes) < len(weights):
        return None
    if node.op_type == "ConvTranspose":
        shared = sizes[1] * attribute(node, "group", 1)
        return outputs * math.prod(sizes) // shared if shared > 0 else None
    return outputs * math.prod(sizes[1:])
