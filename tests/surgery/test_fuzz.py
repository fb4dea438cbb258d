"""Damaged files and random graphs: whatever is wrong, it is said in one of our own errors.

``ONNX_GAP_FUZZ=10000 pytest tests/surgery/test_fuzz.py`` for the long run. A case is its number,
so a failure names what reproduces it.
"""

import contextlib
import os
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from analyzer import surgery
from analyzer.errors import AnalyzerError

CASES = int(os.environ.get("ONNX_GAP_FUZZ", "300"))
FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
SMALL = [
    "vgg16_bn-dynamo-fixed", "vgg16-older-free", "mobilenetv3-older-free", "resnet34-dynamo-free",
]  # fmt: skip
IMAGE = (2, 3, 8, 8)


def attempt(path, folder, random):
    """All of the surgery; returns what it was refused with, if it was."""
    try:
        network = surgery.load_network(path)
        network, _ = surgery.bind_inputs(network, {})
        listed = surgery.candidates(network)
        for name in (None, *[random.choice(listed).tensor for _ in range(bool(listed))]):
            site = surgery.find_site(network, name)
            surgery.outline_network(network, site)
            surgery.cut_network(network, site, folder)
            surgery.write_masked(network, site, folder / "masked.onnx")
    except AnalyzerError as error:
        return str(error)
    return None


class Random:
    """A few draws that the mutations need."""

    def __init__(self, case):
        self.numbers = np.random.default_rng(case)

    def choice(self, items):
        return items[int(self.numbers.integers(len(items)))]

    def below(self, limit):
        return int(self.numbers.integers(limit))


def damaged_bytes(content, random):
    """Truncated, overwritten, or with pieces moved."""
    content = bytearray(content)
    kind = random.below(4)
    if kind == 0:
        return bytes(content[: random.below(len(content))])
    for _ in range(1 + random.below(12)):
        at = random.below(len(content))
        if kind == 1:
            content[at] = random.below(256)
        elif kind == 2:
            del content[at : at + random.below(40)]
        else:
            content[at:at] = content[random.below(len(content)) :][:20]
    return bytes(content)


def damaged_graph(model, random):
    """Still ONNX, but no longer the network that it was."""
    graph = model.graph
    for _ in range(1 + random.below(3)):
        node = random.choice(graph.node) if graph.node else None
        kind = random.below(12)
        if node is None:
            break
        if kind == 0:
            graph.node.remove(node)
        elif kind == 1 and node.input:
            names = [name for other in graph.node for name in other.output] + [""]
            node.input[random.below(len(node.input))] = random.choice(names)
        elif kind == 2:
            node.op_type = random.choice(["Relu", "Conv", "Reshape", "Concat", "Where", "Loop"])
        elif kind == 3 and node.attribute:
            attribute = random.choice(node.attribute)
            attribute.i, attribute.f = random.below(9) - 4, 0.5
            if attribute.ints:
                attribute.ints[random.below(len(attribute.ints))] = random.below(9) - 4
        elif kind == 4 and node.attribute:
            node.attribute.remove(random.choice(node.attribute))
        elif kind == 5 and graph.initializer:
            graph.initializer.remove(random.choice(graph.initializer))
        elif kind == 6 and graph.initializer:
            tensor = random.choice(graph.initializer)
            if tensor.dims:
                tensor.dims[random.below(len(tensor.dims))] = random.below(20)
        elif kind == 7:
            value = random.choice([*graph.input, *graph.output])
            value.type.tensor_type.elem_type = random.below(18)
        elif kind == 8:
            dims = random.choice([*graph.input, *graph.output]).type.tensor_type.shape.dim
            if dims:
                random.choice(dims).dim_value = random.below(40)
        elif kind == 9:
            model.opset_import[0].version = random.below(30)
        elif kind == 10:
            random.choice([*graph.input, *graph.output]).type.tensor_type.ClearField("shape")
        else:
            node.input.append(random.choice([*node.output]))
    return model


def random_network(random):
    """A valid network: convolutions, activations, pools, branches, and one of several heads."""
    nodes, weights = [], []
    free, opset = bool(random.below(2)), random.choice([9, 11, 13, 17, 18, 20])

    def add(kind, *inputs, **attributes):
        name = f"v{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def weight(*shape, values=None):
        if values is None:
            values = random.numbers.normal(size=shape) / np.sqrt(np.prod(shape[1:], initial=1.0))
            values = values.astype(np.float32)
        weights.append(numpy_helper.from_array(np.asarray(values), f"w{len(weights)}"))
        return weights[-1].name

    def convolution(x, before, after, **options):
        group = random.choice([1, before]) if before == after else 1
        kernel = weight(after, before // group, 3, 3)
        return add("Conv", x, kernel, group=group, pads=[1, 1, 1, 1], **options)

    def activation(x):
        kind = random.below(6)
        if kind == 0:
            return add("Mul", x, add("Sigmoid", x))
        if kind == 1:
            low, high = weight(values=np.float32(0)), weight(values=np.float32(6))
            return add("Clip", x, low, high) if opset >= 11 else add("Clip", x, min=0.0, max=6.0)
        return add(random.choice(["Relu", "LeakyRelu", "Elu", "Tanh", "Softplus"]), x)

    x, channels = "image", 3
    for _ in range(1 + random.below(4)):
        kind = random.below(6)
        wider = random.choice([2, 4, 6])
        if kind == 0 and channels > 3:
            x = add("Add", x, activation(convolution(x, channels, channels)))
        elif kind == 1:
            left, right = convolution(x, channels, wider), convolution(x, channels, 3)
            if random.below(2):
                left, right = activation(left), activation(right)
            x, channels = add("Concat", left, right, axis=1), wider + 3
        elif kind == 2 and channels > 3:
            gate = add("Conv", add("GlobalAveragePool", x), weight(channels, channels, 1, 1))
            x = add("Mul", x, add("Sigmoid", gate))
        elif kind == 3:
            x = add("Transpose", x, perm=[0, 2, 3, 1])
            x = add("Mul", x, weight(channels))
            x = add("Transpose", x, perm=[0, 3, 1, 2])
        else:
            x, channels = activation(convolution(x, channels, wider)), wider
    x, channels = convolution(x, channels, 4), 4
    for _ in range(random.below(3)):
        x = activation(x)
    if random.below(3) == 0:
        x = add("Identity", add("Dropout", x))
    size = 8
    if random.below(2):
        kind = random.choice(["MaxPool", "AveragePool"])
        x, size = add(kind, x, kernel_shape=[2, 2], strides=[2, 2]), 4
    kind = random.below(5)
    if kind == 0:
        x = add("Flatten", x)
    elif kind == 1:
        target = [0 if random.below(2) else IMAGE[0], -1]
        x = add("Reshape", x, weight(values=np.array(target, np.int64)))
    elif kind == 2:
        first = weight(values=np.array([0], np.int64))
        count = add("Gather", add("Shape", x), first, axis=0)
        rest = weight(values=np.array([-1], np.int64))
        x = add("Reshape", x, add("Concat", count, rest, axis=0))
    else:
        x = add("Flatten", add(random.choice(["GlobalAveragePool", "GlobalMaxPool"]), x))
        size = 1
    width, classes = channels * size * size, 2 + random.below(4)
    if random.below(2):
        x = add("Relu", add("Gemm", x, weight(width, 5), weight(5)))
        width = 5
    x = add("Gemm", x, weight(classes, width), weight(classes), transB=1)
    tail = random.choice([None, "Softmax", "LogSoftmax"])
    x = add(tail, x, axis=1) if tail else x
    batch = "N" if free else IMAGE[0]
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, *IMAGE[1:]])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [batch, classes])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def session(path):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_damaged_files_are_refused_in_our_own_words(folder):
    contents = [(FIXTURES / f"{name}.onnx").read_bytes() for name in SMALL]
    refused = 0
    for case in range(CASES // 3):
        random = Random(case)
        path = folder / "network.onnx"
        path.write_bytes(damaged_bytes(random.choice(contents), random))
        try:
            refused += attempt(path, folder, random) is not None
        except Exception as error:
            raise AssertionError(f"damaged file {case}") from error
    assert refused > CASES // 6


def test_damaged_graphs_are_refused_in_our_own_words(folder):
    models = [onnx.load(FIXTURES / f"{name}.onnx") for name in SMALL]
    for case in range(CASES // 3):
        random = Random(case)
        model = onnx.ModelProto()
        model.CopyFrom(random.choice(models))
        path = folder / "network.onnx"
        path.write_bytes(damaged_graph(model, random).SerializeToString())
        try:
            attempt(path, folder, random)
        except Exception as error:
            raise AssertionError(f"damaged graph {case}") from error


def test_random_networks_are_cut_right(folder):
    cut_ones, networks = 0, CASES // 6
    for case in range(networks):
        random = Random(case)
        path = folder / "network.onnx"
        onnx.save(random_network(random), path)
        try:
            refusal = attempt(path, folder, random)
            assert refusal is None or "no such" not in refusal
            if refusal is None:
                cut_ones += 1
                compare(path, folder, random)
        except Exception as error:
            raise AssertionError(f"random network {case}") from error
    assert cut_ones > networks * 3 // 4


def compare(path, folder, random):
    """Suffix after prefix gives the masked network's scores for random masks."""
    network = surgery.load_network(path)
    for site in (surgery.default_site(network), random.choice(surgery.candidates(network))):
        cut = surgery.cut_network(network, site, folder)
        surgery.write_masked(network, site, folder / "masked.onnx")
        images = random.numbers.normal(size=IMAGE).astype(np.float32)
        prefix, masked = session(cut.prefix), session(folder / "masked.onnx")
        names = [v.name for v in prefix.get_outputs()]
        made = dict(zip(names, prefix.run(names, {"image": images}), strict=True))
        mask = random.numbers.integers(0, 2, (IMAGE[0], site.channels)).astype(np.float32)
        passed = {name: made[name] for name in (cut.features, *cut.skip_inputs)}
        scores = session(cut.suffix).run([cut.scores], {**passed, cut.mask: mask})[0]
        wanted = masked.run(None, {"image": images, "channel_mask": mask})[0]
        np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-5)
        off = np.where(mask[0] == 0)[0][made[cut.active][0][mask[0] == 0]]
        assert set(off) <= set(range(site.channels))


ODD = {
    "an index outside of the shape": (
        "s = Shape(r) n = Gather(s, i) t = Concat<axis=0>(n, m) q = Reshape(r, t)",
        "int64[1] i = {7}, int64[3] m = {4, 8, 8}",
    ),
    "a slice of no steps": (
        "s = Shape(r) n = Slice(s, e, e, e, e) t = Concat<axis=0>(n, m) q = Reshape(r, t)",
        "int64[0] e, int64[3] m = {4, 8, 8}",
    ),
    "two lower bounds": ("q = Clip(r, a)", "float[2] a = {0, 1}"),
    "no lower bound": ("q = Clip(r, a)", "float[0] a"),
    "no groups": ("q = Conv<group=0>(r, d)", "float[4,1,3,3] d"),
    "texts on the way": ("s = Cast<to=8>(r) q = Cast<to=1>(s)", ""),
    "no channels": (
        "z = Slice(r, a, a, b) q = Concat<axis=1>(z, z)",
        "int64[1] a={0}, int64[1] b={1}",
    ),
    "an operator whose types onnx does not infer": ("q = com.microsoft.Gelu(r)", ""),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_networks_end_in_no_traceback(name, write, tmp_path):
    body, constants = ODD[name]
    path = write(
        f"""net (float[N,3,8,8] x) => (float[N,5] y)
        <float[4,3,3,3] w, float[4,5] v{", " * bool(constants)}{constants}> {{
            c = Conv<pads=[1,1,1,1]>(x, w) r = Relu(c) {body}
            p = GlobalAveragePool(q) f = Flatten(p) y = MatMul(f, v)
        }}"""
    )
    model = onnx.load(path)
    model.opset_import.add(domain="com.microsoft", version=1)
    onnx.save(model, path)
    refused = attempt(path, tmp_path, np.random.default_rng(0))
    if refused is None:
        network = surgery.load_network(path)
        surgery.write_activation_outputs(network, tmp_path / "layers.onnx", (3, 8, 8))
        with contextlib.suppress(AnalyzerError):
            surgery.write_margin_graph(network, tmp_path / "margins.onnx", (3, 8, 8))
