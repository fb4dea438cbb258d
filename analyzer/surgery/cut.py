"""Cutting a network at its site into a prefix, run once per sample, and a suffix, run per
evaluation."""

import os
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.errors import ModelError
from analyzer.records import Answer, Cut, Site
from analyzer.surgery.cut_plan import Plan, plan_cut
from analyzer.surgery.graph import attribute, get_value, is_op, name_of, operand, shape_of
from analyzer.surgery.graph_builder import GraphBuilder, replace_with_input, set_type
from analyzer.surgery.inputs_and_outputs import find_answer, flatten_scores
from analyzer.surgery.mask import apply_mask, mask_input, removed_value
from analyzer.surgery.network import Network, save_model
from analyzer.surgery.suffix_forms import write_linear_head
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
    with that mask at the site; see :class:`analyzer.records.Cut` for what goes where.

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
    save_model(_make_prefix(model, plan), prefix_path)
    head = write_linear_head(model, plan, folder)
    _reduce_to_suffix(model, plan)
    save_model(model, suffix_path)
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
    """A clone that makes features, skip inputs, unit activity and active channels of the inputs."""
    model = model.clone()
    graph = model.graph
    new = GraphBuilder(graph, plan.features)
    values = ir.convenience.create_value_mapping(graph, include_subgraphs=False)
    outputs = [_exported(new, values[plan.tensor], plan.features)]
    for skip in plan.skip_inputs:
        value = values[skip.tensor]
        if skip.shape_only:
            shape = new.op("Shape", value, name=skip.name)
            set_type(shape, ir.DataType.INT64, ir.Shape([len(shape_of(value))]))
            new.insert_after(value)
            outputs.append(shape)
        else:
            outputs.append(_exported(new, value, skip.name))
    outputs += [_unit_activity(graph, new, plan), _active_units(graph, new, plan)]
    graph.outputs.clear()
    graph.outputs.extend(outputs)
    passes.RemoveUnusedNodesPass()(model)
    return model


def _reduce_to_suffix(model: ir.Model, plan: Plan) -> None:
    """Leave, in place, what makes class scores of features, skip inputs and the mask."""
    graph = model.graph
    values = ir.convenience.create_value_mapping(graph, include_subgraphs=False)
    removed = removed_value(values[plan.tensor])
    features = replace_with_input(graph, values[plan.tensor], plan.features)
    inputs = [features]
    shapes: dict[str, ir.Value] = {}
    for skip in plan.skip_inputs:
        value = values[skip.tensor]
        if skip.shape_only:
            shape = ir.val(skip.name, dtype=ir.DataType.INT64, shape=[len(shape_of(value))])
            shapes[skip.tensor] = shape
            inputs.append(shape)
        else:
            inputs.append(replace_with_input(graph, value, skip.name))
    new = GraphBuilder(graph, plan.features)
    for name in plan.shapes:
        _rebuild_shape(new, values[name], features, plan.batch, shapes)
    mask = mask_input(plan.mask, plan.site.channels)
    apply_mask(graph, features, mask, plan.layout, plan.site.channels, removed)
    if plan.flatten:
        flatten_scores(graph, plan.scores)
    passes.RemoveUnusedNodesPass()(model)
    graph.inputs.clear()
    graph.inputs.extend([*inputs, mask])


def _exported(new: GraphBuilder, value: ir.Value, name: str) -> ir.Value:
    """The value to be made an output under ``name``; a copy where that is not its own name."""
    if value.name == name:
        return value
    copy = new.op("Identity", value, name=name)
    set_type(copy, value.dtype, value.shape)
    new.insert_after(value)
    return copy


def _unit_activity(graph: ir.Graph, new: GraphBuilder, plan: Plan) -> ir.Value:
    """Σ_xy |U(x, y)| of every channel at the site, float32 (N, M).

    Quantized maps are measured in steps from their zero point.
    """
    value = get_value(graph, plan.site.tensor)
    new.stem = plan.activity
    size = value
    if value.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
        size = new.op("Cast", value, to=ir.DataType.FLOAT.value)
    if zero := removed_value(value):
        size = new.op("Sub", size, new.constant(np.float32(zero)))
    size = new.op("Abs", size)
    size = _sum(graph, new, size, _other_axes(value, plan.site.axis))
    size = new.op("Cast", size, to=ir.DataType.FLOAT.value, name=plan.activity)
    set_type(size, ir.DataType.FLOAT, ir.Shape([_batch(value), plan.site.channels]))
    new.insert_after(value)
    return size


def _active_units(graph: ir.Graph, new: GraphBuilder, plan: Plan) -> ir.Value:
    """Whether any element of the channel is not what a removed one is at the cut, bool (N, M)."""
    value = get_value(graph, plan.tensor)
    layout, channels = plan.layout, plan.site.channels
    new.stem = plan.active
    # Cast to bool is true for everything but 0, NaN included; then count.
    zero = removed_value(value)
    count = value
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
    new.insert_after(value)
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
) -> None:
    """Make the output of a ``Shape`` or ``Size`` above the cut from what the suffix has.

    The batch size is that of the features, other sizes are constants where they are known,
    and taken from the shape that the prefix saw where they are not.
    """
    node = value.producer()
    if node is None:
        return
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
    value.replace_all_uses_with(rebuilt)
    new.insert_first()


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
    if batch is not None and batch > 1:
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
