"""Inferring shapes, and settling the targets of computed ``Reshape`` nodes.

Exporters write ``x.view(x.size(0), -1)`` as ``Shape`` → ``Gather`` → ``Concat`` → ``Reshape``.
Followed symbolically, most such targets are constants but for sizes that the input already has,
which a constant target copies with 0. Without the detour the reshape's output has a known
shape, the channels can be followed through it, and nothing ties it to the rest of the graph.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import Message
from onnx_ir.passes import common as passes

from analyzer.common_types import DIVISION_GUARD
from analyzer.errors import ModelError
from analyzer.surgery.activations import MICROSOFT_ACTIVATIONS
from analyzer.surgery.graph import (
    Dimensions,
    GraphBuilder,
    attribute,
    constant,
    dimensions,
    is_op,
    name_of,
    operand,
    reads,
    subgraphs,
)
from analyzer.surgery.memory_limit import MemoryLimitReached, can_limit, run_within
from analyzer.surgery.validation import bytes_of, nodes_of

__all__ = [
    "LENGTHENING",
    "infer_body",
    "infer_shapes",
    "read_with_shapes",
    "settle_reshapes",
    "shapes_for_one_image",
]


_Size = int | str | None  # an element of a shape: known, symbolic, unknown
_LONGEST = 16  # elements of a tensor that is followed; shapes are shorter
_FOLLOWED = ("Cast", "Concat", "Gather", "Identity", "Shape", "Slice", "Squeeze", "Unsqueeze")
_IR_VERSION = 8  # of models that are only inferred
_LARGE = 1000  # bytes of an initializer whose elements shape inference does not get to see
_MOST_AXES = 64  # of a tensor; numpy has no more
_Dimension = onnx.TensorShapeProto.Dimension


def read_with_shapes(proto: onnx.ModelProto) -> ir.Model:
    """The model of a file without local functions, with the shapes and types that onnx infers.

    Inferred before anything is made of the file, which costs a third of :func:`infer_shapes`.
    Constant nodes of tensors become initializers.
    """
    light, large = _without_large_tensors(proto)
    graph = light.graph
    inferred = _inferred(light)
    del graph.input[len(proto.graph.input) :]
    for name, tensor in large.items():
        graph.initializer.add(name=name, data_type=tensor.data_type, dims=tensor.dims)
    said = graph if inferred is None else inferred.graph
    if inferred is not None:
        del graph.value_info[:]  # repeated in what was inferred
    model = ir.from_proto(light)
    for name, tensor in large.items():
        model.graph.initializers[name].const_value = ir.serde.deserialize_tensor(tensor)
    _take_over(model.graph, said, {})
    return model


def _without_large_tensors(
    proto: onnx.ModelProto,
) -> tuple[onnx.ModelProto, dict[str, onnx.TensorProto]]:
    """A copy in which the large weights are inputs, and those weights by name.

    So that a network over 2 GB can be serialized, and none is copied.
    """
    light, large = onnx.ModelProto(), dict[str, onnx.TensorProto]()
    _copy_fields(proto, light, leave_out=["graph"])
    source, graph = proto.graph, light.graph
    _copy_fields(source, graph, leave_out=["node", "initializer"])
    inputs, outputs = ({info.name for info in infos} for infos in (source.input, source.output))
    weights = [(tensor.name, tensor) for tensor in source.initializer]
    nodes = []
    for node in source.node:
        tensor = _tensor_of_constant(node)
        if tensor is None or node.output[0] in outputs:
            nodes.append(node)
        else:
            weights.append((node.output[0], tensor))
    graph.node.extend(nodes)
    for name, tensor in weights:
        if isinstance(name, str) and bytes_of(tensor) > _LARGE:
            large[name] = tensor
            if name not in inputs:
                said = graph.input.add(name=name).type.tensor_type
                said.elem_type = tensor.data_type
                said.shape.dim.extend([_Dimension(dim_value=size) for size in tensor.dims])
        else:
            graph.initializer.append(tensor)
            if tensor.name != name:
                graph.initializer[-1].name = name
    return light, large


def _tensor_of_constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The tensor that a ``Constant`` node holds and nothing else."""
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return None
    if len(node.attribute) != 1 or len(node.output) != 1:
        return None
    (attr,) = node.attribute
    held = attr.name == "value" and attr.type == attr.TENSOR and not attr.ref_attr_name
    return attr.t if held else None


def _copy_fields(source: Message, target: Message, leave_out: Sequence[str]) -> None:
    for field, value in source.ListFields():
        if field.name in leave_out or isinstance(value, bytes):  # bytes: no text, but should be
            continue
        if isinstance(value, str | int):
            setattr(target, field.name, value)
        else:
            getattr(target, field.name).MergeFrom(value)


LENGTHENING = frozenset(
    (
        "AffineGrid", "BlackmanWindow", "CenterCropPad", "ConstantOfShape", "Expand",
        "HammingWindow", "HannWindow", "If", "Loop", "NonZero", "OneHot", "Pad", "Range", "Resize",
        "Scan", "Tile", "Upsample",
    )
)  # fmt: skip
"""Operators that may make much of little, or hold such operators."""

_LONG = 1 << 20  # numbers of a vector
_MEMORY = 3 << 29  # bytes, for the inference of a network that may make long vectors


def _is_risky(proto: onnx.ModelProto) -> bool:
    """Whether a network may make a long vector, of which onnx would follow each number."""
    graph = proto.graph
    said = (
        value.type.tensor_type.shape.dim
        for value in (*graph.input, *graph.value_info, *graph.output)
    )
    bodies = (graph.node, *(function.node for function in proto.functions))
    return any(len(sizes) == 1 and sizes[0].dim_value > _LONG for sizes in said) or any(
        _may_be_long(node) for body in bodies for node in body
    )


def _may_be_long(node: onnx.NodeProto) -> bool:
    """Whether a node may make a long vector: by what it is, or by a number that it has."""
    return node.op_type in LENGTHENING or any(
        attr.i > _LONG or max(attr.ints, default=0) > _LONG for attr in node.attribute
    )


def _inferred(proto: onnx.ModelProto, *, follow: bool = True) -> onnx.ModelProto | None:
    """The same with the types and shapes that onnx infers; None where it cannot.

    With ``follow`` from numbers that are computed, too; onnx follows each number of each vector.

    Activations of com.microsoft, which it does not know, and guards are copies meanwhile.
    """
    unknown = {}
    for place, node in enumerate(proto.graph.node):
        known = node.domain != "com.microsoft" or node.op_type not in MICROSOFT_ACTIVATIONS
        if not known or (node.op_type == "Reshape" and node.name.startswith(DIVISION_GUARD)):
            unknown[place] = node.SerializeToString()
            node.domain, node.op_type = "", "Identity"
            del node.input[1:]
            del node.attribute[:]
    infer = partial(
        onnx.shape_inference.infer_shapes,
        proto,
        check_type=False,
        strict_mode=False,
        data_prop=follow,
    )
    try:
        found = _limited(infer, proto) if can_limit() and _is_risky(proto) else infer()
    except (MemoryError, ModelError):
        raise
    except Exception:
        found = None
    for place, node in unknown.items():
        for one in (proto, found):
            if one is not None:
                one.graph.node[place].ParseFromString(node)
    return found


def _limited(infer: Callable[[], onnx.ModelProto], proto: onnx.ModelProto) -> onnx.ModelProto:
    """What is inferred within :data:`_MEMORY`.

    onnx follows each number of a vector, at 70 bytes, and a file of a few bytes can ask for 10⁹ of
    them.

    Raises:
        MemoryError: this process may not take as much itself.
        ModelError: it wants more.
        RuntimeError: onnx cannot infer it.
    """
    memory = _MEMORY + 10 * proto.ByteSize()
    try:
        return onnx.ModelProto.FromString(run_within(memory, lambda: infer().SerializeToString()))
    except MemoryLimitReached:
        raise ModelError(
            "The network makes a list of so many numbers that its shapes cannot be worked out: "
            "onnx follows each of them. Export the network without it."
        ) from None


def infer_shapes(model: ir.Model) -> ir.Model:
    """Infer shapes in place, settling ``Reshape`` targets until none is left to settle."""
    _infer(model)
    return settle_reshapes(model)


def shapes_for_one_image(model: ir.Model) -> dict[str, Dimensions | None]:
    """The shapes of what a network makes, by name, where its inputs have one image each.

    onnx adds and multiplies no sizes without a number, such as that of a batch.

    Args:
        model: of which the shapes are inferred; it stays as it is.
    """
    with _large_as_inputs(model):
        try:
            proto = ir.to_proto(model)
        except Exception:  # what cannot be written cannot be inferred
            return {}
    graph = proto.graph
    weights = {tensor.name for tensor in graph.initializer} | {*model.graph.initializers}
    for info in graph.input:
        sizes = info.type.tensor_type.shape.dim
        if info.name not in weights and sizes and not sizes[0].HasField("dim_value"):
            sizes[0].dim_value = 1
    del graph.value_info[:]
    for info in graph.output:
        info.type.tensor_type.ClearField("shape")
    inferred = _inferred(proto)
    return {} if inferred is None else _sizes_by_name(inferred.graph)


def infer_body(
    body: ir.Graph,
    given: Sequence[Dimensions | None],
    opsets: Mapping[str, int],
    around: Callable[[ir.Value], Dimensions | None] = dimensions,
) -> dict[str, Dimensions | None]:
    """The shapes of what a loop's body makes, by name, where its inputs have those given.

    What the branches of an ``If`` in it make is included.

    Args:
        body: reads values of graphs around it.
        given: of each of its inputs.
        opsets: of the model, by domain.
        around: the shape of a value of the graphs around it.
    """
    model = onnx.ModelProto(ir_version=_IR_VERSION)
    model.opset_import.extend(
        onnx.OperatorSetIdProto(domain=domain, version=version)
        for domain, version in opsets.items()
    )
    graph = model.graph
    made = {value for node in body for value in node.outputs}
    outer = {
        value: around(value)
        for node in body
        for value in reads(node)
        if value not in made and value not in body.inputs
    }
    shapes = dict(zip(body.inputs, given, strict=True))
    try:
        for value, shape in (shapes | outer).items():
            tensor = constant(value) if value not in shapes else None
            if tensor is not None and tensor.nbytes <= _LARGE:
                graph.initializer.append(onnx.numpy_helper.from_array(tensor, name_of(value)))
            else:
                graph.input.append(_info(value, shape))
        graph.node.extend(ir.to_proto(node) for node in body)
        graph.output.extend(_info(value, None) for value in body.outputs)
        vectors = [shape[0] for shape in given if shape is not None and len(shape) == 1]
        long = any(isinstance(size, int) and size > _LONGEST for size in vectors)
        inferred = _inferred(model, follow=not long)
    except (MemoryError, ModelError):
        raise
    except Exception:  # what cannot be written cannot be inferred
        return {}
    if inferred is None:
        return {}
    known = {name_of(value): shape for value, shape in shapes.items()}
    return _sizes_by_name(inferred.graph) | known


def _sizes_by_name(graph: onnx.GraphProto) -> dict[str, Dimensions | None]:
    """The shapes of what a graph, and those in it, make, by name."""
    inner = [
        attr.g for node, _ in nodes_of(graph.node) for attr in node.attribute if attr.HasField("g")
    ]
    infos = [info for one in (graph, *inner) for info in (*one.value_info, *one.output)]
    return {info.name: _said_sizes(info.type) for info in infos}


def _info(value: ir.Value, shape: Dimensions | None) -> onnx.ValueInfoProto:
    """A value of that shape, of a tensor's type where none is known."""
    info = onnx.ValueInfoProto(name=name_of(value))
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        info.type.CopyFrom(ir.serde.serialize_value(value).type)
        return info
    said = info.type.tensor_type
    said.elem_type = (value.dtype or ir.DataType.UNDEFINED).value
    if shape is not None:
        said.shape.SetInParent()
        for size in shape:
            said.shape.dim.add(
                **({"dim_value": size} if isinstance(size, int) else {"dim_param": size or ""})
            )
    return info


def _said_sizes(proto: onnx.TypeProto) -> Dimensions | None:
    shape = _said(proto)[1]
    if shape is None:
        return None
    return tuple(d if isinstance(d, int) else d.value for d in shape)


def settle_reshapes(model: ir.Model) -> ir.Model:
    """Settle, in place, the ``Reshape`` targets of a model of which the shapes are inferred."""
    while _settle_reshapes(model.graph):
        passes.RemoveUnusedNodesPass()(model)
        _infer(model)
    return model


def _infer(model: ir.Model) -> None:
    """Write the shapes and types into ``model`` that onnx infers; none where it cannot."""
    with _large_as_inputs(model):
        try:
            proto = _inferred(ir.to_proto(model))
        except (MemoryError, ModelError):
            raise
        except Exception:  # what cannot be written cannot be inferred
            return
    if proto is not None:
        _take_over(model.graph, proto.graph, {})


@contextlib.contextmanager
def _large_as_inputs(model: ir.Model) -> Iterator[None]:
    """Let large initializers be inputs meanwhile, so that a network over 2 GB can be serialized."""
    graph = model.graph
    inputs, initializers = list(graph.inputs), list(graph.initializers.values())
    tensors = {value: value.const_value for value in initializers}
    listed = set(inputs)
    for value, tensor in tensors.items():
        if tensor is None:
            continue
        if value.shape is None:
            value.shape = ir.Shape(d for d in tensor.shape if isinstance(d, int))
        if value.dtype is None:
            value.dtype = tensor.dtype
        if tensor.dtype != ir.DataType.STRING and tensor.nbytes > _LARGE:
            value.const_value = None
            del graph.initializers[name_of(value)]
    graph.inputs.extend(value for value in initializers if value not in listed)
    try:
        yield
    finally:
        for value, tensor in tensors.items():
            value.const_value = tensor
            if tensor is not None:
                graph.register_initializer(value)
        graph.inputs.clear()
        graph.inputs.extend(inputs)


_Said = tuple[ir.TypeProtocol | None, ir.Shape | None]


def _take_over(graph: ir.Graph, proto: onnx.GraphProto, known: dict[bytes, _Said]) -> None:
    """Write what ``proto``, made from ``graph``, says of values into them; subgraphs included.

    Args:
        known: types and shapes by what stands in the file, each made once and shared by the values
            that have it; filled here.
    """
    infos = {info.name: info for info in (*proto.input, *proto.value_info, *proto.output)}
    for value in (*graph.inputs, *(v for node in graph for v in node.outputs)):
        info = infos.get(value.name or "")
        if info is None:
            continue
        written = info.type.SerializeToString()
        if written not in known:
            known[written] = _said(info.type)
        kind, shape = known[written]
        if kind is not None:
            value.type = kind
        if shape is not None:
            value.shape = shape
        elif value.shape is not None and len(value.shape) > _MOST_AXES:
            value.shape = None
        if info.doc_string or info.metadata_props:
            value.doc_string = info.doc_string
            value.metadata_props.update({one.key: one.value for one in info.metadata_props})
    for node, listed in zip(graph, proto.node, strict=True):
        if not (inside := subgraphs(node)):
            continue
        bodies = [
            body
            for attr in listed.attribute
            for body in ([attr.g] if attr.type == attr.GRAPH else attr.graphs)
        ]
        for one, body in zip(inside, bodies, strict=True):
            _take_over(one, body, known)


def _said(proto: onnx.TypeProto) -> _Said:
    """The type of a value and its shape, None where it is not said or longer than any."""
    shape = ir.serde.deserialize_type_proto_for_shape(proto)
    if shape is not None and len(shape) > _MOST_AXES:
        shape = None
    return ir.serde.deserialize_type_proto_for_type(proto), shape


def _settle_reshapes(graph: ir.Graph) -> bool:
    """Replace computed targets by constants where they are known; whether any was."""
    known: dict[ir.Value, list[_Size]] = {}  # the elements of small integer tensors
    targets: dict[ir.Node, list[int]] = {}
    for node in graph:
        if is_op(node, *_FOLLOWED) and (sizes := _follow(node, known)) is not None:
            known[node.outputs[0]] = sizes
        elif is_op(node, "Reshape") and constant(node.inputs[1]) is None:
            target = _target(node, known.get(operand(node, 1)))
            if target is not None:
                targets[node] = target
    if not targets:
        return False
    new = GraphBuilder(graph, "settled")
    for node, target in targets.items():
        new.stem = f"{node.outputs[0].name}_shape"
        node.replace_input_with(1, new.constant(target))
    return True


def _target(node: ir.Node, sizes: list[_Size] | None) -> list[int] | None:
    """A constant target that does the same; one unknown size is left to be inferred (−1)."""
    source = dimensions(node.inputs[0])
    if sizes is None or source is None or attribute(node, "allowzero", 0):
        return None
    target: list[int] = []
    for axis, size in enumerate(sizes):
        if isinstance(size, str) and axis < len(source) and size == source[axis]:
            target.append(0)
        else:
            target.append(size if isinstance(size, int) else -1)
    return target if target.count(-1) <= 1 else None


def _follow(node: ir.Node, known: dict[ir.Value, list[_Size]]) -> list[_Size] | None:
    """The elements of the integer tensor that a node computes from shapes, flattened.

    Args:
        node: one of :data:`_FOLLOWED`; none of another kind is followed.
        known: the elements of tensors that are computed before it.

    Returns:
        None where they are not known, or too many for a shape.
    """
    if is_op(node, "Shape"):
        shape = dimensions(node.inputs[0])
        if shape is None:
            return None
        return list(shape[attribute(node, "start", 0) : attribute(node, "end", None)])
    if is_op(node, "Concat"):
        joined: list[_Size] = []
        for part in node.inputs:
            sizes = None if part is None else _elements(part, known)
            if sizes is None or len(joined) + len(sizes) > _LONGEST:
                return None
            joined += sizes
        return joined
    source = _elements(operand(node), known)
    if source is None or len(dimensions(node.inputs[0]) or ()) > 1:
        return None
    if is_op(node, "Gather"):
        indices = constant(node.inputs[1])
        if indices is None or indices.size > _LONGEST:
            return None
        places = [int(i) for i in indices.ravel()]
        fit = all(-len(source) <= place < len(source) for place in places)
        return [source[place] for place in places] if fit else None
    return _slice(node, source) if is_op(node, "Slice") else source


def _elements(value: ir.Value, known: dict[ir.Value, list[_Size]]) -> list[_Size] | None:
    """The elements of a tensor that is constant, or among those that are known."""
    found = known.get(value)
    if found is not None:
        return found
    array = constant(value)
    if array is None or array.size > _LONGEST or not np.issubdtype(array.dtype, np.integer):
        return None
    return [int(v) for v in array.ravel()]


def _slice(node: ir.Node, source: list[_Size]) -> list[_Size] | None:
    starts, ends = attribute(node, "starts", None), attribute(node, "ends", None)
    steps: np.ndarray | None = np.ones(1, np.int64)
    if starts is None:
        starts, ends = constant(node.inputs[1]), constant(node.inputs[2])
        if len(node.inputs) > 4 and node.inputs[4] is not None:
            steps = constant(node.inputs[4])
    if starts is None or ends is None or steps is None:
        return None
    if not (len(starts) and len(ends) and len(steps) and steps[0]):
        return None
    return source[int(starts[0]) : int(ends[0]) : int(steps[0])]
