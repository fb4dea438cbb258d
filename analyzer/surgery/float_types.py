"""The types of floating-point numbers that networks compute in."""

import contextlib
from pathlib import Path

import onnx
import onnx_ir as ir

from analyzer.surgery.graph import constant, is_op, with_subgraphs
from analyzer.surgery.network import Network
from analyzer.surgery.validation import nodes_of

__all__ = ["operators_of_float32", "type_rounding"]

_ROUNDING = {ir.DataType.FLOAT16: 2.0**-10, ir.DataType.BFLOAT16: 2.0**-7}


def type_rounding(network: Network) -> float:
    """What the narrowest type that a network computes in rounds a number by, as a part of it.

    Weights that are stored in 16 bits and cast to float32 do not count.

    Returns:
        0 for networks of float32 and float64.
    """
    return max(
        (
            _ROUNDING.get(value.dtype, 0.0)
            for graph in with_subgraphs(network.model.graph)
            for node in graph
            if not (is_op(node, "Constant") or _is_stored(node))
            for value in node.outputs
            if value.dtype is not None
        ),
        default=0.0,
    )


def _is_stored(node: ir.Node) -> bool:
    """Whether a node casts weights."""
    return (
        is_op(node, "Cast") and node.inputs[0] is not None and constant(node.inputs[0]) is not None
    )


def operators_of_float32(path: Path) -> set[str]:
    """The operators of the network at ``path`` that ONNX defines for float32 but not for float16.

    Raises:
        OSError, google.protobuf.message.DecodeError: it cannot be read.
    """
    proto = onnx.load(path, load_external_data=False)
    opsets = {one.domain: one.version for one in proto.opset_import}
    found = set()
    for node, _ in nodes_of(proto.graph.node):
        with contextlib.suppress(onnx.defs.SchemaError, KeyError):  # of other domains than ONNX's
            schema = onnx.defs.get_schema(node.op_type, opsets[node.domain], node.domain)
            types = {kind for one in (*schema.inputs, *schema.outputs) for kind in one.types}
            if "tensor(float)" in types and "tensor(float16)" not in types:
                found.add(node.op_type)
    return found
