"""What a cut will be made of and what it costs, found before anything is changed.

Where a network leaves its shapes open, the cost is known only for images of some size: a copy of
the network gives the tensors whose sizes are missing, and whoever can run it says what they are.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.common_types import NetworkInfo, Site
from analyzer.errors import ModelError, SiteError, parameter
from analyzer.surgery.activations import Activation, find_activations
from analyzer.surgery.graph import (
    UniqueNames,
    ancestors,
    descendants,
    dimensions,
    dtype_of,
    extract_model,
    find_value,
    get_value,
    is_op,
    name_of,
    names_of,
    operand,
    reads,
    shape_of,
    size_of,
)
from analyzer.surgery.inputs_and_outputs import make_scores, with_scores_alone
from analyzer.surgery.layout import Layout, trace
from analyzer.surgery.mask import MASK
from analyzer.surgery.mask_sinking import Sunk, sink
from analyzer.surgery.network import Network
from analyzer.surgery.operations import factor_of, is_counted, multiply_adds
from analyzer.surgery.saving import save_part
from analyzer.surgery.sites import candidates
from analyzer.surgery.validation import reports_invalid_file

__all__ = ["Outline", "Plan", "ShapeProbe", "outline_network", "plan_cut", "write_shape_probe"]


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
    shaped: tuple[str, ...]  # tensors above the cut whose shapes those are
    batch: int | str | None  # size or symbol of the batch axis
    activity: str
    active: str
    mask: str
    scores: str
    flatten: bool  # the class scores have trailing axes of size 1
    taken: frozenset[str]  # the names of the network's tensors

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
        The model, which may be the network's own and is not to be changed; the plan; and the batch
        size that the network could not be freed from.

    Raises:
        ModelError, SiteError: as :func:`analyzer.surgery.cut.cut_network`.
    """
    model, images, batch = with_scores_alone(network, output)
    name = model.graph.outputs[0].name
    if model is network.model:
        activations = network.activations
    else:
        make_scores(model.graph)
        passes.RemoveUnusedNodesPass()(model)
        activations = find_activations(model.graph)
    plan = _make_plan(model.graph, site, images, batch, activations)
    if plan is None:
        raise SiteError(
            f"The output {name} of {network.path} does not depend on the tensor "
            f"{site.tensor}, so masking it changes nothing. Choose another "
            f"{parameter('site')} or {parameter('output')}."
        )
    _refuse_cut_places(model.graph, plan)
    return model, plan, batch


def _refuse_cut_places(graph: ir.Graph, plan: Plan) -> None:
    """Refuse a cut between a MaxPool and the MaxUnpool that takes its places.

    They are counted through the whole batch, and the suffix runs other batches than the prefix.

    Raises:
        SiteError: it is such a cut.
    """
    tensor = get_value(graph, plan.tensor)
    below = descendants(graph, [tensor], data=False)
    for node in graph:
        if not is_op(node, "MaxUnpool") or node.outputs[0] not in below:
            continue
        places = operand(node, 1)
        if places is tensor or places not in below:
            raise SiteError(
                f"At the site {plan.site.tensor} the network cannot be cut: the MaxUnpool "
                f"{name_of(node.outputs[0])} behind it takes {name_of(places)} from before it, "
                "which are places in a whole batch. Name a site before the MaxPool or behind the "
                f"MaxUnpool with {parameter('site')}."
            )


def _make_plan(
    graph: ir.Graph,
    site: Site,
    images: tuple[str, ...],
    batch: int | None,
    activations: dict[ir.Value, Activation],
) -> Plan | None:
    """Decide where to cut ``graph`` and what crosses the cut.

    Args:
        graph: A graph whose only output is the class scores.
        site: The site, by the name of its tensor.
        images: Names of the image inputs.
        batch: The batch size that the graph is fixed to; None when it is free.
        activations: The graph's.

    Returns:
        The plan; None when the scores do not depend on the site.
    """
    (scores,) = graph.outputs
    value = find_value(graph, site.tensor)
    alive = ancestors(graph, [scores])
    if value is None or value not in alive:
        return None
    sunk = sink(
        value,
        Layout(site.axis),
        site.channels,
        alive=alive,
        activations=activations,
    )
    symbol: int | str | None = batch
    for name in images:
        shape = dimensions(get_value(graph, name))
        if batch is None and shape:
            symbol = shape[0]
    taken = names_of(graph)
    names = UniqueNames(taken)
    skip_inputs, shapes, shaped = _frontier(graph, sunk, scores, symbol, names)
    flatten = len(dimensions(scores) or ()) > 2
    return Plan(
        site=site,
        tensor=name_of(sunk.value),
        layout=sunk.layout,
        passed=sunk.passed,
        features=_export_name(sunk.value, names),
        skip_inputs=tuple(skip_inputs),
        shapes=tuple(shapes),
        shaped=tuple(shaped),
        batch=symbol,
        activity=names.give("channel_activity"),
        active=names.give("channel_active"),
        mask=names.give(MASK),
        scores=names.give(f"{scores.name}_flat") if flatten else name_of(scores),
        flatten=flatten,
        taken=frozenset(taken),
    )


def _frontier(
    graph: ir.Graph,
    sunk: Sunk,
    scores: ir.Value,
    batch: int | str | None,
    names: UniqueNames,
) -> tuple[list[SkipInput], list[str], list[str]]:
    """What the suffix reads but does not make: values, and shapes of values, above the cut.

    The third list names the tensors of those shapes, but such as are made of shapes themselves.

    Walks back from the scores. What depends on the cut tensor is made in the suffix; so is
    what depends on no input. Shapes are not passed on, because the suffix runs other batch
    sizes than the prefix; they are rebuilt, see :mod:`analyzer.surgery.cut`.
    """
    inputs = [v for v in graph.inputs if not v.is_initializer()]
    below = descendants(graph, [sunk.value], data=False)
    varying = descendants(graph, inputs, data=False)
    shaping = any(is_op(node, "Shape", "Size") for node in graph)
    data = descendants(graph, inputs) if shaping else varying
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
    shaped = {name_of(tensor): None for tensor in shapes.values() if tensor in data}
    return found, [name_of(v) for v in sorted(shapes, key=place.__getitem__)], list(shaped)


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


_COLORS = 3


@dataclass(frozen=True, slots=True)
class Outline:
    """A network as someone sees it who is about to audit it."""

    info: NetworkInfo
    candidates: tuple[Site, ...]  # in topological order
    site: Site
    cut: str  # tensor where the graph would be cut
    passed: tuple[str, ...]  # operators that the mask sinks past, from the site to the cut
    skip_inputs: tuple[str, ...]  # values that would bypass the cut into the suffix
    classes: int | None  # K, where the shape of the scores says so
    batch: int | None  # size the network is fixed to and could not be freed from
    prefix_operations: int | None  # multiply-adds of a sample; None where shapes are not known
    suffix_operations: int | None  # multiply-adds of an evaluation
    image: tuple[int, ...] | None = None  # that was run to know them; None where none had to be


@dataclass(frozen=True, slots=True)
class ShapeProbe:
    """A copy of a network that also gives the tensors of sizes that are not known."""

    path: Path
    images: Mapping[str, tuple[tuple[int, ...], str]]  # input -> shape of one image, numpy type
    outputs: tuple[str, ...]  # the scores, and these tensors


@reports_invalid_file
def outline_network(
    network: Network,
    site: Site,
    output: str | None = None,
    *,
    sizes: Mapping[str, tuple[int, ...]] | None = None,
    image: tuple[int, ...] | None = None,
) -> Outline:
    """Plan the cut at ``site`` and count what its prefix and suffix cost.

    Args:
        network: The network.
        site: What is masked.
        output: The output that tells the class, where there are several.
        sizes: Shapes of the tensors of a :class:`ShapeProbe`, as a run found them.
        image: The image of that run.

    Raises:
        ModelError, SiteError: as :func:`analyzer.surgery.cut_network`.
    """
    model, plan, batch = plan_cut(network, site, output=output)
    below = descendants(model.graph, [get_value(model.graph, plan.tensor)])
    suffix = [node for node in model.graph if node.outputs[0] in below]
    prefix = [node for node in model.graph if node.outputs[0] not in below]
    scores = dimensions(model.graph.outputs[0])
    return Outline(
        info=network.info,
        candidates=candidates(network),
        site=site,
        cut=plan.tensor,
        passed=plan.passed,
        skip_inputs=plan.skip_names,
        classes=scores[1] if scores and isinstance(scores[1], int) else None,
        batch=batch,
        prefix_operations=multiply_adds(prefix, sizes),
        suffix_operations=multiply_adds(suffix, sizes),
        image=image,
    )


@reports_invalid_file
def write_shape_probe(
    network: Network,
    site: Site,
    path: str | os.PathLike[str],
    output: str | None = None,
    *,
    plane: tuple[int, int],
) -> ShapeProbe:
    """Write a copy of the network that gives the tensors whose sizes the cost depends on.

    Args:
        network: The network.
        site: What is masked.
        path: Of the file; its folder must exist.
        output: The output that tells the class, where there are several.
        plane: Height and width of an image, where the network leaves them open.

    Raises:
        ModelError: it takes inputs besides images, or images of unknown rank.
        SiteError: as :func:`outline_network`.
    """
    model, _, batch = plan_cut(network, site, output=output)
    graph = model.graph
    wanted = {
        value.name: value
        for node in graph
        if is_counted(node)
        for value in (node.outputs[0], factor_of(node))
        if value is not None and size_of(value) is None and not value.is_graph_input()
    }
    images = {name_of(value): _image_shape(value, batch, plane) for value in graph.inputs}
    if set(images) != set(map(name_of, trace(graph).images)):
        raise ModelError(f"{network.path} takes inputs besides images.")
    outputs = [*graph.outputs, *(v for v in wanted.values() if not v.is_graph_output())]
    save_part(extract_model(model, graph.inputs, outputs), Path(path))
    return ShapeProbe(Path(path), images, tuple(map(name_of, outputs)))


def _image_shape(
    value: ir.Value, batch: int | None, plane: tuple[int, int]
) -> tuple[tuple[int, ...], str]:
    """The shape of an input for one image, or for the batch it is fixed to, and its type."""
    shape = dimensions(value)
    if shape is None or len(shape) != 4:
        raise ModelError(f"The input {value.name} does not say that it takes images.")
    last = isinstance(shape[3], int) and not isinstance(shape[1], int)
    open_sizes = (*plane, _COLORS) if last else (_COLORS, *plane)
    sizes = [
        found if isinstance(found, int) else usual
        for found, usual in zip(shape[1:], open_sizes, strict=True)
    ]
    return (batch or 1, *sizes), dtype_of(value).numpy().name
