"""Checks of a network before use: valid ONNX, known operators, inference mode.

onnx.checker lets through files that no runtime takes: types that do not fit, attributes of the
wrong kind, sizes that cannot be. Rather than guard every step against them, a step that fails
asks the strict check whether the file is at fault, see :func:`reports_invalid_file`.
"""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import onnx
import onnx_ir as ir

from analyzer.errors import AnalyzerError, ModelError, parameter
from analyzer.surgery.graph import ancestors, attribute, constant, is_op

__all__ = [
    "bytes_of",
    "check_file",
    "check_sizes",
    "first_line",
    "refuse_training",
    "refuse_unknown_operators",
    "reports_invalid_file",
]

_KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})

_Function = TypeVar("_Function", bound=Callable[..., Any])


def reports_invalid_file(function: _Function) -> _Function:
    """Decorate a function of a path or a network: what it stumbles over in a file that is not
    valid ONNX becomes a :class:`ModelError`; anything else stays a defect."""

    @functools.wraps(function)
    def checked(subject: Any, *args: Any, **options: Any) -> Any:
        try:
            return function(subject, *args, **options)
        except AnalyzerError:
            raise
        except Exception as error:
            path = Path(getattr(subject, "path", subject))
            fault = _fault(path)
            if fault is None:
                raise
            raise ModelError(
                f"{path} is not a valid ONNX network: {fault}. Export it again, or fix it until "
                "onnx.checker's full check accepts it."
            ) from error

    return checked  # type: ignore[return-value]


def first_line(error: Exception) -> str:
    """The gist of what onnx says, without its trailing context."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


def _fault(path: Path) -> str | None:
    """What the strict check, types and shapes included, has against a file."""
    try:
        onnx.checker.check_model(path, full_check=True)
    except Exception as error:  # its exceptions have no common base
        return first_line(error)
    return None


def check_file(path: Path) -> None:
    """Have onnx.checker read a file.

    Raises:
        ModelError: it finds a fault.
    """
    try:
        onnx.checker.check_model(path)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{path} is not a valid ONNX network: {first_line(error)}. Export it again, or "
            "fix it until onnx.checker accepts it."
        ) from None


def bytes_of(tensor: onnx.TensorProto) -> int:
    """The bytes that a tensor's shape and type take.

    Raises:
        ValueError: ONNX has no such type.
    """
    elements = math.prod(max(size, 0) for size in tensor.dims)
    if tensor.data_type in (onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED):
        return 0
    return math.ceil(ir.DataType(tensor.data_type).itemsize * elements)


def check_sizes(path: Path, proto: onnx.ModelProto) -> None:
    """Hold the bytes of every initializer against its shape, which onnx.checker does not.

    Raises:
        ModelError: one has more or fewer.
    """
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.STRING or not tensor.HasField("raw_data"):
            continue
        wanted = bytes_of(tensor)
        if len(tensor.raw_data) != wanted:
            raise ModelError(
                f"{path} is damaged: the weights {tensor.name} of shape {list(tensor.dims)} hold "
                f"{len(tensor.raw_data)} bytes instead of {wanted}. Export or copy it again."
            )


def refuse_unknown_operators(path: Path, model: ir.Model) -> None:
    """Refuse operators that neither ONNX nor the model itself defines.

    Raises:
        ModelError: There is one.
    """
    for graph in model.graphs():
        for node in graph:
            if node.domain not in _KNOWN_DOMAINS and node.op_identifier() not in model.functions:
                raise ModelError(
                    f"{path} uses the operator {node.op_type} of the domain {node.domain!r}, "
                    f"which is not part of ONNX. Name the library that has it with "
                    f"{parameter('custom_ops')}, or "
                    "export the network without custom operators."
                )


_DRAWING = (
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
)  # fmt: skip


def refuse_training(path: Path, model: ir.Model) -> None:
    """Refuse networks whose answers are drawn at random or depend on the rest of the batch.

    Raises:
        ModelError: A ``Dropout`` or ``BatchNormalization`` was left in training mode, or an output
            depends on an operator that draws random numbers.
    """
    drawing = [node for node in model.graph if is_op(node, *_DRAWING)]
    needed = ancestors(model.graph, model.graph.outputs) if drawing else set()
    for node in drawing:
        if any(value in needed for value in node.outputs):
            raise ModelError(
                f"{path} draws random numbers ({node.op_type}), so its answers differ from run to "
                "run. Export it without."
            )
    for graph in model.graphs():
        for node in graph:
            if _trains(node):
                name = f" {node.name!r}" if node.name else ""
                raise ModelError(
                    f"{path} was exported in training mode: its {node.op_type}{name} would make "
                    "the answers differ from run to run. Export it in evaluation mode "
                    "(model.eval() in PyTorch, training=False in Keras)."
                )


def _trains(node: ir.Node) -> bool:
    if is_op(node, "BatchNormalization"):
        # Up to opset 13 the running statistics were outputs, given in training only.
        return bool(attribute(node, "training_mode", 0)) or any(v.name for v in node.outputs[1:])
    if is_op(node, "Dropout") and len(node.inputs) > 2 and node.inputs[2] is not None:
        mode = constant(node.inputs[2])
        ratio = constant(node.inputs[1])
        never = ratio is not None and not ratio.any()
        return not never and (mode is None or bool(mode.any()))
    return False
