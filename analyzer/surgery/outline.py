"""What a sweep over a network would mask and cost, before any of it is done."""

import math
from dataclasses import dataclass

import onnx_ir as ir

from analyzer.records import NetworkInfo, Site
from analyzer.surgery.cut_plan import plan_cut
from analyzer.surgery.graph import (
    CONVOLUTIONS,
    attribute,
    descendants,
    dimensions,
    get_value,
    size_of,
)
from analyzer.surgery.network import Network
from analyzer.surgery.sites import candidates
from analyzer.surgery.validation import reports_invalid_file

__all__ = ["Outline", "outline_network"]


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


@reports_invalid_file
def outline_network(network: Network, site: Site, output: str | None = None) -> Outline:
    """Plan the cut at ``site`` and count what its prefix and suffix cost.

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
        prefix_operations=_operations(prefix),
        suffix_operations=_operations(suffix),
    )


def _operations(nodes: list[ir.Node]) -> int | None:
    """Multiply-adds of convolutions and matrix products for one sample."""
    total = 0
    for node in nodes:
        if node.op_type in CONVOLUTIONS or node.op_type in ("Gemm", "MatMul", "QLinearMatMul"):
            found = _products(node)
            if found is None:
                return None
            total += found
    return total


def _products(node: ir.Node) -> int | None:
    """Outputs of a node for one sample, times the products that each sums."""
    outputs = size_of(node.outputs[0], first_axis=1)
    weights = dimensions(node.inputs[1 if not node.op_type.startswith("QLinear") else 3])
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
