"""What a cut will be made of, found before anything is changed."""

from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.errors import SiteError, parameter
from analyzer.records import Site
from analyzer.surgery.activations import find_activations
from analyzer.surgery.graph import (
    UniqueNames,
    ancestors,
    descendants,
    dimensions,
    find_value,
    get_value,
    is_op,
    name_of,
    operand,
    reads,
    shape_of,
)
from analyzer.surgery.inputs_and_outputs import make_scores, reduce_to_scores
from analyzer.surgery.layout import Layout
from analyzer.surgery.mask import MASK
from analyzer.surgery.network import Network
from analyzer.surgery.sink_mask import Sunk, sink

__all__ = ["Plan", "SkipInput", "plan_cut"]


@dataclass(frozen=True)
class SkipInput:
    """A value that bypasses the cut into the suffix."""

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
    skip_inputs: tuple[SkipInput, ...]
    shapes: tuple[str, ...]  # outputs of Shape and Size above the cut that the suffix reads
    batch: int | str | None  # size or symbol of the batch axis
    activity: str
    active: str
    mask: str
    scores: str
    flatten: bool  # the class scores have trailing axes of size 1

    @property
    def skip_names(self) -> tuple[str, ...]:
        return tuple(s.name for s in self.skip_inputs)

    @property
    def shared_names(self) -> tuple[str, ...]:
        return tuple(s.name for s in self.skip_inputs if s.shared)


def plan_cut(
    network: Network, site: Site, *, output: str | None = None
) -> tuple[ir.Model, Plan, int | None]:
    """The network freed of its batch size and of all but its scores, and where to cut it.

    Returns:
        The model, the plan, and the batch size that the network could not be freed from.

    Raises:
        ModelError, SiteError: as :func:`analyzer.surgery.cut.cut_network`.
    """
    model, images, batch = reduce_to_scores(network, output)
    name = model.graph.outputs[0].name
    make_scores(model.graph)
    passes.RemoveUnusedNodesPass()(model)
    plan = _make_plan(model.graph, site, images, batch)
    if plan is None:
        raise SiteError(
            f"The output {name} of {network.path} does not depend on the tensor "
            f"{site.tensor}, so masking it changes nothing. Choose another "
            f"{parameter('site')} or {parameter('output')}."
        )
    return model, plan, batch


def _make_plan(
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
    if value is None or scores not in descendants(graph, [value]):
        return None
    sunk = sink(
        value,
        Layout(site.axis),
        site.channels,
        alive=ancestors(graph, [scores]),
        activations=find_activations(graph),
    )
    symbol: int | str | None = batch
    for name in images:
        shape = dimensions(get_value(graph, name))
        if batch is None and shape:
            symbol = shape[0]
    names = UniqueNames(graph)
    skip_inputs, shapes = _frontier(graph, sunk, scores, symbol, names)
    flatten = len(dimensions(scores) or ()) > 2
    return Plan(
        site=site,
        tensor=name_of(sunk.value),
        layout=sunk.layout,
        passed=sunk.passed,
        features=_export_name(sunk.value, names),
        skip_inputs=tuple(skip_inputs),
        shapes=tuple(shapes),
        batch=symbol,
        activity=names.give("channel_activity"),
        active=names.give("channel_active"),
        mask=names.give(MASK),
        scores=names.give(f"{scores.name}_flat") if flatten else name_of(scores),
        flatten=flatten,
    )


def _frontier(
    graph: ir.Graph,
    sunk: Sunk,
    scores: ir.Value,
    batch: int | str | None,
    names: UniqueNames,
) -> tuple[list[SkipInput], list[str]]:
    """What the suffix reads but does not make: values, and shapes of values, above the cut.

    Walks back from the scores. What depends on the cut tensor is made in the suffix; so is
    what depends on no input. Shapes are not passed on, because the suffix runs other batch
    sizes than the prefix; they are rebuilt, see :mod:`analyzer.surgery.cut`.
    """
    inputs = [v for v in graph.inputs if not v.is_initializer()]
    below = descendants(graph, [sunk.value], data=False)
    varying = descendants(graph, inputs, data=False)
    data = descendants(graph, inputs)
    values: dict[ir.Value, None] = {}
    shapes: dict[ir.Value, ir.Value] = {}  # each with the tensor whose shape it is
    seen = {sunk.value}
    stack = [scores]
    while stack:
        value = stack.pop()
        if value in seen or value not in varying:
            continue
        seen.add(value)
        node = value.producer()
        if value in data and value not in below:
            values[value] = None
        elif node is None:
            continue
        elif value in below:
            stack.extend(reads(node))
        elif is_op(node, "Shape", "Size") and dimensions(operand(node)) is not None:
            shapes[value] = operand(node)
        else:  # computed from shapes, or the shape of a tensor of unknown rank
            stack.extend(reads(node))
    place = {v: i for i, v in enumerate(_in_order(graph))}
    found = [
        SkipInput(name_of(v), _export_name(v, names), _shared(v, batch))
        for v in sorted(values, key=place.__getitem__)
    ]
    unknown = {tensor for tensor in shapes.values() if not _rebuildable(tensor, batch)}
    found.extend(
        SkipInput(name_of(v), names.give(f"{v.name}_shape"), shared=True, shape_only=True)
        for v in sorted(unknown, key=place.__getitem__)
    )
    return found, [name_of(v) for v in sorted(shapes, key=place.__getitem__)]


def _in_order(graph: ir.Graph) -> Iterable[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def _rebuildable(value: ir.Value, batch: int | str | None) -> bool:
    """Whether the value's shape is known but for the batch size."""
    return all(isinstance(d, int) or (d is not None and d == batch) for d in shape_of(value))


def _shared(value: ir.Value, batch: int | str | None) -> bool:
    shape = dimensions(value)
    if shape is None:
        return False
    return not shape or (isinstance(shape[0], int) and shape[0] != batch)


def _export_name(value: ir.Value, names: UniqueNames) -> str:
    """The value's own name, unless it is an input or output of the network already."""
    if value.is_graph_input() or value.is_graph_output():
        return names.give(f"{value.name}_copy")
    return name_of(value)
