"""Which output of a network holds the class scores."""

import onnx_ir as ir

from analyzer.errors import ModelError
from analyzer.surgery.graph import dimensions
from analyzer.surgery.network import Network

__all__ = ["class_axes", "score_output"]


def score_output(network: Network, name: str | None = None) -> ir.Value:
    """The output called ``name``, or the one that looks like class scores.

    Raises:
        ModelError: There is no such output, it does not have the shape of class scores, or
            several do and none was named.
    """
    outputs = network.model.graph.outputs
    listed = ", ".join(f"{v.name} {_shape(v)}" for v in outputs)
    if name is not None:
        for value in outputs:
            if value.name == name:
                if not class_axes(value):
                    raise ModelError(
                        f"The output {name} of {network.path} has the shape {_shape(value)}, but "
                        "class scores have one row per image and one column per class. Name "
                        f"another output with --output: {listed}."
                    )
                return value
        raise ModelError(f"{network.path} has no output called {name}. It has: {listed}.")
    fitting = [v for v in outputs if class_axes(v)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise ModelError(
            f"No output of {network.path} has the shape of class scores (images × classes). It "
            f"has: {listed}. Export the network with its classifier."
        )
    raise ModelError(
        f"{network.path} has several outputs that could be class scores. Name one with "
        f"--output: {listed}."
    )


def class_axes(value: ir.Value) -> bool:
    """Whether a tensor can be class scores: floats, (N, K), or (N, K, 1, …, 1)."""
    shape = dimensions(value)
    if value.dtype is None or not value.dtype.is_floating_point():
        return False
    return shape is None or (len(shape) >= 2 and all(d == 1 for d in shape[2:]))


def _shape(value: ir.Value) -> str:
    shape = dimensions(value)
    if shape is None:
        return "(unknown shape)"
    return "[" + ", ".join("?" if d is None else str(d) for d in shape) + "]"
