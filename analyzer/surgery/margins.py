"""The margins of a network's answers and what they are divided by, as one ONNX graph.

The distance of a sample to the boundary between two classes i and j, seen from layer l, is to
first order (f_i − f_j) / ‖∇_{x^l}(f_i − f_j)‖ (Jiang et al. 2019). All layers share one forward and
one backward pass, and samples share batches: no score depends on another sample, so the gradient
of a sum over samples holds each sample's own.
"""

import os
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.errors import ModelError
from analyzer.records import MarginGraph, MarginLayer
from analyzer.surgery.adjoint import NoGradient, with_gradients
from analyzer.surgery.bare import bare
from analyzer.surgery.blame import blames_file
from analyzer.surgery.editing import Insertion
from analyzer.surgery.fixed import fix_sizes, size_of
from analyzer.surgery.graph import depending, dimensions, find_value, leading_to, unique_name
from analyzer.surgery.logits import make_logits
from analyzer.surgery.margin_layers import spread_layers
from analyzer.surgery.network import Network
from analyzer.surgery.outputs import answer
from analyzer.surgery.shapes import infer_shapes
from analyzer.surgery.writing import save

__all__ = ["write_margins"]

_MOST_IMAGES = 128
# Numbers held for each one between image and scores: itself, its gradient, a product of the two.
_COPIES = 3
_QUANTIZED = (
    "ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QuantizeLinear",
)  # fmt: skip


@blames_file
def write_margins(
    network: Network,
    path: str | os.PathLike[str],
    image_shape: tuple[int, ...],
    *,
    output: str | None = None,
    memory: int = 1 << 30,
    most: int = _MOST_IMAGES,
) -> MarginGraph:
    """Write a graph that gives each sample's margin, and at each layer what it is divided by.

    The layers are the images and up to three activations, see
    :func:`analyzer.surgery.margin_layers.spread_layers`.

    Args:
        network: The network, bound to its images.
        path: Of the file; its folder must exist.
        image_shape: Of one image, as the network takes it, without the batch axis.
        output: The output that tells the class, where there are several.
        memory: Bytes that a batch may take, as far as that can be told beforehand.
        most: Images in a batch, at most.

    Raises:
        ModelError: The network's gradient cannot be had; the sentence names the operator.
    """
    try:
        return _write(network, Path(path), image_shape, output, memory, most)
    except NoGradient as error:
        raise ModelError(
            f"Margins need the gradient of {network.path}, which cannot be had: {error}. Audit it "
            "without --margins."
        ) from error


def _write(
    network: Network,
    path: Path,
    image_shape: tuple[int, ...],
    output: str | None,
    memory: int,
    most: int,
) -> MarginGraph:
    free, (image, *_), batch = bare(network, output)
    kind = answer(network, output).kind
    if batch is None:
        single, _ = _of_logits(free.clone(), image, (1, *image_shape), kind)
        batch = min(max(memory // _bytes_between(single.graph, image), 1), most)
    model, classes = _of_logits(free, image, (batch, *image_shape), kind)
    _bytes_between(model.graph, image)
    layers = spread_layers(network, model.graph, image)
    adjoint = with_gradients(model, image, list(layers)[1:])
    graph, scores = adjoint.model.graph, adjoint.model.graph.outputs[0]

    label = ir.val(unique_name(graph, "label"), dtype=ir.DataType.INT64, shape=[batch])
    share = ir.val(unique_name(graph, "share"), dtype=ir.DataType.FLOAT, shape=[batch])
    margin, seed = _contest(graph, scores, label, classes)
    adjoint.seed.replace_all_uses_with(seed)
    outputs, found = [margin], []
    for number, (tensor, gradient) in enumerate(zip(layers, adjoint.gradients, strict=True)):
        value, stem = find_value(graph, tensor), f"margin_{number}"
        made = [_squares(graph, stem, gradient, batch), *_moments(graph, stem, value, share)]
        outputs += made
        size = size_of(value) // batch
        found.append(MarginLayer(tensor, layers[tensor], size, *(one.name for one in made)))
    graph.outputs.clear()
    graph.outputs.extend(outputs)
    graph.inputs.clear()
    graph.inputs.extend([find_value(graph, image), label, share])
    graph.sort()
    save(adjoint.model, path)
    return MarginGraph(
        path=path,
        image=image,
        label=label.name,
        share=share.name,
        margin=margin.name,
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
        raise NoGradient(f"the shape of {model.graph.outputs[0].name!r} tells no number of classes")
    return infer_shapes(model), classes


def _bytes_between(graph: ir.Graph, image: str) -> int:
    """What a batch takes between images and scores.

    Raises:
        NoGradient: an operator there has none, or is none of ONNX's; or a shape is not known.
    """
    images = find_value(graph, image)
    flowing = depending(graph, [images]) & leading_to(graph, graph.outputs)
    total = 0
    # In the order of the graph, so that the first culprit is always the same.
    for value in (images, *(v for node in graph for v in node.outputs if v in flowing)):
        node = value.producer()
        if node is None and not value.dtype.is_floating_point():
            raise NoGradient(f"its images are {value.dtype.numpy()}, not floating-point numbers")
        if node is not None and (node.op_type.startswith("QLinear") or node.op_type in _QUANTIZED):
            raise NoGradient(f"it is quantized (by {node.op_type}), and steps have no gradient")
        if node is not None and node.domain not in ("", "ai.onnx"):
            raise NoGradient(f"the operator {node.op_type} of {node.domain} has no rule for it")
        size = size_of(value)
        if size is None:
            raise NoGradient(f"the shape of the tensor {value.name!r} cannot be told")
        total += _COPIES * size * (1 if value.dtype is None else value.dtype.itemsize)
    return int(total)


def _contest(
    graph: ir.Graph, scores: ir.Value, label: ir.Value, classes: int
) -> tuple[ir.Value, ir.Value]:
    """f_i − f_j, float32 (B,), and its gradient in the scores, 1 for i and −1 for j, (B, K, 1)."""
    new = Insertion(graph, "margin")
    everyone = new.constant(np.arange(classes)[None])  # (1, K)
    lowest = new.constant(np.array(-np.inf, scores.dtype.numpy()))
    own = new.op("Equal", new.op("Unsqueeze", label, new.constant([1])), everyone)  # (B, K)
    others = new.op("Where", own, lowest, scores)
    best = new.op("ArgMax", others, axis=1, keepdims=1)  # of equal ones the first, as ever
    rival = new.op("Equal", best, everyone)
    highest = (
        new.op("ReduceMax", choice, new.constant([1]), keepdims=0)
        for choice in (new.op("Where", own, scores, lowest), others)
    )
    margin = _float(new, new.op("Sub", *highest), scores.dtype)
    signs = (new.op("Cast", one, to=scores.dtype.value) for one in (own, rival))
    seed = new.op("Unsqueeze", new.op("Sub", *signs), new.constant([2]))
    new.insert(after=scores)
    return margin, seed


def _squares(graph: ir.Graph, stem: str, gradient: ir.Value, batch: int) -> ir.Value:
    """The squared norm of each sample's gradient, float32 (B,)."""
    new = Insertion(graph, f"{stem}_gradient")
    flat = new.op("Reshape", _float(new, gradient, gradient.dtype), new.constant([batch, -1]))
    squares = new.op("ReduceSumSquare", flat, new.constant([1]), keepdims=0, name=f"{stem}_squares")
    new.insert(after=gradient)
    return squares


def _moments(
    graph: ir.Graph, stem: str, value: ir.Value, share: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """Mean (D,) and total variance () of the samples that count, float32."""
    new = Insertion(graph, f"{stem}_values")
    batch = dimensions(share)[0]
    flat = new.op("Reshape", _float(new, value, value.dtype), new.constant([batch, -1]))
    mean = new.op("MatMul", share, flat, name=f"{stem}_mean")  # (D,)
    apart = new.op("ReduceSumSquare", new.op("Sub", flat, mean), new.constant([1]), keepdims=0)
    variance = new.op("MatMul", share, apart, name=f"{stem}_variance")
    new.insert(after=value)
    return mean, variance


def _float(new: Insertion, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    if dtype == ir.DataType.FLOAT:
        return value
    return new.op("Cast", value, to=ir.DataType.FLOAT.value)
