"""Reading and writing ONNX files, with the weights that they keep in other files.

A file is written aside first and then renamed, so that no half-written file is ever seen.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from analyzer.errors import ModelError, OutputError

__all__ = ["external_files", "hash_files", "read_model_proto", "save_model"]

_INLINE_LIMIT = 1 << 30  # bytes of weights; protobuf ends at 2 GiB


def read_model_proto(path: Path) -> onnx.ModelProto:
    """Read an ONNX file without its external data.

    Raises:
        ModelError: it is missing, empty, truncated or no ONNX.
    """
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


def external_files(path: Path, model: ir.Model) -> list[Path]:
    """The files that hold the network's weights outside ``path``, sorted by name.

    Raises:
        ModelError: one is missing or truncated.
    """
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


def hash_files(files: list[Path]) -> str:
    """The SHA-256 of the files' bytes, one file after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def save_model(model: ir.Model, path: Path) -> None:
    """Write ``model`` to ``path``; weights over 1 GiB go to ``<path>.data`` beside it.

    The folder of ``path`` must exist. A file already there is replaced as a whole.

    Raises:
        OutputError: the folder is read-only or full.
    """
    try:
        _save(model, path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}. Name a file in a folder that "
            "can be written and has room."
        ) from error


def _save(model: ir.Model, path: Path) -> None:
    weights = sum(
        value.const_value.nbytes
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    )
    data = f"{path.name}.data" if weights > _INLINE_LIMIT else None
    _name_nodes_apart(model)
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        if data is None:
            ir.external_data.load_to_model(model)  # their files need not be where it goes
        ir.save(model, aside / path.name, format="protobuf", external_data=data)
        if data is not None:
            os.replace(aside / data, path.parent / data)
        os.replace(aside / path.name, path)
    finally:
        shutil.rmtree(aside)


def _name_nodes_apart(model: ir.Model) -> None:
    """Give every node of a graph a name of its own: onnxruntime refuses what ONNX allows.

    Values keep theirs. onnx-ir's ``NameFixPass`` would name optional outputs that are left out,
    and so ask for them.
    """
    for graph in model.graphs():
        taken = {node.name for node in graph}
        seen: set[str | None] = set()
        numbers: dict[str, int] = {}
        for node in graph:
            name = node.name
            if name and name in seen:
                while node.name in taken:
                    numbers[name] = numbers.get(name, 1) + 1
                    node.name = f"{name}_{numbers[name]}"
                taken.add(node.name)
            seen.add(node.name)


def _external_tensors(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    for graph in model.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                yield value.const_value
        for node in graph:
            for attr in node.attributes.values():
                if isinstance(attr.value, ir.ExternalTensor):
                    yield attr.value
