"""Recognising activations: single operators, and decomposed ones by what they compute.

Exporters write the same function in many ways: GELU alone has half a dozen orders of its
multiplications. So a decomposed activation is not matched as a pattern. The chain of
elementwise operators between two values is evaluated on a few points and compared with the
functions of that kind.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from analyzer.surgery.graph import attribute, constant, is_op, readers

__all__ = ["Activation", "find_activations", "is_gate"]

_SINGLE = frozenset({
    "Celu", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu",
    "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Swish", "Tanh", "ThresholdedRelu",
})  # fmt: skip
_SINGLE_CONTRIB = frozenset({"BiasGelu", "FastGelu", "Gelu", "QuickGelu"})  # of com.microsoft
_LONGEST = 12  # operators in a decomposed activation; GELU by tanh has ten


@dataclass(frozen=True)
class Activation:
    """An activation function in a graph."""

    name: str  # "Relu", "SiLU", …
    input: ir.Value
    output: ir.Value
    nodes: tuple[ir.Node, ...]


def find_activations(graph: ir.Graph) -> dict[ir.Value, Activation]:
    """The activations of ``graph`` by output value, in topological order.

    Operators inside a decomposed activation are not activations of their own.
    """
    place = {node: index for index, node in enumerate(graph)}
    found: dict[ir.Value, Activation] = {}
    for node in graph:
        activation = _single(node) or _decomposed(node, place)
        if activation is not None:
            for inner in activation.nodes:
                found.pop(inner.outputs[0], None)
            found[activation.output] = activation
    return found


def is_gate(activation: Activation) -> bool:
    """Whether the activation only scales another tensor, as in squeeze-and-excitation."""
    value = activation.output
    while True:
        nodes = readers(value)
        if not nodes or not all(is_op(n, "Mul", "Div") for n in nodes):
            return False
        if all(len(_operands(n)) > 1 for n in nodes):
            return activation.name in ("Sigmoid", "HardSigmoid", "Clip", "Tanh")
        if len(nodes) > 1:
            return False
        value = nodes[0].outputs[0]  # scaled by a constant on the way: relu6(x + 3) / 6


def _single(node: ir.Node) -> Activation | None:
    contrib = node.domain == "com.microsoft" and node.op_type in _SINGLE_CONTRIB
    if not contrib and not is_op(node, *_SINGLE):
        return None
    return Activation(node.op_type, node.inputs[0], node.outputs[0], (node,))


def _decomposed(node: ir.Node, place: dict[ir.Node, int]) -> Activation | None:
    """The decomposed activation that ends in ``node``."""
    if not is_op(node, "Mul", "Div"):
        return None
    region = _region(node, place)
    if region is None:
        return None
    source, nodes = region
    with np.errstate(all="ignore"):
        known = {source: _POINTS}
        for step in nodes:
            operands = [_operand(v, known) for v in step.inputs]
            known[step.outputs[0]] = _ELEMENTWISE[step.op_type](step, *operands)
        outcome = known[node.outputs[0]]
    for name, function in _KNOWN.items():
        if np.allclose(outcome, function(_POINTS), rtol=1e-3, atol=1e-3):
            return Activation(name, source, node.outputs[0], nodes)
    return None


def _region(
    last: ir.Node, place: dict[ir.Node, int]
) -> tuple[ir.Value, tuple[ir.Node, ...]] | None:
    """The nearest single value that ``last`` is a function of, through at least two branches,
    and the elementwise nodes between, in topological order."""
    nodes = [last]
    frontier = _operands(last)
    joined = len(frontier) > 1
    while not (joined and len(frontier) == 1):
        latest = max(frontier, key=lambda v: place.get(v.producer(), -1), default=None)
        step = latest.producer() if latest is not None else None
        if step is None or len(nodes) == _LONGEST or not _evaluable(step):
            return None
        frontier = (frontier - {latest}) | _operands(step)
        joined = joined or len(frontier) > 1
        nodes.append(step)
    if not _evaluable(last):
        return None
    return frontier.pop(), tuple(sorted(nodes, key=place.__getitem__))


def _operands(node: ir.Node) -> set[ir.Value]:
    return {v for v in node.inputs if v is not None and constant(v) is None}


def _evaluable(node: ir.Node) -> bool:
    if not is_op(node, *_ELEMENTWISE):
        return False
    constants = (constant(v) for v in node.inputs)
    return all(c is None or c.size == 1 for c in constants)


def _operand(value: ir.Value | None, known: dict[ir.Value, np.ndarray]) -> np.ndarray | None:
    if value is None:
        return None
    if value in known:
        return known[value]
    return constant(value).astype(np.float64).reshape(())


def _clip(node, x, low=None, high=None):
    low = attribute(node, "min", -np.inf) if low is None else low
    high = attribute(node, "max", np.inf) if high is None else high
    return np.clip(x, low, high)


def _hard_sigmoid(node, x):
    return np.clip(attribute(node, "alpha", 0.2) * x + attribute(node, "beta", 0.5), 0, 1)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


_erf = np.vectorize(math.erf, otypes=[np.float64])

_ELEMENTWISE: dict[str, Callable[..., np.ndarray]] = {
    "Add": lambda _, a, b: a + b,
    "Cast": lambda _, x: x,
    "Clip": _clip,
    "Div": lambda _, a, b: a / b,
    "Erf": lambda _, x: _erf(x),
    "Exp": lambda _, x: np.exp(x),
    "HardSigmoid": _hard_sigmoid,
    "Identity": lambda _, x: x,
    "Log": lambda _, x: np.log(x),
    "Max": lambda _, *values: np.max(np.broadcast_arrays(*values), axis=0),
    "Min": lambda _, *values: np.min(np.broadcast_arrays(*values), axis=0),
    "Mul": lambda _, a, b: a * b,
    "Neg": lambda _, x: -x,
    "Pow": lambda _, a, b: a**b,
    "Reciprocal": lambda _, x: 1 / x,
    "Relu": lambda _, x: np.maximum(x, 0),
    "Sigmoid": lambda _, x: _sigmoid(x),
    "Softplus": lambda _, x: np.log1p(np.exp(x)),
    "Sqrt": lambda _, x: np.sqrt(x),
    "Sub": lambda _, a, b: a - b,
    "Tanh": lambda _, x: np.tanh(x),
}

_POINTS = np.linspace(-6, 6, 49)

_KNOWN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "SiLU": lambda x: x * _sigmoid(x),
    "GELU": lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2,  # the tanh form is within 5e-4
    "QuickGELU": lambda x: x * _sigmoid(1.702 * x),
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
}
