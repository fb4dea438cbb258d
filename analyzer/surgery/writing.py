"""Writing ONNX files: aside first, then renamed, so that no half-written file is ever seen."""

import os
import shutil
import tempfile
from pathlib import Path

import onnx_ir as ir

from analyzer.errors import OutputError

__all__ = ["save"]

_INLINE_LIMIT = 1 << 30  # bytes of weights; protobuf ends at 2 GiB


def save(model: ir.Model, path: Path) -> None:
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
            _hold_in_memory(model)
        ir.save(model, aside / path.name, format="protobuf", external_data=data)
        if data is not None:
            os.replace(aside / data, path.parent / data)
        os.replace(aside / path.name, path)
    finally:
        shutil.rmtree(aside)


def _name_nodes_apart(model: ir.Model) -> None:
    """onnxruntime refuses two nodes of one name, which ONNX allows."""
    for graph in model.graphs():
        seen: set[str] = set()
        for node in graph:
            while node.name and node.name in seen:
                node.name += "_"
            seen.add(node.name)


def _hold_in_memory(model: ir.Model) -> None:
    """Put external weights into the model itself; their files need not be where it goes."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                tensor = value.const_value
                value.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name)
