"""A network seen for its sites: what its tensors are worth as something to mask."""

from dataclasses import dataclass

import onnx_ir as ir

from analyzer.errors import SiteError
from analyzer.records import Site
from analyzer.surgery.activations import Activation, find_activations, is_gate
from analyzer.surgery.flow import Flow, trace
from analyzer.surgery.graph import attribute, dimensions, is_op, leading_to, readers
from analyzer.surgery.layout import Layout
from analyzer.surgery.network import Network
from analyzer.surgery.sink import sinks_to

__all__ = ["WAY_OUT", "Survey", "survey_of"]

WAY_OUT = "`onnx-gap inspect` lists the tensors worth choosing; name one with --site"

# Between a convolution and its activation: these keep every channel where it is.
_PASSED = (
    "Add", "BatchNormalization", "Cast", "DequantizeLinear", "Div", "Dropout",
    "GroupNormalization", "Identity", "InstanceNormalization", "Mul", "QuantizeLinear", "Sub",
    "Sum",
)  # fmt: skip


@dataclass(frozen=True)
class Survey:
    """A network seen for its sites."""

    network: Network
    graph: ir.Graph
    flow: Flow
    activations: dict[ir.Value, Activation]

    def spatial(self, value: ir.Value) -> bool:
        """Spatial axes, a channel axis of known size, and a convolution above."""
        shape = dimensions(value)
        axis = self.flow.axis.get(value)
        return (
            value in self.flow.convolution
            and shape is not None
            and len(shape) >= 3
            and axis is not None
            and axis > 0
            and isinstance(shape[axis], int)
        )

    def site(
        self,
        value: ir.Value,
        kind: str,
        *,
        axis: int | None = None,
        wanted: str | None = None,
        warnings: tuple[str, ...] = (),
    ) -> Site | None:
        """The record of a site; without ``wanted``, None where the channels cannot be told."""
        shape = dimensions(value)
        if axis is None:
            axis = self.flow.axis.get(value)
            if axis is None and shape is not None and len(shape) == 2:
                axis = 1
        rank = 0 if shape is None else len(shape)
        if axis is not None and -rank <= axis < 0:
            axis += rank
        known = axis is not None and 0 < axis < rank and isinstance(shape[axis], int)
        if not known:
            if wanted is None:
                return None
            raise SiteError(self._no_channels(value, axis))
        activation = self.activations.get(value)
        node = value.producer()
        convolution = self.flow.convolution.get(value)
        return Site(
            tensor=value.name,
            axis=axis,
            channels=shape[axis],
            kind=kind,
            operator=activation.name if activation else node.op_type if node else "input",
            convolution=None if convolution is None else self.label(convolution),
            shape=shape,
            warnings=warnings,
        )

    def label(self, node: ir.Node) -> str:
        """The node's name, or that of its output where it has none or shares it."""
        shared = sum(n.name == node.name for n in self.graph) > 1
        return node.outputs[0].name if shared or not node.name else node.name

    def activated(self, value: ir.Value) -> bool:
        """Whether the tensor's channels are activated feature maps.

        The output of an activation, or of a concatenation of nothing but such, as the branches
        of Inception end.
        """
        activation = self.activations.get(value)
        if activation is not None:
            return not is_gate(activation)
        node = value.producer()
        if not is_op(node, "Concat"):
            return False
        rank = len(dimensions(value) or ())
        if not rank or attribute(node, "axis", 0) % rank != self.flow.axis.get(value):
            return False
        return all(self.activated(_undropped(v)) for v in node.inputs)

    def holds_classes(self, value: ir.Value, axis: int, scores: ir.Value) -> bool:
        """Whether the channels along ``axis`` are the class scores, at most pooled afterwards."""
        goals = {scores}
        while is_op(scores.producer(), "Identity", "LogSoftmax", "Sigmoid", "Softmax"):
            scores = scores.producer().inputs[0]
            goals.add(scores)
        return sinks_to(
            value,
            Layout(axis),
            dimensions(value)[axis],
            goals,
            alive=leading_to(self.graph, goals),
            activations=self.activations,
        )

    def activation_of(self, convolution: ir.Node) -> Activation:
        """The activation that takes the output of ``convolution``.

        Raises:
            SiteError: It goes elsewhere first.
        """
        by_input: dict[ir.Value, Activation] = {}
        for activation in self.activations.values():
            by_input.setdefault(activation.input, activation)
        value = convolution.outputs[0]
        while value not in by_input:
            nodes = readers(value)
            if len(nodes) != 1 or not is_op(nodes[0], *_PASSED):
                into = " and ".join(dict.fromkeys(n.op_type for n in nodes)) or "nothing"
                raise SiteError(
                    f"The convolution {self.label(convolution)!r} of {self.network.path} has no "
                    f"activation of its own: its output goes into {into}. Use --at conv for its "
                    "raw output, or name a tensor with --site."
                )
            value = nodes[0].outputs[0]
        return by_input[value]

    def _no_channels(self, value: ir.Value, axis: int | None) -> str:
        shape = dimensions(value)
        where = f"The tensor {value.name!r} of {self.network.path}"
        if shape is None:
            return f"{where} has an unknown number of axes, so it cannot be masked. {WAY_OUT}."
        listed = "[" + ", ".join("?" if d is None else str(d) for d in shape) + "]"
        if axis is None:
            return (
                f"{where} has the shape {listed}, and which axis holds its channels cannot be "
                "told. Give it with --axis."
            )
        return (
            f"{where} has the shape {listed}, so axis {axis} holds no known number of channels "
            "(axis 0 is the batch). Give another with --axis."
        )


def survey_of(network: Network) -> Survey:
    """Trace the flow of a network and find its activations."""
    graph = network.model.graph
    return Survey(network, graph, trace(graph), find_activations(graph))


def _undropped(value: ir.Value) -> ir.Value:
    """The tensor above operators that do nothing at inference."""
    while is_op(value.producer(), "Dropout", "Identity"):
        value = value.producer().inputs[0]
    return value
