"""Cutting a network at its site: a prefix, run once per sample, a suffix, run per evaluation.

Some suffixes have a faster form. Where the classifier is a stack of matrix products, the first of
them sees the units one by one, so that going from n to n + 1 removed units needs one unit's share
and not the whole product. A convolution whose kernel covers its whole input, as 1 × 1 behind a
global pool, is one of them.

Where features stay on a device, a suffix takes evaluations by reference: it gathers the features of
the samples named and makes their masks from ranks.
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.common_types import Answer, Cut, LinearHead, Site
from analyzer.errors import ModelError
from analyzer.files import write_array
from analyzer.surgery.cut_plan import Plan, plan_cut
from analyzer.surgery.graph import (
    GraphBuilder,
    ancestors,
    attribute,
    constant,
    consumers,
    dimensions,
    extend_view,
    extract_model,
    get_value,
    is_captured,
    is_op,
    like,
    name_of,
    names_of,
    operand,
    reads,
    redirect,
    replace_with_input,
    set_type,
    shape_of,
    stand_in,
    values_of,
    view_part,
)
from analyzer.surgery.inputs_and_outputs import find_answer, flatten_scores
from analyzer.surgery.layout import Layout
from analyzer.surgery.mask import apply_mask, mask_input, removed_value
from analyzer.surgery.network import Network, quantizes_dynamically
from analyzer.surgery.saving import save_part
from analyzer.surgery.validation import reports_invalid_file

__all__ = ["HIGH", "LOW", "RANK", "SAMPLE", "cut_network", "write_gathering_suffix"]


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
    head = _write_linear_head(model, plan, folder)
    removed = removed_value(get_value(model.graph, plan.tensor))
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


_SAME_ELEMENTS = ("Flatten", "Identity", "Reshape", "Squeeze")


@dataclass(frozen=True)
class _Product:
    """A matrix product with constants, over the features of a sample."""

    value: ir.Value  # z, (N, D) or (N, D, 1, …)
    layout: Layout  # of the features, flattened
    weights: np.ndarray  # float32 (outer × M × inner, D)
    bias: np.ndarray  # float32 (D,)


def _write_linear_head(model: ir.Model, plan: Plan, folder: Path) -> LinearHead | None:
    """Write the weights and the tail of a suffix that begins with a linear operator.

    Args:
        model: Which is cut; it stays as it is.
        plan: Where it is cut.
        folder: Takes ``weights.npy``, ``bias.npy`` and ``tail.onnx``.

    Returns:
        None when the suffix begins otherwise, or reads anything but the masked features.
    """
    if plan.skip_inputs or plan.shapes:
        return None
    graph = model.graph
    found = _product(graph, get_value(graph, plan.tensor), plan.layout)
    if found is None:
        return None
    units, layout = plan.site.channels, found.layout
    apart = found.weights.reshape(layout.outer, units, layout.inner, -1)
    weights = np.moveaxis(apart, 1, 0).reshape(units, layout.outer * layout.inner, -1)
    write_array(folder / "weights.npy", np.ascontiguousarray(weights))
    write_array(folder / "bias.npy", found.bias)
    tail, name = None, ""
    if not _ranks_classes(found.value, graph.outputs[0]):
        tail, name = folder / "tail.onnx", f"{found.value.name}_running"
        save_part(_tail(model, plan, name_of(found.value), name), tail)
    return LinearHead(
        weights=folder / "weights.npy",
        bias=folder / "bias.npy",
        outer=layout.outer,
        inner=layout.inner,
        tail=tail,
        tail_input=name,
    )


def _product(graph: ir.Graph, value: ir.Value, layout: Layout) -> _Product | None:
    """The matrix product that alone reads ``value``, with the bias added behind it."""
    if not any(is_op(node, "Conv", "Gemm", "MatMul") for node in consumers(value)):
        return None
    node = _only_consumer(graph, value)
    if node is None or value.dtype != ir.DataType.FLOAT or node.inputs[0] is not value:
        return None
    if is_op(node, "Conv"):
        return _convolution(node, value, layout)
    if len(dimensions(value) or ()) != 2:
        return None
    if is_op(node, "Gemm") and not attribute(node, "transA", 0):
        weights = constant(node.inputs[1])
        bias = _bias(node)
        if weights is None or bias is None:
            return None
        weights = weights.T if attribute(node, "transB", 0) else weights
        alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
        if alpha != 1:  # weights can be large: no copy without need
            weights = weights * np.float32(alpha)
        return _checked(node.outputs[0], layout, weights, bias * np.float32(beta))
    if is_op(node, "MatMul"):
        weights = constant(node.inputs[1])
        if weights is None or weights.ndim != 2:
            return None
        product = node.outputs[0]
        after = _only_consumer(graph, product)
        if after is not None and is_op(after, "Add") and not product.is_graph_output():
            other = after.inputs[1 if after.inputs[0] is product else 0]
            bias = constant(other)
            if bias is not None and bias.size in (1, weights.shape[1]):
                return _checked(after.outputs[0], layout, weights, bias)
        return _checked(product, layout, weights, 0.0)
    return None


def _convolution(node: ir.Node, value: ir.Value, layout: Layout) -> _Product | None:
    """A convolution that gives a single position, for its kernel covers the whole input."""
    kernels, bias = constant(node.inputs[1]), _bias(node)
    if kernels is None or bias is None or layout != Layout(1):
        return None
    size = kernels.shape[2:]
    padded = attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if (padded and max(size) > 1) or any(attribute(node, "pads", ())):
        return None
    if attribute(node, "group", 1) != 1 or (dimensions(value) or ())[2:] != size:
        return None
    weights = kernels.reshape(len(kernels), -1).T  # (M × positions, D)
    return _checked(node.outputs[0], Layout(1, inner=prod(size)), weights, bias)


def _bias(node: ir.Node) -> np.ndarray | float | None:
    """What is added to a product: 0 where nothing is, None where it is not constant."""
    return constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else 0.0


def _checked(
    value: ir.Value, layout: Layout, weights: np.ndarray, bias: np.ndarray | np.floating | float
) -> _Product | None:
    if np.size(bias) not in (1, weights.shape[1]):
        return None
    bias = np.broadcast_to(np.asarray(bias, np.float32).reshape(-1), weights.shape[1])
    return _Product(value, layout, np.asarray(weights, np.float32), np.ascontiguousarray(bias))


def _only_consumer(graph: ir.Graph, value: ir.Value) -> ir.Node | None:
    """The one node on the way to the scores that reads ``value``."""
    if is_captured(value):
        return None
    nodes = consumers(value)
    if len(nodes) > 1 or value.is_graph_output():
        alive = ancestors(graph, graph.outputs)
        nodes = [node for node in nodes if not alive.isdisjoint(node.outputs)]
    return nodes[0] if len(nodes) == 1 else None


def _ranks_classes(value: ir.Value, scores: ir.Value) -> bool:
    """Whether ``scores`` follow from ``value`` by what never changes which class is highest."""
    while scores is not value:
        node = scores.producer()
        if not is_op(node, "Softmax", "LogSoftmax", *_SAME_ELEMENTS):
            return False
        shape, before = dimensions(scores) or (), dimensions(operand(node)) or ()
        # (N, K) or (N, K, 1, …), so that the elements stay where they are.
        if any(len(one) < 2 or set(one[2:]) > {1} for one in (shape, before)):
            return False
        if shape[1] != before[1]:
            return False
        if not is_op(node, *_SAME_ELEMENTS) and attribute(node, "axis", -1) % len(shape) != 1:
            return False
        scores = operand(node)
    return True


def _tail(model: ir.Model, plan: Plan, tensor: str, name: str) -> ir.Model:
    """``tensor``, now an input (N, D) called ``name`` → class scores."""
    graph = model.graph
    model = extract_model(model, [get_value(graph, tensor)], graph.outputs)
    graph = model.graph
    z = replace_with_input(graph, get_value(graph, tensor), name)
    if plan.flatten:
        flatten_scores(graph, plan.scores)
    shape = shape_of(z)
    if len(shape) > 2:
        z.name = f"{name}_spread"
        flat = ir.val(name, dtype=z.dtype, shape=shape[:2])
        new = GraphBuilder(graph, name)
        z.replace_all_uses_with(new.op("Reshape", flat, new.constant([-1, *shape[1:]])))
        new.insert_first()
        z = flat
    passes.RemoveUnusedNodesPass()(model)
    graph.inputs.clear()
    graph.inputs.append(z)
    return model


SAMPLE, LOW, HIGH, RANK = "evaluation_sample", "evaluation_low", "evaluation_high", "unit_rank"


def write_gathering_suffix(cut: Cut) -> Path:
    """Write ``evaluations.onnx`` beside the suffix.

    Its inputs are those of the suffix but the mask, now for C samples, and ``unit_rank`` int32
    (C, M), ``evaluation_sample`` int64 (E,), ``evaluation_low`` and ``evaluation_high`` int32
    (E,). Evaluation e is the sample ``evaluation_sample[e]`` with the units kept whose rank is at
    least ``evaluation_low[e]`` and below ``evaluation_high[e]``; its scores are those of the
    suffix.
    """
    model = ir.load(cut.suffix)
    graph = model.graph
    sample = ir.val(SAMPLE, dtype=ir.DataType.INT64, shape=["E"])
    low, high = (ir.val(name, dtype=ir.DataType.INT32, shape=["E"]) for name in (LOW, HIGH))
    rank = ir.val(RANK, dtype=ir.DataType.INT32, shape=["C", cut.site.channels])
    inputs = []
    new = GraphBuilder(graph, "evaluations")
    for value in tuple(graph.inputs):
        if value.name == cut.mask:
            ranks = new.op("Gather", rank, sample, axis=0)  # (E, M)
            column = new.constant(np.array([-1, 1]))
            at_least = new.op("Not", new.op("Less", ranks, new.op("Reshape", low, column)))
            below = new.op("Less", ranks, new.op("Reshape", high, column))
            kept = new.op("And", at_least, below)
            value.replace_all_uses_with(new.op("Cast", kept, to=ir.DataType.FLOAT.value))
        elif value.name in cut.shared_inputs:
            inputs.append(value)
        else:
            uses = value.uses()
            gathered = new.op("Gather", value, sample, axis=0)
            set_type(gathered, value.dtype, value.shape)
            redirect(uses, gathered)
            inputs.append(value)
    new.insert_first()
    graph.inputs.clear()
    graph.inputs.extend([*inputs, rank, sample, low, high])
    path = cut.suffix.with_name("evaluations.onnx")
    save_part(model, path)
    return path
