"""What a sweep over a network would mask and cost, before any of it is done."""

import math
from dataclasses import dataclass

import onnx_ir as ir

from analyzer.records import NetworkInfo, Site
from analyzer.surgery.blame import blames_file
from analyzer.surgery.cut import planned
from analyzer.surgery.flow import CONVOLUTIONS
from analyzer.surgery.graph import attribute, depending, dimensions, find_value
from analyzer.surgery.network import Network
from analyzer.surgery.sites import candidates

__all__ = ["Outline", "outline"]


@dataclass(frozen=True, slots=True)
class Outline:
    """A network as someone sees it who is about to audit it."""

    info: NetworkInfo
    candidates: tuple[Site, ...]  # in topological order
    site: Site
    cut: str  # tensor where the graph would be cut
    passed: tuple[str, ...]  # operators that the mask sinks past, from the site to the cut
    side: tuple[str, ...]  # further values that the suffix would be handed
    classes: int | None  # K, where the shape of the scores says so
    batch: int | None  # size the network is fixed to and could not be freed from
    prefix_operations: int | None  # multiply-adds of a sample; None where shapes are not known
    suffix_operations: int | None  # multiply-adds of a row


@blames_file
def outline(network: Network, site: Site, output: str | None = None) -> Outline:
    """Plan the cut at ``site`` and count what both halves cost.

    Raises:
        ModelError, SiteError: as :func:`analyzer.surgery.cut`.
    """
    model, plan, batch = planned(network, site, output=output)
    below = depending(model.graph, [find_value(model.graph, plan.tensor)])
    suffix = [node for node in model.graph if node.outputs[0] in below]
    prefix = [node for node in model.graph if node.outputs[0] not in below]
    scores = dimensions(model.graph.outputs[0])
    return Outline(
        info=network.info,
        candidates=candidates(network),
        site=site,
        cut=plan.tensor,
        passed=plan.passed,
        side=plan.side_names,
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
    result = dimensions(node.outputs[0])
    operand = node.inputs[1 if not node.op_type.startswith("QLinear") else 3]
    weights = dimensions(operand) if operand is not None else None
    if (
        result is None
        or not weights
        or not all(isinstance(d, int) for d in (*result[1:], *weights))
    ):
        return None
    outputs = math.prod(result[1:])
    if node.op_type == "ConvTranspose":
        return outputs * math.prod(weights) // (weights[1] * attribute(node, "group", 1))
    if node.op_type in CONVOLUTIONS:
        return outputs * math.prod(weights[1:])
    if node.op_type == "Gemm" and attribute(node, "transB", 0):
        return outputs * weights[1]
    return outputs * weights[-2 if len(weights) > 1 else 0]
