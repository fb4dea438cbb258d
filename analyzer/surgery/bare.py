"""A network reduced to what answers: its image input, one output, no fixed batch size."""

import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.surgery.batch import free_batch
from analyzer.surgery.flow import trace
from analyzer.surgery.network import Network
from analyzer.surgery.outputs import score_output

__all__ = ["bare"]

_FIRST_IR_WITHOUT_INPUTS = 4  # before it, every initializer had to be listed as an input


def bare(network: Network, output: str | None) -> tuple[ir.Model, tuple[str, ...], int | None]:
    """A clone with no output but the one that tells the class, freed of its batch size.

    Returns:
        The model, the names of its image inputs, and the batch size that the network could not
        be freed from.

    Raises:
        ModelError: The class scores cannot be told among the outputs.
    """
    scores = score_output(network, output)
    images = tuple(v.name for v in trace(network.model.graph).images)
    model, batch = free_batch(network.model, images)
    graph = model.graph
    model.ir_version = max(model.ir_version, _FIRST_IR_WITHOUT_INPUTS)
    passes.RemoveInitializersFromInputsPass()(model)
    passes.ClearMetadataAndDocStringPass()(model)
    kept = [v for v in graph.outputs if v.name == scores.name]
    graph.outputs.clear()
    graph.outputs.append(kept[0])
    return model, images, batch
