"""A network as another tool leaves it, such as a converter of its elements' type."""

from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir

from analyzer.surgery.blame import blames_file
from analyzer.surgery.network import Network, load
from analyzer.surgery.writing import save

__all__ = ["rewritten"]


@blames_file
def rewritten(network: Network, folder: Path, tool: Callable[[Path], onnx.ModelProto]) -> Network:
    """Write the network to ``folder``, let the tool change it, and load what comes of it.

    Args:
        network: The network; its further inputs, where it has any, bound.
        folder: An existing folder, which keeps the file of the new network.
        tool: Given the path of a file, returns what it holds, changed. Its nodes need not be in
            the order in which they are run.

    Raises:
        ModelError: What the tool leaves is not a valid network.
    """
    before, after = folder / "whole.onnx", folder / "rewritten.onnx"
    save(network.model.clone(), before)
    model = ir.from_proto(tool(before))
    model.graph.sort()
    save(model, after)
    return load(after, custom_ops=network.custom_ops)
