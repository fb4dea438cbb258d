"""VGG16 as the paper has it, written as ONNX without a framework, its last layer fitted.

Random weights would send every image to one class. So the last layer is solved by ridge
regression for the labels that the images are given; then the curves have something to lose.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from analyzer import runtime

__all__ = ["Shape", "images_of", "write_vgg16"]

_STAGES = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))  # in widths of the first convolution
_FITTED = 4096  # images, at most, that the last layer is fitted to
_AT_ONCE = 256


@dataclass(frozen=True)
class Shape:
    """How large network and data are."""

    classes: int
    samples: int  # a class
    size: int = 32  # of the images
    width: int = 64  # channels of the first convolution
    hidden: int = 4096  # of the fully connected layers


def images_of(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Images, float32 (S, 3, size, size), around a center for each class; labels int64 (S,)."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(shape.classes), shape.samples)
    centers = random.normal(size=(shape.classes, 3, shape.size, shape.size)).astype(np.float32)
    images = random.standard_normal((len(labels), *centers.shape[1:]), dtype=np.float32)
    for label, center in enumerate(centers):
        images[labels == label] += 0.5 * center
    return images, labels


def write_vgg16(shape: Shape, images: np.ndarray, labels: np.ndarray, path: Path) -> None:
    """Write the network; its last layer is fitted on the processor to some of the images."""
    chosen = np.linspace(0, len(labels) - 1, min(_FITTED, len(labels))).astype(int)
    onnx.save(_network(shape, None), path)
    session = runtime.open_session(path, "cpu")
    parts = [
        session.run({"images": images[chosen[i : i + _AT_ONCE]]})[0]
        for i in range(0, len(chosen), _AT_ONCE)
    ]
    last = _ridge(np.concatenate(parts), labels[chosen], shape.classes)
    onnx.save(_network(shape, last), path)


def _network(shape: Shape, last: tuple[np.ndarray, np.ndarray] | None) -> onnx.ModelProto:
    """The network; up to its last layer where that is None."""
    random = np.random.default_rng(1)
    nodes, weights, value, before = [], [], "images", 3

    def layer(op: str, kernel: np.ndarray, bias: np.ndarray, **attributes: object) -> str:
        name = f"{op.lower()}_{len(weights) // 2}"
        weights.extend(
            numpy_helper.from_array(array, f"{name}_{part}")
            for array, part in ((kernel, "weight"), (bias, "bias"))
        )
        inputs = [value, f"{name}_weight", f"{name}_bias"]
        nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def drawn(*dimensions: int) -> tuple[np.ndarray, np.ndarray]:
        """He's initialization, and no bias."""
        kernel = random.standard_normal(dimensions, dtype=np.float32)
        kernel *= np.sqrt(2 / np.prod(dimensions[1:]))
        return kernel, np.zeros(dimensions[0], np.float32)

    def then(op: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, [value], [f"{value}_{op.lower()}"], **attributes))
        return nodes[-1].output[0]

    for stage in _STAGES:
        for multiple in stage:
            after = multiple * shape.width
            value = layer("Conv", *drawn(after, before, 3, 3), pads=[1, 1, 1, 1])
            value, before = then("Relu"), after
        value = then("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    value = then("Flatten")
    for inputs in (before * (shape.size // 32) ** 2, shape.hidden):
        value = layer("Gemm", *drawn(shape.hidden, inputs), transB=1)
        value = then("Relu")
    width = shape.hidden
    if last is not None:
        value, width = layer("Gemm", *last, transB=1), shape.classes
    image = helper.make_tensor_value_info(
        "images", TensorProto.FLOAT, ["N", 3, shape.size, shape.size]
    )
    output = helper.make_tensor_value_info(value, TensorProto.FLOAT, ["N", width])
    graph = helper.make_graph(nodes, "vgg16", [image], [output], weights)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def _ridge(features: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (K, F) and bias (K,) that give the labels of features (S', F)."""
    features = features.astype(np.float64)
    targets = np.eye(classes)[labels]
    mean, share = features.mean(axis=0), targets.mean(axis=0)
    kernel = (features - mean) @ (features - mean).T
    kernel += 1e-3 * kernel.diagonal().mean() * np.eye(len(kernel))
    weights = (features - mean).T @ np.linalg.solve(kernel, targets - share)
    return weights.T.astype(np.float32), (share - mean @ weights).astype(np.float32)
