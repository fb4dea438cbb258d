"""Loading an ONNX file: checked, hashed, with functions inlined and shapes inferred.

The weights stay where they are: external data is mapped, not read, and shape inference sees
the graph without its large tensors, so networks over 2 GB work like small ones.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.errors import ModelError
from analyzer.records import NetworkInfo, TensorInfo
from analyzer.surgery.graph import dimensions, is_op, name_of, operand
from analyzer.surgery.model_files import external_files, hash_files, read_model_proto, save_model
from analyzer.surgery.shapes import infer_shapes
from analyzer.surgery.validation import (
    check_file,
    check_sizes,
    first_line,
    refuse_training,
    refuse_unknown_operators,
    reports_invalid_file,
)

__all__ = ["Network", "load_network", "rewrite_network", "runnable_file"]

_OLDEST_OPSET = 9  # the first with Where, which the mask is made of


@dataclass(frozen=True)
class Network:
    """An ONNX network that has passed the checks.

    ``model`` is what the surgery reads: functions inlined, constants gathered as initializers,
    opset at least 9, shapes inferred and, where possible, settled. It is never changed;
    every surgery works on a clone.
    """

    path: Path
    info: NetworkInfo
    model: ir.Model
    custom_ops: Path | None = None  # library of operators that onnxruntime needs for it


@reports_invalid_file
def load_network(
    path: str | os.PathLike[str], *, custom_ops: str | os.PathLike[str] | None = None
) -> Network:
    """Read and check an ONNX file.

    Args:
        path: The file.
        custom_ops: A library of custom operators, as onnxruntime loads it; with it, operators of
            other domains than ONNX's are taken as they are.

    Raises:
        ModelError: The file is missing, not ONNX, truncated or invalid, its external data is
            missing, it uses an operator that no runtime knows without a plug-in, or it is in
            training mode.
    """
    path = Path(path)
    proto = read_model_proto(path)
    model = ir.from_proto(proto)
    ir.external_data.set_base_dir(model.graph, path.parent)
    if custom_ops is None:
        refuse_unknown_operators(path, model)
    elif not Path(custom_ops).is_file():
        raise ModelError(f"The library of custom operators {custom_ops} does not exist.")
    data_files = external_files(path, model)
    check_file(path)
    check_sizes(path, proto)
    opset = model.opset_imports.get("", 0)
    if opset < _OLDEST_OPSET:
        model = _raise_opset(path, proto, opset)
    model = passes.InlinePass()(model).model
    _gather_constants(model)
    refuse_training(path, model)
    model = infer_shapes(model)
    graph = model.graph
    inputs = [v for v in graph.inputs if not v.is_initializer()]
    if not inputs or not graph.outputs:
        missing = "output" if inputs else "input"
        raise ModelError(
            f"{path} has no {missing}, so there is no network to analyse. Export the whole "
            "classifier, from image to class scores."
        )
    files = [path, *data_files]
    info = NetworkInfo(
        path=path,
        sha256=hash_files(files),
        bytes=sum(f.stat().st_size for f in files),
        producer=" ".join(filter(None, (model.producer_name, model.producer_version))),
        opset=opset,
        inputs=tuple(map(_tensor_info, inputs)),
        outputs=tuple(map(_tensor_info, graph.outputs)),
    )
    return Network(path, info, model, None if custom_ops is None else Path(custom_ops))


def runnable_file(network: Network, folder: Path) -> Path:
    """The network's file, or where onnxruntime would refuse it a copy in ``folder``.

    ONNX lets nodes share a name, onnxruntime does not; the copy differs in nothing else.
    """
    names = [node.name for node in network.model.graph if node.name]
    if len(set(names)) == len(names):
        return network.path
    model = ir.from_proto(read_model_proto(network.path))
    ir.external_data.set_base_dir(model.graph, network.path.parent)
    save_model(model, folder / "original.onnx")
    return folder / "original.onnx"


@reports_invalid_file
def rewrite_network(
    network: Network, folder: Path, tool: Callable[[Path], onnx.ModelProto]
) -> Network:
    """Write the network to ``folder``, let the tool change it, and load what comes of it.

    Args:
        network: The network; its extra inputs, where it has any, bound.
        folder: An existing folder, which keeps the file of the new network.
        tool: Given the path of a file, returns what it holds, changed. Its nodes need not be in
            the order in which they are run.

    Raises:
        ModelError: What the tool leaves is not a valid network.
    """
    before, after = folder / "whole.onnx", folder / "rewritten.onnx"
    save_model(network.model.clone(), before)
    model = ir.from_proto(tool(before))
    model.graph.sort()
    save_model(model, after)
    return load_network(after, custom_ops=network.custom_ops)


def _raise_opset(path: Path, proto: onnx.ModelProto, opset: int) -> ir.Model:
    try:
        converted = onnx.version_converter.convert_version(proto, _OLDEST_OPSET)
    except RuntimeError as error:
        raise ModelError(
            f"{path} is written for ONNX opset {opset}, which is older than {_OLDEST_OPSET}, and "
            f"cannot be converted: {first_line(error)}. Export it with a newer opset."
        ) from None
    return ir.from_proto(converted)


def _gather_constants(model: ir.Model) -> None:
    """Make initializers of ``Constant`` nodes, and use initializers instead of copies of them.

    The older PyTorch exporter shares equal weights through ``Identity``.
    """
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    for node in tuple(model.graph):
        if is_op(node, "Identity") and (source := operand(node)).is_initializer():
            if node.outputs[0].is_graph_output() or source.is_graph_input():
                continue
            node.outputs[0].replace_all_uses_with(source)
            model.graph.remove(node, safe=True)


def _tensor_info(value: ir.Value) -> TensorInfo:
    dtype = "unknown" if value.dtype is None else value.dtype.numpy().name
    return TensorInfo(name_of(value), dtype, dimensions(value) or ())
