"""How large a network may be: nodes, nesting, loops, operations, and what it makes of nothing.

A file of a few kilobytes can ask for hours or terabytes: functions that call each other twice,
loops, a ``Range`` up to 10¹². What can be told from the file is told before onnx and onnxruntime
work on it, first from its structure, then from the shapes that were inferred. Not told, and so not
bounded: sizes that are computed from the images, arithmetic on constants other than that of
:mod:`analyzer.surgery.constant_numbers`, and what grows in loops that are in others. Loops whose
number of turns is computed get a guard (:mod:`analyzer.surgery.guards`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from analyzer.errors import ModelError
from analyzer.input_budgets import Budgets
from analyzer.surgery.constant_numbers import ConstantNumbers, whole
from analyzer.surgery.graph import (
    Dimensions,
    attribute,
    dimensions,
    is_op,
    reads,
    size_of,
    subgraphs,
    with_subgraphs,
)
from analyzer.surgery.node_work import OF_AN_ELEMENT, hidden_elements, work_of
from analyzer.surgery.shapes import LENGTHENING, infer_body, shapes_for_one_image
from analyzer.surgery.text_lengths import TextLengths
from analyzer.surgery.validation import bytes_of, nodes_of, refuse_damaged_names

__all__ = ["check_fixed_batch", "check_made_tensors", "check_structure", "hold_to_budget"]


_FREE = 4  # elements made of constants, for each byte of weights: quantized ones are widened, say
_HOLDING = frozenset(("If", "Loop", "Scan"))  # nodes that hold subgraphs


def check_structure(path: Path, proto: onnx.ModelProto, budgets: Budgets) -> int:
    """Hold what a file lists against the budgets, before anything works through it.

    Returns:
        The number of calls of functions, or of nodes that those add where that is more.

    Raises:
        ModelError: it has too much of something, functions that call themselves, or names that are
            not text.
    """
    counted = _count_functions(path, proto)
    nodes = calls = expanded = links = deepest = most = holding = in_functions = 0
    widest, names = "", set[str | bytes]()
    bodies = [proto.graph.node, *(function.node for function in proto.functions)]
    for number, body in enumerate(bodies):
        for node, depth in nodes_of(body):
            if number == 0:
                nodes += 1
                called = counted.get(_key(node)) if counted else None
                if called is not None:
                    calls += 1
                    expanded += called - 1
            read, made = list(node.input), list(node.output)
            links += len(read)
            if node.op_type in _HOLDING:
                holding += 1
                in_functions += number > 0
            if depth > deepest:
                deepest = depth
            if len(read) > most or len(made) > most:
                most, widest = max(len(read), len(made)), node.name or node.op_type
            names.update((node.name, node.op_type), read, made)
    refuse_damaged_names(path, names)
    graph = proto.graph
    for listed in (graph.initializer, graph.input, graph.output):
        refuse_damaged_names(path, [one.name for one in listed])
    hold = partial(hold_to_budget, path, budgets)
    hold("nodes", nodes, "has", "nodes")
    hold("function_nodes", expanded, "has functions that add", "nodes when called")
    hold("inputs", most, "has a node with", f"inputs or outputs ({widest})")
    hold("connections", links, "has", "connections between its nodes")
    weights = {tensor.name for tensor in graph.initializer}
    given = sum(value.name not in weights for value in graph.input)
    hold("inputs", given, "has", "inputs")
    hold("inputs", len(graph.output), "has", "outputs")
    hold("initializers", len(graph.initializer), "has", "initializers")
    hold("levels", deepest, "nests subgraphs", "deep")
    # onnx, and onnxruntime, list for each subgraph all that it could read.
    holding += expanded if in_functions else 0
    seen = holding * (nodes + expanded + len(graph.initializer))
    hold("scopes", seen, "has", "tensors in sight of its subgraphs, added up")
    total = sum(map(bytes_of, graph.initializer))
    hold("weight_bytes", total, "has", "bytes of weights")
    return max(calls, expanded)


def check_made_tensors(path: Path, model: ir.Model, budgets: Budgets) -> dict[str, int]:
    """Hold loops and tensors against the budgets, as far as shapes and constants tell.

    Args:
        path: of the network.
        model: functions inlined, constants gathered, shapes inferred.
        budgets: the budgets.

    Returns:
        elements of tensors for one image by name, where some may have more images than go in;
        nothing where the shapes themselves tell.

    Raises:
        ModelError: a loop takes too many turns, a tensor is too large, or an input has a size of
            0 or less.
    """
    hold = partial(hold_to_budget, path, budgets)
    inputs = [v for v in model.graph.inputs if not v.is_initializer()]
    batches = set()
    for value in inputs:
        shape = dimensions(value)
        if not shape:
            continue
        if any(isinstance(d, int) and d <= 0 for d in shape):
            listed = ", ".join("?" if d is None else str(d) for d in shape)
            raise ModelError(
                f"{path} takes the input {value.name} of the shape [{listed}], where every size "
                "must be at least 1. Export it with a named batch axis, or a size that it has."
            )
        if isinstance(shape[0], int):
            batches.add(shape[0])
            images, name = shape[0] if len(shape) > 1 else 1, value.name
            hold("batch", images, "is fixed to", f"images at a time ({name})", _FIXED)
    sizes = ConstantNumbers()
    turns = sum(_turns(node, sizes) for node in model.graph)
    hold("turns", turns, "takes", "turns in its loops in every run")
    varying = set(inputs)
    made = 0
    work = {True: 0.0, False: 0.0}  # of what depends on an input, and of the rest
    most: dict[bool, tuple[float, str]] = {True: (0.0, ""), False: (0.0, "")}
    for_one_image, alone = _Shapes(batches), _Shapes(set())
    texts = TextLengths()
    grown: dict[str, int] = {}
    if may_grow := _may_grow(model.graph, inputs):
        for_one_image = for_one_image.within(shapes_for_one_image(model))
    for node in model.graph:
        depends = not varying.isdisjoint(reads(node))
        shapes = for_one_image if depends else alone
        if depends:
            varying.update(node.outputs)
        _refuse_negative(path, node, shapes)
        for_one_image.note(node, fixed=not depends)
        texts.note(node, _own_turns(node, sizes))
        sized, looped = _looped(node, sizes, shapes, model)
        asked = looped or _work(node, sizes, shapes)
        work[depends] += asked
        most[depends] = max(most[depends], (asked, node.name or node.op_type))
        for value, count in (*_sizes(node, sizes, shapes), *sized):
            size = count * texts.elements(value)
            made += 0 if depends else size
            if may_grow and depends and value.name:
                grown[value.name] = size
            if size > budgets.elements:
                after = f"elements for one image ({value.name})"
                hold("elements", size, "makes a tensor of", after)
    over = budgets.excess("constant_elements", made)
    over = over or budgets.excess("constant_operations", work[False])
    free = _FREE * sum(map(_bytes_of, model.graph.initializers.values())) if over else 0
    after = "elements of constants alone, besides what its weights ask for"
    hold("constant_elements", max(made - free, 0), "makes tensors of", after)
    after = f"multiply-adds for what depends on no input (most of them in {most[False][1]})"
    hold("constant_operations", max(work[False] - 2 * OF_AN_ELEMENT * free, 0), "takes", after)
    after = f"multiply-adds for one image (most of them in {most[True][1]})"
    hold("operations", work[True], "takes", after)
    return grown


def _refuse_negative(path: Path, node: ir.Node, shapes: "_Shapes") -> None:
    """Refuse a node that makes fewer elements than none, as onnx works out its shape.

    Raises:
        ModelError: it does: its window is larger than what it is applied to.
    """
    for value in node.outputs:
        shape = shapes.shape(value) or ()
        if any(isinstance(d, int) and d < 0 for d in shape):
            listed = ", ".join("?" if d is None else str(d) for d in shape)
            raise ModelError(
                f"{path} makes a tensor of the shape [{listed}] ({value.name}): the window of the "
                f"{node.op_type} is larger than what it is applied to. Export the network again."
            )


def _bytes_of(weights: ir.Value) -> int:
    tensor = weights.const_value
    return 0 if tensor is None or tensor.dtype == ir.DataType.STRING else tensor.nbytes


def _may_grow(graph: ir.Graph, inputs: Sequence[ir.Value]) -> bool:
    """Whether some node may make more images of one, which sizes without a number do not show."""
    given = {size for value in inputs for size in dimensions(value) or () if size is not None}
    for one in with_subgraphs(graph):
        for node in one:
            if node.op_type == "Concat" or node.op_type in LENGTHENING:
                first, *_ = (dimensions(node.outputs[0]) if node.outputs else ()) or (None,)
                if not isinstance(first, int) and first not in given:
                    return True
    return False


def check_fixed_batch(path: Path, graph: ir.Graph, batch: int, budgets: Budgets) -> None:
    """Hold the tensors of a network that cannot be freed from its batch size against the budgets.

    Raises:
        ModelError: one is too large.
    """
    for node in graph:
        for value in node.outputs:
            size = size_of(value) or 0
            if size > budgets.elements:
                before = f"is fixed to {batch} images, for which {value.name} has"
                hold_to_budget(path, budgets, "elements", size, before, "elements", _FIXED)


_FIXED = " Or export it with a named batch axis."


def hold_to_budget(
    path: Path,
    budgets: Budgets,
    name: str,
    amount: float,
    before: str,
    after: str,
    hint: str = "",
) -> None:
    """Hold an amount against the budget of that name; ``before`` and ``after`` say what it is of.

    Raises:
        ModelError: it is larger.
    """
    excess = budgets.excess(name, amount)
    if excess is None:
        return
    shown = f"{amount:,.0f}" if amount < 1e9 else f"{amount:.2g}"
    if math.isinf(amount):
        shown = "endlessly many"
    raise ModelError(f"{path} {before} {shown} {after}, {excess}.{hint}")


_FunctionKey = tuple[str, str, str]


def _key(node: onnx.NodeProto) -> _FunctionKey:
    return node.domain, node.op_type, node.overload


def _count_functions(path: Path, proto: onnx.ModelProto) -> dict[_FunctionKey, int]:
    """How many nodes each function comes to once those that it calls are expanded."""
    functions = {(f.domain, f.name, f.overload): f for f in proto.functions}
    calls = {
        key: [_key(node) for node, _ in nodes_of(function.node)]
        for key, function in functions.items()
    }
    counted: dict[_FunctionKey, int] = {}
    begun: set[_FunctionKey] = set()
    stack = list(functions)
    while stack:
        key = stack[-1]
        waiting = [one for one in calls[key] if one in functions and one not in counted]
        if key in counted or not waiting:
            stack.pop()
            counted[key] = sum(counted.get(one, 1) for one in calls[key])
        elif key in begun:
            raise ModelError(
                f"{path} has a function that calls itself ({key[1]}), which ONNX does not allow. "
                "Export the network again."
            )
        else:
            begun.add(key)
            stack += dict.fromkeys(waiting)
    return counted


def _turns(node: ir.Node, sizes: ConstantNumbers) -> float:
    """The turns of all loops in a node, as far as they are known; infinite for one without end."""
    bodies = subgraphs(node)
    if not bodies:
        return 0
    inside = sum(_turns(inner, sizes) for body in bodies for inner in body)
    turns = _own_turns(node, sizes)
    return inside if turns is None else turns * (1 + inside)


def _own_turns(node: ir.Node, sizes: ConstantNumbers) -> float | None:
    """The turns of a loop, 1 where they are computed; None for another node."""
    if is_op(node, "Loop"):
        most = node.inputs[0] if node.inputs else None
        if most is None:
            return math.inf
        count = sizes.find(most)
        return 1.0 if count is None or count.size != 1 else max(float(count[0]), 0.0)
    if is_op(node, "Scan"):
        first = len(node.inputs) - attribute(node, "num_scan_inputs", 0)
        scanned = dimensions(node.inputs[first]) if 0 <= first < len(node.inputs) else None
        axis, *_ = attribute(node, "scan_input_axes", None) or [0]
        known = scanned is not None and -len(scanned) <= axis < len(scanned)
        length = scanned[axis] if scanned is not None and known else None
        return length if isinstance(length, int) else 1
    return None


class _Shapes:
    """The sizes of tensors, for one image of those that depend on an input."""

    def __init__(self, batches: set[int]) -> None:
        self.fixed = set[ir.Value]()  # made of constants alone, and so without an axis of images
        self.batches = batches
        self._sizes: dict[ir.Value, list[int]] = {}
        self._inferred: Mapping[str, Dimensions | None] = {}

    def note(self, node: ir.Node, *, fixed: bool) -> None:
        """Keep what a node, and those inside it, make of constants alone."""
        if fixed:
            self.fixed.update(node.outputs)
            return
        for body in subgraphs(node):
            for inner in body:
                self.note(inner, fixed=all(map(self.is_fixed, reads(inner))))

    def within(self, inferred: Mapping[str, Dimensions | None]) -> "_Shapes":
        """The same, and for values without a shape the one that was inferred for their name."""
        other = _Shapes(self.batches)
        other.fixed, other._inferred = self.fixed, inferred
        return other

    def __call__(self, value: ir.Value | None) -> Sequence[int]:
        """The sizes, 1 for one that is not known; () for no tensor."""
        if value is None:
            return ()
        found = self._sizes.get(value)
        if found is None:
            found = [d if isinstance(d, int) else 1 for d in self.shape(value) or ()]
            if found and found[0] in self.batches and not self.is_fixed(value):
                found[0] = 1
            self._sizes[value] = found
        return found

    def shape(self, value: ir.Value) -> Dimensions | None:
        """The shape that was inferred for a value's name, or its own."""
        inferred = self._inferred.get(value.name or "") if self._inferred else None
        return dimensions(value) if inferred is None else inferred

    def is_fixed(self, value: ir.Value) -> bool:
        """Whether a value is a constant, or made of constants."""
        return value in self.fixed or value.is_initializer()


def _work(node: ir.Node, sizes: ConstantNumbers, shapes: _Shapes) -> float:
    """Multiply-adds of a node and of all turns of those inside it; computed turns count once."""
    total: float = work_of(node, shapes)
    bodies = subgraphs(node)
    if bodies:
        turns = _own_turns(node, sizes)
        turns = 1.0 if turns is None or math.isinf(turns) else turns
        total += turns * sum(_work(inner, sizes, shapes) for body in bodies for inner in body)
    return total


def _sizes(
    node: ir.Node, sizes: ConstantNumbers, shapes: _Shapes
) -> Iterator[tuple[ir.Value, int]]:
    """The outputs of a node and of the nodes inside it, with their elements for one image."""
    for value in node.outputs:
        shape = shapes.shape(value)
        if shape is None:
            yield value, sizes.made_by(node)
            continue
        known = all(isinstance(d, int) for d in shape)
        yield value, max(math.prod(shapes(value)), 0 if known else sizes.made_by(node))
    if hidden := hidden_elements(node, shapes):
        yield node.outputs[0], hidden
    for body in subgraphs(node):
        for inner in body:
            yield from _sizes(inner, sizes, shapes)


_LOOP_WORK = 1000  # nodes that are inferred, turn by turn, to see a loop's tensors grow
_FEWEST_TURNS = 8  # of those that are inferred
_DOUBLING = 1.5  # growth that grows so much each turn is geometric
_ENOUGH = 1 << 50  # elements: more than any machine has


def _looped(
    node: ir.Node, sizes: ConstantNumbers, around: _Shapes, model: ir.Model
) -> tuple[list[tuple[ir.Value, int]], float]:
    """What a loop of known turns makes, and its multiply-adds; ``([], 0)`` for another node.

    What it carries on may grow, and scans add up. Shapes are inferred turn by turn until they
    stay, or, in long loops, go on as they grew last.
    """
    bodies, batches = subgraphs(node), around.batches
    if not is_op(node, "Loop") or len(node.inputs) < 2 or len(bodies) != 1:
        return [], 0
    count, (body,) = sizes.find(node.inputs[0]), bodies
    turns = 0 if count is None or count.size != 1 else whole(float(count[0]))
    carried = len(node.inputs) - 2
    if not turns or len(body.inputs) != carried + 2 or len(body.outputs) < carried + 1:
        return [], 0
    states = [None if v is None else around.shape(v) for v in node.inputs[2:]]
    names = [value.name or "" for value in body.outputs[1:]]
    inside = {value.name: value for inner in body for value in inner.outputs}
    largest = dict.fromkeys(names[carried:], 0)
    grown = [[_elements(shape, batches)] for shape in states]
    left, asked = turns, list[float]()
    for _ in range(min(turns, max(_LOOP_WORK // max(len(body), 1), _FEWEST_TURNS))):
        shapes = infer_body(body, [(), (), *states], model.opset_imports, around.shape)
        within = around.within(shapes)
        for name, shape in shapes.items():
            value = inside.get(name)
            size = _elements(shape, batches) if value is None else math.prod(within(value))
            largest[name] = max(largest.get(name, 0), size)
        last, states = states, [shapes.get(name) for name in names[:carried]]
        for known, shape in zip(grown, states, strict=True):
            known.append(_elements(shape, batches))
        asked.append(sum(_work(inner, sizes, within) for inner in body))
        left -= 1
        if states == last or max((known[-1] for known in grown), default=0) > _ENOUGH:
            break
    stays = states == last
    found: list[tuple[ir.Value, int]] = []
    for value, known in zip(node.outputs, grown, strict=False):
        found.append((value, _after(known, 0 if stays else left)))
    for value, name in zip(node.outputs[carried:], names[carried:], strict=False):
        found.append((value, turns * largest[name]))
    if largest:
        name = max(largest, key=largest.__getitem__)
        found.append((inside.get(name, node.outputs[0]), largest[name]))
    last_turn = _after(asked, 0 if stays or len(asked) == 1 else left)
    return found, sum(asked) + left * (asked[-1] + last_turn) / 2


def _after(grown: Sequence[float], turns: int) -> int:
    """Elements, or work, after more turns, of what grew like that."""
    steps = np.diff(np.array(grown[-3:], np.float64))
    if not turns or steps[-1] <= 0:
        return whole(grown[-1])
    ratio = steps[-1] / steps[0] if len(steps) > 1 and steps[0] > 0 else 1.0
    with np.errstate(over="ignore"):
        more = np.sum(ratio ** np.arange(1, turns + 1)) if ratio > _DOUBLING else float(turns)
    return whole(float(grown[-1] + steps[-1] * more))


def _elements(shape: Dimensions | None, batches: set[int]) -> int:
    """The elements of a tensor for one image, as far as its sizes are known."""
    if shape is None:
        return 0
    known = [d for d in shape if isinstance(d, int)]
    return math.prod(known[1:] if shape and shape[0] in batches else known)
