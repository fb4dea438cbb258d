"""Choosing the tensor that is masked: by default, by name, or from a list of candidates."""

import difflib
from dataclasses import replace

import onnx_ir as ir

from analyzer.errors import SiteError
from analyzer.records import Site
from analyzer.surgery.blame import blames_file
from analyzer.surgery.flow import CONVOLUTIONS, bottlenecks
from analyzer.surgery.graph import constant, find_value, is_op
from analyzer.surgery.network import Network
from analyzer.surgery.outputs import score_output
from analyzer.surgery.survey import WAY_OUT, Survey, survey_of

__all__ = ["candidates", "default_site", "find_site", "named_site"]


@blames_file
def candidates(network: Network) -> tuple[Site, ...]:
    """The activations of convolutions and the raw convolutions, in topological order.

    A network without convolutions lists its activations of two axes or more instead: hidden
    units, which :func:`named_site` accepts by tensor name.
    """
    survey = survey_of(network)
    found = []
    for node in survey.graph:
        value = node.outputs[0]
        if survey.activated(value):
            if survey.spatial(value) or not survey.flow.convolution:
                found.append(survey.site(value, "activation"))
        elif is_op(node, *CONVOLUTIONS):
            found.append(survey.site(value, "convolution"))
    return tuple(site for site in found if site is not None)


@blames_file
def find_site(
    network: Network,
    name: str | None = None,
    *,
    at: str = "activation",
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


@blames_file
def default_site(network: Network, output: str | None = None) -> Site:
    """The last activation with spatial axes that every path from image to scores passes.

    Raises:
        SiteError: No tensor of the network qualifies.
        ModelError: The output that holds the class scores cannot be told.
    """
    survey = survey_of(network)
    scores = score_output(network, output)
    if not survey.flow.convolution:
        hidden = candidates(network)
        example = f" Its last hidden units are {hidden[-1].tensor!r}." if hidden else ""
        raise SiteError(
            f"{network.path} has no convolution, so no default site. {WAY_OUT}.{example}"
        )
    passed = [
        v
        for v in bottlenecks(survey.graph, survey.flow.images, scores)
        if v is not scores and survey.spatial(v)
    ]
    if not passed:
        raise SiteError(
            f"No tensor of {network.path} with channels and spatial axes lies on every path from "
            f"the image to {scores.name}. {WAY_OUT}."
        )
    activated = [v for v in passed if survey.activated(v)]
    if activated:
        warnings = _classes_as_units(survey, activated, scores)
        return survey.site(activated[-1], "activation", warnings=warnings)
    warning = (
        f"No activation lies on every path from the image to {scores.name}; the default site "
        f"{passed[-1].name} is the output of {passed[-1].producer().op_type}."
    )
    return survey.site(passed[-1], "tensor", warnings=(warning,))


@blames_file
def named_site(
    network: Network,
    name: str,
    *,
    at: str = "activation",
    axis: int | None = None,
    output: str | None = None,
) -> Site:
    """The site that a user names.

    Args:
        network: The network.
        name: A convolution (its activated output is meant, through batch norm, bias and
            residual add), a tensor, or any other node (its first output).
        at: "activation", or "conv" for the raw output of a convolution.
        axis: The channel axis, where it cannot be told or is not the one meant.
        output: The output that holds the class scores; it must depend on the site.

    Raises:
        SiteError: Nothing bears that name, or no channel axis of known size can be told.
        ModelError: The output that holds the class scores cannot be told.
    """
    survey = survey_of(network)
    scores = score_output(network, output)
    nodes = [n for n in survey.graph if n.name == name]
    value = find_value(survey.graph, name)
    if len(nodes) > 1 and value is None:
        outputs = ", ".join(n.outputs[0].name for n in nodes)
        raise SiteError(
            f"{network.path} has {len(nodes)} nodes called {name!r}. Name the output of one "
            f"instead: {outputs}."
        )
    if len(nodes) == 1 and is_op(nodes[0], *CONVOLUTIONS):
        (node,) = nodes
        if at == "conv":
            return survey.site(node.outputs[0], "convolution", axis=axis, wanted=name)
        activation = survey.activation_of(node)
        return survey.site(activation.output, "activation", axis=axis, wanted=name)
    if value is None and nodes:
        value = nodes[0].outputs[0]
    if value is None or constant(value) is not None:
        raise SiteError(_not_found(survey, name))
    site = survey.site(value, "tensor", axis=axis, wanted=name)
    if not survey.holds_classes(value, site.axis, scores):
        return site
    warning = (
        f"The channels of {value.name} are the class scores themselves: to remove a unit is to "
        "remove a class."
    )
    return replace(site, warnings=(warning,))


def _classes_as_units(
    survey: Survey, activated: list[ir.Value], scores: ir.Value
) -> tuple[str, ...]:
    """A warning where the last activation is the class scores, only not yet pooled."""
    *before, last = activated
    if not survey.holds_classes(last, survey.flow.axis[last], scores):
        return ()
    way_out = f" Its input's units are masked with --site {before[-1].name!r}." if before else ""
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
