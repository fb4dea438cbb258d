"""The mask: ``Where(channel_mask ≠ 0, x, 0)`` on one tensor, and the masked drop-in network.

``Where`` and not ``Mul``, because a removed channel is exactly 0 and 0 × inf is NaN. In a
quantized tensor it is the zero point, the code that stands for zero.
"""

import os
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.errors import ModelError, SiteError, parameter
from analyzer.records import Site
from analyzer.surgery.graph import (
    constant,
    dtype_of,
    get_value,
    is_op,
    name_of,
    names_of,
    operand,
    shape_of,
)
from analyzer.surgery.graph_builder import GraphBuilder, redirect, set_type
from analyzer.surgery.layout import Layout
from analyzer.surgery.network import Network, save_model
from analyzer.surgery.validation import reports_invalid_file

__all__ = [
    "MASK",
    "apply_mask",
    "keeps_zero_point",
    "mask_input",
    "removed_value",
    "write_masked",
    "zero_point",
]

MASK = "channel_mask"
_ROWS = "mask_rows"  # symbolic size of the mask's first axis: 1 or the batch
_FIRST_IR_WITH_DEFAULTS = 4  # before it, initializers could not be overridden by inputs

_ZERO_POINT = {  # operators with quantized outputs: index of the output's zero point
    "QLinearAdd": 7, "QLinearAveragePool": 4, "QLinearConcat": 1, "QLinearConv": 7,
    "QLinearGlobalAveragePool": 4, "QLinearLeakyRelu": 4, "QLinearMatMul": 7, "QLinearMul": 7,
    "QLinearSigmoid": 4, "QuantizeLinear": 2, "QGemm": 8,
}  # fmt: skip
_KEEPING = (
    "Flatten", "Identity", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip


@reports_invalid_file
def write_masked(network: Network, site: Site, path: str | os.PathLike[str]) -> None:
    """Write the network with an optional input ``channel_mask`` that removes channels.

    The mask is float32 of shape [1 or N, M], 1 keep, 0 remove; left out, it is all ones, so
    the file is a drop-in for the original.

    Raises:
        ModelError: ``path`` is the network's own file, its folder does not exist, or the
            network already has a tensor called ``channel_mask``.
        OutputError: it cannot be written there.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ModelError(f"The folder {path.parent} does not exist. Create it first.")
    if path.exists() and path.samefile(network.path):
        raise ModelError(f"{path} is the network itself. Write the masked one somewhere else.")
    model = network.model.clone()
    graph = model.graph
    if MASK in names_of(graph):
        raise ModelError(
            f"{network.path} already has a tensor called {MASK}: it seems to be masked. Give "
            "the original network."
        )
    if model.ir_version < _FIRST_IR_WITH_DEFAULTS:
        passes.RemoveInitializersFromInputsPass()(model)
        model.ir_version = _FIRST_IR_WITH_DEFAULTS
    mask = mask_input(MASK, site.channels)
    value = get_value(graph, site.tensor)
    apply_mask(graph, value, mask, Layout(site.axis), site.channels, removed_value(value))
    mask.const_value = ir.tensor(np.ones((1, site.channels), np.float32), name=MASK)
    graph.inputs.append(mask)
    graph.register_initializer(mask)
    save_model(model, path)


def mask_input(name: str, channels: int) -> ir.Value:
    """A float32 value of shape [1 or N, M], to be made an input of a graph."""
    return ir.val(name, dtype=ir.DataType.FLOAT, shape=ir.Shape([_ROWS, channels]))


def apply_mask(
    graph: ir.Graph,
    value: ir.Value,
    mask: ir.Value,
    layout: Layout,
    channels: int,
    removed: np.ndarray,
) -> ir.Value:
    """Let every consumer of ``value`` see it with the masked channels removed.

    Args:
        graph: The graph to edit.
        value: The tensor to mask.
        mask: float32 (1 or N, M); not 0 keeps a channel.
        layout: Where ``value`` keeps its channels.
        channels: M.
        removed: What a removed channel holds, a scalar of the tensor's type.

    Returns:
        The masked value. When ``value`` is an output of the graph, the masked value takes its
        place and name.
    """
    uses = value.uses()
    shape = shape_of(value)
    new = GraphBuilder(graph, name_of(value))
    keep = new.op("Cast", mask, to=ir.DataType.BOOL.value)  # (1 or N, M)
    keep = _spread(new, keep, layout, channels, len(shape))
    zero = new.constant(removed)
    masked = new.op("Where", keep, value, zero, name=f"{value.name}_masked")
    set_type(masked, value.dtype, ir.Shape(shape))
    redirect(uses, masked)
    if value.is_graph_output():
        outputs = [masked if v is value else v for v in graph.outputs]
        graph.outputs.clear()
        value.name, masked.name = masked.name, value.name
        graph.outputs.extend(outputs)
    new.insert_after(value)
    return masked


def removed_value(value: ir.Value) -> np.ndarray:
    """The scalar that every element of a removed channel is set to, of the tensor's own type.

    Raises:
        SiteError: The tensor is quantized, and its zero point is not one constant.
    """
    found = zero_point(value)
    if found is None:
        raise SiteError(
            f"The tensor {value.name!r} is quantized, and its zero point is computed or differs "
            "between channels, so what a removed channel holds is unknown. Name a tensor of "
            f"floats with {parameter('site')}."
        )
    return np.asarray(found, dtype_of(value).numpy())


def zero_point(value: ir.Value) -> int | None:
    """The integer that stands for zero; 0 for floats, None where there is no single one."""
    node = value.producer()
    while True:
        if value.dtype is None or value.dtype.is_floating_point() or node is None:
            return 0
        if not keeps_zero_point(node):
            break
        value = operand(node)
        node = value.producer()
    if is_op(node, "DynamicQuantizeLinear"):
        return None
    index = _ZERO_POINT.get(node.op_type)
    if index is None or len(node.inputs) <= index or node.inputs[index] is None:
        return 0
    found = constant(node.inputs[index])
    return None if found is None or len(np.unique(found)) != 1 else int(found.flat[0])


def keeps_zero_point(node: ir.Node) -> bool:
    """Whether a node's output has the zero point of what it reads, for it only rearranges it."""
    return is_op(node, *_KEEPING)


def _spread(
    new: GraphBuilder, keep: ir.Value, layout: Layout, channels: int, rank: int
) -> ir.Value:
    """Bring a mask (1 or N, M) to a shape that broadcasts over the tensor."""
    if layout.plain and rank == 2:
        return keep
    if not layout.plain:
        keep = new.op("Reshape", keep, new.constant([-1, 1, channels, 1]))
        runs = new.constant([1, layout.outer, channels, layout.inner])
        keep = new.op("Expand", keep, runs)  # (1 or N, outer, M, inner)
    shape = [1] * rank
    shape[0] = -1
    shape[layout.axis] = layout.outer * channels * layout.inner
    return new.op("Reshape", keep, new.constant(shape))
