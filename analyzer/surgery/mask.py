"""The mask: ``Where(channel_mask ≠ 0, x, 0)`` on one tensor, the network with it, and sinking it.

``Where`` and not ``Mul``, because a removed channel is exactly 0 and 0 × inf is NaN. In a
quantized tensor it is the zero point, the code that stands for zero.

To sink the mask is to move it past operators that keep removed channels at zero. An operator may
be passed when it works on every channel apart and turns a channel of zeros into zeros, to the bit.
Masking after it is then the same as masking before it, but what is cached per sample and what is
run per evaluation both get smaller. Whether an activation is such an operator stands in the table
of :mod:`analyzer.surgery.activations`, for all others here.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from analyzer.common_types import Site
from analyzer.errors import ModelError, OutputError, SiteError, parameter
from analyzer.surgery.activations import Activation, single_activation
from analyzer.surgery.graph import (
    GraphBuilder,
    attribute,
    axes_of,
    constant,
    consumers,
    dimensions,
    dtype_of,
    get_value,
    is_captured,
    is_op,
    name_of,
    names_of,
    operand,
    reads,
    redirect,
    set_type,
    shape_of,
    size_of,
)
from analyzer.surgery.layout import Layout, move
from analyzer.surgery.network import Network
from analyzer.surgery.saving import save_model, save_part
from analyzer.surgery.validation import reports_invalid_file

__all__ = [
    "MASK",
    "Sunk",
    "apply_mask",
    "mask_input",
    "removed_value",
    "sink",
    "sinks_to",
    "write_masked",
    "zero_point",
]


MASK = "channel_mask"
_ROWS = "mask_rows"  # symbolic size of the mask's first axis: 1 or the batch
_FIRST_BYTE = b"\x08"  # of an ONNX file: its IR version follows
_FIRST_IR_WITH_DEFAULTS = 4  # before it, initializers could not be overridden by inputs

_ZERO_POINT = {  # operators with quantized outputs: index of the output's zero point
    "QLinearAdd": 7, "QLinearAveragePool": 4, "QLinearConcat": 1, "QLinearConv": 7,
    "QLinearGlobalAveragePool": 4, "QLinearLeakyRelu": 4, "QLinearMatMul": 7, "QLinearMul": 7,
    "QLinearSigmoid": 4, "QuantizeLinear": 2, "QGemm": 8,
}  # fmt: skip
_KEEPING = (
    "Flatten", "Identity", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip


@reports_invalid_file
def write_masked(
    network: Network, site: Site, path: str | os.PathLike[str], *, to_run: bool = False
) -> None:
    """Write the network with an optional input ``channel_mask`` that removes channels.

    The mask is float32 of shape [1 or N, M], 1 keep, 0 remove; left out, it is all ones, so
    the file is a drop-in for the original.

    Args:
        network: The network.
        site: Where it is masked.
        path: Of the file; its folder must exist.
        to_run: Leave out what is said of the network but not needed to run it.

    Raises:
        ModelError: ``path`` is the network's own file, its folder does not exist, or the
            network already has a tensor called ``channel_mask``.
        OutputError: it cannot be written there, or a file is there that is no network.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ModelError(f"The folder {path.parent} does not exist. Create it first.")
    if path.exists() and path.samefile(network.path):
        raise ModelError(f"{path} is the network itself. Write the masked one somewhere else.")
    if not to_run:
        _refuse_other_file(path)
    taken = names_of(network.model.graph)
    if MASK in taken:
        raise ModelError(
            f"{network.path} already has a tensor called {MASK}: it seems to be masked. Give "
            "the original network."
        )
    (save_part if to_run else save_model)(_masked(network.model, site, taken), path)


def _refuse_other_file(path: Path) -> None:
    """Refuse to replace a file that is no ONNX file by its name or by how it begins."""
    if not path.is_file() or path.suffix == ".onnx":
        return
    try:
        with path.open("rb") as file:
            begins = file.read(1)
    except OSError as error:
        raise OutputError(f"{path} cannot be read, so it is not replaced: {error}.") from error
    if begins not in (b"", _FIRST_BYTE):
        raise OutputError(
            f"{path} is not an ONNX file, so it is not replaced. Name another file, or one that "
            "ends in .onnx."
        )


def _masked(model: ir.Model, site: Site, taken: set[str]) -> ir.Model:
    """The model with the mask: a view of its own nodes, with copies of those that are changed.

    Those are what makes the site's tensor and what reads it.
    """
    graph = model.graph
    value = get_value(graph, site.tensor)
    maker = value.producer()
    nodes = [node for node in graph if node is maker or value in reads(node)]
    made = {output for node in nodes for output in node.outputs}
    read = [v for node in nodes for v in reads(node) if v not in made]
    near = ir.GraphView(
        list(dict.fromkeys(read if maker else [value, *read])),
        [v for v in graph.outputs if v in made or v is value],
        nodes=nodes,
        opset_imports=graph.opset_imports,
    )
    edge = near.clone()
    copies = dict(zip(nodes, edge, strict=True))
    seen = get_value(edge, site.tensor)
    mask, layout = mask_input(MASK, site.channels), Layout(site.axis)
    apply_mask(edge, seen, mask, layout, site.channels, removed_value(value), taken=taken)
    mask.const_value = ir.tensor(np.ones((1, site.channels), np.float32), name=MASK)
    copied = set(copies.values())
    new = [node for node in edge if node not in copied]
    listed = [] if maker else new
    for node in graph:
        listed.append(copies.get(node, node))
        if node is maker:
            listed += new
    old = model.ir_version < _FIRST_IR_WITH_DEFAULTS
    inputs = [seen if v is value else v for v in graph.inputs if not (old and v.is_initializer())]
    outputs = dict(zip(near.outputs, edge.outputs, strict=True))
    view = ir.GraphView(
        [*inputs, mask],
        [outputs.get(v, v) for v in graph.outputs],
        nodes=listed,
        initializers=[*graph.initializers.values(), *edge.initializers.values(), mask],
        doc_string=graph.doc_string,
        opset_imports=graph.opset_imports,
        name=graph.name,
        metadata_props=graph.metadata_props,
    )
    return ir.Model(
        view,  # type: ignore[arg-type]  # onnx-ir takes views, and says so in words
        ir_version=max(model.ir_version, _FIRST_IR_WITH_DEFAULTS),
        producer_name=model.producer_name,
        producer_version=model.producer_version,
        domain=model.domain,
        model_version=model.model_version,
        doc_string=model.doc_string,
        metadata_props=model.metadata_props,
    )


def mask_input(name: str, channels: int) -> ir.Value:
    """A float32 value of shape [1 or N, M], to be made an input of a graph."""
    return ir.val(name, dtype=ir.DataType.FLOAT, shape=ir.Shape([_ROWS, channels]))


def apply_mask(
    graph: ir.Graph,
    value: ir.Value,
    mask: ir.Value,
    layout: Layout,
    channels: int,
    removed: np.ndarray,
    *,
    taken: Iterable[str],
) -> ir.Value:
    """Let every consumer of ``value`` see it with the masked channels removed.

    Args:
        graph: The graph to edit.
        value: The tensor to mask.
        mask: float32 (1 or N, M); not 0 keeps a channel.
        layout: Where ``value`` keeps its channels.
        channels: M.
        removed: What a removed channel holds, a scalar of the tensor's type.
        taken: Names that new values must not have: those of the graph, and perhaps others.

    Returns:
        The masked value. When ``value`` is an output of the graph, the masked value takes its
        place and name.
    """
    uses = value.uses()
    shape = shape_of(value)
    new = GraphBuilder(graph, name_of(value), taken)
    keep = new.op("Cast", mask, to=ir.DataType.BOOL.value)  # (1 or N, M)
    keep = _spread(new, keep, layout, channels, len(shape))
    zero = new.constant(removed)
    masked = new.op("Where", keep, value, zero, name=f"{value.name}_masked")
    set_type(masked, value.dtype, ir.Shape(shape))
    redirect(uses, masked)
    if value.is_graph_output():
        outputs = [masked if v is value else v for v in graph.outputs]
        graph.outputs.clear()
        value.name, masked.name = masked.name, value.name
        graph.outputs.extend(outputs)
    new.insert_after(value)
    return masked


def removed_value(value: ir.Value) -> np.ndarray:
    """The scalar that every element of a removed channel is set to, of the tensor's own type.

    Raises:
        SiteError: The tensor is quantized, and its zero point is not one constant.
    """
    found = zero_point(value)
    if found is None:
        raise SiteError(
            f"The tensor {value.name!r} is quantized, and its zero point is computed or differs "
            "between channels, so what a removed channel holds is unknown. Name a tensor of "
            f"floats with {parameter('site')}."
        )
    return np.asarray(found, dtype_of(value).numpy())


def zero_point(value: ir.Value) -> int | None:
    """The integer that stands for zero; 0 for floats, None where there is no single one."""
    node = value.producer()
    while True:
        if value.dtype is None or value.dtype.is_floating_point() or node is None:
            return 0
        if not _keeps_zero_point(node):
            break
        value = operand(node)
        node = value.producer()
    if is_op(node, "DynamicQuantizeLinear"):
        return None
    index = _ZERO_POINT.get(node.op_type)
    if index is None or len(node.inputs) <= index or node.inputs[index] is None:
        return 0
    found = constant(node.inputs[index])
    return None if found is None or len(np.unique(found)) != 1 else int(found.flat[0])


def _keeps_zero_point(node: ir.Node) -> bool:
    """Whether a node's output has the zero point of what it reads, for it only rearranges it."""
    return is_op(node, *_KEEPING)


def _spread(
    new: GraphBuilder, keep: ir.Value, layout: Layout, channels: int, rank: int
) -> ir.Value:
    """Bring a mask (1 or N, M) to a shape that broadcasts over the tensor."""
    if layout.plain and rank == 2:
        return keep
    if not layout.plain:
        keep = new.op("Reshape", keep, new.constant([-1, 1, channels, 1]))
        runs = new.constant([1, layout.outer, channels, layout.inner])
        keep = new.op("Expand", keep, runs)  # (1 or N, outer, M, inner)
    shape = [1] * rank
    shape[0] = -1
    shape[layout.axis] = layout.outer * channels * layout.inner
    return new.op("Reshape", keep, new.constant(shape))


@dataclass(frozen=True)
class Sunk:
    """How far down a mask may be applied with the same result."""

    value: ir.Value  # the tensor to mask instead
    layout: Layout
    passed: tuple[str, ...]  # the operators between the site and it


@dataclass(frozen=True)
class _Step:
    """A tensor that a mask may sink to, and the operator just above it."""

    value: ir.Value
    layout: Layout
    passed: str


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
        alive: The values that the scores depend on through data; other consumers do not count.
        activations: The graph's activations, so that decomposed ones can be passed as one.

    Returns:
        The furthest tensor whose size per sample is least.
    """
    best, least, passed = _Step(value, layout, ""), _size(value), 0
    names: list[str] = []
    for here in _steps(value, layout, channels, alive, activations):
        if here.value.is_graph_output():
            break  # the scores themselves are the suffix's to make
        names.append(here.passed)
        if (size := _size(here.value)) <= least:
            best, least, passed = here, size, len(names)
    return Sunk(best.value, best.layout, tuple(names[:passed]))


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
) -> Iterator[_Step]:
    """Every tensor below ``value`` that a mask may sink to, one after the other."""
    by_input = {a.input: a for a in activations.values() if len(a.nodes) > 1}
    zero = zero_point(value)
    while not is_captured(value):
        nodes = [n for n in consumers(value) if any(v in alive for v in n.outputs)]
        activation = by_input.get(value)
        if activation is not None and activation.keeps_zero and set(nodes) <= set(activation.nodes):
            value, zero, passed = activation.output, zero_point(activation.output), activation.name
        elif len(nodes) == 1:
            (node,) = nodes
            moved = _follow(node, value, layout, channels, zero)
            if moved is None:
                return
            value, layout, passed = node.outputs[0], moved, node.op_type
            if not _keeps_zero_point(node):  # a walk up through all that does, otherwise
                zero = zero_point(value)
        else:
            return
        yield _Step(value, layout, passed)


def _size(value: ir.Value) -> float:
    """Elements per sample; infinite when not known, so that unknown sizes compare equal."""
    size = size_of(value, first_axis=1)
    return np.inf if size is None else size


def _follow(
    node: ir.Node, value: ir.Value, layout: Layout, channels: int, zero: int | None
) -> Layout | None:
    """Where the channels of ``value``, whose zero point is ``zero``, are in the output of ``node``.

    None where a removed channel may come out as something else, or the channels mix.
    """
    if zero != 0 and not is_op(node, *_FOR_ANY_ZERO):
        return None
    at = _At(node, value, layout, channels)
    activation = single_activation(node)
    if activation is not None:
        return _elementwise(at) if activation.keeps_zero else None
    rule = _RULES.get(node.op_type) if is_op(node, node.op_type) else None
    return None if rule is None else rule(at)


@dataclass(frozen=True)
class _At:
    """What a rule may look at: the node, the tensor it reads, and where its channels are."""

    node: ir.Node
    value: ir.Value
    layout: Layout
    channels: int

    @property
    def spatial(self) -> bool:
        """Whether axis 1 holds the plain channels, as pooling and convolution expect."""
        return self.layout == Layout(1)


_Rule = Callable[[_At], Layout | None]


def _first_input(at: _At) -> bool:
    """The tensor is the node's data, and only that."""
    return [v is at.value for v in at.node.inputs].index(True) == 0 and (
        sum(v is at.value for v in at.node.inputs) == 1
    )


def _only_first_output(at: _At) -> bool:
    """No other output, such as pooling indices or a dropout mask, is read."""
    return all(not v.uses() and not v.is_graph_output() for v in at.node.outputs[1:])


def _elementwise(at: _At) -> Layout | None:
    return at.layout if _first_input(at) else None


def _cast(at: _At) -> Layout | None:
    kind = ir.DataType(attribute(at.node, "to", 0))
    return at.layout if kind.is_floating_point() or kind.is_integer() else None


def _scale(at: _At) -> Layout | None:
    """A product with, or quotient by, finite constants that do not widen the tensor."""
    others = [v for v in at.node.inputs if v is not at.value]
    if len(others) != 1 or (is_op(at.node, "Div") and not _first_input(at)):
        return None
    factor = constant(others[0])
    if factor is None or not np.all(np.isfinite(factor.astype(np.float64))):
        return None
    if is_op(at.node, "Div") and not np.all(factor):
        return None
    same = dimensions(at.node.outputs[0]) == dimensions(at.value) is not None
    return at.layout if same or (factor.size == 1 and factor.ndim <= 1) else None


def _dropout(at: _At) -> Layout | None:
    """Dropout at inference; in training mode it draws at random."""
    training = at.node.inputs[2] if len(at.node.inputs) > 2 else None
    if training is not None:
        array = constant(training)
        if array is None or array.any():
            return None
    return at.layout if _first_input(at) and _only_first_output(at) else None


def _pool(at: _At) -> Layout | None:
    """Pooling windows that all hold at least one element of the tensor itself.

    A window of nothing but padding would be −∞ (max) or 0/0 (average) instead of zero.
    """
    pads = attribute(at.node, "pads", [])
    kernel = attribute(at.node, "kernel_shape", [])
    dilated = any(d != 1 for d in attribute(at.node, "dilations", []))
    ceil = attribute(at.node, "ceil_mode", 0)
    narrow = all(p < k for p, k in zip(pads, [*kernel, *kernel], strict=False))
    if any(pads) and (dilated or ceil or not narrow):
        return None
    return at.layout if at.spatial and _only_first_output(at) else None


def _global_pool(at: _At) -> Layout | None:
    return at.layout if at.spatial else None


def _reduce(at: _At) -> Layout | None:
    """A reduction over axes other than the batch and the channels."""
    shape = dimensions(at.value)
    axes = axes_of(at.node)
    if not axes or shape is None:
        return None
    gone = {int(a) % len(shape) for a in axes}
    if gone & {0, at.layout.axis}:
        return None
    if attribute(at.node, "keepdims", 1):
        return at.layout
    axis = at.layout.axis - sum(a < at.layout.axis for a in gone)
    return Layout(axis, at.layout.outer, at.layout.inner)


def _rearrange(at: _At) -> Layout | None:
    return move(at.node, at.value, at.layout, at.channels)


def _depthwise(at: _At) -> Layout | None:
    """A convolution of every channel by itself, one to one, without bias."""
    weight = constant(operand(at.node, 1))
    bias = at.node.inputs[2] if len(at.node.inputs) > 2 else None
    if weight is None or not at.spatial or not _first_input(at):
        return None
    if attribute(at.node, "group", 1) != at.channels or weight.shape[0] != at.channels:
        return None
    if bias is not None and ((array := constant(bias)) is None or array.any()):
        return None
    return at.layout if np.all(np.isfinite(weight.astype(np.float64))) else None


def _pad(at: _At) -> Layout | None:
    """Padding of the spatial axes by zeros or by the tensor's own elements."""
    inputs = list(at.node.inputs) + [None] * 4
    pads = attribute(at.node, "pads", None)
    if pads is None:
        pads = constant(inputs[1])
    fill = 0 if inputs[2] is None else constant(inputs[2])
    fill = attribute(at.node, "value", fill)
    if pads is None or fill is None or np.any(fill) or inputs[3] is not None:
        return None
    rank = len(pads) // 2
    fixed = {0, at.layout.axis}
    return None if any(pads[a] or pads[a + rank] for a in fixed) else at.layout


def _quantize(at: _At) -> Layout | None:
    """Zero becomes the zero point, which is the zero of what follows; and the other way."""
    scale = constant(operand(at.node, 1))
    if scale is None or scale.size != 1 or not scale > 0 or not _first_input(at):
        return None
    return None if zero_point(at.node.outputs[0]) is None else at.layout


def _dequantize(at: _At) -> Layout | None:
    """The code for zero becomes zero, where it is the one that is subtracted."""
    scale = constant(operand(at.node, 1))
    point = constant(at.node.inputs[2]) if len(at.node.inputs) > 2 else np.zeros(1)
    if scale is None or scale.size != 1 or point is None or not _first_input(at):
        return None
    return at.layout if np.all(point == zero_point(at.value)) else None


# Operators whose rules hold whatever the code for zero is.
_FOR_ANY_ZERO = (
    "DequantizeLinear", "Flatten", "Identity", "MaxPool", "Reshape", "Squeeze", "Transpose",
    "Unsqueeze",
)  # fmt: skip

_RULES: dict[str, _Rule] = {
    **dict.fromkeys(
        ("Abs", "Erf", "Identity", "Sqrt"),
        _elementwise,
    ),
    **dict.fromkeys(("AveragePool", "LpPool", "MaxPool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool"), _global_pool),
    **dict.fromkeys(
        ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum",
         "ReduceSumSquare"),
        _reduce,
    ),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"), _rearrange),
    **dict.fromkeys(("Div", "Mul"), _scale),
    "Cast": _cast,
    "Conv": _depthwise,
    "DequantizeLinear": _dequantize,
    "Dropout": _dropout,
    "Pad": _pad,
    "QuantizeLinear": _quantize,
}  # fmt: skip
