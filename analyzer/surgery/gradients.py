"""Gradients of a network's scores on the graph itself, by onnx-ad.

onnx-ad takes graphs of known shapes, differentiates in graph inputs, and copies the weights
several times on the way. So the tensors wanted get a graph input added to them, which is taken
out again afterwards, and the large weights are inputs while it works.

What it writes is then rewritten into forms that are right and fast in onnxruntime. Two of the
rewrites make it right. A transposed convolution that is given its output's size splits the padding
by a rule of its own, so where a convolution pads its two ends differently it would give another
one's gradient; and ``ScatterND`` adds up on several threads that do not wait for each other. All
others make it fast.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.surgery.graph import (
    UniqueNames,
    attribute,
    constant,
    descendants,
    dimensions,
    dtype_of,
    get_value,
    is_op,
    name_of,
    operand,
    shape_of,
    size_of,
)
from analyzer.surgery.graph_builder import GraphBuilder, redirect, set_type
from analyzer.surgery.shapes import infer_shapes
from analyzer.surgery.validation import first_line

__all__ = ["Differentiated", "NoGradient", "add_gradients"]

_OPSET = 18  # onnx-ad needs 16; from 18 on all reductions take their axes alike
_LARGE = 1 << 12  # elements of a weight that onnx-ad does not get to see


class NoGradient(Exception):
    """An operator has no gradient that can be built; the message says which and why."""


@dataclass(frozen=True)
class Differentiated:
    """A network that also computes Σ seed · scores, differentiated in some of its tensors."""

    model: ir.Model
    seed: ir.Value  # graph input (B, K, 1), to be replaced
    gradients: tuple[ir.Value, ...]  # each of its tensor's shape and a last axis of size 1


def add_gradients(model: ir.Model, image: str, tensors: Sequence[str]) -> Differentiated:
    """Extend a network by the gradients of its scores.

    Args:
        model: every shape known, its only output the scores (B, K); changed on the way.
        image: name of the input, whose gradient comes first.
        tensors: names of other floating-point tensors to differentiate in.

    Raises:
        NoGradient: onnx-ad has no rule for an operator, or cannot apply it.
    """
    _write_out_pads(model)
    graph = model.graph
    names = UniqueNames(graph)
    for node in graph:
        # The gradient needs to know where each maximum was; asked for here, it is found once.
        if is_op(node, "MaxPool") and len(node.outputs) == 1:
            node.resize_outputs(2)
            node.outputs[1].name = names.give(f"{node.outputs[0].name}_place")
    new = GraphBuilder(graph, "probe")
    probes = [_add_probe(graph, new, name) for name in tensors]
    weights = _take_weights(graph)
    differentiated = ir.from_proto(_differentiate(ir.to_proto(model), [image, *probes]))
    graph = differentiated.graph
    _give_weights(graph, weights)
    scores, *gradients = graph.outputs
    for probe in probes:
        _remove_probe(graph, get_value(graph, probe))
    (seed,) = (v for v in graph.inputs if v.name not in (image, *weights))
    passes.RemoveUnusedNodesPass()(differentiated)
    seed.shape = ir.Shape([*shape_of(scores), 1])
    return Differentiated(_rewrite_gradients(differentiated, seed), seed, tuple(gradients))


def _differentiate(proto: onnx.ModelProto, inputs: Sequence[str]) -> onnx.ModelProto:
    """The network with one seed more among its inputs, and gradients behind its output."""
    # Imported here: most audits need no gradient.
    from onnx_ad import UnsupportedOperator, reverse

    opset = next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
    try:
        if opset < _OPSET:
            proto = onnx.version_converter.convert_version(proto, _OPSET)
    except RuntimeError as error:
        raise NoGradient(
            f"it is written for opset {opset} and cannot be converted to {_OPSET} "
            f"({first_line(error)})"
        ) from error
    try:
        return reverse(proto, inputs=list(inputs), layout="onnx")
    except UnsupportedOperator as error:
        raise NoGradient(first_line(error)) from error
    except Exception as error:  # a young library on a graph that it has not met
        raise NoGradient(f"onnx-ad fails on it ({type(error).__name__}: {error})") from error


def _add_probe(graph: ir.Graph, new: GraphBuilder, name: str) -> str:
    """Add a graph input to the tensor, for all of its consumers; the input's name."""
    value = get_value(graph, name)
    uses, shape = value.uses(), ir.Shape(shape_of(value))
    probe = new.input(f"{name}_probe", dtype_of(value), shape)
    probed = new.op("Add", value, probe, name=f"{name}_probed")
    set_type(probed, value.dtype, shape.copy())
    redirect(uses, probed)
    new.insert_after(value)
    return name_of(probe)


def _remove_probe(graph: ir.Graph, probe: ir.Value) -> None:
    """Take the addition out again, and read the tensor itself where the input's shape is read."""
    node = next(node for node in probe.consumers() if is_op(node, "Add"))
    value, (probed,) = operand(node), node.outputs
    probed.replace_all_uses_with(value)
    graph.remove(node, safe=True)
    probe.replace_all_uses_with(value)
    graph.inputs.remove(probe)


def _take_weights(graph: ir.Graph) -> dict[str, ir.TensorProtocol]:
    """Turn large initializers into inputs of the same name, and hand them out."""
    taken: dict[str, ir.TensorProtocol] = {}
    for name, value in tuple(graph.initializers.items()):
        tensor = value.const_value
        if tensor is not None and tensor.size > _LARGE:
            taken[name] = tensor
            value.dtype = tensor.dtype
            value.shape = ir.Shape(d for d in tensor.shape if isinstance(d, int))
            value.const_value = None
            del graph.initializers[name]
            graph.inputs.append(value)
    return taken


def _give_weights(graph: ir.Graph, weights: dict[str, ir.TensorProtocol]) -> None:
    for value in tuple(graph.inputs):
        if value.name in weights:
            graph.inputs.remove(value)
            value.const_value = weights[value.name]
            graph.register_initializer(value)


def _write_out_pads(model: ir.Model) -> None:
    """Write out the padding that convolutions and pools derive from their input's size."""
    for node in model.graph:
        mode = attribute(node, "auto_pad", "NOTSET")
        if not is_op(node, "AveragePool", "Conv", "LpPool", "MaxPool") or "SAME" not in mode:
            continue
        sizes = _sizes(operand(node), 2)
        kernel = attribute(node, "kernel_shape", None) or _sizes(operand(node, 1), 2)
        ones = [1] * len(sizes)
        strides = attribute(node, "strides", ones)
        missing = [
            max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
            for size, k, stride, dilation in zip(
                sizes, kernel, strides, attribute(node, "dilations", ones), strict=True
            )
        ]
        less, more = [m // 2 for m in missing], [m - m // 2 for m in missing]
        node.attributes.pop("auto_pad")
        pads = less + more if mode == "SAME_UPPER" else more + less
        node.attributes["pads"] = ir.AttrInt64s("pads", pads)


def _sizes(value: ir.Value, first_axis: int = 0) -> list[int]:
    """The sizes of a tensor's axes from that one on, known wherever gradients are made."""
    if size_of(value, first_axis=first_axis) is None:
        raise ValueError(f"the tensor {value.name!r} has an unknown shape")
    return [d for d in shape_of(value)[first_axis:] if isinstance(d, int)]


def _rewrite_gradients(model: ir.Model, seed: ir.Value) -> ir.Model:
    """Rewrite, in place, what depends on ``seed``; every shape must follow from the inputs'."""
    # Before the shapes are inferred, because those of transposed convolutions often are not.
    _rewrite(model, seed, {"ConvTranspose": _convolution})
    model = infer_shapes(model)
    _rewrite(model, seed, _RULES)
    return model


def _rewrite(model: ir.Model, seed: ir.Value, rules: Mapping[str, "_Rule"]) -> None:
    """Put what the rules say in the place of nodes that depend on ``seed``, and of transposes."""
    made = descendants(model.graph, [seed])
    new = GraphBuilder(model.graph, "gradient")
    for node in tuple(model.graph):
        rule = rules.get(node.op_type) if is_op(node, *rules) else None
        value = node.outputs[0]
        if rule is None or value.is_graph_output():
            continue
        if value not in made and not is_op(node, "Transpose"):
            continue
        replacement = rule(node, new)
        new.insert_before(node)
        if replacement is not None:
            replacement.type, replacement.shape = value.type, value.shape
            value.replace_all_uses_with(replacement)
    passes.RemoveUnusedNodesPass()(model)


def _transpose(node: ir.Node, new: GraphBuilder) -> ir.Value | None:
    """Two in a row are one or none; one that only moves axes of size 1 is a ``Reshape``."""
    source = operand(node)
    shape = dimensions(node.outputs[0])
    if shape is None:
        return None
    order = list(attribute(node, "perm", range(len(shape))[::-1]))
    if is_op(earlier := source.producer(), "Transpose"):
        before = attribute(earlier, "perm", range(len(order))[::-1])
        source = operand(earlier)
        order = [before[axis] for axis in order]
        if order == sorted(order):
            return source
    moved = [axis for axis, size in zip(order, shape, strict=True) if size != 1]
    if moved == sorted(moved) and size_of(node.outputs[0]) is not None:
        return new.op("Reshape", source, new.constant(shape))
    return new.op("Transpose", source, perm=order) if source is not operand(node) else None


def _where(node: ir.Node, new: GraphBuilder) -> ir.Value | None:
    """A choice between a gradient and 0 is a product with 1 or 0."""
    condition, *choices = (operand(node, index) for index in range(3))
    zero = [v is not None and v.size == 1 and not v.any() for v in map(constant, choices)]
    if zero == [True, False]:
        condition = new.op("Not", condition)
    elif zero != [False, True]:
        return None
    gradient = choices[zero.index(False)]
    return new.op("Mul", gradient, new.op("Cast", condition, to=dtype_of(gradient).value))


def _same(node: ir.Node, new: GraphBuilder) -> ir.Value | None:
    """An ``Expand`` to the size it has, or a sum over axes of size 1."""
    source = operand(node)
    shape = dimensions(source)
    return source if shape is not None and shape == dimensions(node.outputs[0]) else None


def _scatter(node: ir.Node, new: GraphBuilder) -> ir.Value | None:
    """Σ by ``ScatterElements``, one element after the other, which float16 has to be cast for."""
    data, indices, updates = (operand(node, index) for index in range(3))
    if attribute(node, "reduction", "none") != "add" or shape_of(indices)[-1] != 1:
        return None
    rest = _sizes(data, 1)
    places = new.op("Reshape", indices, new.constant([-1] + [1] * len(rest)))
    places = new.op("Expand", places, new.constant([size_of(indices), *rest]))
    updates = new.op("Reshape", updates, new.constant([-1, *rest]))
    dtype = dtype_of(data)
    narrow = dtype.itemsize < ir.DataType.FLOAT.itemsize
    if narrow:
        data, updates = (new.op("Cast", v, to=ir.DataType.FLOAT.value) for v in (data, updates))
    added = new.op("ScatterElements", data, places, updates, axis=0, reduction="add")
    return new.op("Cast", added, to=dtype.value) if narrow else added


def _convolution(node: ir.Node, new: GraphBuilder) -> ir.Value:
    """The gradient of a convolution, with the padding written out.

    The attributes are the convolution's own, ``output_shape`` is the size of its input. If it
    took no steps, the gradient is a convolution too, with the kernels turned around, and that
    is what onnxruntime's processor code is fastest at.
    """
    gradient, weights = operand(node), operand(node, 1)
    sizes, pads, strides, dilations, group = (
        attribute(node, name, None)
        for name in ("output_shape", "pads", "strides", "dilations", "group")
    )
    kernels, inner, *kernel = _sizes(weights)  # kernels, input channels of a group
    reach = [dilation * (k - 1) for k, dilation in zip(kernel, dilations, strict=True)]
    ends = [r - pad for r, pad in zip([*reach, *reach], pads, strict=True)]
    if max(strides) > 1 or min(ends) < 0:
        both = zip(pads, pads[len(kernel) :], strict=False)
        padded = [size + sum(pair) for size, pair in zip(sizes, both, strict=True)]
        # Elements behind the last step, which the convolution did not see.
        unseen = [(p - r - 1) % s for p, r, s in zip(padded, reach, strides, strict=True)]
        steps = {"strides": strides, "dilations": dilations, "output_padding": unseen}
        return new.op("ConvTranspose", gradient, weights, group=group, pads=pads, **steps)
    turned = new.op("Reshape", weights, new.constant([group, kernels // group, inner, *kernel]))
    axes = [axis + 3 for axis in range(len(kernel))]
    turned = new.op("Transpose", turned, perm=[0, 2, 1, *axes])
    backwards, everything = ([n] * len(axes) for n in (-1, np.iinfo(np.int64).min))
    bounds = (new.constant(values) for values in (backwards, everything, axes, backwards))
    turned = new.op("Slice", turned, *bounds)
    turned = new.op("Reshape", turned, new.constant([group * inner, kernels // group, *kernel]))
    return new.op("Conv", gradient, turned, group=group, pads=ends, dilations=dilations)


_Rule = Callable[[ir.Node, GraphBuilder], ir.Value | None]
_RULES: dict[str, _Rule] = {
    "Expand": _same,
    "ReduceSum": _same,
    "ScatterND": _scatter,
    "Transpose": _transpose,
    "Where": _where,
}
