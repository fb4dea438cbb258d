"""Checks of a network before use: valid ONNX, weights that are there, known operators, inference.

onnx.checker lets through files that no runtime takes: types that do not fit, attributes of the
wrong kind, sizes that cannot be. Rather than guard every step against them, a step that fails
asks the strict check whether the file is at fault, see :func:`reports_invalid_file`. Weights in
files beside it are :mod:`analyzer.surgery.external_data`'s.
"""

import contextlib
import functools
import gc
import math
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import onnx
import onnx_ir as ir

from analyzer.errors import AnalyzerError, ModelError, parameter
from analyzer.surgery.graph import (
    ancestors,
    attribute,
    constant,
    dimensions,
    is_op,
    size_of,
    subgraphs,
    with_subgraphs,
)

__all__ = [
    "bytes_of",
    "check_file",
    "check_sizes",
    "first_line",
    "nodes_of",
    "refuse_damaged_names",
    "refuse_endless_equations",
    "refuse_fatal_divisions",
    "refuse_fatal_operators",
    "refuse_training",
    "refuse_unknown_operators",
    "reports_invalid_file",
    "tensors_of",
]


_NO_OPSET = 2**31 - 1  # onnx takes no greater number
_ONNX_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
_KNOWN_DOMAINS = _ONNX_DOMAINS | {"com.microsoft"}

_TERM = rb"[A-Za-z ]*(?:\.\.\.[A-Za-z ]*)?"
_EQUATION = re.compile(rb"%b(?:,%b)*(?:->%b)?" % (_TERM, _TERM, _TERM))

_SCALARS = frozenset(  # attributes that hold neither tensors nor graphs; onnx.checker compares
    onnx.AttributeProto.AttributeType.Value(kind)
    for kind in ("FLOAT", "FLOATS", "INT", "INTS", "STRING", "STRINGS")
)

_ITEM_BYTES = {
    kind.value: kind.itemsize
    for kind in ir.DataType
    if kind not in (ir.DataType.STRING, ir.DataType.UNDEFINED)
}

_Function = TypeVar("_Function", bound=Callable[..., Any])


def reports_invalid_file(function: _Function) -> _Function:
    """Decorate a function of a path or a network: what it stumbles over in a file that is not
    valid ONNX becomes a :class:`ModelError`; anything else stays a defect.

    Python's garbage collector rests meanwhile: going through the hundred thousands of objects of a
    large graph takes it a quarter of the time, and finds nothing.
    """

    @functools.wraps(function)
    def checked(subject: Any, *args: Any, **options: Any) -> Any:
        try:
            with _without_collector():
                return function(subject, *args, **options)
        except AnalyzerError:
            raise
        except Exception as error:
            path = Path(getattr(subject, "path", subject))
            fault = _fault(path)
            if fault is None and isinstance(error, ir.serde.SerdeError):
                if isinstance(root := _root(error), MemoryError):
                    raise root from None
                raise ModelError(
                    f"{path} holds something that onnx-ir cannot read: {first_line(root)}. Export "
                    "the network without it: without sparse tensors, and with a tensor of scores "
                    "as its output (scikit-learn's classifiers with zipmap=False)."
                ) from error
            if fault is None:
                raise
            raise ModelError(
                f"{path} is not a valid ONNX network: {fault}. Export it again, or fix it until "
                "onnx.checker's full check accepts it."
            ) from error

    return checked  # type: ignore[return-value]


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled and not gc.get_freeze_count():  # what is new counts as old: not looked at first
            gc.freeze()
            gc.unfreeze()
        if enabled:
            gc.enable()


def first_line(error: Exception) -> str:
    """The gist of what onnx says, without its trailing context."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    if lines[0].rstrip().endswith(":"):  # what it names follows
        return " ".join(" ".join(lines).split()).rstrip(".")
    return lines[0].rstrip(".")


def _root(error: Exception) -> Exception:
    """The first error of those that led to this one."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _fault(path: Path) -> str | None:
    """What the strict check, types and shapes included, has against a file.

    Raises:
        MemoryError: it wants more than there is.
    """
    try:
        onnx.checker.check_model(path, full_check=True)
    except MemoryError:
        raise
    except Exception as error:  # its exceptions have no common base
        return first_line(error)
    return None


def check_file(path: Path) -> None:
    """Have onnx.checker read a file.

    Raises:
        ModelError: it finds a fault.
    """
    try:
        onnx.checker.check_model(path)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{path} is not a valid ONNX network: {first_line(error)}. Export it again, or "
            "fix it until onnx.checker accepts it."
        ) from None


def bytes_of(tensor: onnx.TensorProto) -> int:
    """The bytes that a tensor's shape and type take.

    Raises:
        ValueError: ONNX has no such type.
    """
    item = _ITEM_BYTES.get(tensor.data_type)
    if item is None:
        ir.DataType(tensor.data_type)
        return 0  # texts, or nothing
    elements = 1
    for size in tensor.dims:
        elements *= size if size > 0 else 0
    return math.ceil(item * elements)


def check_sizes(path: Path, proto: onnx.ModelProto) -> None:
    """Hold what every tensor holds against its shape, which onnx.checker does not.

    Raises:
        ModelError: one has more or fewer, or is sparse.
    """
    for sparse in proto.graph.sparse_initializer:
        raise ModelError(
            f"{path} keeps the weights {sparse.values.name} as a sparse tensor, which the "
            "surgery cannot read. Export them as a dense one."
        )
    for tensor in tensors_of(proto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            continue
        if tensor.HasField("raw_data"):
            held, wanted, unit = len(tensor.raw_data), bytes_of(tensor), "bytes"
        else:
            held, wanted = _numbers(tensor)
            unit = "numbers"
        if held != wanted:
            raise ModelError(
                f"{path} is damaged: the weights {tensor.name} of shape {list(tensor.dims)} hold "
                f"{held} {unit} instead of {wanted}. Export or copy it again."
            )


def _numbers(tensor: onnx.TensorProto) -> tuple[int, int]:
    """How many entries a tensor has in the field of its type, and how many its shape takes."""
    if tensor.data_type == onnx.TensorProto.UNDEFINED:
        return 0, 0
    held = len(getattr(tensor, onnx.helper.tensor_dtype_to_field(tensor.data_type)))
    elements = math.prod(tensor.dims)
    item = _ITEM_BYTES.get(tensor.data_type, 1)
    if item < 1:  # packed into bytes
        return held, bytes_of(tensor)
    complex_numbers = (onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128)
    return held, elements * (2 if tensor.data_type in complex_numbers else 1)


def refuse_damaged_names(path: Path, names: Iterable[str | bytes]) -> None:
    """Refuse names that are not UTF-8, which protobuf gives as bytes.

    Raises:
        ModelError: one is not.
    """
    damaged = sorted(name for name in names if isinstance(name, bytes))
    if damaged:
        raise ModelError(
            f"{path} is damaged: the name {damaged[0]!r} in it is not text. Export or copy it "
            "again."
        )


def refuse_endless_equations(path: Path, proto: onnx.ModelProto) -> None:
    """Refuse equations of ``Einsum`` that are none: onnx infers shapes from some without an end.

    Raises:
        ModelError: there is one.
    """
    for body in (proto.graph.node, *(function.node for function in proto.functions)):
        for node, _ in nodes_of(body):
            if node.op_type != "Einsum":
                continue
            for attr in node.attribute:
                sound = _EQUATION.fullmatch(attr.s) and not attr.ref_attr_name
                if attr.name != "equation" or sound:
                    continue
                said = repr(attr.s.decode(errors="backslashreplace"))
                raise ModelError(
                    f"{path} has an Einsum {node.name!r} with the equation {said}, which is none. "
                    "Export it again."
                )


def refuse_fatal_divisions(path: Path, model: ir.Model) -> None:
    """Refuse to divide integers by constants of 0 or -1.

    The processor stops a process that divides by 0, or the least integer by -1, and onnxruntime
    lets it. Exporters write neither.

    Raises:
        ModelError: a node does.
    """
    for graph in with_subgraphs(model.graph):
        for node in graph:
            if not is_op(node, "Div", "Mod") or len(node.inputs) != 2:
                continue
            by = constant(node.inputs[1])
            if by is not None and by.dtype.kind in "iu" and ((by == 0) | (by + 1 == 0)).any():
                raise ModelError(
                    f"{path} divides integers by 0 or by -1 in its {node.op_type} {node.name!r}, "
                    "which can stop the process that runs it. Export it without."
                )


def refuse_fatal_operators(path: Path, model: ir.Model) -> None:
    """Refuse what some operators do not check, so that onnxruntime stops the process or never ends.

    Found by calling every operator that onnxruntime has with inputs and attributes at random.

    Args:
        path: of the network.
        model: shapes inferred.

    Raises:
        ModelError: a node asks for it.
    """
    for graph in with_subgraphs(model.graph):
        for node in graph:
            padding = attribute(node, "auto_pad", "NOTSET")
            if padding not in _PADDINGS and node.domain in ("", "ai.onnx"):
                raise ModelError(
                    f"{path} has a node {node.name!r} of the operator {node.op_type} with the "
                    f"auto_pad {padding!r}, which ONNX does not have. Export it with one of "
                    f"{', '.join(_PADDINGS)}."
                )
            domain = "" if node.domain == "ai.onnx" else node.domain
            if odd := _odd_number(node):
                raise ModelError(
                    f"{path} has a node {node.name!r} of the operator {node.op_type} with the "
                    f"{odd}, which cannot be. Export it again."
                )
            is_safe = _FATAL.get((domain, node.op_type))
            if is_safe is None or is_safe(node):
                continue
            raise ModelError(
                f"{path} has a node {node.name!r} of the operator {node.op_type} in a form that "
                "can stop the process that runs it. Export it without."
            )


_AT_LEAST_1 = frozenset(
    ("blocksize", "dilations", "group", "kernel_shape", "kv_num_heads", "num_heads", "q_num_heads",
     "strides")
)  # fmt: skip
_OF_64_BITS = frozenset(("Constant", "Shape", "Slice"))  # whose numbers may be ends of anything
_MOST = 1 << 31
_NUMBERS = (ir.AttributeType.INT, ir.AttributeType.INTS)


def _odd_number(node: ir.Node) -> str:
    """An attribute that kernels divide by and that is not above 0, or one of more than 32 bits.

    onnxruntime cuts it off there: 2³² becomes 0. "" where there is none.
    """
    for attr in node.attributes.values():
        if not isinstance(attr, ir.Attr) or attr.type not in _NUMBERS:
            continue
        values = [attr.value] if attr.type == ir.AttributeType.INT else attr.value
        wide = node.op_type in _OF_64_BITS or node.domain == "ai.onnx.ml"
        for value in values:
            if (attr.name in _AT_LEAST_1 and value < 1) or (not wide and abs(value) >= _MOST):
                return f"{attr.name} {value}"
    return ""


_PADDINGS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


def _scalars(node: ir.Node) -> bool:
    """Whether all inputs but the first are known to be of one number."""
    return all(value is None or size_of(value) == 1 for value in node.inputs[1:])


def _ranks(node: ir.Node, *wanted: int) -> bool:
    """Whether the first inputs have so many axes, as far as that is known."""
    shapes = map(dimensions, node.inputs[: len(wanted)])
    return all(
        shape is None or len(shape) == rank for shape, rank in zip(shapes, wanted, strict=False)
    )


def _square(node: ir.Node) -> bool:
    shape = dimensions(node.inputs[0]) or ()
    return len(shape) > 1 and isinstance(shape[-1], int) and shape[-1] == shape[-2]


def _window_fits(node: ir.Node) -> bool:
    """Whether the window of an ``STFT`` is known, and as long as a frame where both are given.

    The step and the length of a frame, where given, are constants above 0.
    """
    inputs = [*node.inputs, None, None]
    window, length = inputs[2], inputs[3]
    if not all(_is_above_0(value) for value in (inputs[1], length)):
        return False
    if window is None:
        return True
    size, frame = size_of(window), constant(length)
    return size is not None and size > 1 and (length is None or frame is None or size == frame)


def _is_above_0(value: ir.Value | None) -> bool:
    """Whether a value is not given, or holds constants above 0."""
    found = None if value is None else constant(value)
    return value is None or (found is not None and bool((found > 0).all()))


def _has_heads(node: ir.Node) -> bool:
    """Whether an attention has at least one head, where it says how many."""
    names = ("num_heads", "q_num_heads", "kv_num_heads")
    return all(attribute(node, name, 1) > 0 for name in names)


def _divides_by_no_zero(node: ir.Node) -> bool:
    """Whether the lengths of a ``SplitToSequence`` are not given, or constants above 0."""
    return len(node.inputs) < 2 or _is_above_0(node.inputs[1])


# The operators by their domains and names, and which forms of them are safe.
_FATAL: dict[tuple[str, str], Callable[[ir.Node], bool]] = {
    ("", "Attention"): _has_heads,
    ("", "GatherND"): lambda node: attribute(node, "batch_dims", 0) >= 0,
    ("", "STFT"): _window_fits,
    ("", "SplitToSequence"): _divides_by_no_zero,
    ("", "TfIdfVectorizer"): lambda node: False,
    ("com.microsoft", "Attention"): lambda node: _ranks(node, 3, 2) and _has_heads(node),
    ("com.microsoft", "AttnLSTM"): lambda node: False,
    ("com.microsoft", "GroupQueryAttention"): _has_heads,
    ("com.microsoft", "Inverse"): _square,
    ("com.microsoft", "MultiHeadAttention"): _has_heads,
    ("com.microsoft", "QLinearLeakyRelu"): _scalars,
    ("com.microsoft", "QLinearSigmoid"): _scalars,
}


def refuse_unknown_operators(path: Path, proto: onnx.ModelProto) -> None:
    """Refuse operators that neither ONNX nor the network itself defines.

    Raises:
        ModelError: There is one.
    """
    own = {(one.domain, one.name, one.overload) for one in proto.functions}
    opsets = {one.domain: min(one.version, _NO_OPSET) for one in proto.opset_import}
    for domain, name, _ in own:
        if onnx.defs.has(name, opsets.get(domain, _NO_OPSET), domain):
            raise ModelError(
                f"{path} has a function with the name of ONNX's operator {name}, which runtimes "
                "take for the operator. Export it with another name."
            )
    for node, _ in nodes_of(proto.graph.node):
        if node.domain in _KNOWN_DOMAINS or (node.domain, node.op_type, node.overload) in own:
            continue
        raise ModelError(
            f"{path} uses the operator {node.op_type} of the domain {node.domain!r}, which is not "
            f"part of ONNX. Name the library that has it with {parameter('custom_ops')}, or export "
            "the network without custom operators."
        )


def refuse_idle_library(path: Path, proto: onnx.ModelProto, library: Path) -> None:
    """Refuse a library of custom operators for a network that has none.

    Raises:
        ModelError: Every operator is one of ONNX or of the network itself.
    """
    own = {(one.domain, one.name, one.overload) for one in proto.functions}
    bodies = (proto.graph.node, *(one.node for one in proto.functions))
    if not any(
        node.domain not in _ONNX_DOMAINS and (node.domain, node.op_type, node.overload) not in own
        for body in bodies
        for node, _ in nodes_of(body)
    ):
        raise ModelError(
            f"{parameter('custom_ops', str(library))} does nothing here: {path} has no custom "
            "operator. Leave it out."
        )


_DRAWING = (
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
)  # fmt: skip


def refuse_training(path: Path, model: ir.Model) -> None:
    """Refuse networks whose answers are drawn at random or depend on the rest of the batch.

    Raises:
        ModelError: A ``Dropout`` or ``BatchNormalization`` was left in training mode, or an output
            depends on an operator that draws random numbers.
    """
    graph = model.graph
    drawing = {node: op for node in graph if (op := _draws(node)) is not None}
    needed = ancestors(graph, graph.outputs) if drawing else set()
    for node, operator in drawing.items():
        if any(value in needed for value in node.outputs):
            raise ModelError(
                f"{path} draws random numbers ({operator}), so its answers differ from run to "
                "run. Export it without."
            )
    for graph in with_subgraphs(model.graph):
        for node in graph:
            if _trains(node):
                name = f" {node.name!r}" if node.name else ""
                raise ModelError(
                    f"{path} was exported in training mode: its {node.op_type}{name} would make "
                    "the answers differ from run to run. Export it in evaluation mode "
                    "(model.eval() in PyTorch, training=False in Keras)."
                )


def _draws(node: ir.Node) -> str | None:
    """The operator that draws random numbers in a node or its subgraphs; None where none does."""
    if is_op(node, *_DRAWING):
        return node.op_type
    inside = (_draws(inner) for body in subgraphs(node) for inner in body)
    return next((operator for operator in inside if operator is not None), None)


def _trains(node: ir.Node) -> bool:
    if is_op(node, "BatchNormalization"):
        # Up to opset 13 the running statistics were outputs, given in training only.
        return bool(attribute(node, "training_mode", 0)) or any(v.name for v in node.outputs[1:])
    if is_op(node, "Dropout") and len(node.inputs) > 2 and node.inputs[2] is not None:
        mode = constant(node.inputs[2])
        ratio = constant(node.inputs[1])
        never = ratio is not None and not ratio.any()
        return not never and (mode is None or bool(mode.any()))
    return False


def nodes_of(
    nodes: Iterable[onnx.NodeProto], depth: int = 0
) -> Iterator[tuple[onnx.NodeProto, int]]:
    """Nodes and those of their subgraphs, each with the number of subgraphs that it is in."""
    for node in nodes:
        yield node, depth
        for attr in node.attribute:
            if attr.type in _SCALARS:
                continue
            for body in (attr.g, *attr.graphs) if attr.HasField("g") else attr.graphs:
                yield from nodes_of(body.node, depth + 1)


def tensors_of(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that the file lists, those of subgraphs and functions included."""
    yield from _of_graph(proto.graph)
    for function in proto.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attr in node.attribute:
            if attr.type in _SCALARS:
                continue
            if attr.HasField("t"):
                yield attr.t
            yield from attr.tensors
            for sparse in (attr.sparse_tensor, *attr.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attr.g, *attr.graphs):
                yield from _of_graph(graph)
