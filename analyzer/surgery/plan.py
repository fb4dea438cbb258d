"""What a cut will be made of, found before anything is changed."""

from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from analyzer.records import Site
from analyzer.surgery.activations import find_activations
from analyzer.surgery.graph import (
    depending,
    dimensions,
    find_value,
    is_op,
    leading_to,
    reads,
    unique_name,
)
from analyzer.surgery.layout import Layout
from analyzer.surgery.mask import MASK
from analyzer.surgery.sink import Sunk, sink

__all__ = ["Plan", "Side", "make_plan"]


@dataclass(frozen=True)
class Side:
    """A value from above the cut that the suffix reads."""

    tensor: str  # its name in the network
    name: str  # its name as an output of the prefix and an input of the suffix
    shared: bool  # without a batch axis
    shape_only: bool = False  # only the tensor's shape is passed, as int64


@dataclass(frozen=True)
class Plan:
    """Names and places, all in one graph whose only output is the class scores."""

    site: Site
    tensor: str  # the tensor that is cut
    layout: Layout  # where it keeps its channels
    passed: tuple[str, ...]  # the operators between the site and the cut
    features: str
    side: tuple[Side, ...]
    shapes: tuple[str, ...]  # outputs of Shape and Size above the cut that the suffix reads
    batch: int | str | None  # size or symbol of the batch axis
    attribute: str
    active: str
    mask: str
    scores: str
    flatten: bool  # the class scores have trailing axes of size 1

    @property
    def side_names(self) -> tuple[str, ...]:
        return tuple(s.name for s in self.side)

    @property
    def shared_names(self) -> tuple[str, ...]:
        return tuple(s.name for s in self.side if s.shared)


def make_plan(
    graph: ir.Graph, site: Site, images: tuple[str, ...], batch: int | None
) -> Plan | None:
    """Decide where to cut ``graph`` and what crosses the cut.

    Args:
        graph: A graph whose only output is the class scores.
        site: The site, by the name of its tensor.
        images: Names of the image inputs.
        batch: The batch size that the graph is fixed to; None when it is free.

    Returns:
        The plan; None when the scores do not depend on the site.
    """
    (scores,) = graph.outputs
    value = find_value(graph, site.tensor)
    if value is None or scores not in depending(graph, [value]):
        return None
    sunk = sink(
        value,
        Layout(site.axis),
        site.channels,
        alive=leading_to(graph, [scores]),
        activations=find_activations(graph),
    )
    symbol = batch
    for name in images:
        shape = dimensions(find_value(graph, name))
        if batch is None and shape:
            symbol = shape[0]
    sides, shapes = _frontier(graph, sunk, scores, symbol)
    flatten = len(dimensions(scores) or ()) > 2
    return Plan(
        site=site,
        tensor=sunk.value.name,
        layout=sunk.layout,
        passed=sunk.passed,
        features=_export_name(graph, sunk.value),
        side=tuple(sides),
        shapes=tuple(shapes),
        batch=symbol,
        attribute=unique_name(graph, "channel_attribute"),
        active=unique_name(graph, "channel_active"),
        mask=unique_name(graph, MASK),
        scores=unique_name(graph, f"{scores.name}_flat") if flatten else scores.name,
        flatten=flatten,
    )


def _frontier(
    graph: ir.Graph, sunk: Sunk, scores: ir.Value, batch: int | str | None
) -> tuple[list[Side], list[str]]:
    """What the suffix reads but does not make: values, and shapes of values, above the cut.

    Walks back from the scores. What depends on the cut tensor is made in the suffix; so is
    what depends on no input. Shapes are not passed on, because the suffix runs other batch
    sizes than the prefix; they are rebuilt, see :mod:`analyzer.surgery.halves`.
    """
    inputs = [v for v in graph.inputs if not v.is_initializer()]
    below = depending(graph, [sunk.value], data=False)
    varying = depending(graph, inputs, data=False)
    data = depending(graph, inputs)
    values: dict[ir.Value, None] = {}
    shapes: dict[ir.Value, None] = {}
    seen = {sunk.value}
    stack = [scores]
    while stack:
        value = stack.pop()
        if value in seen or value not in varying:
            continue
        seen.add(value)
        node = value.producer()
        if value in below:
            stack.extend(reads(node))
        elif value in data:
            values[value] = None
        elif is_op(node, "Shape", "Size") and dimensions(node.inputs[0]) is not None:
            shapes[value] = None
        else:  # computed from shapes, or the shape of a tensor of unknown rank
            stack.extend(reads(node))
    place = {v: i for i, v in enumerate(_in_order(graph))}
    sides = [
        Side(v.name, _export_name(graph, v), _shared(v, batch))
        for v in sorted(values, key=place.__getitem__)
    ]
    unknown = dict.fromkeys(
        v.producer().inputs[0] for v in shapes if not _rebuildable(v.producer().inputs[0], batch)
    )
    sides.extend(
        Side(v.name, unique_name(graph, f"{v.name}_shape"), shared=True, shape_only=True)
        for v in sorted(unknown, key=place.__getitem__)
    )
    return sides, [v.name for v in sorted(shapes, key=place.__getitem__)]


def _in_order(graph: ir.Graph) -> Iterable[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def _rebuildable(value: ir.Value, batch: int | str | None) -> bool:
    """Whether the value's shape is known but for the batch size."""
    return all(isinstance(d, int) or (d is not None and d == batch) for d in dimensions(value))


def _shared(value: ir.Value, batch: int | str | None) -> bool:
    shape = dimensions(value)
    if shape is None:
        return False
    return not shape or (isinstance(shape[0], int) and shape[0] != batch)


def _export_name(graph: ir.Graph, value: ir.Value) -> str:
    """The value's own name, unless it is an input or output of the network already."""
    if value.is_graph_input() or value.is_graph_output():
        return unique_name(graph, f"{value.name}_copy")
    return value.name
