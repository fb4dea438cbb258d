"""Layers by depth, and a copy of a network that gives activations instead of an answer."""

import math
import os
from collections.abc import Iterable
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
    extend_view,
    get_value,
    is_op,
    largest_tensor,
    like,
    name_of,
    names_of,
    operand,
    size_of,
    stand_in,
    values_of,
    view_part,
)
from analyzer.surgery.input_sizes import fix_sizes, knows_sizes
from analyzer.surgery.inputs_and_outputs import (
    before_squashing,
    find_answer,
    make_logits,
    with_scores_alone,
)
from analyzer.surgery.mask import zero_point
from analyzer.surgery.network import Network
from analyzer.surgery.operations import multiply_adds
from analyzer.surgery.saving import save_part
from analyzer.surgery.shapes import infer_shapes
from analyzer.surgery.sites import survey_graph, survey_network
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
    (scores,) = graph.outputs
    operators = layers_by_depth(network, graph, image, scores)
    candidates = list(operators)
    chosen = {image: "input"}
    for value in candidates if len(candidates) <= _HIDDEN else _spread(candidates):
        chosen[name_of(value)] = operators[value]
    return chosen


def layers_by_depth(
    network: Network, graph: ir.Graph, image: str, scores: ir.Value
) -> dict[ir.Value, str]:
    """The tensors that a network's view of an image can be read from, by depth.

    The activations that every path from the images to the scores passes, in topological order,
    without the scores themselves; where those are fewer than three, any tensors that every path
    passes, but for what only rearranges another one. Of tensors whose first axis is the batch.

    Args:
        network: the network.
        graph: its graph, or another that was made from it.
        image: name of the input that takes the images.
        scores: of the classes, in ``graph``.

    Returns:
        The operator (or decomposed activation) that makes each tensor.
    """
    own = graph is network.model.graph
    survey = survey_network(network) if own else survey_graph(network, graph)
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
    model, (image, *_), batch = with_scores_alone(network, output)
    shape = (batch or 1, *image_shape)
    kind = find_answer(network, output).kind
    if kind == "scores" and knows_sizes(model.graph, image, image_shape):
        sized, logits = model, before_squashing(model.graph.outputs[0])
    else:
        sized = _sized(model, image, shape, kind)
        (logits,) = sized.graph.outputs
    tensors = _tensors(layers_by_depth(network, sized.graph, image, logits), logits, shape)
    values, known = values_of(model.graph), values_of(sized.graph)
    layers = [ActivationLayer("images", image, "input", None, math.prod(image_shape))]
    added = ir.Graph([], [], nodes=[], opset_imports=dict(model.graph.opset_imports))
    new = GraphBuilder(added, image, names_of(model.graph))
    outputs: dict[str, ir.Value] = {}
    for name, (tensor, operator) in _at_depths(tensors, image).items():
        if tensor != image and tensor not in outputs:
            outputs[tensor] = _as_float(new, values[tensor])
        output_name = outputs[tensor].name if tensor in outputs else None
        size = size_of(known[tensor], first_axis=1)
        layers.append(ActivationLayer(name, tensor, operator, output_name, size))
    new.insert_last()
    save_part(_giving(model, [values[tensor] for tensor in outputs], outputs.values(), added), path)
    operations = multiply_adds(sized.graph)
    largest = largest_tensor(sized.graph, network.sizes)
    return ActivationGraph(
        path, image, tuple(layers), batch, network.custom_ops, operations, largest
    )


def _giving(
    model: ir.Model, tensors: list[ir.Value], outputs: Iterable[ir.Value], added: ir.Graph
) -> ir.Model:
    """What makes ``outputs`` of ``tensors`` by ``added``, behind a view of what makes those.

    The outputs of ``model`` where there are none.
    """
    graph = model.graph
    inputs = [value for value in graph.inputs if not value.is_initializer()]
    part = view_part(graph, inputs, tensors or graph.outputs)
    return like(model, extend_view(part, added, list(outputs) or graph.outputs))


def _sized(model: ir.Model, image: str, shape: tuple[int, ...], kind: str) -> ir.Model:
    """A copy that ends in the logits, with the shapes that images of this shape bring about."""
    sized = fix_sizes(model.clone(), image, shape)
    make_logits(sized.graph, kind)
    passes.RemoveUnusedNodesPass()(sized)
    return infer_shapes(sized)


def _tensors(
    found: dict[ir.Value, str], logits: ir.Value, shape: tuple[int, ...]
) -> list[tuple[str, str]]:
    """Name and operator of each layer, by depth, before the logits."""
    same = _up_to(logits)
    return [
        (name_of(value), operator)
        for value, operator in found.items()
        if value not in same and (_for_batch(value, shape[0]) or shape[0] + 1) > shape[0]
    ]


def _for_batch(value: ir.Value, batch: int) -> int | None:
    """How many elements a tensor has for so many images, where its shape may leave those open."""
    first, *_ = dimensions(value) or (None,)
    per_image = size_of(value, first_axis=1)
    return size_of(value) if per_image is None or isinstance(first, int) else batch * per_image


def _up_to(value: ir.Value) -> set[ir.Value]:
    """The logits, and what they are but for a bias, a scale or another arrangement."""
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


def _as_float(new: GraphBuilder, value: ir.Value) -> ir.Value:
    """The value in float32; of a quantized tensor the distance to what stands for zero."""
    if value.dtype == ir.DataType.FLOAT:
        return value
    new.stem = f"{value.name}_activation"
    found = new.op("Cast", stand_in(value), to=ir.DataType.FLOAT.value)
    if zero := zero_point(value):
        found = new.op("Sub", found, new.constant(np.array(zero, np.float32)))
    found.dtype, found.shape = ir.DataType.FLOAT, value.shape
    return found
