"""Sinking the mask: moving the cut past operators that keep removed channels at zero.

An operator may be passed when it works on every channel apart and turns a channel of zeros
into zeros, to the bit. Masking after it is then the same as masking before it, but what is
cached per sample and what is run per row both get smaller.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from analyzer.surgery.activations import Activation
from analyzer.surgery.graph import dimensions, readers
from analyzer.surgery.layout import Layout
from analyzer.surgery.sink_rules import follow

__all__ = ["Sunk", "sink", "sinks_to"]


@dataclass(frozen=True)
class Sunk:
    """How far down a mask may be applied with the same result."""

    value: ir.Value  # the tensor to mask instead
    layout: Layout
    passed: tuple[str, ...]  # the operators between the site and it


def sink(
    value: ir.Value,
    layout: Layout,
    channels: int,
    *,
    alive: set[ir.Value],
    activations: dict[ir.Value, Activation],
) -> Sunk:
    """Find the tensor below ``value`` where masking is the same and cheapest.

    Args:
        value: The site's tensor.
        layout: Where it keeps its channels.
        channels: M.
        alive: The values that the scores depend on through data; other readers do not count.
        activations: The graph's activations, so that decomposed ones can be passed as one.

    Returns:
        The furthest tensor whose size per sample is least.
    """
    best = Sunk(value, layout, ())
    for here in _steps(value, layout, channels, alive, activations):
        if here.value.is_graph_output():
            break  # the scores themselves are the suffix's to make
        if _size(here.value) <= _size(best.value):
            best = here
    return best


def sinks_to(
    value: ir.Value,
    layout: Layout,
    channels: int,
    goals: set[ir.Value],
    *,
    alive: set[ir.Value],
    activations: dict[ir.Value, Activation],
) -> bool:
    """Whether one of ``goals`` is the same channels, each by itself, as ``value``."""
    steps = _steps(value, layout, channels, alive, activations)
    return value in goals or any(s.value in goals and s.layout.plain for s in steps)


def _steps(
    value: ir.Value,
    layout: Layout,
    channels: int,
    alive: set[ir.Value],
    activations: dict[ir.Value, Activation],
) -> Iterator[Sunk]:
    """Every tensor below ``value`` that a mask may sink to, one after the other."""
    by_input = {a.input: a for a in activations.values() if len(a.nodes) > 1}
    here = Sunk(value, layout, ())
    while True:
        nodes = [n for n in readers(here.value) if any(v in alive for v in n.outputs)]
        activation = by_input.get(here.value)
        if activation is not None and set(nodes) <= set(activation.nodes):
            # Every decomposed activation that is recognised has x as a factor: f(0) = 0.
            here = Sunk(activation.output, here.layout, (*here.passed, activation.name))
        elif len(nodes) == 1:
            (node,) = nodes
            moved = follow(node, here.value, here.layout, channels)
            if moved is None:
                return
            here = Sunk(node.outputs[0], moved, (*here.passed, node.op_type))
        else:
            return
        yield here


def _size(value: ir.Value) -> float:
    """Elements per sample; infinite when not known, so that unknown sizes compare equal."""
    shape = dimensions(value)
    if shape is None or any(not isinstance(d, int) for d in shape[1:]):
        return np.inf
    return prod(shape[1:])
