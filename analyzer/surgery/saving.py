"""Writing networks to files: whole ones as they are, parts of them with what running needs.

A part may be a view of a network's own nodes. Nothing of what is written is changed by it, so that
a network needs no copy of itself to be cut.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
import onnx_ir as ir

from analyzer.errors import OutputError
from analyzer.output_files import remove_tree
from analyzer.surgery.graph import (
    Dimensions,
    dimensions,
    is_unused,
    name_of,
    subgraphs,
    with_subgraphs,
)
from analyzer.surgery.validation import nodes_of

__all__ = [
    "are_short_weights_outside",
    "save_model",
    "save_part",
    "weights_file",
    "weights_placed",
]


_INLINE_LIMIT = 1 << 30  # bytes of weights; protobuf ends at 2 GiB
_SMALL = 256  # bytes of weights that stay in the network's own file


def save_model(model: ir.Model, path: Path) -> None:
    """Write ``model`` to ``path``; weights over 1 GiB go to ``<path>.data`` beside it.

    The folder of ``path`` must exist. A file already there is replaced as a whole.

    Raises:
        OutputError: the folder is read-only or full.
    """
    _save(model, path, bare=False)


def save_part(model: ir.Model, path: Path) -> None:
    """Write ``model``, whose graph may be a view, as :func:`save_model`, for a runtime to read.

    Metadata, doc strings and annotations are left out, and of weights what is said twice.

    Raises:
        OutputError: the folder is read-only or full.
    """
    _save(model, path, bare=True)


def weights_file(model: ir.Model, path: Path) -> Path | None:
    """Where :func:`save_model` puts large weights beside ``path``; None where they stay inside."""
    large = sum(map(_bytes, _tensors_of(model.graph).values())) > _INLINE_LIMIT
    return path.with_name(f"{path.name}.data") if large else None


def are_short_weights_outside(graph: ir.Graph) -> bool:
    """Whether weights lie in other files that are short enough for the network's own."""
    return any(
        isinstance(tensor, ir.ExternalTensor) and _bytes(tensor) <= _SMALL
        for tensor in _tensors_of(graph).values()
    )


def _save(model: ir.Model, path: Path, *, bare: bool) -> None:
    data = weights_file(model, path)
    try:
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            with weights_placed(model.graph, data and aside / data.name):
                proto = _bare_proto(model) if bare else ir.to_proto(model)
            _name_nodes_apart(proto.graph)
            (aside / path.name).write_bytes(proto.SerializeToString())
            for file in sorted(aside.iterdir(), key=lambda file: file.name == path.name):
                os.replace(file, path.parent / file.name)  # the network last
        finally:
            remove_tree(aside)
    except OSError as error:
        refused = OutputError(
            f"{path} cannot be written: {error.strerror or error}. Name a file in a folder that "
            "can be written and has room."
        )
        refused.place = path
        raise refused from error


@contextlib.contextmanager
def weights_placed(graph: ir.Graph, file: Path | None = None) -> Iterator[None]:
    """Let the weights be where they are written: in memory, or the large ones in a file.

    Afterwards they are where they were. A graph that is written while they are in the files that
    it was read from names these by relative paths, which mean others to whoever reads it.
    """
    found = _tensors_of(graph)
    outside = {v: t for v, t in found.items() if file and _bytes(t) > _SMALL}
    inside: dict[ir.Value, ir.ExternalTensor] = {
        v: t for v, t in found.items() if isinstance(t, ir.ExternalTensor) and v not in outside
    }
    try:
        if inside:  # their files need not be where it goes
            held = list(inside.values())
            _place(inside, ir.external_data.convert_tensors_from_external(held))
        if outside and file:
            tensors = list(outside.values())
            written = ir.external_data.convert_tensors_to_external(tensors, file.parent, file.name)
            _place(outside, written)
        yield
    finally:
        _place(inside, inside.values())
        _place(outside, outside.values())


def _tensors_of(graph: ir.Graph) -> dict[ir.Value, ir.TensorProtocol]:
    """The weights of a graph and of those in it."""
    return {
        value: value.const_value
        for one in with_subgraphs(graph)
        for value in one.initializers.values()
        if value.const_value is not None
    }


def _place(values: Iterable[ir.Value], tensors: Iterable[ir.TensorProtocol]) -> None:
    for value, tensor in zip(values, tensors, strict=True):
        value.const_value = tensor


def _bytes(tensor: ir.TensorProtocol) -> int:
    """The bytes of a tensor, or a few more; 0 of one of texts, which cannot lie elsewhere."""
    if tensor.dtype == ir.DataType.STRING:
        return 0
    is_proto = isinstance(tensor, ir.serde.TensorProtoTensor)
    return tensor.raw.ByteSize() if is_proto else tensor.nbytes


def _bare_proto(model: ir.Model) -> onnx.ModelProto:
    """What a runtime needs of a model without functions."""
    source = model.graph
    proto = onnx.ModelProto(
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
    )
    for domain, version in source.opset_imports.items():
        proto.opset_import.add(domain=domain, version=version)
    graph = proto.graph
    graph.name = source.name or "part"
    for values, infos in ((source.inputs, graph.input), (source.outputs, graph.output)):
        for value in values:
            ir.serde.serialize_value_into(infos.add(), value)
    outputs = {value.name for value in source.outputs}
    for value in source.initializers.values():
        if value.const_value is not None and (value.name in outputs or not is_unused(value)):
            tensor = graph.initializer.add()
            ir.serde.serialize_tensor_into(tensor, value.const_value)
            tensor.name = name_of(value)
    types: dict[tuple[ir.DataType | None, Dimensions | None], onnx.TypeProto] = {}
    for node in source:
        listed = graph.node.add()
        ir.serde.serialize_node_into(listed, node)
        if node.doc_string or node.metadata_props or subgraphs(node):
            _strip(listed)
        for value in node.outputs:
            if value.name and value.type is not None and value.name not in outputs:
                key = value.dtype, dimensions(value)
                if key not in types:
                    types[key] = ir.serde.serialize_value(value).type
                graph.value_info.add(name=value.name, type=types[key])
    return proto


def _strip(listed: onnx.NodeProto) -> None:
    """Drop, in place, what is only said of a node and of those in its subgraphs."""
    for node, _ in nodes_of([listed]):
        node.ClearField("doc_string")
        node.ClearField("metadata_props")


def _name_nodes_apart(graph: onnx.GraphProto) -> None:
    """Give every node of a graph a name of its own, in place: onnxruntime refuses what ONNX allows.

    Values keep theirs. onnx-ir's ``NameFixPass`` would name optional outputs that are left out,
    and so ask for them.
    """
    names = [node.name for node in graph.node]
    taken, seen = set(names), set[str]()
    numbers: dict[str, int] = {}
    for node, name in zip(graph.node, names, strict=True):
        if name and name in seen:
            while node.name in taken:
                numbers[name] = numbers.get(name, 1) + 1
                node.name = f"{name}_{numbers[name]}"
            taken.add(node.name)
        seen.add(name)
        for attr in node.attribute:
            if attr.type == attr.GRAPH:
                _name_nodes_apart(attr.g)
            elif attr.type == attr.GRAPHS:
                for body in attr.graphs:
                    _name_nodes_apart(body)
