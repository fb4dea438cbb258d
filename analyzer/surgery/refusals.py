"""Networks that are refused whatever is asked of them."""

from pathlib import Path

import onnx_ir as ir

from analyzer.errors import ModelError
from analyzer.surgery.graph import attribute, constant, is_op

__all__ = ["refuse_training", "refuse_unknown_operators"]

_KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})


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
                    "which is not part of ONNX. Name the library that has it with --custom-ops, or "
                    "export the network without custom operators."
                )


def refuse_training(path: Path, model: ir.Model) -> None:
    """Refuse networks whose answers are drawn at random or depend on the rest of the batch.

    Raises:
        ModelError: A ``Dropout`` or ``BatchNormalization`` was left in training mode.
    """
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
