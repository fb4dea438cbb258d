"""Loading and rewriting ONNX files: checked, hashed, functions inlined, shapes inferred.

The weights stay where they are: external data is mapped, not read, and shape inference sees
the graph without its large tensors, so networks over 2 GB work like small ones.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path

import onnx
import onnx.inliner
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx_ir.passes import common as passes

from analyzer.common_types import NetworkInfo, TensorInfo
from analyzer.errors import ModelError
from analyzer.files import check_utf8, file_identity, nature_of
from analyzer.input_budgets import DEFAULT_BUDGETS, Budgets
from analyzer.surgery.activations import Activation, find_activations
from analyzer.surgery.external_data import external_files, read_short_tensors
from analyzer.surgery.graph import (
    dimensions,
    is_op,
    is_unused,
    largest_tensor,
    name_of,
    operand,
    with_subgraphs,
)
from analyzer.surgery.guards import add_guards
from analyzer.surgery.layout import Flow, trace
from analyzer.surgery.network_size import check_made_tensors, check_structure
from analyzer.surgery.saving import are_short_weights_outside, save_model
from analyzer.surgery.shapes import infer_shapes, read_with_shapes, settle_reshapes
from analyzer.surgery.validation import (
    check_file,
    check_sizes,
    first_line,
    nodes_of,
    refuse_endless_equations,
    refuse_fatal_divisions,
    refuse_fatal_operators,
    refuse_idle_library,
    refuse_training,
    refuse_unknown_operators,
    reports_invalid_file,
)

__all__ = [
    "Network",
    "hash_files",
    "load_network",
    "one_image_at_a_time",
    "quantizes_dynamically",
    "read_model_proto",
    "rewrite_network",
    "runnable_file",
    "sha256_of_network",
]


# Its warnings name what strangers wrote, raw; whoever wants them adds a handler.
logging.getLogger("onnx_ir").addHandler(logging.NullHandler())

_MANY_INLINED = 500  # nodes, or functions
_MANY_UNUSED = 1000  # weights that nothing reads; loading takes in proportion to their square
_MICROSOFT_DYNAMIC = ("DynamicQuantizeLSTM", "DynamicQuantizeMatMul")
_OLDEST_OPSET = 9  # the first with Where, which the mask is made of


@dataclass(frozen=True)
class Network:
    """An ONNX network that has passed the checks.

    ``model`` is what the surgery reads: functions inlined, constants gathered as initializers,
    opset at least 9, shapes inferred and, where possible, settled. It is never changed;
    every surgery works on a clone.
    """

    path: Path
    info: NetworkInfo
    model: ir.Model
    custom_ops: Path | None = None  # library of operators that onnxruntime needs for it
    budgets: Budgets = DEFAULT_BUDGETS
    as_read: tuple[tuple[Path, tuple[int, ...]], ...] = ()  # its files, before they were read
    guarded: bool = False  # the model has guards that the file lacks
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Elements for one image, of tensors whose shapes do not tell them."""
    bound: bool = False  # the model has constants for inputs that the file has

    @property
    def largest(self) -> int:
        """Elements of the largest tensor that is made of one image, as far as shapes tell."""
        return largest_tensor(self.model.graph, self.sizes)

    @property
    def files(self) -> list[Path]:
        """The network's file, and those that hold its weights outside of it."""
        return [path for path, _ in self.as_read]

    def refuse_if_changed(self) -> None:
        """Hold the files against those that were read: onnxruntime reads them again.

        Raises:
            ModelError: one is another by now, or gone.
        """
        if all(file_identity(path) == identity for path, identity in self.as_read):
            return
        with suppress(OSError):
            if hash_files(self.files) == self.info.sha256:
                return
        raise self.changed()

    def changed(self) -> ModelError:
        """What is wrong where the files did not stay what they were."""
        return ModelError(
            f"{self.path} was changed while it was read or run: what was measured is of two "
            "networks. Leave the file as it is, and run the command again."
        )

    @cached_property
    def flow(self) -> Flow:
        """Where its tensors keep their channels."""
        return trace(self.model.graph)

    @cached_property
    def activations(self) -> dict[ir.Value, Activation]:
        """Its activations, by output value, in topological order."""
        return find_activations(self.model.graph)


@reports_invalid_file
def load_network(
    path: str | os.PathLike[str],
    *,
    custom_ops: str | os.PathLike[str] | None = None,
    budgets: Budgets = DEFAULT_BUDGETS,
) -> Network:
    """Read and check an ONNX file.

    Args:
        path: The file.
        custom_ops: A library of custom operators, as onnxruntime loads it; with it, operators of
            other domains than ONNX's are taken as they are.
        budgets: What it may ask for.

    Raises:
        ModelError: The file is missing, not ONNX, truncated or invalid, its external data is
            missing, it uses an operator that no runtime knows without a plug-in, it is in
            training mode, or larger than its budget; ``custom_ops`` has nothing to do; or an input
            is of a type that onnxruntime takes from no array, as bfloat16.
    """
    path = Path(path)
    began = file_identity(path)
    proto = read_model_proto(path)
    expanded = check_structure(path, proto, budgets)
    refuse_endless_equations(path, proto)
    data_files = external_files(path, proto, budgets)
    as_read = ((path, began), *((file, file_identity(file)) for file in data_files))
    library = None if custom_ops is None else Path(custom_ops)
    if library is None:
        refuse_unknown_operators(path, proto)
    elif not library.is_file():
        what = f"is {nature_of(library)}, not a file" if library.exists() else "does not exist"
        raise ModelError(f"The library of custom operators {library} {what}.")
    else:
        refuse_idle_library(path, proto, library)
    check_file(path)
    check_sizes(path, proto)
    opset = _opset(proto)
    _name_left_out(proto)
    if opset < _OLDEST_OPSET:
        proto = _raise_opset(path, proto, opset)
    model = _read(path, proto, expanded, external=bool(data_files))
    refuse_fatal_divisions(path, model)
    refuse_fatal_operators(path, model)
    sizes = check_made_tensors(path, model, budgets)
    guarded = add_guards(model, budgets)
    graph = model.graph
    inputs = [v for v in graph.inputs if not v.is_initializer()]
    if not inputs or not graph.outputs:
        missing = "output" if inputs else "input"
        raise ModelError(
            f"{path} has no {missing}, so there is no network to analyze. Export the whole "
            "classifier, from image to class scores."
        )
    _refuse_unfed_types(path, inputs)
    files = [path, *data_files]
    info = NetworkInfo(
        path=path,
        sha256=hash_files(files),
        bytes=sum(f.stat().st_size for f in files),
        producer=" ".join(filter(None, (model.producer_name, model.producer_version))),
        opset=opset,
        inputs=tuple(map(_tensor_info, inputs)),
        outputs=tuple(map(_tensor_info, graph.outputs)),
    )
    network = Network(path, info, model, library, budgets, as_read, guarded, sizes)
    if any(file_identity(file) != identity for file, identity in as_read):
        raise network.changed()
    return network


def runnable_file(network: Network, folder: Path) -> Path:
    """The network's file, or where onnxruntime would not run it as it is a copy in ``folder``.

    ONNX lets nodes share a name, onnxruntime does not. A size or the condition of an ``If`` that
    lies beside the network it does not find, or takes it from a file of that name in the current
    folder. Very many weights that nothing reads take it minutes to load. The copy differs in
    nothing else. Where the network is guarded, it is the guarded network, with all its inputs.
    """
    copy = folder / "original.onnx"
    if network.guarded:
        if network.bound:
            network = load_network(
                network.path, custom_ops=network.custom_ops, budgets=network.budgets
            )
        save_model(network.model, copy)
        return copy
    names = [node.name for node in network.model.graph if node.name]
    unused = sum(map(is_unused, network.model.graph.initializers.values()))
    needs_copy = len(set(names)) < len(names) or unused > _MANY_UNUSED
    if not needs_copy and len(network.as_read) == 1:
        return network.path
    model = ir.from_proto(read_model_proto(network.path))
    ir.external_data.set_base_dir(model.graph, network.path.parent)
    if not needs_copy and not are_short_weights_outside(model.graph):
        return network.path
    if unused > _MANY_UNUSED:
        for value in filter(is_unused, tuple(model.graph.initializers.values())):
            del model.graph.initializers[name_of(value)]
    save_model(model, copy)
    return copy


def one_image_at_a_time(network: Network) -> Network:
    """The network in batches of one, if it rounds activations by their range in a whole batch.

    Otherwise it is returned as it is. ``DynamicQuantizeLinear`` makes the scores of an image depend
    on the others of its batch, so that counts would depend on the size of the batches.

    Raises:
        ModelError: It does, and is fixed to larger batches.
    """
    if not quantizes_dynamically(network.model.graph):
        return network
    model = network.model.clone()
    for value in model.graph.inputs:
        shape = dimensions(value)
        if value.is_initializer() or not shape or len(shape) < 2:
            continue
        if isinstance(shape[0], int) and shape[0] > 1:
            raise ModelError(
                f"{network.path} is fixed to batches of {shape[0]} images and quantizes by the "
                "range of a whole batch (DynamicQuantizeLinear), so its answers depend on what "
                "else is in a batch. Export it with batches of one or of any size, or quantize it "
                "statically."
            )
        value.shape = ir.Shape([1, *shape[1:]])
    for node in model.graph:
        for output in node.outputs:
            output.shape = None
    model = infer_shapes(model)
    inputs = (value for value in model.graph.inputs if not value.is_initializer())
    info = replace(
        network.info,
        inputs=tuple(map(_tensor_info, inputs)),
        outputs=tuple(map(_tensor_info, model.graph.outputs)),
    )
    return replace(network, info=info, model=model)


def quantizes_dynamically(graph: ir.Graph) -> bool:
    """Whether activations are rounded by their range in a whole batch."""
    return any(
        is_op(node, "DynamicQuantizeLinear") or node.op_type in _MICROSOFT_DYNAMIC
        for one in with_subgraphs(graph)
        for node in one
    )


@reports_invalid_file
def rewrite_network(
    network: Network,
    folder: Path,
    tool: Callable[[Path], onnx.ModelProto],
    *,
    output: str | None = None,
) -> Network:
    """Write the network to ``folder``, let the tool change it, and load what comes of it.

    Args:
        network: The network; its extra inputs, where it has any, bound.
        folder: An existing folder, which keeps the file of the new network.
        tool: Given the path of a file, returns what it holds, changed. Its nodes need not be in
            the order in which they are run.
        output: The only one to keep; by default all. A tool that keeps the types of outputs may
            rename what leads to them.

    Raises:
        ModelError: What the tool leaves is not a valid network.
    """
    before, after = folder / "whole.onnx", folder / "rewritten.onnx"
    whole = network.model
    if output is not None and len(whole.graph.outputs) > 1:
        whole = whole.clone()
        kept = [value for value in whole.graph.outputs if value.name == output]
        whole.graph.outputs.clear()
        whole.graph.outputs.extend(kept)
    save_model(whole, before)
    model = ir.from_proto(tool(before))
    model.graph.sort()
    save_model(model, after)
    return load_network(after, custom_ops=network.custom_ops, budgets=network.budgets)


def _read(path: Path, proto: onnx.ModelProto, expanded: int, *, external: bool) -> ir.Model:
    """The model of a file: functions inlined, constants gathered, shapes inferred and settled."""
    inlined = _inline_functions(path, proto, expanded) if proto.functions else proto
    inferred = isinstance(inlined, onnx.ModelProto)
    model = read_with_shapes(inlined) if isinstance(inlined, onnx.ModelProto) else inlined
    if external:
        ir.external_data.set_base_dir(model.graph, path.parent)
    changed = _gather_constants(model)
    if external:
        changed = read_short_tensors(model) or changed
    refuse_training(path, model)
    return settle_reshapes(model) if inferred and not changed else infer_shapes(model)


def _name_left_out(proto: onnx.ModelProto) -> None:
    """Name the outputs that calls of local functions leave out.

    What is inlined would else have an output without a name, which is no tensor to anybody.
    """
    own = {(one.domain, one.name, one.overload) for one in proto.functions}
    bodies = (proto.graph.node, *(function.node for function in proto.functions))
    nodes = [node for body in bodies for node, _ in nodes_of(body)]
    calls = [one for one in nodes if (one.domain, one.op_type, one.overload) in own]
    left_out = [(one, place) for one in calls for place, name in enumerate(one.output) if not name]
    if left_out:
        taken = {name for node in nodes for name in (*node.input, *node.output)}
        free = (name for n in count() if (name := f"left_out_{n}") not in taken)
        for node, place in left_out:
            node.output[place] = next(free)


def _inline_functions(
    path: Path, proto: onnx.ModelProto, expanded: int
) -> ir.Model | onnx.ModelProto:
    """Put the body of each local function where it is called.

    onnx-ir's names are what sites were always called by, but it takes time in proportion to the
    square of the calls and of the functions; onnx's own inliner gives other names.
    """
    try:
        if max(expanded, len(proto.functions)) > _MANY_INLINED:
            return onnx.inliner.inline_local_functions(proto)
        return passes.InlinePass()(ir.from_proto(proto)).model
    except (ValueError, RuntimeError, ir.passes.PassError) as error:
        raise ModelError(
            f"{path} has functions that cannot be put where they are called: "
            f"{first_line(error)}. Export the network without local functions."
        ) from error


def _raise_opset(path: Path, proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    try:
        if proto.functions:  # which the converter drops
            proto = onnx.inliner.inline_local_functions(proto)
        return onnx.version_converter.convert_version(proto, _OLDEST_OPSET)
    except RuntimeError as error:
        raise ModelError(
            f"{path} is written for ONNX opset {opset}, which is older than {_OLDEST_OPSET}, and "
            f"cannot be converted: {first_line(error)}. Export it with a newer opset."
        ) from None


def _gather_constants(model: ir.Model) -> bool:
    """Make initializers of ``Constant`` nodes, and use initializers instead of copies of them.

    The older PyTorch exporter shares equal weights through ``Identity``.

    Returns:
        Whether shapes may follow from what was gathered that did not before.
    """
    changed = False
    _lift_tensors(model.graph)
    if any(is_op(node, "Constant") for graph in with_subgraphs(model.graph) for node in graph):
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    for node in tuple(model.graph):
        if is_op(node, "Identity") and (source := operand(node)).is_initializer():
            if node.outputs[0].is_graph_output() or source.is_graph_input():
                continue
            node.outputs[0].replace_all_uses_with(source)
            model.graph.remove(node, safe=True)
            changed = True
    return changed


def _lift_tensors(graph: ir.Graph) -> None:
    """Make initializers of the ``Constant`` nodes that hold tensors.

    As onnx-ir's pass does, which takes long over many: it asks of each tensor whether it is one.
    """
    for node in tuple(graph):
        attr = node.attributes.get("value")
        if not is_op(node, "Constant") or attr is None or len(node.attributes) != 1:
            continue
        (value,) = node.outputs
        if attr.is_ref() or attr.type != ir.AttributeType.TENSOR or value.is_graph_output():
            continue
        tensor = attr.value
        initializer = ir.Value(
            name=value.name,
            shape=tensor.shape,
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
            metadata_props=value.metadata_props.copy(),
        )
        initializer.meta.update(value.meta)
        graph.register_initializer(initializer)
        value.replace_all_uses_with(initializer)
        graph.remove(node, safe=True)


def _opset(proto: onnx.ModelProto) -> int:
    """The version of ONNX's own operators; 0 where none is named."""
    return {one.domain: one.version for one in proto.opset_import}.get("", 0)


def _refuse_unfed_types(path: Path, inputs: Sequence[ir.Value]) -> None:
    """Raise a ModelError where numpy lacks the type of an input."""
    for value in inputs:
        dtype = None if value.dtype is None else value.dtype.numpy()
        if dtype is not None and dtype.isbuiltin != 1:
            raise ModelError(
                f"The input {name_of(value)} of {path} is {dtype.name}, which onnxruntime takes "
                "from no array. Export the network with a float32 input, turned to "
                f"{dtype.name} by a Cast."
            )


def _tensor_info(value: ir.Value) -> TensorInfo:
    dtype = "unknown" if value.dtype is None else value.dtype.numpy().name
    return TensorInfo(name_of(value), dtype, dimensions(value) or ())


_LARGEST = (1 << 31) - 1  # bytes of a file: what protobuf can hold


def read_model_proto(path: Path) -> onnx.ModelProto:
    """Read an ONNX file without its external data.

    Raises:
        ModelError: it is missing, empty, truncated or no ONNX.
    """
    if not path.is_file():
        what = f"is {nature_of(path)}" if path.exists() else "does not exist"
        raise ModelError(f"{path} {what}. Give the path of an ONNX file.")
    check_utf8(ModelError, path)
    size = path.stat().st_size
    if size == 0:
        raise ModelError(f"{path} is empty. Export or copy the network again.")
    if size > _LARGEST:
        raise ModelError(
            f"{path} is larger than 2 GiB, which no ONNX file can be. Export the network with its "
            "weights in a file beside it."
        )
    try:
        proto = onnx.load(path, format="protobuf", load_external_data=False)
    except DecodeError:
        raise ModelError(
            f"{path} is not an ONNX file, or is truncated. Export or copy it again."
        ) from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from None
    if not proto.HasField("graph") or not proto.ir_version:
        raise ModelError(f"{path} holds no ONNX graph. Give a network saved as ONNX.")
    for text in ("producer_name", "producer_version", "domain", "doc_string"):
        if not isinstance(getattr(proto, text), str):  # protobuf gives bytes that are not UTF-8
            raise ModelError(f"{path} is damaged: its {text} is not text. Copy it again.")
    return proto


def sha256_of_network(path: Path) -> str:
    """The SHA-256 that :func:`load_network` finds of a network, without the rest.

    Raises:
        ModelError: the file or one of its weights is missing, or no ONNX.
    """
    files = external_files(path, read_model_proto(path))
    try:
        return hash_files([path, *files])
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error


def hash_files(files: list[Path]) -> str:
    """The SHA-256 of the files' bytes, one file after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
