"""Weights in files beside the network: which files they are, and that they hold what is said.

Checked before anything reads them, because onnx and onnxruntime trust what the network says of
places and lengths.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx

from analyzer.errors import ModelError
from analyzer.surgery.validation import bytes_of

__all__ = ["external_files"]


def external_files(path: Path, proto: onnx.ModelProto) -> list[Path]:
    """The files that hold the network's weights outside ``path``, sorted by name.

    Raises:
        ModelError: one is missing, truncated, not a regular file or not beside the network, or the
            network says of a tensor what cannot be; the message names tensor and file.
    """
    files: dict[str, Path] = {}
    for tensor in _tensors(proto):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        said = {entry.key: entry.value for entry in tensor.external_data}
        location = said.get("location", "")
        file = files.get(location) or _file(path, tensor.name, location)
        files[location] = file
        _check_place(path, tensor, said, file)
    return [files[location] for location in sorted(files)]


def _file(path: Path, name: str, location: str) -> Path:
    """The file in which ``path`` keeps a tensor."""
    where = f"{path} keeps the weights {name} in {location!r}"
    parts = Path(location).parts
    if not location or "\0" in location or os.path.isabs(location) or ".." in parts:
        raise ModelError(
            f"{where}, which is no file in its own folder or below. Export the network again, with "
            "its weights beside it."
        )
    file = path.parent / location
    try:
        mode = os.lstat(file).st_mode
    except OSError:
        raise ModelError(
            f"{where}, which is not beside it. Copy that file to {path.parent}."
        ) from None
    if stat.S_ISLNK(mode):
        raise ModelError(
            f"{where}, which is a symbolic link; onnxruntime follows none. Put the file itself "
            "there."
        )
    if not stat.S_ISREG(mode):
        raise ModelError(f"{where}, which is no regular file. Put the file of weights there.")
    if os.path.samefile(file, path):
        raise ModelError(f"{where}, which is the network itself. Export it again.")
    return file


def _check_place(path: Path, tensor: onnx.TensorProto, said: dict[str, str], file: Path) -> None:
    """Hold where a tensor lies in its file against its shape and the file's size."""
    numbers = {}
    for key in ("offset", "length"):
        text = said.get(key)
        if text is not None and not (text.isascii() and text.isdigit() and len(text) < 20):
            raise ModelError(
                f"{path} says that the weights {tensor.name} in {file} have the {key} {text!r}, "
                "which is no number of bytes. Export it again."
            )
        numbers[key] = None if text is None else int(text)
    if any(size < 0 for size in tensor.dims):
        raise ModelError(
            f"{path} says that the weights {tensor.name} in {file} have the shape "
            f"{list(tensor.dims)}, which cannot be. Export it again."
        )
    wanted = bytes_of(tensor)
    if numbers["length"] not in (None, 0, wanted):
        raise ModelError(
            f"{path} says that the weights {tensor.name} in {file} have {numbers['length']} bytes, "
            f"but their shape {list(tensor.dims)} takes {wanted}. Export or copy it again."
        )
    needed, there = (numbers["offset"] or 0) + wanted, file.stat().st_size
    if there < needed:
        raise ModelError(
            f"{file}, which holds the weights {tensor.name} of {path.name}, is truncated: "
            f"{needed} bytes are needed, {there} are there. Copy it again."
        )


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that the file lists, those of subgraphs and functions included."""
    yield from _of_graph(proto.graph)
    for function in proto.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attr in node.attribute:
            if attr.HasField("t"):
                yield attr.t
            yield from attr.tensors
            for sparse in (attr.sparse_tensor, *attr.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attr.g, *attr.graphs):
                yield from _of_graph(graph)
