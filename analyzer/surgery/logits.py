"""The scores that a network's final softmax or sigmoid is given.

Margins are measured between scores. A softmax leaves their order alone, but bends every distance,
and where it saturates there is none left.
"""

import onnx_ir as ir

from analyzer.surgery.editing import Insertion
from analyzer.surgery.graph import attribute, dimensions, is_op
from analyzer.surgery.outputs import make_scores

__all__ = ["make_logits"]

_RESHAPING = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze")


def make_logits(graph: ir.Graph, kind: str) -> int | None:
    """Let the only output of ``graph`` be such scores, (N, K).

    A single score gets its threshold beside it.

    Args:
        graph: every shape known but for the batch.
        kind: how its output tells the class, see :class:`analyzer.records.Answer`.

    Returns:
        K, the number of classes; None where the shapes do not tell it.
    """
    if kind == "labels":
        make_scores(graph)
    (value,) = graph.outputs
    graph.outputs.clear()
    graph.outputs.append(_before_squashing(value))
    make_scores(graph)
    (scores,) = graph.outputs
    _, *sizes = dimensions(scores) or (None, None)
    if len(sizes) > 1:
        new = Insertion(graph, scores.name)
        flat = new.op("Flatten", scores, axis=1)
        flat.dtype, flat.shape = scores.dtype, ir.Shape([scores.shape[0], sizes[0]])
        new.insert(after=scores)
        graph.outputs.clear()
        graph.outputs.append(flat)
    return sizes[0] if isinstance(sizes[0], int) else None


def _before_squashing(value: ir.Value) -> ir.Value:
    """What the last softmax or sigmoid between the scores and ``value`` is given."""
    classes = _classes(value)
    found = value
    while True:
        node = value.producer()
        if is_op(node, "LogSoftmax", "Sigmoid", "Softmax"):
            value = node.inputs[0]
            if _classes(value) != classes or not _over_classes(node, classes):
                return found
            found = value
        elif is_op(node, *_RESHAPING):
            value = node.inputs[0]
        else:
            return found


def _classes(value: ir.Value) -> list[int | str | None]:
    """The sizes of a tensor's axes behind the batch, but those of size 1."""
    return [d for d in (dimensions(value) or ())[1:] if d != 1]


def _over_classes(node: ir.Node, classes: list[int | str | None]) -> bool:
    if is_op(node, "Sigmoid") or not classes:
        return True
    shape = dimensions(node.inputs[0])
    # Up to opset 12 the axis was 1 unless told; with (N, K) that is the last one too.
    axis = attribute(node, "axis", 1 if len(shape) == 2 else -1)
    return shape[axis] == classes[0]
