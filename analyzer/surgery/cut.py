"""Cutting a network at its site: a prefix, run once per sample, a suffix, run per evaluation.

Some suffixes have a faster form: see :mod:`analyzer.surgery.linear_head` and
:mod:`analyzer.surgery.gathering_suffix`.
"""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from analyzer.common_types import Answer, Cut, Site
from analyzer.errors import ModelError
from analyzer.surgery.cut_plan import Plan, plan_cut
from analyzer.surgery.graph import (
    GraphBuilder,
    attribute,
    descendants,
    extend_view,
    get_value,
    is_op,
    largest_tensor,
    like,
    name_of,
    names_of,
    operand,
    reads,
    replace_with_input,
    set_type,
    shape_of,
    stand_in,
    values_of,
    view_part,
)
from analyzer.surgery.inputs_and_outputs import find_answer, flatten_scores
from analyzer.surgery.linear_head import write_linear_head
from analyzer.surgery.mask import apply_mask, mask_input, removed_value
from analyzer.surgery.network import Network, quantizes_dynamically
from analyzer.surgery.saving import save_part
from analyzer.surgery.validation import reports_invalid_file

__all__ = ["cut_network"]


@reports_invalid_file
def cut_network(
    network: Network,
    site: Site,
    folder: str | os.PathLike[str],
    *,
    output: str | None = None,
) -> Cut:
    """Write ``prefix.onnx`` and ``suffix.onnx`` to ``folder``.

    Suffix after prefix, with a mask, gives the same scores to the bit as the whole network
    with that mask at the site; see :class:`analyzer.common_types.Cut` for what goes where.

    Args:
        network: The network to cut.
        site: Where it is masked.
        folder: An existing folder.
        output: The output that holds the class scores, where the network has several.

    Raises:
        ModelError: The class scores are not among the outputs, or the folder is missing.
        SiteError: The scores do not depend on the site.
        OutputError: the folder is read-only or full.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(f"The folder {folder} does not exist. Create it first.")
    model, plan, batch = plan_cut(network, site, output=output)
    prefix_path, suffix_path = folder / "prefix.onnx", folder / "suffix.onnx"
    save_part(_make_prefix(model, plan), prefix_path)
    head = write_linear_head(model, plan, folder)
    tensor = get_value(model.graph, plan.tensor)
    removed = removed_value(tensor)
    below = descendants(model.graph, [tensor])
    suffix = {node for node in model.graph if not below.isdisjoint(node.outputs)}
    save_part(_make_suffix(model, plan, removed), suffix_path)
    return Cut(
        prefix=prefix_path,
        suffix=suffix_path,
        site=site,
        tensor=plan.tensor,
        features=plan.features,
        skip_inputs=plan.skip_names,
        shared_inputs=plan.shared_names,
        activity=plan.activity,
        active=plan.active,
        mask=plan.mask,
        scores=plan.scores,
        batch=batch,
        head=head,
        custom_ops=network.custom_ops,
        warnings=_warnings(network, find_answer(network, output), batch),
        largest_in_prefix=largest_tensor(
            (node for node in model.graph if node not in suffix), network.sizes
        ),
        largest_in_suffix=largest_tensor(suffix, network.sizes),
    )


def _make_prefix(model: ir.Model, plan: Plan) -> ir.Model:
    """What makes features, skip inputs, unit activity and active channels of the inputs.

    A view of the model's own nodes, with the new ones behind them; those read stand-ins of the
    same names.
    """
    graph = model.graph
    values = values_of(graph)
    skipped = {skip: values[skip.tensor] for skip in plan.skip_inputs}
    at_cut, at_site = values[plan.tensor], values[plan.site.tensor]
    inputs = [value for value in graph.inputs if not value.is_initializer()]
    part = view_part(graph, inputs, dict.fromkeys([at_cut, at_site, *skipped.values()]))
    added = ir.Graph([], [], nodes=[], opset_imports=dict(graph.opset_imports))
    new = GraphBuilder(added, plan.features, plan.taken)
    outputs = [_exported(new, at_cut, plan.features)]
    for skip, value in skipped.items():
        if skip.shape_only:
            shape = new.op("Shape", stand_in(value), name=skip.name)
            set_type(shape, ir.DataType.INT64, ir.Shape([len(shape_of(value))]))
            outputs.append(shape)
        else:
            outputs.append(_exported(new, value, skip.name))
    outputs += [_unit_activity(added, new, at_site, plan), _active_units(added, new, at_cut, plan)]
    new.insert_last()
    return like(model, extend_view(part, added, outputs))


def _make_suffix(model: ir.Model, plan: Plan, removed: np.ndarray) -> ir.Model:
    """What makes class scores of features, skip inputs and the mask.

    A view of the model's own nodes, with copies in place of those that read what is replaced at
    the cut. Where copies and new nodes meet the model's own, values of the same names stand in.

    Args:
        model: which is cut.
        plan: where it is cut.
        removed: what a removed channel holds.
    """
    graph = model.graph
    values = values_of(graph)
    cut = values[plan.tensor]
    skipped = {skip: values[skip.tensor] for skip in plan.skip_inputs}
    rebuilt = [values[name] for name in plan.shapes]
    passed = [value for skip, value in skipped.items() if not skip.shape_only]
    replaced = dict.fromkeys([cut, *passed, *rebuilt])
    given = [cut, *skipped.values(), *(values[name] for name in plan.shaped)]
    given += [value for value in graph.inputs if not value.is_initializer()]
    part = view_part(graph, given, graph.outputs)

    edge, copies = _copies(part, replaced)
    at_edge = {name_of(value): value for value in edge.inputs}
    features = replace_with_input(edge, at_edge[plan.tensor], plan.features)
    inputs = [features]
    shapes: dict[str, ir.Value] = {}
    for skip, value in skipped.items():
        if skip.shape_only:
            shape = ir.val(skip.name, dtype=ir.DataType.INT64, shape=[len(shape_of(value))])
            shapes[skip.tensor] = shape
            inputs.append(shape)
        else:
            inputs.append(replace_with_input(edge, at_edge[skip.tensor], skip.name))
    new = GraphBuilder(edge, plan.features, plan.taken.union(names_of(edge)))
    for value in rebuilt:
        shape = _rebuild_shape(new, value, features, plan.batch, shapes)
        at_edge[name_of(value)].replace_all_uses_with(shape)
    mask = mask_input(plan.mask, plan.site.channels)
    taken = plan.taken.union(names_of(edge))
    apply_mask(edge, features, mask, plan.layout, plan.site.channels, removed, taken=taken)

    known = set(copies.values())
    nodes = [node for node in edge if node not in known]
    nodes += [copies.get(node, node) for node in part]
    (scores,) = edge.outputs or graph.outputs
    if plan.flatten:
        last = ir.Graph([], [stand_in(scores)], nodes=[], opset_imports=graph.opset_imports)
        flatten_scores(last, plan.scores)
        nodes += list(last)
        (scores,) = last.outputs
    kept, names = _needed(nodes, scores)
    weights = (*part.initializers.values(), *edge.initializers.values())
    whole = ir.GraphView(
        [*inputs, mask],
        [scores],
        nodes=kept,
        initializers=[value for value in weights if value.name in names],
        opset_imports=part.opset_imports,
        name=part.name,
    )
    return like(model, whole)


def _copies(
    part: ir.GraphView, values: Collection[ir.Value]
) -> tuple[ir.Graph, dict[ir.Node, ir.Node]]:
    """Copies of the nodes of ``part`` that read any of ``values``.

    Returns:
        A graph of the copies, and the copy of each node. The inputs of the graph stand for all that
        the nodes read and for ``values``; its outputs, for those of ``part`` among ``values``.
    """
    wanted = set(values)
    nodes = [node for node in part if not wanted.isdisjoint(reads(node))]
    made = {value for node in nodes for value in node.outputs}
    read = [value for node in nodes for value in reads(node) if value not in made]
    view = ir.GraphView(
        list(dict.fromkeys([*values, *read])),
        [value for value in part.outputs if value in wanted],
        nodes=nodes,
        opset_imports=part.opset_imports,
        name=part.name,
    )
    edge = view.clone()
    return edge, dict(zip(nodes, edge, strict=True))


def _needed(nodes: Sequence[ir.Node], output: ir.Value) -> tuple[list[ir.Node], set[str | None]]:
    """Those of ``nodes`` that make ``output``, and the names of all that they read."""
    kept, names = [], {output.name}
    for node in reversed(nodes):
        if any(value.name in names for value in node.outputs):
            kept.append(node)
            names.update([value.name for value in reads(node)])
    return kept[::-1], names


def _exported(new: GraphBuilder, value: ir.Value, name: str) -> ir.Value:
    """The value to be made an output under ``name``; a copy where that is not its own name."""
    if value.name == name:
        return value
    copy = new.op("Identity", stand_in(value), name=name)
    set_type(copy, value.dtype, value.shape)
    return copy


def _unit_activity(graph: ir.Graph, new: GraphBuilder, value: ir.Value, plan: Plan) -> ir.Value:
    """Σ_xy |U(x, y)| of every channel at the site, float32 (N, M).

    Quantized maps are measured in steps from their zero point.
    """
    new.stem = plan.activity
    size = stand_in(value)
    if value.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
        size = new.op("Cast", size, to=ir.DataType.FLOAT.value)
    if zero := removed_value(value):
        size = new.op("Sub", size, new.constant(np.float32(zero)))
    size = new.op("Abs", size)
    size = _sum(graph, new, size, _other_axes(value, plan.site.axis))
    size = new.op("Cast", size, to=ir.DataType.FLOAT.value, name=plan.activity)
    set_type(size, ir.DataType.FLOAT, ir.Shape([_batch(value), plan.site.channels]))
    return size


def _active_units(graph: ir.Graph, new: GraphBuilder, value: ir.Value, plan: Plan) -> ir.Value:
    """Whether any element of the channel is not what a removed one is at the cut, bool (N, M)."""
    layout, channels = plan.layout, plan.site.channels
    new.stem = plan.active
    # Cast to bool is true for everything but 0, NaN included; then count.
    zero = removed_value(value)
    count = stand_in(value)
    if zero:
        count = new.op("Cast", count, to=ir.DataType.FLOAT.value)
        count = new.op("Sub", count, new.constant(np.float32(zero)))
    count = new.op("Cast", count, to=ir.DataType.BOOL.value)
    count = new.op("Cast", count, to=ir.DataType.FLOAT.value)
    count = _sum(graph, new, count, _other_axes(value, layout.axis))
    if not layout.plain:
        runs = new.constant([-1, layout.outer, channels, layout.inner])
        count = _sum(graph, new, new.op("Reshape", count, runs), [1, 3])
    active = new.op("Cast", count, to=ir.DataType.BOOL.value, name=plan.active)
    set_type(active, ir.DataType.BOOL, ir.Shape([_batch(value), channels]))
    return active


def _other_axes(value: ir.Value, axis: int) -> list[int]:
    return [i for i in range(1, len(shape_of(value))) if i != axis]


def _batch(value: ir.Value) -> int | str | None:
    return shape_of(value)[0]


def _sum(graph: ir.Graph, new: GraphBuilder, value: ir.Value, axes: list[int]) -> ir.Value:
    """Σ over ``axes``, which go away; from opset 13 they are an input."""
    if not axes:
        return value
    if graph.opset_imports[""] >= 13:
        return new.op("ReduceSum", value, new.constant(axes), keepdims=0)
    return new.op("ReduceSum", value, axes=axes, keepdims=0)


def _rebuild_shape(
    new: GraphBuilder,
    value: ir.Value,
    features: ir.Value,
    batch: int | str | None,
    shapes: dict[str, ir.Value],
) -> ir.Value:
    """What the output of a ``Shape`` or ``Size`` above the cut is, made from what the suffix has.

    The batch size is that of the features, other sizes are constants where they are known,
    and taken from the shape that the prefix saw where they are not.
    """
    node = value.producer()
    if node is None:
        raise ValueError(f"the shape {value.name!r} is made by nothing")
    tensor = operand(node)
    sizes = list(enumerate(shape_of(tensor)))
    if is_op(node, "Shape"):
        sizes = sizes[attribute(node, "start", 0) : attribute(node, "end", None)]
    pieces = []
    for axis, size in sizes:
        if isinstance(size, int):
            pieces.append(new.constant([size]))
        elif size is not None and size == batch:
            own = new.op("Shape", features)
            pieces.append(new.op("Gather", own, new.constant([0]), axis=0))
        else:
            pieces.append(new.op("Gather", shapes[name_of(tensor)], new.constant([axis]), axis=0))
    if not pieces:
        rebuilt = new.constant(np.empty(0, np.int64))
    elif is_op(node, "Size"):
        rebuilt = new.op("ReduceProd", new.op("Concat", *pieces, axis=0), keepdims=0)
    else:
        rebuilt = new.op("Concat", *pieces, axis=0)
    new.insert_first()
    return rebuilt


def _warnings(network: Network, found: Answer, batch: int | None) -> tuple[str, ...]:
    warnings = []
    others = [v.name for v in network.info.outputs if v.name != found.output]
    if found.kind == "logit":
        warnings.append(
            f"The network has a single score; {found.output} is taken for a logit, so class 1 is "
            "where it is above 0."
        )
    if others:
        warnings.append(
            f"The network has several outputs; {found.output} is taken for the class scores. "
            f"Others can be named: {', '.join(others)}."
        )
    if quantizes_dynamically(network.model.graph):
        warnings.append(
            "The network quantizes by the range of a whole batch (DynamicQuantizeLinear), so it "
            "runs one image at a time. Quantize it statically for speed."
        )
    elif batch is not None and batch > 1:
        warnings.append(
            f"The network is fixed to batches of {batch} images and could not be freed, so it "
            "runs at that size. Export it with a dynamic batch axis for speed."
        )
    elif batch == 1:
        warnings.append(
            "The network is fixed to one image at a time and could not be freed, so it runs "
            "that way. Export it with a dynamic batch axis for speed."
        )
    return tuple(warnings)
