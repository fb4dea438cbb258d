"""Activations: the one table of them, and recognizing them in a graph.

To add an activation is to add a line to :data:`_KINDS`; the sites and the sinking of the mask
follow from it. Exporters write the same function in many ways: GELU alone has half a dozen
orders of its multiplications. So a decomposed activation is not matched as a pattern. The chain
of elementwise operators between two values is evaluated on a few points and compared with the
functions of the table.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx_ir as ir

from analyzer.surgery.graph import attribute, constant, consumers, is_op, operand

__all__ = [
    "MICROSOFT_ACTIVATIONS",
    "Activation",
    "find_activations",
    "is_gate",
    "single_activation",
]

_LONGEST = 12  # operators in a decomposed activation; GELU by tanh has ten


@dataclass(frozen=True)
class Activation:
    """An activation function in a graph."""

    name: str  # "Relu", "SiLU", …
    input: ir.Value
    output: ir.Value
    nodes: tuple[ir.Node, ...]
    keeps_zero: bool  # f(0) is 0 to the bit, so that a mask may sink past it
    may_gate: bool = False  # bounded, as what squeeze-and-excitation scales other tensors by


def find_activations(graph: ir.Graph) -> dict[ir.Value, Activation]:
    """The activations of ``graph`` by output value, in topological order.

    Operators inside a decomposed activation are not activations of their own.
    """
    place: dict[ir.Node, int] = {}
    operands: dict[ir.Node, frozenset[ir.Value] | None] = {}
    found: dict[ir.Value, Activation] = {}
    for index, node in enumerate(graph):
        place[node], operands[node] = index, _operands(node) if _elementwise(node) else None
        activation = single_activation(node) or _decomposed(node, place, operands)
        if activation is not None:
            for inner in activation.nodes:
                found.pop(inner.outputs[0], None)
            found[activation.output] = activation
    return found


def single_activation(node: ir.Node) -> Activation | None:
    """The activation that ``node`` is by itself."""
    kind = _OPERATORS.get(("" if node.domain == "ai.onnx" else node.domain, node.op_type))
    if kind is None:
        return None
    keeps = kind.keeps_zero if isinstance(kind.keeps_zero, bool) else kind.keeps_zero(node)
    return Activation(
        node.op_type, operand(node), node.outputs[0], (node,), keeps_zero=keeps, may_gate=kind.gate
    )


def is_gate(activation: Activation) -> bool:
    """Whether the activation only scales another tensor, as in squeeze-and-excitation."""
    value = activation.output
    while True:
        nodes = consumers(value)
        if not nodes or not all(is_op(n, "Mul", "Div") for n in nodes):
            return False
        if all(len(_operands(n)) > 1 for n in nodes):
            return activation.may_gate
        if len(nodes) > 1:
            return False
        value = nodes[0].outputs[0]  # scaled by a constant on the way: relu6(x + 3) / 6


def _decomposed(
    node: ir.Node,
    place: dict[ir.Node, int],
    operands: dict[ir.Node, frozenset[ir.Value] | None],
) -> Activation | None:
    """The decomposed activation that ends in ``node``."""
    if not is_op(node, "Mul", "Div"):
        return None
    region = _region(node, place, operands)
    if region is None:
        return None
    source, nodes = region
    with np.errstate(all="ignore"):
        known = {source: _POINTS}
        for step in nodes:
            arrays = [_array(v, known) for v in step.inputs]
            known[step.outputs[0]] = _ELEMENTWISE[step.op_type](step, *arrays)
        outcome = known[node.outputs[0]]
        kinds, wanted = _curves()
        near = (np.abs(outcome - wanted) <= 1e-3 + 1e-3 * np.abs(wanted)).all(axis=1)
    if not near.any():
        return None
    kind = kinds[near.argmax()]
    name = kind.decomposed or kind.operator
    return Activation(name, source, node.outputs[0], nodes, keeps_zero=True)


@cache
def _curves() -> tuple[tuple["_Kind", ...], np.ndarray]:
    """The functions of the table, and what each gives at the points where they are compared."""
    kinds = tuple(kind for kind in _KINDS if kind.function is not None)
    return kinds, np.array([kind.function(_POINTS) for kind in kinds if kind.function is not None])


def _region(
    last: ir.Node,
    place: dict[ir.Node, int],
    operands: dict[ir.Node, frozenset[ir.Value] | None],
) -> tuple[ir.Value, tuple[ir.Node, ...]] | None:
    """The nearest single value that ``last`` is a function of, through at least two branches,
    and the elementwise nodes between, in topological order."""
    nodes: list[ir.Node] = []
    frontier: set[ir.Value] = set()
    joined = False
    step: ir.Node | None = last
    while True:
        read = None if step is None else operands.get(step)
        if step is None or read is None or len(nodes) == _LONGEST:
            return None
        nodes.append(step)
        frontier |= read
        joined = joined or len(frontier) > 1
        if joined and len(frontier) == 1:
            return frontier.pop(), tuple(sorted(nodes, key=place.__getitem__))
        if not frontier:
            return None
        latest = max(frontier, key=lambda v: _place(v, place))
        frontier.remove(latest)
        step = latest.producer()


def _place(value: ir.Value, place: dict[ir.Node, int]) -> int:
    node = value.producer()
    return -1 if node is None else place.get(node, -1)


def _operands(node: ir.Node) -> frozenset[ir.Value]:
    """The inputs of a node that are not constant."""
    return frozenset(v for v in node.inputs if v is not None and constant(v) is None)


def _elementwise(node: ir.Node) -> bool:
    """Whether a node is one of :data:`_ELEMENTWISE`, and its constants are scalars."""
    if not is_op(node, *_ELEMENTWISE):
        return False
    return all((array := constant(v)) is None or array.size == 1 for v in node.inputs)


def _array(value: ir.Value | None, known: dict[ir.Value, np.ndarray]) -> np.ndarray | None:
    if value is None or value in known:
        return None if value is None else known[value]
    array = constant(value)
    return None if array is None else array.astype(np.float64).reshape(())


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


@dataclass(frozen=True)
class _Kind:
    """An activation function: how it is written, and what may be done with it."""

    operator: str
    domain: str = ""  # of the operator
    # f, of float64 arrays, where exporters decompose it into elementwise operators. It must have
    # x as a factor, so that f(0) = 0 in whatever order they multiply.
    function: Callable[[np.ndarray], np.ndarray] | None = None
    decomposed: str = ""  # what it is called then, where that is not the operator's name
    keeps_zero: bool | Callable[[ir.Node], bool] = True  # f(0) = 0 of the operator, to the bit
    gate: bool = False  # bounded, so it may be no more than a gate


def _zero_between_bounds(node: ir.Node) -> bool:
    """Whether a ``Clip`` has 0 between its bounds, or at one."""
    bounds = []
    for index, name in ((1, "min"), (2, "max")):
        given = node.inputs[index] if len(node.inputs) > index else None
        if given is None:
            bounds.append(attribute(node, name, 0.0))
        elif (array := constant(given)) is not None and array.size == 1:
            bounds.append(float(array.reshape(())))
        else:
            return False
    return bounds[0] <= 0 <= bounds[1]


_MICROSOFT = "com.microsoft"

_KINDS = (
    _Kind("BiasGelu", _MICROSOFT, keeps_zero=False),
    _Kind("Celu"),
    _Kind("Clip", keeps_zero=_zero_between_bounds, gate=True),
    _Kind("Elu"),
    _Kind("FastGelu", _MICROSOFT, keeps_zero=False),  # it may take a bias
    # The tanh form is within 5e-4.
    _Kind("Gelu", function=lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2, decomposed="GELU"),
    _Kind("Gelu", _MICROSOFT),
    _Kind("HardSigmoid", keeps_zero=False, gate=True),
    _Kind("HardSwish", function=lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    _Kind("LeakyRelu"),
    _Kind("Mish", function=lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    _Kind("PRelu"),
    _Kind(
        "QuickGelu", _MICROSOFT, function=lambda x: x * _sigmoid(1.702 * x), decomposed="QuickGELU"
    ),
    _Kind("Relu"),
    _Kind("Selu"),
    _Kind("Sigmoid", keeps_zero=False, gate=True),
    _Kind("Softplus", keeps_zero=False),
    _Kind("Softsign"),
    _Kind("Swish", function=lambda x: x * _sigmoid(x), decomposed="SiLU"),
    _Kind("Tanh", gate=True),
    _Kind("ThresholdedRelu"),
)
MICROSOFT_ACTIVATIONS = frozenset(k.operator for k in _KINDS if k.domain == _MICROSOFT)
"""Operators of com.microsoft that give a tensor of the type and shape of their first input."""

_OPERATORS = {(kind.domain, kind.operator): kind for kind in _KINDS}
