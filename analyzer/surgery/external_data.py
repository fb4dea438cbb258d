"""Weights in files beside the network: where they may lie, and which of them are read at once.

onnx and onnxruntime trust the network in the places and lengths of such weights. They are checked
here before anything reads them.
"""

import os
import stat
from collections import Counter
from pathlib import Path

import onnx
import onnx_ir as ir

from analyzer.errors import ModelError
from analyzer.files import is_readable_file
from analyzer.input_budgets import DEFAULT_BUDGETS, Budgets
from analyzer.surgery.validation import bytes_of, tensors_of

__all__ = ["external_files", "read_short_tensors"]

_LONGEST_LIST = 16  # elements of a tensor that shapes may follow from
_EXTERNAL_KEYS = {"location", "offset", "length", "checksum"}  # what onnxruntime knows


def external_files(
    path: Path, proto: onnx.ModelProto, budgets: Budgets = DEFAULT_BUDGETS
) -> list[Path]:
    """The files that hold the network's weights outside ``path``, sorted by name.

    Raises:
        ModelError: one is missing, truncated, not a regular file or not beside the network, or
            holds much besides the weights; or the network says of a tensor what cannot be; the
            message names tensor and file.
    """
    files: dict[str, Path] = {}
    needed = Counter[Path]()
    for tensor in tensors_of(proto):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        said = {entry.key: entry.value for entry in tensor.external_data}
        location = said.get("location", "")
        file = files.get(location) or _file(path, tensor.name, location)
        files[location] = file
        _check_place(path, tensor, said, file)
        needed[file] += bytes_of(tensor)
    for file, bytes_needed in needed.items():
        more = file.stat().st_size - bytes_needed
        if excess := budgets.excess("bytes", more):  # it is read as a whole, to be told from others
            raise ModelError(
                f"{file} has {more:,} bytes besides the weights that {path.name} keeps there, "
                f"{excess}"
            )
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
        raise ModelError(f"{where}, which is not beside it. {_way_out(path, location)}") from None
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


def _way_out(path: Path, location: str) -> str:
    """What to do where the weights of ``path`` are not at their place."""
    copy = f"opy that file to {str(path.parent / location)!r}."
    if not path.is_symlink():
        return f"C{copy}"
    real = Path(os.path.realpath(path))
    name = f"name {str(real)!r} itself, or " if is_readable_file(real.parent / location) else ""
    return f"{path} is a link, and weights are looked for beside the link: {name}c{copy}"


def _check_place(path: Path, tensor: onnx.TensorProto, said: dict[str, str], file: Path) -> None:
    """Hold where a tensor lies in its file against its shape and the file's size."""
    unknown = sorted(said.keys() - _EXTERNAL_KEYS)
    if unknown:
        raise ModelError(
            f"{path} says {unknown[0]!r} of the weights {tensor.name} in {file}, which onnxruntime "
            "does not know. Export it again."
        )
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
    if tensor.data_type == onnx.TensorProto.STRING:
        raise ModelError(
            f"{path} keeps the texts {tensor.name} in {file}, where ONNX allows numbers alone. "
            "Export it again."
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


def read_short_tensors(model: ir.Model) -> bool:
    """Bring into memory the short tensors beside the network, sizes, axes and scales among them.

    Returns:
        Whether there are any, from which shapes may follow.
    """
    found = {
        value: tensor
        for value in model.graph.initializers.values()
        if isinstance(tensor := value.const_value, ir.ExternalTensor)
        and tensor.dtype in (ir.DataType.FLOAT, ir.DataType.INT32, ir.DataType.INT64)
        and tensor.size <= _LONGEST_LIST
    }
    held = ir.external_data.convert_tensors_from_external(list(found.values()))
    for value, tensor in zip(found, held, strict=True):
        value.const_value = tensor
    return bool(found)
