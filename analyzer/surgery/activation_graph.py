"""Layers by depth, and a copy of a network that gives activations instead of an answer."""

import math
import os
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.common_types import ActivationGraph, ActivationLayer
from analyzer.surgery.graph import (
    Dimensions,
    GraphBuilder,
    constant,
    dimensions,
    dominators,
    get_value,
    is_op,
    name_of,
    operand,
    size_of,
)
from analyzer.surgery.inputs_and_outputs import find_answer, make_logits, reduce_to_scores
from analyzer.surgery.mask import zero_point
from analyzer.surgery.network import Network
from analyzer.surgery.operations import multiply_adds
from analyzer.surgery.saving import save_model
from analyzer.surgery.shapes import fix_sizes, infer_shapes
from analyzer.surgery.sites import survey_graph
from analyzer.surgery.validation import reports_invalid_file

__all__ = ["layers_by_depth", "spread_layers", "write_activation_outputs"]


_HIDDEN = 3  # besides the images
_REARRANGING = (
    "Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip


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
    passes, but for what only rearranges another one. Of tensors whose first axis is the batch.

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
    images = dimensions(get_value(graph, image)) or (None,)
    passed = [value for value in passed if _row_per_image(value, images)]
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


def _row_per_image(value: ir.Value, images: Dimensions) -> bool:
    """Whether a tensor has the batch first, as far as its shape tells.

    Args:
        images: the shape of the input that takes the images.
    """
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        return False  # a sequence
    shape = dimensions(value)
    if shape is None or value.dtype == ir.DataType.STRING:
        return shape is None
    first = shape[0] if shape else 0
    if isinstance(first, int):
        return first == images[0]
    return first is None or first == images[0] or first not in images


def _spread(candidates: list[ir.Value]) -> list[ir.Value]:
    parts = _HIDDEN + 1
    # To the nearest, a half upwards: (A + 1) · k / parts, counted from 1.
    places = ((2 * k * (len(candidates) + 1) + parts) // (2 * parts) for k in range(1, parts))
    return [candidates[place - 1] for place in places]


_DEPTHS = {"first": 0, "third": 1, "two_thirds": 2, "last": 3}  # in thirds of the way
_SAME_BUT_FOR_A_CONSTANT = (
    "Add", "Cast", "Div", "Flatten", "Identity", "Mul", "Reshape", "Squeeze", "Sub", "Transpose",
    "Unsqueeze",
)  # fmt: skip


@reports_invalid_file
def write_activation_outputs(
    network: Network,
    path: str | os.PathLike[str],
    image_shape: tuple[int, ...],
    *,
    output: str | None = None,
) -> ActivationGraph:
    """Write a network whose outputs are the activations at four depths, in float32.

    Of the layers that :func:`layers_by_depth` finds, the first,
    the last before the scores, and of A layers, counted from 1, the nearest to a third and two
    thirds of A + 1. Layers of one number an image are left out. Where there are fewer than four,
    depths share one; where there is none, all are the images.

    Args:
        network: The network, bound to its images.
        path: Of the file; its folder must exist.
        image_shape: Of one image, as the network takes it, without the batch axis.
        output: The output that tells the class, where there are several.

    Raises:
        ModelError: The class scores cannot be identified among the outputs.
    """
    path = Path(path)
    model, (image, *_), batch = reduce_to_scores(network, output)
    shape = (batch or 1, *image_shape)
    sized = _sized(model, image, shape, find_answer(network, output).kind)
    tensors = _tensors(network, sized, image, shape)
    graph = model.graph
    layers = [ActivationLayer("images", image, "input", None, math.prod(image_shape))]
    outputs: dict[str, ir.Value] = {}
    for name, (tensor, operator) in _at_depths(tensors, image).items():
        if tensor != image and tensor not in outputs:
            outputs[tensor] = _as_float(graph, get_value(graph, tensor))
        output_name = outputs[tensor].name if tensor in outputs else None
        size = size_of(get_value(sized.graph, tensor), first_axis=1)
        layers.append(ActivationLayer(name, tensor, operator, output_name, size))
    if outputs:
        graph.outputs.clear()
        graph.outputs.extend(outputs.values())
    passes.RemoveUnusedNodesPass()(model)
    save_model(model, path)
    operations = multiply_adds(sized.graph)
    return ActivationGraph(path, image, tuple(layers), batch, network.custom_ops, operations)


def _sized(model: ir.Model, image: str, shape: tuple[int, ...], kind: str) -> ir.Model:
    """A copy that ends in the logits, with the shapes that images of this shape bring about."""
    sized = fix_sizes(model.clone(), image, shape)
    make_logits(sized.graph, kind)
    passes.RemoveUnusedNodesPass()(sized)
    return infer_shapes(sized)


def _tensors(
    network: Network, sized: ir.Model, image: str, shape: tuple[int, ...]
) -> list[tuple[str, str]]:
    """Name and operator of each layer, by depth, before the logits."""
    logits = _up_to_logits(sized.graph)
    found = layers_by_depth(network, sized.graph, image)
    return [
        (name_of(value), operator)
        for value, operator in found.items()
        if value not in logits and (size_of(value) or shape[0] + 1) > shape[0]
    ]


def _up_to_logits(graph: ir.Graph) -> set[ir.Value]:
    """The logits, and what they are but for a bias, a scale or another arrangement."""
    (value,) = graph.outputs
    found = {value}
    while (node := value.producer()) is not None:
        varying = [v for v in node.inputs if v is not None and constant(v) is None]
        if len(varying) != 1 or not is_op(node, *_SAME_BUT_FOR_A_CONSTANT):
            break
        (value,) = varying
        found.add(value)
    return found


def _at_depths(tensors: list[tuple[str, str]], image: str) -> dict[str, tuple[str, str]]:
    """One of them for each depth; the images where there is none."""
    count = len(tensors)
    if not count:
        return dict.fromkeys(_DEPTHS, (image, "input"))
    # To the nearest, a half upwards: (A + 1) · k / 3, counted from 1.
    places = {k: min(max((2 * k * (count + 1) + 3) // 6, 1), count) for k in _DEPTHS.values()}
    return {name: tensors[places[k] - 1] for name, k in _DEPTHS.items()}


def _as_float(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """The value in float32; of a quantized tensor the distance to what stands for zero."""
    if value.dtype == ir.DataType.FLOAT:
        return value
    new = GraphBuilder(graph, f"{value.name}_activation")
    found = new.op("Cast", value, to=ir.DataType.FLOAT.value)
    if zero := zero_point(value):
        found = new.op("Sub", found, new.constant(np.array(zero, np.float32)))
    found.dtype, found.shape = ir.DataType.FLOAT, value.shape
    new.insert_after(value)
    return found
