"""Hostile ONNX files: damaged ones, generated graphs with something wrong, and weights beside them.

The network takes images (3, 8, 8). Generated graphs are built around a convolution, an activation
and a head, with nodes between that each ask for something that cannot be or is too much.
"""

import io
from collections.abc import Sequence
from functools import cache

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tools.fuzz.harness import ROOT, Case, Content, Link, Pipe, Target
from tools.fuzz.mutations import damaged, hostile_texts

__all__ = ["NETWORKS", "WEIGHT_FILES"]

_FIXTURES = (
    "vgg16_bn-dynamo-fixed", "vgg16-older-free", "mobilenetv3-older-free", "resnet34-dynamo-free",
)  # fmt: skip
_SIZES = st.sampled_from([0, 1, -1, 2, 7, 10**3, 10**5, 10**7, 2**31, 2**40, 2**63 - 1, -(2**63)])
_OPERATORS = (
    "Abs", "Add", "ArgMax", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv",
    "ConstantOfShape", "ConvTranspose", "CumSum", "DepthToSpace", "Dropout", "Einsum", "Expand",
    "Flatten", "GRU", "Gather", "Gemm", "GlobalAveragePool", "GridSample", "Identity", "If",
    "LRN", "LSTM", "Loop", "MatMul", "Max", "MaxPool", "Mul", "NonZero", "OneHot", "PRelu", "Pad",
    "Pow", "QuantizeLinear", "RandomNormal", "Range", "ReduceMean", "ReduceSum", "Relu", "Reshape",
    "Resize", "RoiAlign", "Scan", "ScatterND", "Shape", "Sigmoid", "Slice", "Softmax",
    "SpaceToDepth", "Split", "Squeeze", "Sum", "Tile", "TopK", "Transpose", "Unsqueeze", "Where",
)  # fmt: skip


@cache
def _fixture(name: str) -> bytes:
    return (ROOT / "tests" / "fixtures" / f"{name}.onnx").read_bytes()


@cache
def _images() -> bytes:
    """Ten images with labels, as the generated networks take them."""
    content = io.BytesIO()
    images = np.random.default_rng(0).normal(size=(10, 3, 8, 8)).astype(np.float32)
    np.savez(content, images=images, labels=np.arange(10) % 5)
    return content.getvalue()


def _commands(name: str) -> st.SearchStrategy[tuple[str, ...]]:
    audit = ("audit", name, "--data", "data.npz", "--limit-per-class", "1", "--out", "out")
    return st.sampled_from(
        [
            ("inspect", name),
            ("inspect", name, "--json"),
            ("mask", name, "-o", "out.onnx"),
            audit,  # ends after a first look, for the network learned nothing
            (*audit, "--anyway"),
            (*audit, "--anyway", "--margins"),
        ]
    )


@st.composite
def _networks(draw: st.DrawFn) -> Case:
    command = draw(_commands("network.onnx"))
    kind = draw(st.sampled_from(["bytes", "fixture", "generated", "generated", "generated"]))
    if kind == "generated":
        content = draw(_generated()).SerializeToString()
        if not draw(st.integers(0, 9)):
            content = draw(damaged(content))
    else:
        content = _fixture(draw(st.sampled_from(_FIXTURES)))
        if kind == "bytes":
            content = draw(damaged(content))
        else:
            content = draw(_changed(onnx.load_from_string(content))).SerializeToString()
    return Case(command, {"network.onnx": content, "data.npz": _images()})


@st.composite
def _changed(draw: st.DrawFn, model: onnx.ModelProto) -> onnx.ModelProto:
    """A network with some of its messages changed: still protobuf, mostly no longer a network."""
    graph = model.graph
    for _ in range(draw(st.integers(1, 3))):
        if not graph.node:
            break
        node = draw(st.sampled_from(list(graph.node)))
        kind = draw(st.sampled_from(["rename", "operator", "wire", "attribute", "weights", "input",
                                     "opset", "drop", "output", "domain"]))  # fmt: skip
        if kind == "rename":
            name = draw(hostile_texts.filter(_is_utf8))
            draw(st.sampled_from([node, graph])).name = name
            if node.output and draw(st.booleans()):
                _rename(graph, node.output[0], name)
        elif kind == "operator":
            node.op_type = draw(st.sampled_from(_OPERATORS))
        elif kind == "wire" and node.input:
            names = ["", *(name for other in graph.node for name in other.output)]
            node.input[draw(st.integers(0, len(node.input) - 1))] = draw(st.sampled_from(names))
        elif kind == "attribute" and node.attribute:
            attr = draw(st.sampled_from(list(node.attribute)))
            attr.i, attr.f = draw(_SIZES), draw(st.sampled_from([0.0, 1e38, -1.0, float("nan")]))
            if attr.ints:
                attr.ints[draw(st.integers(0, len(attr.ints) - 1))] = draw(_SIZES)
        elif kind == "weights" and graph.initializer:
            tensor = draw(st.sampled_from(list(graph.initializer)))
            if tensor.dims and draw(st.booleans()):
                tensor.dims[draw(st.integers(0, len(tensor.dims) - 1))] = draw(_SIZES)
            else:
                tensor.data_type = draw(st.integers(0, 30))
        elif kind in ("input", "output"):
            value = draw(st.sampled_from(list(graph.input if kind == "input" else graph.output)))
            dims = value.type.tensor_type.shape.dim
            if dims and draw(st.booleans()):
                draw(st.sampled_from(list(dims))).dim_value = draw(_SIZES)
            else:
                value.type.tensor_type.elem_type = draw(st.integers(0, 30))
        elif kind == "opset":
            model.opset_import[0].version = draw(st.sampled_from([0, 1, 7, 12, 21, 99, 2**40]))
        elif kind == "domain":
            node.domain = draw(st.sampled_from(["ai.onnx", "com.microsoft", "local", "\x1b[0m"]))
        else:
            graph.node.remove(node)
    return model


def _is_utf8(text: str) -> bool:
    return text.isprintable() or "\ud800" not in text


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new


class _Builder:
    """A network in the making."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []
        self.functions: list[onnx.FunctionProto] = []

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, value: object, dtype: type = np.int64) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def random(self, *shape: int) -> str:
        values = np.random.default_rng(len(self.weights)).normal(size=shape) / 4
        return self.constant(values, np.float32)


@st.composite
def _generated(draw: st.DrawFn) -> onnx.ModelProto:
    new = _Builder()
    x = new.add("Conv", "image", new.random(4, 3, 3, 3), pads=[1, 1, 1, 1])
    for _ in range(draw(st.integers(0, 2))):
        x = draw(_step(new, x))
    x = new.add("Relu", x)
    for _ in range(draw(st.integers(0, 3))):
        x = draw(_step(new, x))
    x = new.add("Flatten", new.add("GlobalAveragePool", x))
    x = new.add("MatMul", x, new.random(4, 5))
    if draw(st.booleans()):
        x = new.add("Softmax", x)
    batch = draw(st.sampled_from(["N", "N", "N", 1, 2, 64, 10**7, 2**40, 0, -1]))
    graph = helper.make_graph(
        new.nodes,
        "generated",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [batch, 5])],
        new.weights,
    )
    opset = draw(st.sampled_from([13, 17, 18, 21]))
    imports = [
        helper.make_opsetid("", opset),
        helper.make_opsetid("com.microsoft", 1),
        helper.make_opsetid("local", 1),
    ]
    for function in new.functions:
        function.opset_import[0].version = opset
    return helper.make_model(graph, opset_imports=imports, ir_version=9, functions=new.functions)


@st.composite
def _step(draw: st.DrawFn, new: _Builder, x: str) -> str:
    """Something between ``x`` (N, 4, H, W) and what replaces it."""
    kind = draw(
        st.sampled_from(
            ["chain", "wide", "functions", "nested", "loop", "scan", "made", "sized", "casts",
             "concats", "constants", "activation", "shape", "odd"]
        )
    )  # fmt: skip
    if kind == "chain":
        for _ in range(draw(st.sampled_from([10, 300]))):
            x = new.add(draw(st.sampled_from(["Relu", "Identity", "Sigmoid"])), x)
            if len(new.nodes) > 50:
                x = _repeated(new, x, draw(st.sampled_from([100, 2000])))
                break
        return x
    if kind == "wide":
        count = draw(st.sampled_from([2, 100, 3000]))
        return new.add("Sum", *(new.add("Relu", x) for _ in range(count)))
    if kind == "functions":
        return _doubling(new, x, draw(st.sampled_from([1, 8, 12, 16, 40, 200])))
    if kind == "nested":
        return _nested(new, x, draw(st.sampled_from([1, 5, 14, 20, 28])))
    if kind == "loop":
        return _looping(new, x, draw(_SIZES), draw(st.integers(0, 2)))
    if kind == "scan":
        length = draw(st.sampled_from([1, 50, 10**4, 10**6]))
        return _scanning(new, x, length)
    if kind == "made":
        return new.add("Add", x, draw(_made_of_nothing(new)))
    if kind == "sized":
        return draw(_resized(new, x))
    if kind == "casts":
        value = new.constant([1.5], np.float32)
        for _ in range(draw(st.sampled_from([1, 9, 1500]))):
            value = new.add("Cast", value, to=draw(st.sampled_from([1, 10, 11])))
        return new.add("Mul", x, new.add("Cast", value, to=1))
    if kind == "concats":
        for _ in range(draw(st.sampled_from([1, 6, 30]))):
            x = new.add("Concat", x, x, axis=1)
        return new.add("Slice", x, new.constant([0]), new.constant([4]), new.constant([1]))
    if kind == "constants":
        for number in range(draw(st.sampled_from([1, 1000]))):
            value = numpy_helper.from_array(np.float32([number % 3]))
            x = new.add("Add", x, new.add("Constant", value=value))
        return x
    if kind == "shape":
        shape = new.add("Shape", x)
        for _ in range(draw(st.sampled_from([1, 5, 1500]))):
            shape = new.add("Identity", shape)
        return new.add("Reshape", x, shape)
    if kind == "odd":
        return draw(_odd(new, x))
    gate = new.add(draw(st.sampled_from(["Sigmoid", "HardSigmoid", "Tanh", "Softplus"])), x)
    return new.add("Mul", x, gate)


@st.composite
def _odd(draw: st.DrawFn, new: _Builder, x: str) -> str:
    """An operator with constants that it may not take."""
    numbers = draw(st.lists(st.sampled_from([0, 1, -1, 2, 9]), max_size=5))
    kind = draw(
        st.sampled_from(
            ["Clip", "Concat", "Conv", "ConvTranspose", "Expand", "Flatten", "Gather", "Gelu",
             "Mul", "Pad", "PRelu", "ReduceMean", "Reshape", "Slice", "Squeeze", "Tile",
             "Transpose", "Unsqueeze"]
        )
    )  # fmt: skip
    if kind in ("Clip", "Mul", "PRelu"):
        return new.add(kind, x, new.constant(numbers, np.float32))
    if kind in ("Conv", "ConvTranspose"):
        group = draw(st.sampled_from([0, 1, 3, 4, -1, 9]))
        return new.add(kind, x, new.random(4, 1, 1, 1), group=group)
    if kind in ("Concat", "Flatten"):
        return new.add(kind, x, axis=draw(st.integers(-5, 5)))
    if kind == "Gelu":
        return new.add(kind, x, domain="com.microsoft")
    if kind == "ReduceMean":
        return new.add(kind, x, axes=numbers or [3])
    if kind == "Transpose":
        return new.add(kind, x, perm=numbers or [0])
    if kind in ("Gather", "Slice"):
        constants = [new.constant(numbers) for _ in range(1 if kind == "Gather" else 4)]
        part = new.add(kind, new.add("Shape", x), *constants)
        target = new.add("Concat", part, new.constant([4, 8, 8]), axis=0)
        return new.add("Reshape", x, target)
    return new.add(kind, x, new.constant(numbers))


def _repeated(new: _Builder, x: str, count: int) -> str:
    for _ in range(count):
        x = new.add("Relu", x)
    return x


def _doubling(new: _Builder, x: str, count: int) -> str:
    """Functions that each call the one before twice."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    first = len(new.functions)
    relu = helper.make_node("Relu", ["x"], ["y"])
    bodies: list[Sequence[onnx.NodeProto]] = [[relu]]
    for number in range(1, count):
        name = f"f{first + number - 1}"
        calls = ((["x"], ["t"]), (["t"], ["y"]))
        bodies.append([helper.make_node(name, i, o, domain="local") for i, o in calls])
    for number, body in enumerate(bodies, first):
        made = helper.make_function("local", f"f{number}", ["x"], ["y"], body, imports)
        new.functions.append(made)
    return new.add(f"f{first + count - 1}", x, domain="local")


def _nested(new: _Builder, x: str, depth: int) -> str:
    condition = new.constant(True, np.bool_)

    def branch(kind: str, level: int, **bodies: onnx.GraphProto) -> onnx.GraphProto:
        name = f"{x}_{kind}{level}"
        read = [condition] if bodies else [x]
        node = helper.make_node("If" if bodies else "Relu", read, [name], **bodies)
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([node], name, [], [output])

    inner = branch("leaf", 0)
    for level in range(depth):
        inner = branch("if", level, then_branch=inner, else_branch=branch("else", level))
    return new.add("If", condition, then_branch=inner, else_branch=branch("other", depth))


def _looping(new: _Builder, x: str, count: int, kind: int) -> str:
    """A loop with that many turns; of kind 1 the number is computed, of kind 2 there is none."""
    name = f"loop{len(new.nodes)}"
    body = helper.make_graph(
        [
            helper.make_node("Identity", [f"{name}_go"], [f"{name}_on"]),
            helper.make_node("Relu", [f"{name}_x"], [f"{name}_y"]),
        ],
        name,
        [
            helper.make_tensor_value_info(f"{name}_i", TensorProto.INT64, []),
            helper.make_tensor_value_info(f"{name}_go", TensorProto.BOOL, []),
            helper.make_tensor_value_info(f"{name}_x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info(f"{name}_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None),
        ],
    )
    turns = "" if kind == 2 else new.constant(count)
    if kind == 1:
        turns = new.add("Mul", new.constant(1), turns)
    return new.add("Loop", turns, new.constant(True, np.bool_), x, body=body)


def _scanning(new: _Builder, x: str, length: int) -> str:
    """A running sum over a constant sequence, its last value added."""
    name = f"scan{len(new.nodes)}"
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Add", [f"{name}_s", f"{name}_v"], [f"{name}_t"])],
        name,
        [value(f"{name}_s", TensorProto.FLOAT, []), value(f"{name}_v", TensorProto.FLOAT, [])],
        [value(f"{name}_t", TensorProto.FLOAT, [])],
    )
    start = new.constant(0, np.float32)
    sequence = new.add("Expand", start, new.constant([length]))
    return new.add("Add", x, new.add("Scan", start, sequence, body=body, num_scan_inputs=1))


@st.composite
def _made_of_nothing(draw: st.DrawFn, new: _Builder) -> str:
    """A number that is computed from a tensor that depends on no input."""
    one = draw(st.sampled_from([1, 1000, 10**5, 10**6, 10**9, 10**12, -1]))
    size = new.constant([one])
    power = draw(st.sampled_from([1, 1, 2, 3]))
    if power > 1:
        size = new.add("Pow", size, new.constant([power]))
    kind = draw(st.sampled_from(["ConstantOfShape", "Expand", "Range", "Tile", "RandomNormal"]))
    if kind == "ConstantOfShape":
        made = new.add(kind, size)
    elif kind == "Expand" or kind == "Tile":
        made = new.add(kind, new.constant([1.0], np.float32), size)
    elif kind == "Range":
        stop = new.add("Squeeze", size, new.constant([0]))
        made = new.add("Cast", new.add(kind, new.constant(0), stop, new.constant(1)), to=1)
    else:
        made = new.add(kind, shape=[one], seed=1.0)
    return new.add("ReduceMax", made, keepdims=0)


@st.composite
def _resized(draw: st.DrawFn, new: _Builder, x: str) -> str:
    """``x`` with other spatial sizes."""
    size = draw(st.sampled_from([1, 2, 50, 10**4, 10**6, 2**31, 0, -1]))
    kind = draw(st.sampled_from(["Tile", "Pad", "Resize", "Expand", "Reshape"]))
    if kind == "Tile":
        return new.add(kind, x, new.constant([1, 1, size, size]))
    if kind == "Pad":
        return new.add(kind, x, new.constant([0, 0, size, 0, 0, 0, 0, size]))
    if kind == "Resize":
        return new.add(kind, x, "", new.constant([1, 1, size, size], np.float32))
    if kind == "Expand":
        return new.add(kind, new.add("GlobalMaxPool", x), new.constant([1, 1, size, size]))
    return new.add(kind, x, new.constant([0, 0, size, -1]))


@st.composite
def _weight_files(draw: st.DrawFn) -> Case:
    """A network whose first weights lie beside it, or are said to."""
    new = _Builder()
    x = new.add("Relu", new.add("Conv", "image", "outside", pads=[1, 1, 1, 1]))
    x = new.add("MatMul", new.add("Flatten", new.add("GlobalAveragePool", x)), new.random(4, 5))
    number = st.one_of(
        st.sampled_from(["0", "432", "431", "-1", "1e3", "abc", "", "0x10", "9" * 30, " 1", "1.0",
                         str(2**63), str(2**64 - 432), "٣", "+1"]),
        st.integers(-500, 500).map(str),
    )  # fmt: skip
    location = draw(
        st.one_of(
            st.sampled_from(["weights.bin"] * 6),
            st.sampled_from(
                ["network.onnx", "short.bin", "pipe", "zero", "link.bin", "folder", ".", "..", "",
                 "/etc/passwd", "../weights.bin", "folder/../weights.bin", "missing.bin",
                 "./weights.bin", "loop", "folder/weights.bin"]
            ),
            hostile_texts.filter(_is_utf8),
        )
    )  # fmt: skip
    tensor = TensorProto(name="outside", data_type=TensorProto.FLOAT, dims=[4, 3, 3, 3])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (
        ("location", location),
        ("offset", draw(st.one_of(st.just("0"), number))),
        ("length", draw(st.one_of(st.just("432"), number))),
    ):
        if draw(st.integers(0, 9)):
            tensor.external_data.add(key=key, value=value)
    if not draw(st.integers(0, 5)):
        tensor.dims[draw(st.integers(0, 3))] = draw(_SIZES)
    graph = helper.make_graph(
        new.nodes,
        "outside",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["N", 5])],
        [*new.weights, tensor],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content = model.SerializeToString()
    weights = np.random.default_rng(0).normal(size=108).astype(np.float32).tobytes()
    files: dict[str, Content] = {
        "network.onnx": content if draw(st.integers(0, 9)) else draw(damaged(content)),
        "data.npz": _images(),
        "weights.bin": weights,
        "folder/weights.bin": weights,
        "short.bin": weights[:100],
        "pipe": Pipe(),
        "zero": Link("/dev/zero"),
        "link.bin": Link("weights.bin"),
        "loop": Link("loop"),
    }
    return Case(draw(_commands("network.onnx")), files)


NETWORKS = Target("networks", _networks())
WEIGHT_FILES = Target("weight-files", _weight_files())
