"""Networks in half the bytes: weights stored as float16, computed in float32."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from analyzer.files import aside

__all__ = ["write_half"]

_SMALL = 1024  # numbers: smaller tensors, such as biases, stay as they are


def write_half(source: Path, target: Path) -> None:
    """Write the network of ``source`` with its large weights rounded to float16, each cast back
    to float32 where it is read. ``target`` is written whole or not at all.
    """
    model = onnx.load(source)
    graph = model.graph
    stored, casts = [], []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= _SMALL:
            name = f"{tensor.name}_half"
            casts.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
            tensor = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), name)
        stored.append(tensor)
    nodes = [*casts, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(stored)
    graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    with aside(target) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
