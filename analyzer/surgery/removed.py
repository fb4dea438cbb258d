"""What a removed channel holds: zero, or in a quantized tensor the code that stands for zero."""

import numpy as np
import onnx_ir as ir

from analyzer.errors import SiteError
from analyzer.surgery.graph import constant, is_op

__all__ = ["removed_value", "zero_point"]

_ZERO_POINT = {  # operators with quantized outputs: index of the output's zero point
    "QLinearAdd": 7, "QLinearAveragePool": 4, "QLinearConcat": 1, "QLinearConv": 7,
    "QLinearGlobalAveragePool": 4, "QLinearLeakyRelu": 4, "QLinearMatMul": 7, "QLinearMul": 7,
    "QLinearSigmoid": 4, "QuantizeLinear": 2, "QGemm": 8,
}  # fmt: skip
_KEEPING = (
    "Flatten", "Identity", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip


def removed_value(value: ir.Value) -> np.ndarray:
    """The scalar that every element of a removed channel is set to, of the tensor's own type.

    Raises:
        SiteError: The tensor is quantized, and its zero point is not one constant.
    """
    dtype = value.dtype.numpy()
    found = zero_point(value)
    if found is None:
        raise SiteError(
            f"The tensor {value.name!r} is quantized, and its zero point is computed or differs "
            "between channels, so what a removed channel holds cannot be told. Name a tensor of "
            "floats with --site."
        )
    return np.asarray(found, dtype)


def zero_point(value: ir.Value) -> int | None:
    """The integer that stands for zero; 0 for floats, None where there is no single one."""
    node = value.producer()
    if value.dtype is None or value.dtype.is_floating_point() or node is None:
        return 0
    if is_op(node, *_KEEPING):
        return zero_point(node.inputs[0])
    if is_op(node, "DynamicQuantizeLinear"):
        return None
    index = _ZERO_POINT.get(node.op_type)
    if index is None or len(node.inputs) <= index or node.inputs[index] is None:
        return 0
    found = constant(node.inputs[index])
    return None if found is None or len(np.unique(found)) != 1 else int(found.flat[0])
