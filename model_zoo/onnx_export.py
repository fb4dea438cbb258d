"""Trained networks as ONNX files that hold nothing but the network. Needs torch and onnx."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from analyzer.output_files import aside
from analyzer.runtime.sessions import ort  # without its telemetry

__all__ = ["export"]

_TOLERANCE = 1e-4  # of the largest score


def export(network: nn.Module, images: torch.Tensor, path: Path) -> None:
    """Write the network to ``path``, batch axis free, weights inside, and run it once.

    Args:
        network: in evaluation mode.
        images: (N, C, H, W), on which the file must give the network's own scores.
        path: of the ONNX file; written whole or not at all.

    Raises:
        RuntimeError: onnxruntime does not give the network's scores.
    """
    with warnings.catch_warnings():
        # The exporter warns about its own use of torch.
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.onnx.export(
            network,
            (images[:2],),
            dynamo=True,
            input_names=["image"],
            output_names=["scores"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    model = program.model_proto
    _forget_origin(model)
    onnx.checker.check_model(model, full_check=True)
    with aside(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
        _check_scores(temporary, network, images)


def _forget_origin(model: onnx.ModelProto) -> None:
    """Drop what the exporter records of the source code: stack traces with local paths."""
    graph = model.graph
    noted = [model, graph, *graph.node, *graph.initializer, *graph.value_info]
    noted += [*graph.input, *graph.output, *model.functions]
    noted += [node for function in model.functions for node in function.node]
    for item in noted:
        del item.metadata_props[:]
        item.doc_string = ""


def _check_scores(path: Path, network: nn.Module, images: torch.Tensor) -> None:
    with torch.inference_mode():
        wanted = network(images).numpy()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"image": images.numpy()})
    difference = float(np.abs(got - wanted).max())
    allowed = _TOLERANCE * float(np.abs(wanted).max())
    if not difference <= allowed:
        raise RuntimeError(
            f"onnxruntime's scores differ from torch's by {difference:.3g}, allowed {allowed:.3g}"
        )
