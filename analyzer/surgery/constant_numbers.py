"""The numbers that follow from constants, as far as they decide how large a tensor becomes.

Followed roughly, in float64 and flat, through the operators of :data:`ARITHMETIC`.
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from analyzer.surgery.graph import constant, is_op, size_of

__all__ = ["ARITHMETIC", "ConstantNumbers", "whole"]

_MAKE_SIZES = ("ConstantOfShape", "Expand", "Range", "Tile")  # of elements of their inputs
_SMALL = 256  # elements of a constant that is followed
_DEEP = 32  # operators that are followed

_Arithmetic = Callable[..., np.ndarray]


def _reduced(function: Callable[[np.ndarray], float]) -> _Arithmetic:
    return lambda x, *_: np.array([function(x)])


ARITHMETIC: dict[str, _Arithmetic] = {
    "Abs": np.abs,
    "Add": np.add,
    "Cast": lambda x: x,
    "Ceil": np.ceil,
    "Concat": lambda *parts: np.concatenate(parts),
    "Div": np.divide,
    "Exp": np.exp,
    "Flatten": lambda x: x,
    "Floor": np.floor,
    "Gather": lambda x, indices: x[indices.astype(int)],
    "Identity": lambda x: x,
    "Max": lambda *values: np.max(np.broadcast_arrays(*values), axis=0),
    "Min": lambda *values: np.min(np.broadcast_arrays(*values), axis=0),
    "Mul": np.multiply,
    "Neg": np.negative,
    "Pow": np.power,
    "ReduceMax": _reduced(np.max),
    "ReduceMin": _reduced(np.min),
    "ReduceProd": _reduced(np.prod),
    "ReduceSum": _reduced(np.sum),
    "Reshape": lambda x, _: x,
    "Round": np.round,
    "Sqrt": np.sqrt,
    "Squeeze": lambda x, *_: x,
    "Sub": np.subtract,
    "Unsqueeze": lambda x, *_: x,
}
"""What is followed from constants to the size of a tensor, on flat arrays of float64."""


class ConstantNumbers:
    """The values of small tensors that follow from constants, roughly: in float64 and flat."""

    def __init__(self) -> None:
        self._found: dict[ir.Value, np.ndarray | None] = {}

    def find(self, value: ir.Value | None, depth: int = 0) -> np.ndarray | None:
        """float64 (E,); None where it is large, or not known."""
        if value is None or depth > _DEEP:
            return None
        if value not in self._found:
            self._found[value] = self._follow(value, depth)
        return self._found[value]

    def _follow(self, value: ir.Value, depth: int) -> np.ndarray | None:
        array = _small_constant(value)
        node = value.producer()
        if array is not None or node is None:
            return array
        rule = ARITHMETIC.get(node.op_type) if is_op(node, node.op_type) else None
        operands = [] if rule is None else [self.find(v, depth + 1) for v in node.inputs]
        known = [array for array in operands if array is not None]
        if rule is None or not known or len(known) < len(operands):
            return None
        try:
            with np.errstate(all="ignore"):
                found = np.ravel(rule(*known))
        except (ValueError, IndexError, TypeError):  # does not fit: not for us to say
            return None
        return found if found.size <= _SMALL else None

    def made_by(self, node: ir.Node) -> int:
        """The elements of what a node makes of constants, where its shape was not inferred."""
        if node.op_type not in _MAKE_SIZES:
            return 0
        if is_op(node, "ConstantOfShape"):
            shape = self.find(node.inputs[0])
            return 0 if shape is None else whole(np.prod(shape))
        if node.op_type == "Range":  # of com.microsoft, too
            ends = [self.find(v) for v in node.inputs]
            if len(ends) < 2 or any(end is None or end.size != 1 for end in ends):
                return 0
            start, stop, *steps = (float(end[0]) for end in ends if end is not None)
            step = steps[0] if steps else 1.0
            return whole((stop - start) / step if step else 0.0)
        if is_op(node, "Expand", "Tile") and len(node.inputs) > 1:
            factors = self.find(node.inputs[1])
            source = size_of(node.inputs[0]) if is_op(node, "Tile") else 1
            return 0 if factors is None else whole(np.prod(factors) * (source or 1))
        return 0


def _small_constant(value: ir.Value) -> np.ndarray | None:
    """A constant of a few numbers, flat."""
    tensor = value.const_value if value.is_initializer() else None
    if tensor is not None and tensor.size > _SMALL:
        return None
    array = constant(value)
    if array is None or array.size > _SMALL or array.dtype.kind not in "iufb":
        return None
    return array.astype(np.float64).ravel()


def whole(number: float) -> int:
    """A number of elements; what is no number is none."""
    return int(min(number, 1e18)) if number > 0 else 0
