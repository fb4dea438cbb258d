"""Reading a graph, what is constant and what depends on what, and adding nodes to it.

Shapes are not data. The output of ``Shape`` or ``Size`` does not change when the tensor's
elements do, so dependence *through data* stops at them; exporters write ``x.view(x.size(0), -1)``
as such a detour around every layer in between.

Names, operands and shapes may be missing in a file that is not valid ONNX. The functions that
promise one raise ``ValueError`` then, see :func:`analyzer.surgery.validation.reports_invalid_file`.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, TypeGuard

import numpy as np
import onnx_ir as ir

from analyzer.errors import ModelError, parameter

__all__ = [
    "CONVOLUTIONS",
    "Dimensions",
    "GraphBuilder",
    "UniqueNames",
    "ancestors",
    "attribute",
    "axes_of",
    "constant",
    "consumers",
    "descendants",
    "dimensions",
    "dominators",
    "dtype_of",
    "extend_view",
    "extract_model",
    "filled_up",
    "find_value",
    "get_value",
    "is_captured",
    "is_op",
    "is_unused",
    "largest_tensor",
    "like",
    "name_of",
    "names_of",
    "operand",
    "reads",
    "redirect",
    "replace_with_input",
    "set_type",
    "shape_of",
    "size_of",
    "stand_in",
    "subgraphs",
    "values_of",
    "view_part",
    "with_subgraphs",
]


Dimensions = tuple[int | str | None, ...]
"""A shape as plain data: int fixed, str symbolic, None unknown."""

CONVOLUTIONS = ("Conv", "ConvTranspose", "QLinearConv", "ConvInteger")

_SHAPE_READERS = ("Shape", "Size")
_SIMPLE = frozenset(  # the most frequent ones, which hold no graph
    ("Add", "BatchNormalization", "Concat", "Conv", "Div", "Gather", "Identity", "MatMul", "Mul",
     "Relu", "Reshape", "Sigmoid", "Sub", "Transpose", "Unsqueeze")
)  # fmt: skip
_BLOCK = 16  # channels that onnxruntime lays out together
_MOST_CASTS = 8  # in a row behind a constant; more are not followed
_FLOATS = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}


def is_op(node: ir.Node | None, *op_types: str) -> TypeGuard[ir.Node]:
    """Whether ``node`` is one of these operators of the default domain."""
    return node is not None and node.op_type in op_types and node.domain in ("", "ai.onnx")


def is_unused(value: ir.Value) -> bool:
    """Whether no node reads a value, and it is no input or output of its graph."""
    return not (value.uses() or value.is_graph_output() or value.is_graph_input())


def attribute(node: ir.Node, name: str, default: Any) -> Any:
    """The value of a node's attribute, or ``default`` where it is absent."""
    attr = node.attributes.get(name)
    return default if attr is None else attr.value


def operand(node: ir.Node, index: int = 0) -> ir.Value:
    """The input of that index, which must be there."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        raise ValueError(f"{node.op_type} {node.name!r} has no input {index}")
    return value


def axes_of(node: ir.Node) -> list[int] | None:
    """The axes a node works on, an attribute or from opset 13 on an input; None where it has
    none, or they are computed."""
    axes = attribute(node, "axes", None)
    if axes is None and len(node.inputs) > 1:
        axes = constant(node.inputs[1])
    return None if axes is None else [int(a) for a in np.ravel(axes)]


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The array behind an initializer or a ``Constant`` node, also where it is stored in a
    narrower floating type and cast; None for every other value.
    """
    if value is None:
        return None
    casts: list[ir.DataType] = []
    while is_op(node := value.producer(), "Cast"):
        source = node.inputs[0]
        if source is None or len(casts) == _MOST_CASTS:
            return None
        casts.append(ir.DataType(attribute(node, "to", 0)))
        value = source
    if node is None:
        tensor = value.const_value if value.is_initializer() else None
    else:
        tensor = ir.convenience.get_const_tensor(value)
    if tensor is None:
        return None
    array = tensor.numpy()
    if casts and {ir.DataType.from_numpy(array.dtype), *casts} - _FLOATS:
        return None
    for wanted in reversed(casts):
        array = array.astype(wanted.numpy())
    return array


def dimensions(value: ir.Value | None) -> Dimensions | None:
    """The shape as plain data; None where not even the number of axes is known."""
    if value is None or value.shape is None:
        return None
    return tuple([d if isinstance(d, int) else d.value for d in value.shape.dims])


def shape_of(value: ir.Value) -> Dimensions:
    """The shape of a tensor whose number of axes is known."""
    found = dimensions(value)
    if found is None:
        raise ValueError(f"the tensor {value.name!r} has an unknown number of axes")
    return found


def size_of(value: ir.Value | None, *, first_axis: int = 0) -> int | None:
    """How many elements a tensor has along its axes from ``first_axis`` on; None where one of
    those sizes is not a plain number."""
    shape = dimensions(value)
    sizes = [d for d in (shape or ())[first_axis:] if isinstance(d, int)]
    return None if shape is None or len(sizes) < len(shape) - first_axis else prod(sizes)


def largest_tensor(nodes: Iterable[ir.Node], known: Mapping[str, int]) -> int:
    """The most elements for one image that one of these nodes makes, as far as sizes are known.

    Of maps, with the channels to which onnxruntime fills them up where it lays them out in blocks.

    Args:
        nodes: whose outputs, and those in their subgraphs, count.
        known: elements for one image, by name, where shapes do not tell them.
    """
    largest = 0
    for node in nodes:
        for value in node.outputs:
            sizes = [d for d in (dimensions(value) or ())[1:] if isinstance(d, int)]
            largest = max(largest, known.get(value.name or "", 0), filled_up(sizes))
        for body in subgraphs(node):
            largest = max(largest, largest_tensor(body, known))
    return largest


def filled_up(sizes: Sequence[int]) -> int:
    """Elements of sizes without the batch, of maps [C, H, W] with C filled up to whole blocks.

    So many does onnxruntime lay out for convolutions on processors with AVX-512.
    """
    if len(sizes) == 3:
        sizes = (-(-sizes[0] // _BLOCK) * _BLOCK, *sizes[1:])
    return prod(sizes)


def dtype_of(value: ir.Value) -> ir.DataType:
    """The element type, which must be known."""
    if value.dtype is None:
        raise ValueError(f"the tensor {value.name!r} has an unknown element type")
    return value.dtype


def name_of(value: ir.Value) -> str:
    """The name of a value; the surgery meets none without."""
    if value.name is None:
        raise ValueError("a tensor has no name")
    return value.name


def find_value(graph: ir.Graph, name: str) -> ir.Value | None:
    """The value of that name in ``graph`` itself, not in its subgraphs."""
    found = graph.initializers.get(name)
    if found is not None:
        return found
    made = (v for node in graph for v in node.outputs)
    return next((v for v in itertools.chain(graph.inputs, made) if v.name == name), None)


def values_of(graph: ir.Graph) -> dict[str, ir.Value]:
    """Every value of ``graph`` itself by name, not those of its subgraphs."""
    made = (v for node in graph for v in node.outputs)
    values = {v.name: v for v in itertools.chain(graph.inputs, made) if v.name}
    return values | dict(graph.initializers)


def get_value(graph: ir.Graph, name: str) -> ir.Value:
    """The value of that name in ``graph`` itself, which must be there."""
    value = find_value(graph, name)
    if value is None:
        raise ValueError(f"there is no tensor {name!r}")
    return value


def reads(node: ir.Node) -> list[ir.Value]:
    """Every value of its graph that ``node`` reads, those that its subgraphs capture included."""
    found = [v for v in node.inputs if v is not None]
    if not node.attributes.data:
        return found
    for body in subgraphs(node):
        made = set(body.inputs) | set(body.initializers.values())
        for inner in body:
            found += [v for v in reads(inner) if v not in made]
            made.update(inner.outputs)
        found += [v for v in body.outputs if v not in made]
    return found


def subgraphs(node: ir.Node) -> list[ir.Graph]:
    """The graphs among a node's attributes, in their order."""
    found: list[ir.Graph] = []
    attributes = node.attributes.data  # without the layers of a mapping, for this is asked often
    if not attributes or (node.op_type in _SIMPLE and node.domain in ("", "ai.onnx")):
        return found
    for attr in attributes.values():
        if attr.type == ir.AttributeType.GRAPH and not attr.is_ref():
            found.append(attr.as_graph())
        elif attr.type == ir.AttributeType.GRAPHS and not attr.is_ref():
            found += attr.as_graphs()
    return found


def with_subgraphs(graph: ir.Graph) -> Iterator[ir.Graph]:
    """``graph``, and all graphs that its nodes hold, at any depth."""
    yield graph
    for node in graph:
        for body in subgraphs(node):
            yield from with_subgraphs(body)


def consumers(value: ir.Value, *, data: bool = True) -> list[ir.Node]:
    """The nodes that read ``value``, each once; with ``data`` those that read only its shape
    are left out."""
    return [n for n in value.consumers() if not (data and is_op(n, *_SHAPE_READERS))]


def is_captured(value: ir.Value) -> bool:
    """Whether nodes in a subgraph read ``value``, which a node made."""
    node = value.producer()
    return node is not None and any(n.graph is not node.graph for n in value.consumers())


def descendants(
    graph: ir.Graph, sources: Iterable[ir.Value], *, data: bool = True
) -> set[ir.Value]:
    """``sources`` and every value of ``graph`` that depends on them.

    With ``data`` (default) only through elements; otherwise also through shapes.
    """
    reached = set(sources)
    for node in graph:
        if reached.isdisjoint(reads(node)) or (data and is_op(node, *_SHAPE_READERS)):
            continue
        reached.update(node.outputs)
    return reached


def ancestors(graph: ir.Graph, targets: Iterable[ir.Value]) -> set[ir.Value]:
    """``targets`` and every value of ``graph`` that they depend on through data."""
    needed = set(targets)
    for node in reversed(graph):
        if not (needed.isdisjoint(node.outputs) or is_op(node, *_SHAPE_READERS)):
            needed.update(reads(node))
    return needed


def dominators(graph: ir.Graph, sources: Iterable[ir.Value], output: ir.Value) -> list[ir.Value]:
    """The values through which every path of data from ``sources`` to ``output`` passes.

    In topological order, without the sources. In that order a value is bypassed exactly when
    an earlier value is still read later, so one sweep that keeps the furthest consumer of all
    values seen so far finds them all.
    """
    sources = tuple(sources)
    alive = descendants(graph, sources) & ancestors(graph, [output])
    last_read: dict[ir.Value, int] = dict.fromkeys(alive, -1)
    made_by: list[tuple[int, list[ir.Value]]] = []  # place of a node, and what is alive of it
    for index, node in enumerate(graph):
        if alive.isdisjoint(node.outputs):
            continue
        made_by.append((index, [v for v in node.outputs if v in alive]))
        if not is_op(node, *_SHAPE_READERS):
            last_read.update(dict.fromkeys(alive.intersection(reads(node)), index))
    last_read[output] = len(graph)
    found = []
    furthest = max((last_read[v] for v in sources if v in alive), default=-1)
    for index, made in made_by:
        if furthest <= index and len(made) == 1:
            found.extend(made)
        furthest = max([furthest, *(last_read[v] for v in made)])
    return found


def extract_model(
    model: ir.Model, inputs: Iterable[ir.Value], outputs: Iterable[ir.Value]
) -> ir.Model:
    """A new model of those nodes alone that make ``outputs`` of ``inputs`` and of constants.

    What lies above ``inputs`` is left out, and so are functions.
    """
    return like(model, view_part(model.graph, inputs, outputs).clone())


def view_part(
    graph: ir.Graph, inputs: Iterable[ir.Value], outputs: Iterable[ir.Value]
) -> ir.GraphView:
    """The nodes of ``graph`` that make ``outputs`` of ``inputs`` and of constants, as they are."""
    given = dict.fromkeys(inputs)
    wanted = list(outputs)
    needed = {v for v in wanted if v not in given}
    nodes = []
    for node in reversed(graph):
        if not needed.isdisjoint(node.outputs):
            nodes.append(node)
            needed.update([v for v in reads(node) if v not in given])
    return ir.GraphView(
        list(given),
        wanted,
        nodes=nodes[::-1],
        initializers=[v for v in graph.initializers.values() if v in needed],
        opset_imports=dict(graph.opset_imports),
        name=graph.name,
    )


def extend_view(part: ir.GraphView, added: ir.Graph, outputs: Iterable[ir.Value]) -> ir.GraphView:
    """``part`` with the nodes of ``added`` behind its own; those read stand-ins."""
    return ir.GraphView(
        part.inputs,
        list(outputs),
        nodes=[*part, *added],
        initializers=[*part.initializers.values(), *added.initializers.values()],
        opset_imports=part.opset_imports,
        name=part.name,
    )


def stand_in(value: ir.Value) -> ir.Value:
    """A value that is read as ``value`` is, without ``value`` knowing."""
    return ir.Value(name=value.name, type=value.type, shape=value.shape)


def like(model: ir.Model, graph: ir.Graph | ir.GraphView) -> ir.Model:
    """A model of ``graph`` that says of itself what ``model`` does, but for metadata."""
    return ir.Model(
        graph,  # type: ignore[arg-type]  # onnx-ir takes views, and says so in words
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
    )


def names_of(graph: ir.Graph) -> set[str]:
    """The names of all values of ``graph`` and its subgraphs; takes a while in a large one."""
    values: set[ir.Value | None] = {*graph.inputs, *graph.initializers.values(), *graph.outputs}
    names: set[str] = set()
    for node in graph:
        values.update(node.inputs)
        values.update(node.outputs)
        for body in subgraphs(node):
            names |= names_of(body)
    return names.union([v.name for v in values if v is not None and v.name])


class UniqueNames:
    """Names that are not taken, as those of a graph's values are, each given once."""

    def __init__(self, taken: Iterable[str]):
        self._taken = set(taken)
        self._numbers: dict[str, int] = {}

    def give(self, wanted: str) -> str:
        """``wanted``, with a number appended where that is taken."""
        found = wanted
        while found in self._taken:
            self._numbers[wanted] = self._numbers.get(wanted, 1) + 1
            found = f"{wanted}_{self._numbers[wanted]}"
        self._taken.add(found)
        return found


class GraphBuilder:
    """What adds nodes to a graph: made one by one, then put into it together.

    Values are named after ``stem``, or as asked, in a way that clashes with nothing in the
    graph, or with what is said to be taken. To learn the names of a large graph takes a while, so
    many insertions share one builder.
    """

    def __init__(self, graph: ir.Graph, stem: str, taken: Iterable[str] | None = None):
        self.stem = stem
        self._graph = graph
        self._tape = ir.tape.Tape()
        self._names = UniqueNames(names_of(graph) if taken is None else taken)

    def op(
        self, op_type: str, *inputs: ir.Value, name: str | None = None, **attributes: Any
    ) -> ir.Value:
        """A new node of the default domain; returns its one output."""
        unique = self._names.give(name or f"{self.stem}_{op_type.lower()}")
        output = self._tape.op(op_type, inputs, attributes, name=f"{unique}_node")
        output.name = unique
        return output

    def constant(self, array: Any) -> ir.Value:
        """A new initializer; lists of int become int64."""
        tensor = ir.tensor(np.asarray(array), name=self._names.give(f"{self.stem}_constant"))
        value = ir.val(tensor.name, const_value=tensor)
        self._graph.register_initializer(value)
        return value

    def input(self, name: str, dtype: ir.DataType, shape: ir.Shape) -> ir.Value:
        """A new input of the graph."""
        value = ir.val(self._names.give(name), dtype=dtype, shape=shape)
        self._graph.inputs.append(value)
        return value

    def insert_after(self, value: ir.Value) -> None:
        """Put the nodes behind the one that makes ``value``, or first if it is an input."""
        maker = value.producer()
        if maker is None:
            self.insert_first()
        else:
            self._graph.insert_after(maker, self._take())

    def insert_before(self, node: ir.Node) -> None:
        """Put the nodes right before ``node``."""
        self._graph.insert_before(node, self._take())

    def insert_first(self) -> None:
        """Put the nodes before all others."""
        if len(self._graph):
            self.insert_before(self._graph[0])
        else:
            self._graph.extend(self._take())

    def insert_last(self) -> None:
        """Put the nodes behind all others."""
        self._graph.extend(self._take())

    def _take(self) -> list[ir.Node]:
        nodes, self._tape = list(self._tape.nodes), ir.tape.Tape()
        return nodes


def redirect(uses: Iterable[tuple[ir.Node, int]], value: ir.Value) -> None:
    """Let the inputs of nodes that ``uses`` lists read ``value``."""
    for node, index in uses:
        node.replace_input_with(index, value)


def set_type(value: ir.Value, dtype: ir.DataType | None, shape: ir.Shape | None) -> None:
    """Say what is known of a value; types may be shared, and so are replaced."""
    if dtype is not None:
        value.type = ir.TensorType(dtype)
    value.shape = shape


def replace_with_input(graph: ir.Graph, value: ir.Value, name: str) -> ir.Value:
    """A new value called ``name`` that all consumers of ``value`` now read instead.

    Raises:
        ModelError: the element type of ``value`` is unknown.
    """
    if value.dtype is None:
        raise ModelError(
            f"The element type of the tensor {value.name} is unknown, so the network cannot be cut "
            f"there. Choose another {parameter('site')}."
        )
    if value.name == name:
        value.name = f"{name}_above_cut"
    shape = None if value.shape is None else value.shape.copy()
    new = ir.val(name, dtype=value.dtype, shape=shape)
    if value.is_graph_output():
        output = name_of(value)
        value.name = f"{output}_above_cut"
        builder = GraphBuilder(graph, name)
        copy = builder.op("Identity", new, name=output)
        set_type(copy, new.dtype, new.shape)
        builder.insert_after(value)
        graph.outputs[graph.outputs.index(value)] = copy
    value.replace_all_uses_with(new)
    return new
