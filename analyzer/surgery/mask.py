"""The mask: ``Where(channel_mask ≠ 0, x, 0)`` on one tensor, and the masked drop-in network.

``Where`` and not ``Mul``, because a removed channel is exactly 0 and 0 × inf is NaN.
"""

import os
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.errors import ModelError
from analyzer.records import Site
from analyzer.surgery.blame import blames_file
from analyzer.surgery.editing import Insertion
from analyzer.surgery.graph import dimensions, find_value, unique_name
from analyzer.surgery.layout import Layout
from analyzer.surgery.network import Network
from analyzer.surgery.removed import removed_value
from analyzer.surgery.writing import save

__all__ = ["MASK", "apply_mask", "mask_input", "write_masked"]

MASK = "channel_mask"
_ROWS = "mask_rows"  # symbolic size of the mask's first axis: 1 or the batch
_FIRST_IR_WITH_DEFAULTS = 4  # before it, initializers could not be overridden by inputs


@blames_file
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
    if unique_name(graph, MASK) != MASK:
        raise ModelError(
            f"{network.path} already has a tensor called {MASK}: it seems to be masked. Give "
            "the original network."
        )
    if model.ir_version < _FIRST_IR_WITH_DEFAULTS:
        passes.RemoveInitializersFromInputsPass()(model)
        model.ir_version = _FIRST_IR_WITH_DEFAULTS
    mask = mask_input(MASK, site.channels)
    value = find_value(graph, site.tensor)
    apply_mask(graph, value, mask, Layout(site.axis), site.channels, removed_value(value))
    mask.const_value = ir.tensor(np.ones((1, site.channels), np.float32), name=MASK)
    graph.inputs.append(mask)
    graph.register_initializer(mask)
    save(model, path)


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
    """Let every reader of ``value`` see it with the masked channels removed.

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
    uses = tuple(value.uses())
    new = Insertion(graph, value.name)
    keep = new.op("Cast", mask, to=ir.DataType.BOOL.value)  # (1 or N, M)
    keep = _spread(new, keep, layout, channels, len(dimensions(value)))
    zero = new.constant(removed)
    masked = new.op("Where", keep, value, zero, name=f"{value.name}_masked")
    masked.dtype, masked.shape = value.dtype, value.shape.copy()
    for node, index in uses:
        node.replace_input_with(index, masked)
    if value.is_graph_output():
        outputs = [masked if v is value else v for v in graph.outputs]
        graph.outputs.clear()
        value.name, masked.name = masked.name, value.name
        graph.outputs.extend(outputs)
    new.insert(after=value)
    return masked


def _spread(new: Insertion, keep: ir.Value, layout: Layout, channels: int, rank: int) -> ir.Value:
    """Bring a mask (rows, M) to a shape that broadcasts over the tensor."""
    if layout.plain and rank == 2:
        return keep
    if not layout.plain:
        keep = new.op("Reshape", keep, new.constant([-1, 1, channels, 1]))
        runs = new.constant([1, layout.outer, channels, layout.inner])
        keep = new.op("Expand", keep, runs)  # (rows, outer, M, inner)
    shape = [1] * rank
    shape[0] = -1
    shape[layout.axis] = layout.outer * channels * layout.inner
    return new.op("Reshape", keep, new.constant(shape))
