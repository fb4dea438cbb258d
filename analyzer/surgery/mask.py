"""The mask: ``Where(channel_mask ≠ 0, x, 0)`` on one tensor, and the network with it.

``Where`` and not ``Mul``, because a removed channel is exactly 0 and 0 × inf is NaN. In a
quantized tensor it is the zero point, the code that stands for zero.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx_ir as ir

from analyzer.common_types import Site
from analyzer.errors import ModelError, OutputError, SiteError, parameter
from analyzer.surgery.external_data import external_files
from analyzer.surgery.graph import (
    GraphBuilder,
    constant,
    dtype_of,
    get_value,
    is_op,
    name_of,
    names_of,
    operand,
    reads,
    redirect,
    set_type,
    shape_of,
)
from analyzer.surgery.layout import Layout
from analyzer.surgery.network import Network, read_model_proto
from analyzer.surgery.saving import save_model, save_part, weights_file
from analyzer.surgery.validation import reports_invalid_file

__all__ = [
    "MASK",
    "apply_mask",
    "keeps_zero_point",
    "mask_input",
    "removed_value",
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
        ModelError: ``path`` is one of the network's own files, its folder does not exist, or the
            network already has a tensor called ``channel_mask``.
        OutputError: it cannot be written there, or a file is there that is no network; or, where
            large weights go, one that holds no weights of what is at ``path``.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ModelError(f"The folder {path.parent} does not exist. Create it first.")
    _refuse_own_file(path, network)
    if not to_run:
        _refuse_other_file(path)
    taken = names_of(network.model.graph)
    if MASK in taken:
        raise ModelError(
            f"{network.path} already has a tensor called {MASK}: it seems to be masked. Give "
            "the original network."
        )
    masked = _masked(network.model, site, taken)
    if not to_run:
        _refuse_other_weights(masked, path, network)
    (save_part if to_run else save_model)(masked, path)


def _refuse_own_file(path: Path, network: Network) -> None:
    """Refuse to replace a file that the network is read from."""
    for file in network.files:
        if path.exists() and file.exists() and path.samefile(file):
            what = "the network itself" if file == network.path else f"a part of {network.path}"
            raise ModelError(f"{path} is {what}. Write the masked one somewhere else.")


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


def _refuse_other_weights(model: ir.Model, path: Path, network: Network) -> None:
    """Refuse to replace a file beside ``path`` in which no network there keeps its weights."""
    file = weights_file(model, path)
    if file is None or not os.path.lexists(file):
        return
    _refuse_own_file(file, network)
    with suppress(ModelError, OSError):  # no network is there, or none that can be read
        if file in external_files(path, read_model_proto(path)):
            return
    raise OutputError(
        f"The weights would replace {file}, which is not what a network {path} keeps its weights "
        "in. Move it elsewhere, or name another file."
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
        if not keeps_zero_point(node):
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


def keeps_zero_point(node: ir.Node) -> bool:
    """Whether a node's output has the zero point of what it reads, for it only rearranges it."""
    return is_op(node, *_KEEPING)
