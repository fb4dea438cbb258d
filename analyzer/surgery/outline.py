"""The outline: what ``inspect`` shows of a network and its site, and what a sweep would cost.

Where a network leaves its shapes open, the cost is known only for images of some size: a copy of
the network gives the tensors whose sizes are missing, and whoever can run it says what they are.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from analyzer.errors import ModelError
from analyzer.records import NetworkInfo, Site
from analyzer.surgery.cut_plan import plan_cut
from analyzer.surgery.graph import (
    CONVOLUTIONS,
    attribute,
    descendants,
    dimensions,
    dtype_of,
    get_value,
    name_of,
    size_of,
)
from analyzer.surgery.layout import trace
from analyzer.surgery.network import Network, save_model
from analyzer.surgery.sites import candidates
from analyzer.surgery.validation import reports_invalid_file

__all__ = ["Outline", "ShapeProbe", "outline_network", "write_shape_probe"]

_PRODUCTS = ("Gemm", "MatMul", "QLinearMatMul")
_COLOURS = 3


@dataclass(frozen=True, slots=True)
class Outline:
    """A network as someone sees it who is about to audit it."""

    info: NetworkInfo
    candidates: tuple[Site, ...]  # in topological order
    site: Site
    cut: str  # tensor where the graph would be cut
    passed: tuple[str, ...]  # operators that the mask sinks past, from the site to the cut
    skip_inputs: tuple[str, ...]  # values that would bypass the cut into the suffix
    classes: int | None  # K, where the shape of the scores says so
    batch: int | None  # size the network is fixed to and could not be freed from
    prefix_operations: int | None  # multiply-adds of a sample; None where shapes are not known
    suffix_operations: int | None  # multiply-adds of an evaluation
    image: tuple[int, ...] | None = None  # that was run to know them; None where none had to be


@dataclass(frozen=True, slots=True)
class ShapeProbe:
    """A copy of a network that also gives the tensors of sizes that are not known."""

    path: Path
    images: Mapping[str, tuple[tuple[int, ...], str]]  # input -> shape of one image, numpy type
    outputs: tuple[str, ...]  # the scores, and these tensors


@reports_invalid_file
def outline_network(
    network: Network,
    site: Site,
    output: str | None = None,
    *,
    sizes: Mapping[str, tuple[int, ...]] | None = None,
    image: tuple[int, ...] | None = None,
) -> Outline:
    """Plan the cut at ``site`` and count what its prefix and suffix cost.

    Args:
        network: The network.
        site: What is masked.
        output: The output that tells the class, where there are several.
        sizes: Shapes of the tensors of a :class:`ShapeProbe`, as a run found them.
        image: The image of that run.

    Raises:
        ModelError, SiteError: as :func:`analyzer.surgery.cut_network`.
    """
    model, plan, batch = plan_cut(network, site, output=output)
    below = descendants(model.graph, [get_value(model.graph, plan.tensor)])
    suffix = [node for node in model.graph if node.outputs[0] in below]
    prefix = [node for node in model.graph if node.outputs[0] not in below]
    scores = dimensions(model.graph.outputs[0])
    return Outline(
        info=network.info,
        candidates=candidates(network),
        site=site,
        cut=plan.tensor,
        passed=plan.passed,
        skip_inputs=plan.skip_names,
        classes=scores[1] if scores and isinstance(scores[1], int) else None,
        batch=batch,
        prefix_operations=_operations(prefix, sizes or {}),
        suffix_operations=_operations(suffix, sizes or {}),
        image=image,
    )


@reports_invalid_file
def write_shape_probe(
    network: Network,
    site: Site,
    path: str | os.PathLike[str],
    output: str | None = None,
    *,
    plane: tuple[int, int],
) -> ShapeProbe:
    """Write a copy of the network that gives the tensors whose sizes the cost depends on.

    Args:
        network: The network.
        site: What is masked.
        path: Of the file; its folder must exist.
        output: The output that tells the class, where there are several.
        plane: Height and width of an image, where the network leaves them open.

    Raises:
        ModelError: it takes inputs besides images, or images of unknown rank.
        SiteError: as :func:`outline_network`.
    """
    model, _, batch = plan_cut(network, site, output=output)
    graph = model.graph
    wanted = {
        value.name: value
        for node in graph
        if _counts(node)
        for value in (node.outputs[0], _factor(node))
        if value is not None and size_of(value) is None and not value.is_graph_input()
    }
    images = {name_of(value): _image_shape(value, batch, plane) for value in graph.inputs}
    if set(images) != set(map(name_of, trace(graph).images)):
        raise ModelError(f"{network.path} takes inputs besides images.")
    graph.outputs.extend(value for value in wanted.values() if not value.is_graph_output())
    save_model(model, Path(path))
    return ShapeProbe(Path(path), images, tuple(map(name_of, graph.outputs)))


def _image_shape(
    value: ir.Value, batch: int | None, plane: tuple[int, int]
) -> tuple[tuple[int, ...], str]:
    """The shape of an input for one image, or for the batch it is fixed to, and its type."""
    shape = dimensions(value)
    if shape is None or len(shape) != 4:
        raise ModelError(f"The input {value.name} does not say that it takes images.")
    last = isinstance(shape[3], int) and not isinstance(shape[1], int)
    open_sizes = (*plane, _COLOURS) if last else (_COLOURS, *plane)
    sizes = [
        found if isinstance(found, int) else usual
        for found, usual in zip(shape[1:], open_sizes, strict=True)
    ]
    return (batch or 1, *sizes), dtype_of(value).numpy().name


def _operations(nodes: list[ir.Node], sizes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Multiply-adds of convolutions and matrix products for one sample."""
    total = 0
    for node in filter(_counts, nodes):
        found = _products(node, sizes)
        if found is None:
            return None
        total += found
    return total


def _counts(node: ir.Node) -> bool:
    """Whether a node is what the cost is counted by."""
    return node.op_type in CONVOLUTIONS or node.op_type in _PRODUCTS


def _factor(node: ir.Node) -> ir.Value | None:
    """What a node multiplies its input with."""
    return node.inputs[3 if node.op_type.startswith("QLinear") else 1]


def _products(node: ir.Node, known: Mapping[str, tuple[int, ...]]) -> int | None:
    """Outputs of a node for one sample, times the products that each sums."""
    output, factor = node.outputs[0], _factor(node)
    measured = known.get(name_of(output))
    outputs = size_of(output, first_axis=1) if measured is None else int(np.prod(measured[1:]))
    weights: Sequence[int | str | None] | None = dimensions(factor)
    if factor is not None and name_of(factor) in known:
        weights = known[name_of(factor)]
    sizes = [d for d in weights or () if isinstance(d, int)]
    if outputs is None or not weights or len(sizes) < len(weights):
        return None
    if node.op_type == "ConvTranspose":
        return outputs * math.prod(sizes) // (sizes[1] * attribute(node, "group", 1))
    if node.op_type in CONVOLUTIONS:
        return outputs * math.prod(sizes[1:])
    if node.op_type == "Gemm" and attribute(node, "transB", 0):
        return outputs * sizes[1]
    return outputs * sizes[-2 if len(sizes) > 1 else 0]
