"""How the image flows through a network: bottlenecks, channel axes, nearest convolutions."""

from dataclasses import dataclass

import onnx_ir as ir

from analyzer.surgery.graph import depending, dimensions, is_op, leading_to, reads
from analyzer.surgery.layout import Layout, move

__all__ = ["CONVOLUTIONS", "Flow", "bottlenecks", "trace"]

CONVOLUTIONS = ("Conv", "ConvTranspose", "QLinearConv", "ConvInteger")

_REDUCTIONS = (
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2",
    "ReduceSumSquare", "ReduceProd", "ReduceLogSum", "ReduceLogSumExp",
)  # fmt: skip


@dataclass(frozen=True)
class Flow:
    """What is known of every value of a graph that stems from an input."""

    images: tuple[ir.Value, ...]  # the inputs that a convolution stems from, else all of them
    position: dict[ir.Value, int]  # index of the node that makes it; -1 for inputs
    axis: dict[ir.Value, int]  # channel axis, where it can be told
    convolution: dict[ir.Value, ir.Node]  # the nearest convolution it stems from


def trace(graph: ir.Graph) -> Flow:
    """Follow channels and convolutions from the inputs of ``graph`` to its outputs."""
    inputs = [v for v in graph.inputs if not v.is_initializer()]
    stem = {v: frozenset([v]) for v in inputs}  # the inputs a value depends on through data
    position = dict.fromkeys(inputs, -1)
    images: dict[ir.Value, None] = {}
    axis: dict[ir.Value, int] = {}
    convolution: dict[ir.Value, ir.Node] = {}
    place: dict[ir.Node, int] = {}
    for index, node in enumerate(graph):
        place[node] = index
        position.update(dict.fromkeys(node.outputs, index))
        varying = [] if is_op(node, "Shape", "Size") else [v for v in reads(node) if v in stem]
        if not varying:
            continue
        origin = frozenset().union(*(stem[v] for v in varying))
        if is_op(node, *CONVOLUTIONS):
            nearest = node
            images.update(dict.fromkeys(stem.get(node.inputs[0], ())))
        else:
            nearest = max(
                (convolution[v] for v in varying if v in convolution),
                key=place.__getitem__,
                default=None,
            )
        for output in node.outputs:
            stem[output] = origin
            if nearest is not None:
                convolution[output] = nearest
            if (found := _channel_axis(node, output, axis)) is not None:
                axis[output] = found
    return Flow(tuple(images) or tuple(inputs), position, axis, convolution)


def bottlenecks(graph: ir.Graph, sources: tuple[ir.Value, ...], output: ir.Value) -> list[ir.Value]:
    """The values through which every path of data from ``sources`` to ``output`` passes.

    In topological order, without the sources. In that order a value is bypassed exactly when
    an earlier value is still read later, so one sweep that keeps the furthest reader of all
    values seen so far finds them all.
    """
    alive = depending(graph, sources) & leading_to(graph, [output])
    last_read: dict[ir.Value, int] = dict.fromkeys(alive, -1)
    for index, node in enumerate(graph):
        if any(v in alive for v in node.outputs):
            for value in reads(node):
                if value in alive and not is_op(node, "Shape", "Size"):
                    last_read[value] = index
    last_read[output] = len(graph)
    found = []
    furthest = max((last_read[v] for v in sources if v in alive), default=-1)
    for index, node in enumerate(graph):
        made = [v for v in node.outputs if v in alive]
        if furthest <= index and len(made) == 1:
            found.extend(made)
        furthest = max([furthest, *(last_read[v] for v in made)])
    return found


def _channel_axis(node: ir.Node, output: ir.Value, axis: dict[ir.Value, int]) -> int | None:
    """The channel axis of a node's output, from those of its inputs."""
    shape = dimensions(output)
    if shape is None:
        return None
    if is_op(node, *CONVOLUTIONS, "Gemm"):
        return 1
    if is_op(node, "MatMul", "MatMulInteger", "QLinearMatMul") and len(shape) > 1:
        return len(shape) - 1
    known = [v for v in node.inputs if v in axis]
    if not known:
        return None
    value = known[0]
    source = dimensions(value)
    if is_op(node, "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Reshape"):
        channels = source[axis[value]] if source else None
        if not isinstance(channels, int):
            return None
        moved = move(node, value, Layout(axis[value]), channels)
        return moved.axis if moved is not None and moved.plain else None
    if is_op(node, *_REDUCTIONS) and (source is None or len(source) != len(shape)):
        return None
    # Broadcasting aligns axes at the end; everything else that keeps the rank keeps the axis.
    found = {len(shape) - len(dimensions(v)) + axis[v] for v in known if dimensions(v)}
    return found.pop() if len(found) == 1 else None
