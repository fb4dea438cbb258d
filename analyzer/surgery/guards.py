"""Guards before the few operators that onnxruntime lets stop a process, or run without an end.

A guard passes a value on as it is, or fails with an error of onnxruntime that names it. It works
by a ``Reshape`` to a target that does not fit, which every execution provider refuses.
"""

import itertools

import numpy as np
import onnx_ir as ir

from analyzer.common_types import DIVISION_GUARD, GUARD_SIZES, TURNS_GUARD
from analyzer.input_budgets import UNLIMITED, Budgets
from analyzer.surgery.graph import (
    GraphBuilder,
    constant,
    is_op,
    names_of,
    operand,
    subgraphs,
    with_subgraphs,
)

__all__ = ["add_guards"]

_SIGNED = (ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64)
_UNSIGNED = (ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64)
_INTEGERS = {*_SIGNED, *_UNSIGNED}


def add_guards(model: ir.Model, budgets: Budgets) -> bool:
    """Guard, in place, the divisions of integers and the loops of which the numbers are computed.

    A division fails where it divides by 0, or the least integer by -1; a loop, where it takes more
    turns than its share of the budget.

    Returns:
        Whether there were any.
    """
    graph = model.graph
    divisions = [node for one in with_subgraphs(graph) for node in one if _divides(node)]
    loops = {} if budgets.turns >= UNLIMITED else _computed_loops(graph)
    if not divisions and not loops:
        return False
    share = (budgets.turns / max(len(loops), 1)) ** (1 / max(loops.values(), default=1))
    taken, numbers = names_of(graph), itertools.count(1)
    for node in (*divisions, *loops):
        kind = TURNS_GUARD if is_op(node, "Loop") else DIVISION_GUARD
        assert node.graph is not None  # or it would not be run
        new = GraphBuilder(node.graph, f"{kind}_{next(numbers)}", taken)
        if kind == TURNS_GUARD:
            place = 0
            most = new.constant(np.int64(max(share, 1)))
            bad = new.op("Greater", operand(node), most)
        else:
            place = 1
            bad = _fatal(new, node)
        node.replace_input_with(place, _guarded(new, operand(node, place), bad, GUARD_SIZES[kind]))
        new.insert_before(node)
    return True


def _computed_loops(graph: ir.Graph, level: int = 1) -> dict[ir.Node, int]:
    """The loops whose number of turns is computed, and in how many loops each is, with itself."""
    found = {}
    for node in graph:
        loop = is_op(node, "Loop")
        if loop and node.inputs[0] is not None and constant(node.inputs[0]) is None:
            found[node] = level
        for body in subgraphs(node):
            found |= _computed_loops(body, level + (loop or is_op(node, "Scan")))
    return found


def _divides(node: ir.Node) -> bool:
    """Whether a node divides integers by something that is computed."""
    if not is_op(node, "Div", "Mod") or len(node.inputs) != 2:
        return False
    if constant(node.inputs[1]) is not None:
        return False
    values = (*node.inputs, *node.outputs)
    return any(value is not None and value.dtype in _INTEGERS for value in values)


def _fatal(new: GraphBuilder, node: ir.Node) -> ir.Value:
    """Where a division of integers would stop the process, bool."""
    wide = ir.DataType.INT64.value
    left, right = (operand(node, place) for place in (0, 1))
    by = new.op("Cast", right, to=wide)
    zero = new.op("Equal", by, new.constant(np.int64(0)))
    dtype = left.dtype or right.dtype or node.outputs[0].dtype
    if dtype not in _SIGNED:
        return zero
    least = new.constant(np.int64(np.iinfo(dtype.numpy()).min))
    overflows = new.op("Equal", by, new.constant(np.int64(-1)))
    overflows = new.op("And", overflows, new.op("Equal", new.op("Cast", left, to=wide), least))
    return new.op("Or", zero, overflows)


def _guarded(new: GraphBuilder, value: ir.Value, bad: ir.Value, size: int) -> ir.Value:
    """``value`` as it is, or an error where any of ``bad`` is true."""
    wide = ir.DataType.INT64.value
    count = new.op("ReduceSum", new.op("Cast", bad, to=wide), keepdims=0)
    some = new.op("Cast", new.op("Cast", count, to=ir.DataType.BOOL.value), to=wide)
    # One axis more where any is, of that size. Two reshapes in a row would be fused into none.
    length = new.op("Add", new.constant([0]), some)
    more = new.op("ConstantOfShape", length, value=ir.tensor(np.array([size])))
    target = new.op("Concat", new.op("Shape", value), more, axis=0)
    found = new.op("Reshape", value, target)
    found.type, found.shape = value.type, value.shape
    return found
