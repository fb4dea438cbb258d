"""Which input takes the images, and giving the network's extra inputs a constant value."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from analyzer.errors import ModelError
from analyzer.records import ExtraInput, TensorInfo
from analyzer.surgery.graph import get_value
from analyzer.surgery.graph_builder import GraphBuilder
from analyzer.surgery.layout import trace
from analyzer.surgery.network import Network
from analyzer.surgery.shapes import infer_shapes
from analyzer.surgery.validation import reports_invalid_file

__all__ = ["bind_inputs"]


@reports_invalid_file
def bind_inputs(
    network: Network, given: Mapping[str, np.ndarray]
) -> tuple[Network, tuple[ExtraInput, ...]]:
    """A network whose only input takes the images.

    Args:
        network: The network as it was loaded.
        given: Constants for its extra inputs, by name: scalars fill the whole tensor, arrays
            have its shape, with or without the batch axis.

    Returns:
        The bound network, and what the original's extra inputs are to be fed. An input that
        nothing reads is fed zeros.

    Raises:
        ModelError: An input has no value, or one that does not fit; or there is no such input.
    """
    inputs = {info.name: info for info in network.info.inputs}
    image = _image(network)
    for name in given:
        if name == image.name or name not in inputs:
            others = ", ".join(n for n in inputs if n != image.name) or "none"
            raise ModelError(
                f"{network.path} has no extra input called {name!r} that could be given a "
                f"value: {image.name} takes the images, the others are: {others}."
            )
    if len(inputs) == 1:
        return network, ()
    model = network.model.clone()
    fed: list[ExtraInput] = []
    missing = []
    for name, info in inputs.items():
        if name == image.name:
            continue
        value = get_value(model.graph, name)
        if name in given:
            fed.append(_fitted(info, given[name], image))
        elif value.uses() or value.is_graph_output():
            missing.append(f"{name} {info.dtype} {list(info.shape)}")
        else:
            fed.append(_fitted(info, np.zeros(()), image))
    if missing:
        raise ModelError(
            f"{network.path} takes more than images. Give each of these a value with "
            f"--input NAME=FILE.npy or --input NAME=NUMBER: {'; '.join(missing)}."
        )
    for extra in fed:
        _bind(model.graph, extra, image)
    bound = replace(network.info, inputs=(image,))
    return replace(network, info=bound, model=infer_shapes(model)), tuple(fed)


def _image(network: Network) -> TensorInfo:
    """The input that a convolution stems from, or else the first."""
    names = {v.name for v in trace(network.model.graph).images}
    return next(info for info in network.info.inputs if info.name in names)


def _fitted(info: TensorInfo, value: np.ndarray, image: TensorInfo) -> ExtraInput:
    """``value`` in the input's type and shape, 1 for the batch and for sizes not known."""
    shape = [d if isinstance(d, int) else 1 for d in info.shape]
    per_image = bool(shape and image.shape) and info.shape[0] == image.shape[0]
    if per_image:
        shape[0] = 1
    free = [not isinstance(d, int) for d in info.shape]
    array = value.astype(info.dtype)
    if array.ndim == 0:
        array = np.full(shape, array)
    if array.ndim == len(shape) - 1 and per_image:
        array = array[None]
    fits = array.ndim == len(shape) and all(
        have == want or (any_size and axis > 0)
        for axis, (have, want, any_size) in enumerate(zip(array.shape, shape, free, strict=True))
    )
    if not fits:
        raise ModelError(
            f"The value given with --input {info.name} has the shape {list(value.shape)}, but the "
            f"input takes {list(info.shape)}."
        )
    return ExtraInput(info.name, array, per_image)


def _bind(graph: ir.Graph, extra: ExtraInput, image: TensorInfo) -> None:
    """Let a constant, repeated for every image, take the place of an input."""
    value = get_value(graph, extra.name)
    graph.inputs.remove(value)
    value.name = f"{extra.name}_unbound"
    new = GraphBuilder(graph, extra.name)
    constant = new.constant(extra.value)
    if extra.per_image:
        shape = new.op("Shape", get_value(graph, image.name))
        count = new.op("Gather", shape, new.constant([0]), axis=0)
        rest = new.constant(np.array(extra.value.shape[1:], np.int64))
        shape = new.op("Concat", count, rest, axis=0)
        constant = new.op("Expand", constant, shape, name=extra.name)
    value.replace_all_uses_with(constant)
    new.insert_first()
