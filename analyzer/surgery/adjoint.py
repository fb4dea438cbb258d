"""Gradients of a network's scores on the graph itself, by onnx-ad.

onnx-ad takes graphs of known shapes, differentiates in graph inputs, and copies the weights
several times on the way. So the tensors wanted get a graph input added to them, which is taken
out again afterwards, and the large weights are inputs while it works.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes

from analyzer.surgery.adjoint_forms import settle_forms
from analyzer.surgery.blame import first_line
from analyzer.surgery.fixed import explicit_pads
from analyzer.surgery.graph import find_value, is_op, unique_name

__all__ = ["Adjoint", "NoGradient", "with_gradients"]

_OPSET = 18  # onnx-ad needs 16; from 18 on all reductions take their axes alike
_LARGE = 1 << 12  # elements of a weight that onnx-ad does not get to see


class NoGradient(Exception):
    """An operator has no gradient that can be built; the message says which and why."""


@dataclass(frozen=True)
class Adjoint:
    """A network that also computes Σ seed · scores, differentiated in some of its tensors."""

    model: ir.Model
    seed: ir.Value  # graph input (B, K, 1), to be replaced
    gradients: tuple[ir.Value, ...]  # each of its tensor's shape and a last axis of size 1


def with_gradients(model: ir.Model, image: str, tensors: Sequence[str]) -> Adjoint:
    """Extend a network by the gradients of its scores.

    Args:
        model: every shape known, its only output the scores (B, K); changed on the way.
        image: name of the input, whose gradient comes first.
        tensors: names of further floating-point tensors to differentiate in.

    Raises:
        NoGradient: onnx-ad has no rule for an operator, or cannot apply it.
    """
    explicit_pads(model)
    for node in model.graph:
        # The gradient needs to know where each maximum was; asked for here, it is found once.
        if is_op(node, "MaxPool") and len(node.outputs) == 1:
            node.resize_outputs(2)
            node.outputs[1].name = unique_name(model.graph, f"{node.outputs[0].name}_place")
    probes = [_add_probe(model.graph, name) for name in tensors]
    weights = _take_weights(model.graph)
    proto = _differentiated(ir.to_proto(model), [image, *probes])
    adjoint = ir.from_proto(proto)
    graph = adjoint.graph
    _give_weights(graph, weights)
    scores, *gradients = graph.outputs
    for probe in probes:
        _remove_probe(find_value(graph, probe))
    (seed,) = (v for v in graph.inputs if v.name not in (image, *weights))
    passes.RemoveUnusedNodesPass()(adjoint)
    seed.shape = ir.Shape([*scores.shape, 1])
    return Adjoint(settle_forms(adjoint, seed), seed, tuple(gradients))


def _differentiated(proto: onnx.ModelProto, inputs: Sequence[str]) -> onnx.ModelProto:
    """The network with one seed more among its inputs, and gradients behind its output."""
    # Imported here: most audits need no gradient.
    from onnx_ad import UnsupportedOperator, reverse

    opset = next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
    try:
        if opset < _OPSET:
            proto = onnx.version_converter.convert_version(proto, _OPSET)
    except RuntimeError as error:
        raise NoGradient(
            f"it is written for opset {opset} and cannot be converted to {_OPSET} "
            f"({first_line(error)})"
        ) from error
    try:
        return reverse(proto, inputs=list(inputs), layout="onnx")
    except UnsupportedOperator as error:
        raise NoGradient(first_line(error)) from error
    except Exception as error:  # a young library on a graph that it has not met
        raise NoGradient(f"onnx-ad fails on it ({type(error).__name__}: {error})") from error


def _add_probe(graph: ir.Graph, name: str) -> str:
    """Add a graph input to the tensor, for all of its readers; the input's name."""
    value = find_value(graph, name)
    probe = ir.val(unique_name(graph, f"{name}_probe"), dtype=value.dtype, shape=value.shape.copy())
    node = ir.node("Add", [value, probe])
    (probed,) = node.outputs
    probed.name = unique_name(graph, f"{name}_probed")
    probed.dtype, probed.shape = value.dtype, value.shape.copy()
    value.replace_all_uses_with(probed)
    node.replace_input_with(0, value)
    graph.insert_after(value.producer(), node)
    graph.inputs.append(probe)
    return probe.name


def _remove_probe(probe: ir.Value) -> None:
    """Take the addition out again, and read the tensor itself where the input's shape is read."""
    node = next(use.node for use in probe.uses() if is_op(use.node, "Add"))
    value, (probed,) = node.inputs[0], node.outputs
    graph = node.graph
    probed.replace_all_uses_with(value)
    graph.remove(node, safe=True)
    probe.replace_all_uses_with(value)
    graph.inputs.remove(probe)


def _take_weights(graph: ir.Graph) -> dict[str, ir.TensorProtocol]:
    """Turn large initializers into inputs of the same name, and hand them out."""
    taken = {}
    for name, value in tuple(graph.initializers.items()):
        if value.const_value.size > _LARGE:
            taken[name] = value.const_value
            value.dtype, value.shape = value.const_value.dtype, value.const_value.shape.copy()
            value.const_value = None
            del graph.initializers[name]
            graph.inputs.append(value)
    return taken


def _give_weights(graph: ir.Graph, weights: dict[str, ir.TensorProtocol]) -> None:
    for value in tuple(graph.inputs):
        if value.name in weights:
            graph.inputs.remove(value)
            value.const_value = weights[value.name]
            graph.register_initializer(value)
