"""The margins of a network's answers and what they are divided by, as one ONNX graph.

The distance of a sample to the boundary between two classes i and j, seen from layer l, is to
first order (f_i − f_j) / ‖∇_{x^l}(f_i − f_j)‖ (Jiang et al. 2019). All layers share one forward and
one backward pass, and samples share batches: no score depends on another sample, so the gradient
of a sum over samples holds each sample's own.
"""

import os
from math import prod
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.errors import ModelError, parameter
from analyzer.records import MarginGraph, MarginLayer
from analyzer.surgery.gradients import NoGradient, add_gradients
from analyzer.surgery.graph import (
    UniqueNames,
    ancestors,
    descendants,
    dominators,
    dtype_of,
    get_value,
    is_op,
    name_of,
    operand,
    shape_of,
    size_of,
)
from analyzer.surgery.graph_builder import GraphBuilder
from analyzer.surgery.inputs_and_outputs import find_answer, make_logits, reduce_to_scores
from analyzer.surgery.network import Network, save_model
from analyzer.surgery.shapes import fix_sizes, infer_shapes
from analyzer.surgery.sites import survey_graph
from analyzer.surgery.validation import reports_invalid_file

__all__ = ["layers_by_depth", "spread_layers", "write_margin_graph"]

_MOST_IMAGES = 128
# Numbers held for each one between image and scores: itself, its gradient, a product of the two.
_COPIES = 3
_QUANTIZED = (
    "ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QuantizeLinear",
)  # fmt: skip
_HIDDEN = 3  # besides the images
_REARRANGING = (
    "Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze",
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
    except NoGradient as error:
        raise ModelError(
            f"Margins need the gradient of {network.path}, which is unavailable: {error}. Audit it "
            f"without {parameter('margins')}."
        ) from error


def spread_layers(network: Network, graph: ir.Graph, image: str) -> dict[str, str]:
    """The images, and three activations evenly spread over the depth.

    Of A candidates of :func:`layers_by_depth`, counted from 1, the nearest to a quarter, half and
    three quarters of A + 1 are taken; all of them where there are no more than three.

    Args:
        network: the network.
        graph: its graph, the scores its only output.
        image: name of the input that takes the images.

    Returns:
        The operator (or decomposed activation) that makes each tensor, by the tensor's name, by
        depth; "input" for the images.
    """
    operators = layers_by_depth(network, graph, image)
    candidates = list(operators)
    chosen = {image: "input"}
    for value in candidates if len(candidates) <= _HIDDEN else _spread(candidates):
        chosen[name_of(value)] = operators[value]
    return chosen


def layers_by_depth(network: Network, graph: ir.Graph, image: str) -> dict[ir.Value, str]:
    """The tensors that a network's view of an image can be read from, by depth.

    The activations that every path from the images to the scores passes, in topological order,
    without the scores themselves; where those are fewer than three, any tensors that every path
    passes, but for what only rearranges another one.

    Args:
        network, graph, image: as for :func:`spread_layers`.

    Returns:
        The operator (or decomposed activation) that makes each tensor.
    """
    survey = survey_graph(network, graph)
    (scores,) = graph.outputs
    passed = dominators(graph, [get_value(graph, image)], scores)
    while is_op(node := scores.producer(), *_REARRANGING):
        passed.remove(scores)
        scores = operand(node)
    passed.remove(scores)
    candidates = [v for v in passed if v in survey.activated]
    if len(candidates) < _HIDDEN:
        candidates = [v for v in passed if not is_op(v.producer(), *_REARRANGING)]
    operators: dict[ir.Value, str] = {}
    for value in candidates:
        activation, node = survey.activations.get(value), value.producer()
        if activation is not None:
            operators[value] = activation.name
        elif node is not None:
            operators[value] = node.op_type
    return operators


def _spread(candidates: list[ir.Value]) -> list[ir.Value]:
    parts = _HIDDEN + 1
    # To the nearest, a half upwards: (A + 1) · k / parts, counted from 1.
    places = ((2 * k * (len(candidates) + 1) + parts) // (2 * parts) for k in range(1, parts))
    return [candidates[place - 1] for place in places]


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
    differentiated = add_gradients(model, image, list(layers)[1:])
    graph = differentiated.model.graph
    scores = graph.outputs[0]

    names = UniqueNames(graph)
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
    graph.inputs.clear()
    graph.inputs.extend([get_value(graph, image), label, weight])
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
        raise NoGradient(
            f"the shape of {model.graph.outputs[0].name!r} leaves the number of classes open"
        )
    return infer_shapes(model), classes


def _bytes_between(graph: ir.Graph, image: str) -> int:
    """What a batch takes between images and scores.

    Raises:
        NoGradient: an operator there has none, or is not one of ONNX's; or a shape is not known.
    """
    images = get_value(graph, image)
    if not dtype_of(images).is_floating_point():
        kind = dtype_of(images).numpy()
        raise NoGradient(f"its images are {kind}, not floating-point numbers")
    flowing = descendants(graph, [images]) & ancestors(graph, graph.outputs)
    total = _bytes(images)
    # In the order of the graph, so that the first culprit is always the same.
    for node in graph:
        made = [v for v in node.outputs if v in flowing]
        if not made:
            continue
        if node.op_type.startswith("QLinear") or node.op_type in _QUANTIZED:
            raise NoGradient(f"it is quantized (by {node.op_type}), and steps have no gradient")
        if node.domain not in ("", "ai.onnx"):
            raise NoGradient(f"the operator {node.op_type} of {node.domain} has no rule for it")
        total += sum(map(_bytes, made))
    return total


def _bytes(value: ir.Value) -> int:
    size = size_of(value)
    if size is None:
        raise NoGradient(f"the shape of the tensor {value.name!r} is unknown")
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
