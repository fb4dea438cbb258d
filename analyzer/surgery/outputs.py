"""Which output of a network tells the class, and how it tells it."""

import numpy as np
import onnx_ir as ir

from analyzer.errors import ModelError
from analyzer.records import Answer
from analyzer.surgery.editing import Insertion
from analyzer.surgery.graph import attribute, dimensions, is_op
from analyzer.surgery.network import Network

__all__ = ["answer", "make_scores", "score_output"]

_THRESHOLDS = {"logit": 0.0, "probability": 0.5}
_BEHIND_ARGMAX = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")


def answer(network: Network, name: str | None = None) -> Answer:
    """How the output called ``name``, or the one that looks like class scores, is to be read.

    Raises:
        ModelError: as :func:`score_output`.
    """
    value = score_output(network, name)
    return Answer(value.name, _kind(value))


def score_output(network: Network, name: str | None = None) -> ir.Value:
    """The output called ``name``, or the one that looks most like class scores.

    Scores of several classes come before a single score, and that before labels alone.

    Raises:
        ModelError: There is no such output, it does not tell classes, or several do and none
            was named.
    """
    outputs = network.model.graph.outputs
    listed = ", ".join(f"{v.name} {_shape(v)}" for v in outputs)
    if name is not None:
        for value in outputs:
            if value.name == name:
                if _kind(value) is None:
                    raise ModelError(
                        f"The output {name} of {network.path} has the shape {_shape(value)}, but "
                        "class scores have one row per image and one column per class. Name "
                        f"another output with --output: {listed}."
                    )
                return value
        raise ModelError(f"{network.path} has no output called {name}. It has: {listed}.")
    kinds = {v: _kind(v) for v in outputs}
    for wanted in (("scores",), ("logit", "probability"), ("labels",)):
        fitting = [v for v, kind in kinds.items() if kind in wanted]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise ModelError(
                f"{network.path} has several outputs that could be class scores. Name one with "
                f"--output: {listed}."
            )
    raise ModelError(
        f"No output of {network.path} has the shape of class scores (images × classes). It "
        f"has: {listed}. Export the network with its classifier."
    )


def make_scores(graph: ir.Graph) -> None:
    """Turn the only output of ``graph`` into class scores, where it tells the class otherwise.

    Of labels, the scores that ``ArgMax`` was given; of a single score, its threshold beside
    it: class 1 wins where it is higher.
    """
    (value,) = graph.outputs
    kind = _kind(value)
    if kind == "labels":
        graph.outputs.clear()
        graph.outputs.append(_before_argmax(value))
    if kind not in _THRESHOLDS:
        return
    new = Insertion(graph, value.name)
    column = new.op("Reshape", value, new.constant([-1, 1]))
    # Where and not a product: the threshold stands whatever the score is.
    never = new.constant(np.zeros((1, 1), bool))
    threshold = new.constant(np.array([[_THRESHOLDS[kind]]], value.dtype.numpy()))
    scores = new.op("Concat", new.op("Where", never, column, threshold), column, axis=1)
    scores.dtype, scores.shape = value.dtype, ir.Shape([(dimensions(value) or (None,))[0], 2])
    new.insert(after=value)
    graph.outputs.clear()
    graph.outputs.append(scores)


def _kind(value: ir.Value) -> str | None:
    """How a tensor tells the class, see :class:`analyzer.records.Answer`; None if it cannot."""
    shape = dimensions(value)
    if value.dtype is None:
        return None
    if value.dtype.is_floating_point():
        if shape is None or (len(shape) >= 2 and all(d == 1 for d in shape[2:])):
            if shape is None or shape[1] != 1:
                return "scores"
        elif len(shape) != 1:
            return None
        return "probability" if is_op(value.producer(), "Sigmoid") else "logit"
    return None if _before_argmax(value) is None else "labels"


def _before_argmax(value: ir.Value) -> ir.Value | None:
    """The scores (N, K) that ``value`` holds the highest class of."""
    node = value.producer()
    while is_op(node, *_BEHIND_ARGMAX):
        node = node.inputs[0].producer()
    if not is_op(node, "ArgMax") or attribute(node, "select_last_index", 0):
        return None
    scores = node.inputs[0]
    shape = dimensions(scores)
    return scores if shape and len(shape) == 2 and attribute(node, "axis", 0) % 2 == 1 else None


def _shape(value: ir.Value) -> str:
    shape = dimensions(value)
    if shape is None:
        return "(unknown shape)"
    return "[" + ", ".join("?" if d is None else str(d) for d in shape) + "]"
