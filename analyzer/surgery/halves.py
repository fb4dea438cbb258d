"""Making the two halves of a cut from a graph and a plan."""

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.errors import ModelError
from analyzer.surgery.editing import Insertion
from analyzer.surgery.graph import attribute, dimensions, find_value, is_op
from analyzer.surgery.mask import apply_mask, mask_input
from analyzer.surgery.plan import Plan
from analyzer.surgery.removed import removed_value

__all__ = ["flatten_scores", "imported", "make_prefix", "make_suffix"]


def make_prefix(model: ir.Model, plan: Plan) -> ir.Model:
    """The network's inputs → features, side values, unit attribute, active channels."""
    model = model.clone()
    graph = model.graph
    outputs = [_exported(graph, plan.tensor, plan.features)]
    for side in plan.side:
        if side.shape_only:
            value = find_value(graph, side.tensor)
            new = Insertion(graph, side.name)
            outputs.append(new.op("Shape", value, name=side.name))
            outputs[-1].dtype = ir.DataType.INT64
            outputs[-1].shape = ir.Shape([len(dimensions(value))])
            new.insert(after=value)
        else:
            outputs.append(_exported(graph, side.tensor, side.name))
    outputs += [_unit_attribute(graph, plan), _active_units(graph, plan)]
    graph.outputs.clear()
    graph.outputs.extend(outputs)
    passes.RemoveUnusedNodesPass()(model)
    return model


def make_suffix(model: ir.Model, plan: Plan) -> ir.Model:
    """Features, side values and the mask → class scores."""
    model = model.clone()
    graph = model.graph
    removed = removed_value(find_value(graph, plan.tensor))
    features = imported(graph, plan.tensor, plan.features)
    inputs = [features]
    shapes: dict[str, ir.Value] = {}
    for side in plan.side:
        if side.shape_only:
            rank = len(dimensions(find_value(graph, side.tensor)))
            shapes[side.tensor] = ir.val(side.name, dtype=ir.DataType.INT64, shape=[rank])
            inputs.append(shapes[side.tensor])
        else:
            inputs.append(imported(graph, side.tensor, side.name))
    for name in plan.shapes:
        _rebuild_shape(graph, find_value(graph, name), features, plan.batch, shapes)
    mask = mask_input(plan.mask, plan.site.channels)
    apply_mask(graph, features, mask, plan.layout, plan.site.channels, removed)
    if plan.flatten:
        flatten_scores(graph, plan)
    passes.RemoveUnusedNodesPass()(model)
    graph.inputs.clear()
    graph.inputs.extend([*inputs, mask])
    return model


def _exported(graph: ir.Graph, tensor: str, name: str) -> ir.Value:
    """The value to be made an output under ``name``; a copy where that is not its own name."""
    value = find_value(graph, tensor)
    if tensor == name:
        return value
    new = Insertion(graph, name)
    copy = new.op("Identity", value, name=name)
    copy.dtype, copy.shape = value.dtype, value.shape
    new.insert(after=value)
    return copy


def imported(graph: ir.Graph, tensor: str, name: str) -> ir.Value:
    """A new value called ``name`` that all readers of ``tensor`` now read instead."""
    value = find_value(graph, tensor)
    if value.dtype is None:
        raise ModelError(
            f"The element type of the tensor {tensor} cannot be told, so the network cannot be "
            "cut there. Choose another --site."
        )
    if tensor == name:
        value.name = f"{name}_above_cut"
    new = ir.val(name, dtype=value.dtype, shape=value.shape and value.shape.copy())
    if value.is_graph_output():
        output = value.name
        value.name = f"{output}_above_cut"
        edit = Insertion(graph, name)
        copy = edit.op("Identity", new, name=output)
        copy.dtype, copy.shape = new.dtype, new.shape
        edit.insert(after=value)
        graph.outputs[graph.outputs.index(value)] = copy
    value.replace_all_uses_with(new)
    return new


def _unit_attribute(graph: ir.Graph, plan: Plan) -> ir.Value:
    """Σ_xy |U(x, y)| of every channel at the site, float32 (N, M).

    Quantized maps are measured in steps from their zero point.
    """
    value = find_value(graph, plan.site.tensor)
    new = Insertion(graph, plan.attribute)
    size = value
    if value.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
        size = new.op("Cast", value, to=ir.DataType.FLOAT.value)
    if zero := removed_value(value):
        size = new.op("Sub", size, new.constant(np.float32(zero)))
    size = new.op("Abs", size)
    size = _sum(graph, new, size, _other_axes(value, plan.site.axis))
    size = new.op("Cast", size, to=ir.DataType.FLOAT.value, name=plan.attribute)
    size.dtype, size.shape = ir.DataType.FLOAT, ir.Shape([_batch(value), plan.site.channels])
    new.insert(after=value)
    return size


def _active_units(graph: ir.Graph, plan: Plan) -> ir.Value:
    """Whether any element of the channel is not what a removed one is at the cut, bool (N, M)."""
    value = find_value(graph, plan.tensor)
    layout, channels = plan.layout, plan.site.channels
    new = Insertion(graph, plan.active)
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
    active.dtype, active.shape = ir.DataType.BOOL, ir.Shape([_batch(value), channels])
    new.insert(after=value)
    return active


def _other_axes(value: ir.Value, axis: int) -> list[int]:
    return [i for i in range(1, len(dimensions(value))) if i != axis]


def _batch(value: ir.Value) -> int | str | None:
    return dimensions(value)[0]


def _sum(graph: ir.Graph, new: Insertion, value: ir.Value, axes: list[int]) -> ir.Value:
    """Σ over ``axes``, which go away; from opset 13 they are an input."""
    if not axes:
        return value
    if graph.opset_imports[""] >= 13:
        return new.op("ReduceSum", value, new.constant(axes), keepdims=0)
    return new.op("ReduceSum", value, axes=axes, keepdims=0)


def _rebuild_shape(
    graph: ir.Graph,
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
    tensor = node.inputs[0]
    sizes = list(enumerate(dimensions(tensor)))
    if is_op(node, "Shape"):
        sizes = sizes[attribute(node, "start", 0) : attribute(node, "end", None)]
    new = Insertion(graph, value.name)
    pieces = []
    for axis, size in sizes:
        if isinstance(size, int):
            pieces.append(new.constant([size]))
        elif size is not None and size == batch:
            own = new.op("Shape", features)
            pieces.append(new.op("Gather", own, new.constant([0]), axis=0))
        else:
            pieces.append(new.op("Gather", shapes[tensor.name], new.constant([axis]), axis=0))
    if not pieces:
        rebuilt = new.constant(np.empty(0, np.int64))
    elif is_op(node, "Size"):
        rebuilt = new.op("ReduceProd", new.op("Concat", *pieces, axis=0), keepdims=0)
    else:
        rebuilt = new.op("Concat", *pieces, axis=0)
    value.replace_all_uses_with(rebuilt)
    new.insert(after=None)


def flatten_scores(graph: ir.Graph, plan: Plan) -> None:
    """Make scores (N, K, 1, …) the output as (N, K), under the plan's name."""
    (scores,) = graph.outputs
    new = Insertion(graph, plan.scores)
    flat = new.op("Flatten", scores, axis=1, name=plan.scores)
    flat.dtype, flat.shape = scores.dtype, ir.Shape(list(scores.shape)[:2])
    new.insert(after=scores)
    graph.outputs.clear()
    graph.outputs.append(flat)
