"""Computed targets that are settled, and batch axes that are freed."""

import resource
from pathlib import Path

import numpy as np
import onnx
import pytest

from analyzer import surgery
from analyzer.errors import ModelError
from analyzer.surgery.graph import constant, dimensions, find_value
from analyzer.surgery.input_sizes import free_batch

TEXT = """
net (float[N,3,8,W] x) => (float[A,B] y)
<float[4,3,3,3] w, int64 i0 = {0}, int64 i1 = {1}, int64 i2 = {2}, int64[1] v0 = {0},
 int64[1] v1 = {1}, int64[1] v2 = {2}, int64[1] minus = {-1}, int64[1] four = {4}>
{
    c = Conv<pads=[1,1,1,1]>(x, w)
    s = Shape(c)
    BODY
    f = Reshape(c, t)
    y = Relu(f)
}
"""
SIZE = "n = Gather(s, i0) u = Unsqueeze(n, v0) "
BODIES = {
    SIZE + "t = Concat<axis=0>(u, minus)": [0, -1],
    "n = Slice(s, v0, v1) t = Concat<axis=0>(n, minus)": [0, -1],
    "n = Shape<start=0, end=1>(c) t = Concat<axis=0>(n, minus)": [0, -1],
    "n = Shape<start=0, end=2>(c) t = Concat<axis=0>(n, minus)": [0, 4, -1],
    "n = Cast<to=6>(s) m = Cast<to=7>(n) k = Slice(m, v0, v2) t = Concat<axis=0>(k, minus)": [
        0, 4, -1,
    ],
    SIZE + "t = Concat<axis=0>(minus, u)": None,  # the batch is not first
    SIZE + "d = Mul(u, four) t = Concat<axis=0>(d, minus)": None,
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_computed_reshape_target_is_settled_where_it_can_be_told(write, body):
    graph = surgery.load_network(write(TEXT.replace("BODY", body))).model.graph
    node = find_value(graph, "f").producer()
    target = constant(node.inputs[1])
    wanted = BODIES[body]
    assert (None if target is None else target.tolist()) == wanted
    if wanted is not None:
        assert dimensions(node.outputs[0])[0] == "N"
        assert "Gather" not in [n.op_type for n in graph]


BAKED = """
net (float[B,3,8,8] x) => (float[B,5] y)
<float[4,3,3,3] w, float[144,5] v, int64[2] target = {B, 144}>
{
    c = Conv(x, w)
    r = Relu(c)
    f = Reshape(r, target)
    y = MatMul(f, v)
}
"""
MIXED = """
net (float[2,3,8,8] x) => (float[2,5] y)
<float[4,3,3,3] w, float[4,5] v, int64[3] merged = {4, 2, -1}, int64[4] apart = {2, 4, 6, 6}>
{
    c = Conv(x, w)
    m = Reshape(c, merged)
    q = Softmax(m)
    d = Reshape(q, apart)
    r = Relu(d)
    p = GlobalAveragePool(r)
    f = Flatten(p)
    y = MatMul(f, v)
}
"""


def image(samples):
    return np.random.default_rng(3).normal(size=(samples, 3, 8, 8)).astype(np.float32)


@pytest.mark.parametrize("size", [1, 8])
@pytest.mark.parametrize("rest", ["144", "-1"])
def test_batch_size_baked_into_reshape_is_freed(write, run, tmp_path, size, rest):
    text = BAKED.replace("{B, 144}", f"{{{size}, {rest}}}").replace("[B,", f"[{size},")
    path = write(text)
    network = surgery.load_network(path)
    site = surgery.default_site(network)
    cut = surgery.cut_network(network, site, tmp_path)
    assert (cut.batch, cut.tensor, cut.warnings) == (None, "f", ())
    x = image(3 * size)
    made = run(cut.prefix, {"x": x})
    scores = run(cut.suffix, {"f": made["f"], cut.mask: np.ones((1, 4), np.float32)})["y"]
    parts = [run(path, {"x": part})["y"] for part in np.split(x, 3)]
    np.testing.assert_array_equal(scores, np.concatenate(parts))


def test_batch_that_takes_part_in_a_reshape_stays_fixed(write, cut_and_compare):
    network = surgery.load_network(write(MIXED))
    cut = cut_and_compare(network, surgery.default_site(network), {"x": image(2)})
    assert cut.batch == 2
    assert "fixed to batches of 2 images" in cut.warnings[0]


@pytest.mark.parametrize("mixer", ["Softmax<axis=0>(c)", "ReduceMean<axes=[0]>(c)"])
def test_sum_over_the_batch_is_never_called_free(write, mixer):
    text = BAKED.replace("[B,", "[2,").replace("{B,", "{2,").replace("Relu(c)", mixer)
    if "Reduce" in mixer:
        text = text.replace("{2, 144}", "{1, 144}").replace("(float[2,5] y)", "(float[1,5] y)")
    model = surgery.load_network(write(text)).model
    assert free_batch(model, ("x",))[1] == 2


def test_allowzero_is_switched_off_where_zero_copies(write, run, tmp_path):
    text = (
        BAKED.replace("[B,", "[1,")
        .replace("{B,", "{1,")
        .replace("Reshape(", "Reshape<allowzero=1>(")
    )
    network = surgery.load_network(write(text))
    assert surgery.cut_network(network, surgery.default_site(network), tmp_path).batch is None


def test_free_network_is_left_as_it_is(write):
    model = surgery.load_network(write(BAKED.replace("[B,", "[N,").replace("{B,", "{-1,"))).model
    freed, size = free_batch(model, ("x",))
    assert size is None
    assert [n.op_type for n in freed.graph] == [n.op_type for n in model.graph]


@pytest.mark.parametrize("operator", ["Gelu", "QuickGelu", "FastGelu"])
def test_activations_of_microsoft_have_the_shape_of_their_input(write, tmp_path, operator):
    path = write(
        f"""net (float[N,3,8,8] x) => (float[N,4] y) <float[4,3,3,3] w> {{
            c = Conv(x, w)
            r = com.microsoft.{operator}(c)
            p = GlobalAveragePool(r)
            y = Flatten(p)
        }}"""
    )
    model = onnx.load(path)
    model.opset_import.add(domain="com.microsoft", version=1)
    onnx.save(model, path)
    network = surgery.load_network(path)
    site = surgery.default_site(network)
    assert (site.tensor, site.operator, site.shape) == ("r", operator, ("N", 4, 6, 6))
    surgery.cut_network(network, site, tmp_path)
    prefix = onnx.load(tmp_path / "prefix.onnx").graph.node
    assert [node.op_type for node in prefix][:2] == ["Conv", operator]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no memory to read off")
@pytest.mark.parametrize(
    "made",
    [
        "Range(a, b, s)",
        "HannWindow(b)",
        "RandomUniform<shape=[1000000000]>()",
        "local.listed(a, b, s)",
    ],
)
def test_a_list_of_very_many_numbers_is_refused_before_memory_is_gone(made, tmp_path):
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        net (float[N,3,8,8] x) => (float[N,4] y)
        <float[4,3,3,3] w, int64 a = {{0}}, int64 b = {{1000000000}}, int64 s = {{1}}> {{
            numbers = {made} many = Size(numbers) c = Conv(x, w) r = Relu(c)
            p = GlobalAveragePool(r) f = Flatten(p) k = Cast<to=1>(many) y = Add(f, k)
        }}
        <domain: "local", opset_import: ["" : 17]>
        listed (a, b, s) => (numbers) {{ numbers = Range(a, b, s) }}
        """)
    kernel = onnx.numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    model.graph.initializer.append(kernel)
    path = tmp_path / "n.onnx"
    onnx.save(model, path)
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(ModelError, match="list of so many numbers"):
        surgery.load_network(path)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
