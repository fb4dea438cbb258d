"""The layers that a network is looked at from: those of margins, and all there are by depth."""

import onnx_ir as ir

from analyzer.surgery.activations import find_activations
from analyzer.surgery.flow import bottlenecks, trace
from analyzer.surgery.graph import find_value, is_op
from analyzer.surgery.network import Network
from analyzer.surgery.survey import Survey

__all__ = ["layers_by_depth", "spread_layers"]

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
        chosen[value.name] = operators[value]
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
    activations = find_activations(graph)
    survey = Survey(network, graph, trace(graph), activations)
    (scores,) = graph.outputs
    passed = bottlenecks(graph, (find_value(graph, image),), scores)
    while is_op(scores.producer(), *_REARRANGING):
        passed.remove(scores)
        scores = scores.producer().inputs[0]
    passed.remove(scores)
    candidates = [v for v in passed if survey.activated(v)]
    if len(candidates) < _HIDDEN:
        candidates = [v for v in passed if not is_op(v.producer(), *_REARRANGING)]
    operators = {}
    for value in candidates:
        activation = activations.get(value)
        operators[value] = activation.name if activation else value.producer().op_type
    return operators


def _spread(candidates: list[ir.Value]) -> list[ir.Value]:
    parts = _HIDDEN + 1
    # To the nearest, a half upwards: (A + 1) · k / parts, counted from 1.
    places = ((2 * k * (len(candidates) + 1) + parts) // (2 * parts) for k in range(1, parts))
    return [candidates[place - 1] for place in places]
