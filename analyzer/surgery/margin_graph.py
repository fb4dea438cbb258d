"""The margins of a network's answers and what they are divided by, as one ONNX graph.

The distance of a sample to the boundary between two classes i and j, seen from layer l, is to
first order (f_i − f_j) / ‖∇_{x^l}(f_i − f_j)‖ (Jiang et al. 2019). All layers share one forward and
one backward pass, and samples share batches: no score depends on another sample, so the gradient
of a sum over samples holds each sample's own.

The gradients are onnx-ad's. It takes graphs of known shapes, differentiates in graph inputs, and
copies the weights several times on the way. So the tensors wanted get a graph input added to them,
which is taken out again afterwards, and the large weights are inputs while it works.

What it writes is then rewritten into forms that are right and fast in onnxruntime. Two of the
rewrites make it right. A transposed convolution that is given its output's size splits the padding
by a rule of its own, so where a convolution pads its two ends differently it would give another
one's gradient; and ``ScatterND`` adds up on several threads that do not wait for each other. All
others make it fast.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.common_types import MarginGraph, MarginLayer
from analyzer.errors import ModelError, parameter
from analyzer.surgery.activation_graph import spread_layers
from analyzer.surgery.graph import (
    GraphBuilder,
    UniqueNames,
    ancestors,
    attribute,
    constant,
    descendants,
    dimensions,
    dtype_of,
    get_value,
    is_op,
    name_of,
    names_of,
    operand,
    redirect,
    set_type,
    shape_of,
    size_of,
)
from analyzer.surgery.input_sizes import fix_sizes
from analyzer.surgery.inputs_and_outputs import find_answer, make_logits, reduce_to_scores
from analyzer.surgery.network import Network
from analyzer.surgery.saving import save_model, weights_placed
from analyzer.surgery.shapes import infer_shapes
from analyzer.surgery.validation import first_line, reports_invalid_file

__all__ = ["write_margin_graph"]


_MOST_IMAGES = 128
# Numbers held for each one between image and scores: itself, its gradient, a product of the two.
_COPIES = 3
_QUANTIZED = (
    "ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QuantizeLinear",
)  # fmt: skip


@reports_invalid_file
def write_margin_graph(
    network: Network,
    path: str | os.PathLike[str],
    image_shape: tuple[int, ...],
    *,
    output: str | None = None,
    memory: int = 1 << 30,
    most: int = _MOST_IMAGES,
) -> MarginGraph:
    """Write a graph that gives each sample's margin, and at each layer what it is divided by.

    The layers are the images and up to three activations, see :func:`spread_layers`.

    Args:
        network: The network, bound to its images.
        path: Of the file; its folder must exist.
        image_shape: Of one image, as the network takes it, without the batch axis.
        output: The output that tells the class, where there are several.
        memory: Bytes that a batch may take, as far as that is known beforehand.
        most: Images in a batch, at most.

    Raises:
        ModelError: The network's gradient is unavailable; the sentence names the operator.
    """
    try:
        return _write(network, Path(path), image_shape, output, memory, most)
    except _NoGradient as error:
        raise ModelError(
            f"Margins need the gradient of {network.path}, which is unavailable: {error}. Audit it "
            f"without {parameter('margins')}."
        ) from error


def _write(
    network: Network,
    path: Path,
    image_shape: tuple[int, ...],
    output: str | None,
    memory: int,
    most: int,
) -> MarginGraph:
    free, (image, *_), batch = reduce_to_scores(network, output)
    kind = find_answer(network, output).kind
    if batch is None:
        single, _ = _of_logits(free.clone(), image, (1, *image_shape), kind)
        batch = min(max(memory // _bytes_between(single.graph, image), 1), most)
    model, classes = _of_logits(free, image, (batch, *image_shape), kind)
    _bytes_between(model.graph, image)
    layers = spread_layers(network, model.graph, image)
    differentiated = _add_gradients(model, image, list(layers)[1:])
    graph = differentiated.model.graph
    scores = graph.outputs[0]

    names = UniqueNames(names_of(graph))
    label = ir.val(names.give("label"), dtype=ir.DataType.INT64, shape=[batch])
    weight = ir.val(names.give("weight"), dtype=ir.DataType.FLOAT, shape=[batch])
    new = GraphBuilder(graph, "margin")
    margin, seed = _contest(new, scores, label, classes)
    differentiated.seed.replace_all_uses_with(seed)
    outputs, found = [margin], []
    for number, (tensor, gradient) in enumerate(zip(layers, differentiated.gradients, strict=True)):
        value = get_value(graph, tensor)
        new.stem = f"margin_{number}"
        squares = _squares(new, gradient, batch)
        mean, variance = _moments(new, value, weight, batch)
        outputs += [squares, mean, variance]
        found.append(
            MarginLayer(
                tensor=tensor,
                operator=layers[tensor],
                size=prod(d for d in shape_of(value)[1:] if isinstance(d, int)),
                squares=name_of(squares),
                mean=name_of(mean),
                variance=name_of(variance),
            )
        )
    graph.outputs.clear()
    graph.outputs.extend(outputs)
    inputs = [get_value(graph, image), label, weight]
    graph.inputs.clear()
    graph.inputs.extend(inputs)
    graph.sort()
    save_model(differentiated.model, path)
    return MarginGraph(
        path=path,
        image=image,
        label=name_of(label),
        weight=name_of(weight),
        margin=name_of(margin),
        layers=tuple(found),
        batch=batch,
        nodes=len(graph),
        custom_ops=network.custom_ops,
    )


def _of_logits(
    model: ir.Model, image: str, shape: tuple[int, ...], kind: str
) -> tuple[ir.Model, int]:
    """The network for batches of that shape with its logits (B, K) for output; and K."""
    model = fix_sizes(model, image, shape)
    classes = make_logits(model.graph, kind)
    passes.RemoveUnusedNodesPass()(model)
    if classes is None:
        raise _NoGradient(
            f"the shape of {model.graph.outputs[0].name!r} leaves the number of classes open"
        )
    return infer_shapes(model), classes


def _bytes_between(graph: ir.Graph, image: str) -> int:
    """What a batch takes between images and scores.

    Raises:
        _NoGradient: an operator there has none, or is not one of ONNX's; or a shape is not known.
    """
    images = get_value(graph, image)
    if not dtype_of(images).is_floating_point():
        kind = dtype_of(images).numpy()
        raise _NoGradient(f"its images are {kind}, not floating-point numbers")
    flowing = descendants(graph, [images]) & ancestors(graph, graph.outputs)
    total = _bytes(images)
    # In the order of the graph, so that the first culprit is always the same.
    for node in graph:
        made = [v for v in node.outputs if v in flowing]
        if not made:
            continue
        if node.op_type.startswith("QLinear") or node.op_type in _QUANTIZED:
            raise _NoGradient(f"it is quantized (by {node.op_type}), and steps have no gradient")
        if node.domain not in ("", "ai.onnx"):
            raise _NoGradient(f"the operator {node.op_type} of {node.domain} has no rule for it")
        total += sum(map(_bytes, made))
    return total


def _bytes(value: ir.Value) -> int:
    size = size_of(value)
    if size is None:
        raise _NoGradient(f"the shape of the tensor {value.name!r} is unknown")
    if value.dtype == ir.DataType.STRING:
        raise _NoGradient(f"the tensor {value.name!r} holds texts")
    return int(_COPIES * size * (1 if value.dtype is None else value.dtype.itemsize))


def _contest(
    new: GraphBuilder, scores: ir.Value, label: ir.Value, classes: int
) -> tuple[ir.Value, ir.Value]:
    """f_i − f_j, float32 (B,), and its gradient in the scores, 1 for i and −1 for j, (B, K, 1)."""
    dtype = dtype_of(scores)
    everyone = new.constant(np.arange(classes)[None])  # (1, K)
    lowest = new.constant(np.array(-np.inf, dtype.numpy()))
    own = new.op("Equal", new.op("Unsqueeze", label, new.constant([1])), everyone)  # (B, K)
    others = new.op("Where", own, lowest, scores)
    best = new.op("ArgMax", others, axis=1, keepdims=1)  # of equal ones the first, as ever
    rival = new.op("Equal", best, everyone)
    highest = (
        new.op("ReduceMax", choice, new.constant([1]), keepdims=0)
        for choice in (new.op("Where", own, scores, lowest), others)
    )
    margin = _float(new, new.op("Sub", *highest), dtype)
    signs = (new.op("Cast", one, to=dtype.value) for one in (own, rival))
    seed = new.op("Unsqueeze", new.op("Sub", *signs), new.constant([2]))
    new.insert_after(scores)
    return margin, seed


def _squares(new: GraphBuilder, gradient: ir.Value, batch: int) -> ir.Value:
    """The squared norm of each sample's gradient, float32 (B,)."""
    flat = _float(new, gradient, dtype_of(gradient))
    flat = new.op("Reshape", flat, new.constant([batch, -1]))
    name = f"{new.stem}_squares"
    squares = new.op("ReduceSumSquare", flat, new.constant([1]), keepdims=0, name=name)
    new.insert_after(gradient)
    return squares


def _moments(
    new: GraphBuilder, value: ir.Value, weight: ir.Value, batch: int
) -> tuple[ir.Value, ir.Value]:
    """Mean (D,) and total variance () of the samples that count, float32."""
    flat = _float(new, value, dtype_of(value))
    flat = new.op("Reshape", flat, new.constant([batch, -1]))
    mean = new.op("MatMul", weight, flat, name=f"{new.stem}_mean")  # (D,)
    apart = new.op("ReduceSumSquare", new.op("Sub", flat, mean), new.constant([1]), keepdims=0)
    variance = new.op("MatMul", weight, apart, name=f"{new.stem}_variance")
    new.insert_after(value)
    return mean, variance


def _float(new: GraphBuilder, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    if dtype == ir.DataType.FLOAT:
        return value
    return new.op("Cast", value, to=ir.DataType.FLOAT.value)


_OPSET = 18  # onnx-ad needs 16; from 18 on all reductions take their axes alike
_LARGE = 1 << 12  # elements of a weight that onnx-ad does not get to see


class _NoGradient(Exception):
    """An operator has no gradient that can be built; the message says which and why."""


@dataclass(frozen=True)
class _Differentiated:
    """A network that also computes Σ seed · scores, differentiated in some of its tensors."""

    model: ir.Model
    seed: ir.Value  # graph input (B, K, 1), to be replaced
    gradients: tuple[ir.Value, ...]  # each of its tensor's shape and a last axis of size 1


def _add_gradients(model: ir.Model, image: str, tensors: Sequence[str]) -> _Differentiated:
    """Extend a network by the gradients of its scores.

    Args:
        model: every shape known, its only output the scores (B, K); changed on the way.
        image: name of the input, whose gradient comes first.
        tensors: names of other floating-point tensors to differentiate in.

    Raises:
        _NoGradient: onnx-ad has no rule for an operator, or cannot apply it.
    """
    _write_out_pads(model)
    graph = model.graph
    names = UniqueNames(names_of(graph))
    for node in graph:
        # The gradient needs to know where each maximum was; asked for here, it is found once.
        if is_op(node, "MaxPool") and len(node.outputs) == 1:
            node.resize_outputs(2)
            node.outputs[1].name = names.give(f"{node.outputs[0].name}_place")
    new = GraphBuilder(graph, "probe")
    probes = [_add_probe(graph, new, name) for name in tensors]
    weights = _take_weights(graph)
    with weights_placed(graph):
        proto = ir.to_proto(model)
    differentiated = ir.from_proto(_differentiate(proto, [image, *probes]))
    graph = differentiated.graph
    _give_weights(graph, weights)
    scores, *gradients = graph.outputs
    for probe in probes:
        _remove_probe(graph, get_value(graph, probe))
    (seed,) = (v for v in graph.inputs if v.name not in (image, *weights))
    passes.RemoveUnusedNodesPass()(differentiated)
    seed.shape = ir.Shape([*shape_of(scores), 1])
    return _Differentiated(_rewrite_gradients(differentiated, seed), seed, tuple(gradients))


def _differentiate(proto: onnx.ModelProto, inputs: Sequence[str]) -> onnx.ModelProto:
    """The network with one seed more among its inputs, and gradients behind its output."""
    # Imported here: most audits need no gradient.
    from onnx_ad import UnsupportedOperator, reverse

    opset = next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
    try:
        if opset < _OPSET:
            proto = onnx.version_converter.convert_version(proto, _OPSET)
    except RuntimeError as error:
        raise _NoGradient(
            f"it is written for opset {opset} and cannot be converted to {_OPSET} "
            f"({first_line(error)})"
        ) from error
    try:
        return reverse(proto, inputs=list(inputs), layout="onnx")
    except UnsupportedOperator as error:
        raise _NoGradient(first_line(error)) from error
    except MemoryError:
        raise
    except Exception as error:  # a young library on a graph that it has not met
        raise _NoGradient(f"onnx-ad fails on it ({type(error).__name__}: {error})") from error


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
    if group < 1:
        raise _NoGradient(f"a convolution has {group} groups")
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
