"""Choosing the tensor that is masked: by default, by name, or from a list of candidates."""

import contextlib
import difflib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from analyzer.common_types import Site
from analyzer.errors import SiteError, parameter
from analyzer.surgery.activations import Activation, find_activations, is_gate
from analyzer.surgery.graph import (
    CONVOLUTIONS,
    ancestors,
    attribute,
    constant,
    consumers,
    dimensions,
    dominators,
    find_value,
    is_op,
    name_of,
    operand,
    shape_of,
)
from analyzer.surgery.inputs_and_outputs import format_shape, score_output
from analyzer.surgery.layout import KEEPING_PLACES, Flow, Layout, trace
from analyzer.surgery.mask_sinking import sinks_to
from analyzer.surgery.network import Network
from analyzer.surgery.shapes import shapes_for_one_image
from analyzer.surgery.validation import reports_invalid_file

__all__ = [
    "Survey",
    "candidates",
    "default_site",
    "find_site",
    "named_site",
    "survey_graph",
    "survey_network",
]


_WAY_OUT = f"`onnx-gap inspect` lists the tensors worth choosing; name one with {parameter('site')}"

_SHAPES = "Export the network with the shapes of its tensors"


@dataclass(frozen=True)
class Survey:
    """A network seen for its sites."""

    network: Network
    graph: ir.Graph
    flow: Flow
    activations: dict[ir.Value, Activation]
    bearers: Counter[str | None]  # how many nodes have a name
    activated: frozenset[ir.Value]  # what :func:`_activated` finds
    images: Mapping[ir.Value, int]  # along axis 0 for one image, where that is not the batch

    def spatial(self, value: ir.Value) -> bool:
        """Spatial axes, a channel axis of known size, and a convolution above."""
        shape = dimensions(value)
        axis = self.flow.axis.get(value)
        if value not in self.flow.convolution or not shape or len(shape) < 3 or not axis:
            return False
        if value in self.images:
            return False
        channels = shape[axis]
        return isinstance(channels, int) and channels > 0

    def site(
        self,
        value: ir.Value,
        kind: str,
        *,
        axis: int | None = None,
        warnings: tuple[str, ...] = (),
    ) -> Site:
        """The record of a site.

        Raises:
            SiteError: no axis of the tensor holds a known number of channels, or axis 0 holds
                other things than images.
        """
        if value in self.images:
            raise SiteError(
                f"The tensor {value.name!r} of {self.network.path} has {self.images[value]} "
                "entries along axis 0 for each image, so its channels are not those of an image. "
                f"{_WAY_OUT}."
            )
        shape = dimensions(value)
        rank = 0 if shape is None else len(shape)
        if axis is None:
            axis = self.flow.axis.get(value, 1 if rank == 2 else None)
        if axis is not None and -rank <= axis < 0:
            axis += rank
        channels = shape[axis] if shape and axis is not None and 0 < axis < rank else None
        if shape is None or axis is None or not isinstance(channels, int) or channels < 1:
            raise SiteError(self._no_channels(value, axis))
        activation = self.activations.get(value)
        node = value.producer()
        convolution = self.flow.convolution.get(value)
        return Site(
            tensor=name_of(value),
            axis=axis,
            channels=channels,
            kind=kind,
            operator=activation.name if activation else node.op_type if node else "input",
            convolution=None if convolution is None else self.label(convolution),
            shape=shape,
            warnings=warnings,
        )

    def label(self, node: ir.Node) -> str:
        """The node's name, or that of its output where it has none or shares it."""
        shared = self.bearers[node.name] > 1
        return name_of(node.outputs[0]) if shared or not node.name else node.name

    def holds_classes(self, value: ir.Value, axis: int, scores: ir.Value) -> bool:
        """Whether the channels along ``axis`` are the class scores, at most pooled afterwards."""
        goals = {scores}
        while is_op(node := scores.producer(), "Identity", "LogSoftmax", "Sigmoid", "Softmax"):
            scores = operand(node)
            goals.add(scores)
        channels = shape_of(value)[axis]
        return isinstance(channels, int) and sinks_to(
            value,
            Layout(axis),
            channels,
            goals,
            alive=ancestors(self.graph, goals),
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
            nodes = consumers(value)
            if len(nodes) != 1 or not self._passes(nodes[0]):
                into = " and ".join(dict.fromkeys(n.op_type for n in nodes)) or "nothing"
                raise SiteError(
                    f"The convolution {self.label(convolution)!r} of {self.network.path} has no "
                    f"activation of its own: its output goes into {into}. Use "
                    f"{parameter('at', 'conv')} for its raw output, or name a tensor with "
                    f"{parameter('site')}."
                )
            value = nodes[0].outputs[0]
        return by_input[value]

    def _passes(self, node: ir.Node) -> bool:
        """Whether a node may lie between a convolution and its activation."""
        folded = self.flow.folded
        if is_op(node, "Reshape"):  # of group normalization
            return operand(node) in folded or node.outputs[0] in folded
        return is_op(node, *KEEPING_PLACES)

    def missed(self, passed: list[ir.Value], chosen: ir.Value | None) -> str:
        """What keeps an activation behind the chosen value from being the default site, or ""."""
        behind = passed[passed.index(chosen) + 1 :] if chosen is not None else passed
        for value in reversed(behind):
            shape = dimensions(value)
            if value not in self.activated or value not in self.flow.convolution:
                continue
            if value in self.images:
                continue
            if shape is None:
                return (
                    f"The activation {value.name} lies on every path, too, and behind it, but its "
                    f"shape cannot be inferred. {_SHAPES} to have it masked."
                )
            if len(shape) > 2 and not self.spatial(value):
                return (
                    f"The activation {value.name} of the shape {format_shape(shape)} lies on every "
                    "path, too, and behind it, but which axis holds how many channels is not "
                    f"known. To have it masked, pass --site {value.name!r} and its --axis."
                )
        return ""

    def _no_channels(self, value: ir.Value, axis: int | None) -> str:
        shape = dimensions(value)
        where = f"The tensor {value.name!r} of {self.network.path}"
        if shape is None:
            return (
                f"{where} has an unknown number of axes, so it cannot be masked. {_SHAPES}, or "
                f"name another with {parameter('site')}; `onnx-gap inspect` lists them."
            )
        listed = format_shape(shape)
        if axis is None:
            return (
                f"{where} has the shape {listed}, and which axis holds its channels is unknown. "
                f"Give it with {parameter('axis')}."
            )
        return (
            f"{where} has the shape {listed}, so axis {axis} holds no known number of channels "
            f"(axis 0 is the batch). Give another with {parameter('axis')}."
        )


@reports_invalid_file
def candidates(network: Network) -> tuple[Site, ...]:
    """The activations of convolutions and the raw convolutions, in topological order.

    A network without convolutions lists its activations of two axes or more instead: hidden
    units, which :func:`named_site` accepts by tensor name.
    """
    survey = survey_network(network)
    found = []
    for node in survey.graph:
        value = node.outputs[0]
        if value in survey.activated:
            if not survey.spatial(value) and survey.flow.convolution:
                continue
            kind = "activation"
        elif is_op(node, *CONVOLUTIONS):
            kind = "convolution"
        else:
            continue
        with contextlib.suppress(SiteError):  # whose channels are unknown is not worth choosing
            found.append(survey.site(value, kind))
    return tuple(found)


@reports_invalid_file
def find_site(
    network: Network,
    name: str | None = None,
    *,
    at: str | None = None,
    axis: int | None = None,
    output: str | None = None,
) -> Site:
    """The site of that name, or the default site where there is none.

    Raises:
        ModelError, SiteError: as :func:`named_site` and :func:`default_site`.
    """
    if name is None:
        return default_site(network, output)
    return named_site(network, name, at=at, axis=axis, output=output)


@reports_invalid_file
def default_site(network: Network, output: str | None = None) -> Site:
    """The last activation with spatial axes that every path from image to scores passes.

    Raises:
        SiteError: No tensor of the network qualifies.
        ModelError: No output holds the class scores, or several might.
    """
    survey = survey_network(network)
    scores = score_output(network, output)
    if not survey.flow.convolution:
        hidden = candidates(network)
        example = f" Its last hidden units are {hidden[-1].tensor!r}." if hidden else ""
        raise SiteError(
            f"{network.path} has no convolution, so no default site. {_WAY_OUT}.{example}"
        )
    on_every_path = [
        v for v in dominators(survey.graph, survey.flow.images, scores) if v is not scores
    ]
    passed = [v for v in on_every_path if survey.spatial(v)]
    if not passed:
        raise SiteError(
            f"No tensor of {network.path} whose channels and spatial axes are known lies on every "
            f"path from the image to {scores.name}. {_WAY_OUT}."
        )
    activated = [v for v in passed if v in survey.activated]
    missed = survey.missed(on_every_path, activated[-1] if activated else passed[-1])
    if activated:
        warnings = _classes_as_units(survey, activated, scores)
        warnings += (f"The default site is {activated[-1].name}. {missed}",) if missed else ()
        return survey.site(activated[-1], "activation", warnings=warnings)
    site = survey.site(passed[-1], "tensor")
    known = " whose channels are known" if missed else ""
    warning = (
        f"No activation{known} lies on every path from the image to {scores.name}; the default "
        f"site {site.tensor} is the output of {site.operator}. {missed}"
    )
    return replace(site, warnings=(warning.rstrip(),))


@reports_invalid_file
def named_site(
    network: Network,
    name: str,
    *,
    at: str | None = None,
    axis: int | None = None,
    output: str | None = None,
) -> Site:
    """The site that a user names.

    Args:
        network: The network.
        name: A convolution (its activated output is meant, through batch norm, bias and
            residual add), a tensor, or any other node (its first output).
        at: Of a convolution, which its output's name then means, too, "activation" or "conv", its
            raw output.
        axis: The channel axis, where it is unknown or not the one meant.
        output: The output that holds the class scores; it must depend on the site.

    Raises:
        SiteError: Nothing bears that name, it has no channel axis of known size, or ``at`` is given
            and it is no convolution.
        ModelError: No output holds the class scores, or several might.
    """
    survey = survey_network(network)
    scores = score_output(network, output)
    nodes = [n for n in survey.graph if n.name == name]
    value = find_value(survey.graph, name)
    if len(nodes) > 1 and value is None:
        outputs = ", ".join(name_of(n.outputs[0]) for n in nodes)
        raise SiteError(
            f"{network.path} has {len(nodes)} nodes called {name!r}. Name the output of one "
            f"instead: {outputs}."
        )
    if value is None and nodes:
        value = nodes[0].outputs[0]
    convolution = nodes[0] if len(nodes) == 1 and is_op(nodes[0], *CONVOLUTIONS) else None
    if convolution is None:
        if value is None or constant(value) is not None:
            raise SiteError(_not_found(survey, name))
        if at is None:
            return _tensor_site(survey, value, axis, scores)
        convolution = value.producer()
        if convolution is None or not is_op(convolution, *CONVOLUTIONS):
            raise SiteError(
                f"{parameter('at', at)} is for a convolution, and {name!r} of {network.path} is "
                f"none. Name one with {parameter('site')}, or leave {parameter('at')} out."
            )
    if at == "conv":
        return survey.site(convolution.outputs[0], "convolution", axis=axis)
    activation = survey.activation_of(convolution)
    return survey.site(activation.output, "activation", axis=axis)


def _tensor_site(survey: Survey, value: ir.Value, axis: int | None, scores: ir.Value) -> Site:
    """The site of a tensor that is named itself."""
    site = survey.site(value, "tensor", axis=axis)
    if not survey.holds_classes(value, site.axis, scores):
        return site
    warning = (
        f"The channels of {value.name} are the class scores themselves: to remove a unit is to "
        "remove a class."
    )
    return replace(site, warnings=(warning,))


def survey_network(network: Network) -> Survey:
    """The flow of a network and its activations."""
    return _survey(network, network.model.graph, network.flow, network.activations)


def survey_graph(network: Network, graph: ir.Graph) -> Survey:
    """The same of ``graph``, which was made from the network."""
    return _survey(network, graph, trace(graph), find_activations(graph))


def _survey(
    network: Network, graph: ir.Graph, flow: Flow, activations: dict[ir.Value, Activation]
) -> Survey:
    names = Counter(node.name for node in graph)
    activated = _activated(graph, flow, activations)
    images = _images_along_axis_0(network, flow)
    return Survey(network, graph, flow, activations, names, activated, images)


def _images_along_axis_0(network: Network, flow: Flow) -> dict[ir.Value, int]:
    """How much lies along axis 0 of a tensor for one image, where that is not the batch.

    A ``Reshape`` to [-1, 1, H, W] puts channels there.
    """
    batches = {(dimensions(value) or (None,))[0] for value in flow.images}
    firsts = {value: (dimensions(value) or (None,))[0] for value in flow.convolution}
    unsure = [value for value, first in firsts.items() if first not in batches]
    if not unsure:
        return {}
    sizes = shapes_for_one_image(network.model)
    found = {value: (sizes.get(name_of(value)) or (None,))[0] for value in unsure}
    return {
        value: size
        for value, size in found.items()
        if isinstance(size, int) and size not in {1, *batches}
    }


def _activated(
    graph: ir.Graph, flow: Flow, activations: dict[ir.Value, Activation]
) -> frozenset[ir.Value]:
    """The tensors whose channels are activated feature maps.

    The outputs of activations, and of concatenations of nothing but such, as the branches of
    Inception end.
    """
    found: set[ir.Value] = set()
    undropped: dict[ir.Value, ir.Value] = {}  # above operators that do nothing at inference
    for node in graph:
        if not node.outputs:
            continue
        value = node.outputs[0]
        if is_op(node, "Dropout", "Identity"):
            undropped[value] = undropped.get(source := operand(node), source)
        activation = activations.get(value)
        if activation is not None:
            if not is_gate(activation):
                found.add(value)
        elif is_op(node, "Concat"):
            rank = len(dimensions(value) or ())
            if not rank or attribute(node, "axis", 0) % rank != flow.axis.get(value):
                continue
            if all(v is not None and undropped.get(v, v) in found for v in node.inputs):
                found.add(value)
    return frozenset(found)


def _classes_as_units(
    survey: Survey, activated: list[ir.Value], scores: ir.Value
) -> tuple[str, ...]:
    """A warning where the last activation is the class scores, only not yet pooled."""
    *before, last = activated
    if not survey.holds_classes(last, survey.flow.axis[last], scores):
        return ()
    way_out = f" To mask the units of its input, pass --site {before[-1].name!r}." if before else ""
    return (
        f"The channels of the default site {last.name} are the class scores themselves, before "
        f"they are pooled: to remove a unit is to remove a class.{way_out}",
    )


def _not_found(survey: Survey, name: str) -> str:
    names = {n.name for n in survey.graph if n.name}
    names.update(v.name for n in survey.graph for v in n.outputs if v.name)
    near = difflib.get_close_matches(name, sorted(names), n=4, cutoff=0.5)
    hint = f" Did you mean {', '.join(repr(n) for n in near)}?" if near else ""
    return (
        f"{survey.network.path} has no node or tensor called {name!r}.{hint} `onnx-gap inspect` "
        "lists those worth choosing."
    )
