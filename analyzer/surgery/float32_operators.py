"""Operators that float16 networks cannot have."""

import contextlib
from pathlib import Path

import onnx

from analyzer.surgery.validation import nodes_of

__all__ = ["operators_of_float32"]


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
