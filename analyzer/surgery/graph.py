"""Reading a graph: what a node reads, which values are constant, what depends on what.

Shapes are not data. The output of ``Shape`` or ``Size`` does not change when the tensor's
elements do, so dependence *through data* stops at them; exporters write ``x.view(x.size(0), -1)``
as such a detour around every layer in between.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import onnx_ir as ir

__all__ = [
    "attribute",
    "axes_of",
    "constant",
    "depending",
    "dimensions",
    "find_value",
    "is_op",
    "leading_to",
    "names_of",
    "readers",
    "reads",
    "unique_name",
]

_SHAPE_READERS = ("Shape", "Size")
_FLOATS = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """Whether ``node`` is one of these operators of the default domain."""
    return node is not None and node.domain in ("", "ai.onnx") and node.op_type in op_types


def attribute(node: ir.Node, name: str, default):
    """The value of a node's attribute, or ``default`` where it is absent."""
    attr = node.attributes.get(name)
    return default if attr is None else attr.value


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
    node = value.producer()
    if node is None:
        tensor = value.const_value if value.is_initializer() else None
    elif is_op(node, "Cast"):
        stored, wanted = constant(node.inputs[0]), ir.DataType(attribute(node, "to", 0))
        if stored is None or {ir.DataType.from_numpy(stored.dtype), wanted} - _FLOATS:
            return None
        return stored.astype(wanted.numpy())
    else:
        tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def dimensions(value: ir.Value) -> tuple[int | str | None, ...] | None:
    """The shape as plain data: int fixed, str symbolic, None unknown; None without a rank."""
    if value.shape is None:
        return None
    return tuple(d if isinstance(d, int) else d.value for d in value.shape)


def find_value(graph: ir.Graph, name: str) -> ir.Value | None:
    """The value of that name in ``graph`` itself, not in its subgraphs."""
    return ir.convenience.create_value_mapping(graph, include_subgraphs=False).get(name)


def reads(node: ir.Node) -> Iterator[ir.Value]:
    """Every value that ``node`` reads, those that its subgraphs capture included."""
    yield from (v for v in node.inputs if v is not None)
    for attr in node.attributes.values():
        if attr.is_ref():
            continue
        if attr.type == ir.AttributeType.GRAPH:
            bodies = [attr.as_graph()]
        elif attr.type == ir.AttributeType.GRAPHS:
            bodies = list(attr.as_graphs())
        else:
            continue
        for body in bodies:
            made = set(body.inputs) | set(body.initializers.values())
            for inner in body:
                yield from (v for v in reads(inner) if v not in made)
                made.update(inner.outputs)
            yield from (v for v in body.outputs if v not in made)


def readers(value: ir.Value, *, data: bool = True) -> list[ir.Node]:
    """The nodes that read ``value``, each once; with ``data`` those that read only its shape
    are left out."""
    nodes = dict.fromkeys(use.node for use in value.uses())
    return [n for n in nodes if not (data and is_op(n, *_SHAPE_READERS))]


def depending(graph: ir.Graph, sources: Iterable[ir.Value], *, data: bool = True) -> set[ir.Value]:
    """``sources`` and every value of ``graph`` that depends on them.

    With ``data`` (default) only through elements; otherwise also through shapes.
    """
    reached = set(sources)
    for node in graph:
        if data and is_op(node, *_SHAPE_READERS):
            continue
        if any(v in reached for v in reads(node)):
            reached.update(node.outputs)
    return reached


def leading_to(graph: ir.Graph, targets: Iterable[ir.Value]) -> set[ir.Value]:
    """``targets`` and every value of ``graph`` that they depend on through data."""
    needed = set(targets)
    for node in reversed(graph):
        if not is_op(node, *_SHAPE_READERS) and any(v in needed for v in node.outputs):
            needed.update(reads(node))
    return needed


def names_of(graph: ir.Graph) -> set[str]:
    """The names of all values of ``graph`` and its subgraphs; takes a while in a large one."""
    return {v.name for v in ir.convenience.create_value_mapping(graph).values()}


def unique_name(graph: ir.Graph, wanted: str) -> str:
    """``wanted``, with underscores appended until no value of ``graph`` bears it."""
    taken = names_of(graph)
    while wanted in taken:
        wanted += "_"
    return wanted
