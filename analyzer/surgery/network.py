"""Loading an ONNX file: checked, hashed, with functions inlined and shapes inferred.

The weights stay where they are: external data is mapped, not read, and shape inference sees
the graph without its large tensors, so networks over 2 GB work like small ones.
"""

import hashlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx_ir.passes import common as passes

from analyzer.errors import ModelError
from analyzer.records import NetworkInfo, TensorInfo
from analyzer.surgery.blame import blames_file, first_line
from analyzer.surgery.graph import dimensions, is_op
from analyzer.surgery.refusals import refuse_training, refuse_unknown_operators
from analyzer.surgery.shapes import infer_shapes
from analyzer.surgery.writing import save

__all__ = ["Network", "load", "runnable"]

_OLDEST_OPSET = 9  # the first with Where, which the mask is made of


@dataclass(frozen=True)
class Network:
    """An ONNX network that has passed the checks.

    ``model`` is what the surgery reads: functions inlined, constants gathered as initializers,
    opset at least 9, shapes inferred and, where they can be told, settled. It is never changed;
    every surgery works on a clone.
    """

    path: Path
    info: NetworkInfo
    model: ir.Model
    custom_ops: Path | None = None  # library of operators that onnxruntime needs for it


@blames_file
def load(
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
    proto = _read(path)
    model = ir.from_proto(proto)
    ir.external_data.set_base_dir(model.graph, path.parent)
    if custom_ops is None:
        refuse_unknown_operators(path, model)
    elif not Path(custom_ops).is_file():
        raise ModelError(f"The library of custom operators {custom_ops} does not exist.")
    data_files = _external_data(path, model)
    _check(path)
    _check_sizes(path, proto)
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
        sha256=_sha256(files),
        bytes=sum(f.stat().st_size for f in files),
        producer=" ".join(filter(None, (model.producer_name, model.producer_version))),
        opset=opset,
        inputs=tuple(map(_tensor_info, inputs)),
        outputs=tuple(map(_tensor_info, graph.outputs)),
    )
    return Network(path, info, model, None if custom_ops is None else Path(custom_ops))


def runnable(network: Network, folder: Path) -> Path:
    """The network's file, or where onnxruntime would refuse it a copy in ``folder``.

    ONNX lets nodes share a name, onnxruntime does not; the copy differs in nothing else.
    """
    names = [node.name for node in network.model.graph if node.name]
    if len(set(names)) == len(names):
        return network.path
    model = ir.from_proto(_read(network.path))
    ir.external_data.set_base_dir(model.graph, network.path.parent)
    save(model, folder / "original.onnx")
    return folder / "original.onnx"


def _read(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ModelError(f"{path} {what}. Give the path of an ONNX file.")
    if path.stat().st_size == 0:
        raise ModelError(f"{path} is empty. Export or copy the network again.")
    try:
        proto = onnx.load(path, format="protobuf", load_external_data=False)
    except DecodeError:
        raise ModelError(
            f"{path} is not an ONNX file, or is truncated. Export or copy it again."
        ) from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from None
    if not proto.HasField("graph") or not proto.ir_version:
        raise ModelError(f"{path} holds no ONNX graph. Give a network saved as ONNX.")
    for field in ("producer_name", "producer_version", "domain", "doc_string"):
        if not isinstance(getattr(proto, field), str):  # protobuf gives bytes that are not UTF-8
            raise ModelError(f"{path} is damaged: its {field} is not text. Copy it again.")
    return proto


def _external_tensors(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    for graph in model.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                yield value.const_value
        for node in graph:
            for attr in node.attributes.values():
                if isinstance(attr.value, ir.ExternalTensor):
                    yield attr.value


def _external_data(path: Path, model: ir.Model) -> list[Path]:
    """The files that hold the network's weights outside ``path``, sorted by name."""
    needed: dict[str, int] = {}
    for tensor in _external_tensors(model):
        end = (tensor.offset or 0) + (tensor.length or 0)
        needed[str(tensor.location)] = max(needed.get(str(tensor.location), 0), end)
    files = []
    for location, size in sorted(needed.items()):
        file = path.parent / location
        if not file.is_file():
            raise ModelError(
                f"{path} keeps its weights in {location!r}, which is not beside it. Copy that "
                f"file to {path.parent}."
            )
        if file.stat().st_size < size:
            raise ModelError(
                f"{file}, which holds weights of {path.name}, is truncated: {size} bytes are "
                f"needed, {file.stat().st_size} are there. Copy it again."
            )
        files.append(file)
    return files


def _check(path: Path) -> None:
    try:
        onnx.checker.check_model(path)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{path} is not a valid ONNX network: {first_line(error)}. Export it again, or "
            "mend it until onnx.checker accepts it."
        ) from None


def _check_sizes(path: Path, proto: onnx.ModelProto) -> None:
    """Whether every initializer has as many bytes as its shape says; onnx.checker does not ask."""
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.STRING or not tensor.HasField("raw_data"):
            continue
        elements = math.prod(tensor.dims)
        wanted = math.ceil(ir.DataType(tensor.data_type).itemsize * elements)
        if len(tensor.raw_data) != wanted:
            raise ModelError(
                f"{path} is damaged: the weights {tensor.name} of shape {list(tensor.dims)} hold "
                f"{len(tensor.raw_data)} bytes instead of {wanted}. Export or copy it again."
            )


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
        if is_op(node, "Identity") and node.inputs[0].is_initializer():
            if node.outputs[0].is_graph_output() or node.inputs[0].is_graph_input():
                continue
            node.outputs[0].replace_all_uses_with(node.inputs[0])
            model.graph.remove(node, safe=True)


def _sha256(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _tensor_info(value: ir.Value) -> TensorInfo:
    dtype = "unknown" if value.dtype is None else value.dtype.numpy().name
    return TensorInfo(value.name, dtype, dimensions(value) or ())
