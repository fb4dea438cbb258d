"""Networks that take more than images."""

import numpy as np
import onnxruntime as ort
import pytest

from analyzer import surgery
from analyzer.errors import ModelError

TEXT = """
net (float[N,3,8,8] x, float[N,4] info, float scale, float[1,1,1,3] unread) => (float[N,5] y)
<float[4,3,3,3] w, float[8,5] v>
{
    c = Conv<pads=[1,1,1,1]>(x, w)
    r = Relu(c)
    p = GlobalAveragePool(r)
    f = Flatten(p)
    s = Mul(f, scale)
    j = Concat<axis=1>(s, info)
    y = MatMul(j, v)
}
"""
IMAGES = np.random.default_rng(3).normal(size=(3, 3, 8, 8)).astype(np.float32)
INFO = np.array([1.0, 2.0, 3.0, 4.0])


@pytest.fixture
def network(write):
    return surgery.load_network(write(TEXT))


def test_missing_values_are_asked_for_by_name(network):
    with pytest.raises(ModelError, match=r"inputs=NAME=NUMBER: info float32 .*; scale float32"):
        surgery.bind_inputs(network, {})


@pytest.mark.parametrize("info", [INFO, INFO[None]])
def test_bound_network_answers_as_the_original(network, info, run, tmp_path):
    given = {"info": info, "scale": np.asarray(2.0)}
    bound, extra = surgery.bind_inputs(network, given)
    assert [i.name for i in bound.info.inputs] == ["x"]
    assert {f.name: (f.value.shape, f.per_image) for f in extra} == {
        "info": ((1, 4), True),
        "scale": ((), False),
        "unread": ((1, 1, 1, 3), False),
    }
    feeds = {"x": IMAGES, **{f.name: f.repeated(3) for f in extra}}
    wanted = run(network.path, feeds)["y"]
    site = surgery.default_site(bound)
    assert site.tensor == "r"
    surgery.write_masked(bound, site, tmp_path / "masked.onnx")
    np.testing.assert_array_equal(run(tmp_path / "masked.onnx", {"x": IMAGES})["y"], wanted)
    cut = surgery.cut_network(bound, site, tmp_path)
    made = run(cut.prefix, {"x": IMAGES})
    passed = {name: made[name] for name in (cut.features, *cut.skip_inputs)}
    mask = np.ones((1, 4), np.float32)
    np.testing.assert_array_equal(run(cut.suffix, {**passed, cut.mask: mask})["y"], wanted)


def test_original_is_not_changed(network):
    surgery.bind_inputs(network, {"info": INFO, "scale": np.asarray(2.0)})
    names = [v.name for v in network.model.graph.inputs if not v.is_initializer()]
    assert names == ["x", "info", "scale", "unread"]


def test_value_that_does_not_fit_is_refused(network):
    with pytest.raises(ModelError, match=r"inputs=info has the shape \[3\]"):
        surgery.bind_inputs(network, {"info": INFO[:3], "scale": np.asarray(2.0)})


@pytest.mark.parametrize(
    ("dtype", "value", "held"),
    [
        ("int64", 0.9, None), ("int64", 2.0, 2), ("int64", 1e30, None), ("int64", np.nan, None),
        ("int64", 2**62 + 1, 2**62 + 1), ("int8", 300, None), ("uint8", -1, None),
        ("bool", 2, None), ("bool", 1, True), ("float16", 1e9, None), ("float16", 0.1, 0.1),
        ("float", np.inf, np.inf), ("string", 1, None),
    ],
)  # fmt: skip
def test_a_value_is_what_the_input_can_hold(write, dtype, value, held):
    further = (
        "cast = Cast<to=1>(e) y = Add(pooled, cast)"
        if dtype != "string"
        else ("same = Equal(e, e) cast = Cast<to=1>(same) y = Add(pooled, cast)")
    )
    network = surgery.load_network(
        write(
            f"net (float[N,3,8,8] x, {dtype} e) => (float[N,4] y) <float[4,3,3,3] w> {{ "
            f"c = Conv(x, w) r = Relu(c) p = GlobalAveragePool(r) pooled = Flatten(p) {further} }}"
        )
    )
    given = {"e": np.asarray(value)}
    if held is None:
        with pytest.raises(ModelError, match="The input e "):
            surgery.bind_inputs(network, given)
    else:
        _, (extra,) = surgery.bind_inputs(network, given)
        np.testing.assert_allclose(extra.value, held, rtol=1e-3)
        assert dtype.startswith("float") or extra.value == held


@pytest.mark.parametrize("name", ["x", "inf"])
def test_only_further_inputs_take_values(network, name):
    with pytest.raises(ModelError, match=f"no extra input called '{name}'"):
        surgery.bind_inputs(network, {name: INFO})


def test_image_input_may_come_second(write):
    text = TEXT.replace("float[N,3,8,8] x, float[N,4] info", "float[N,4] info, float[N,3,8,8] x")
    bound, _ = surgery.bind_inputs(
        surgery.load_network(write(text)), {"info": INFO, "scale": np.asarray(1.0)}
    )
    assert [i.name for i in bound.info.inputs] == ["x"]


def test_fixed_batch_is_freed_with_its_further_inputs(write, run, tmp_path):
    network = surgery.load_network(write(TEXT.replace("[N,", "[2,")))
    bound, _ = surgery.bind_inputs(network, {"info": INFO, "scale": np.asarray(1.0)})
    cut = surgery.cut_network(bound, surgery.default_site(bound), tmp_path)
    assert cut.batch is None
    prefix = ort.InferenceSession(cut.prefix, providers=["CPUExecutionProvider"])
    assert prefix.run([cut.features], {"x": IMAGES})[0].shape[0] == 3


@pytest.mark.parametrize("kind", ["bfloat16", "float8e5m2"])
def test_an_input_of_numbers_that_numpy_lacks_is_refused(write, kind):
    path = write(
        f"""g ({kind}[N, 3, 4, 4] x) => (float[N, 48] y) {{
            f = Cast<to = 1>(x)
            r = Relu(f)
            y = Flatten(r)
        }}""",
        opset=21,
        ir_version=10,
    )
    with pytest.raises(ModelError, match=r"The input x of .* is (bfloat16|float8_e5m2), .*float32"):
        surgery.load_network(path)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("int32", r"no ArgMax makes it of scores.*: y int32 \[N, 4\]"),
        ("bfloat16", r"is bfloat16, which onnxruntime makes no array of"),
    ],
)
def test_scores_of_a_type_that_tells_no_class_are_refused_by_it(write, kind, said):
    number = {"int32": 6, "bfloat16": 16}[kind]
    text = f"""
    net (float[N,3,8,8] x) => ({kind}[N,4] y)
    <float[4,3,3,3] w>
    {{
        c = Conv(x, w)
        g = GlobalAveragePool(c)
        f = Flatten(g)
        y = Cast<to={number}>(f)
    }}
    """
    network = surgery.load_network(write(text))
    with pytest.raises(ModelError, match=said):
        surgery.find_answer(network, "y")
    with pytest.raises(ModelError, match=f"{kind}"):
        surgery.find_answer(network)


def labels_of(head: str) -> str:
    """A network of labels alone, of which onnx infers no shape behind the activation."""
    return f"""
    net (float[N,3,8,8] x) => (int64[N] y)
    <float[4,3,3,3] w, float[4] s, float[4] t, float[144,5] v, float[5] b, float[144] one,
     int64[2] target = {{-1, 144}}, int64[4] four = {{-1, 4, 6, 6}}>
    {{
        c = Conv(x, w)
        r = Relu(c)
        g = GroupNormalization<num_groups=2>(r, s, t)
        {head}
    }}
    """


@pytest.mark.parametrize(
    "head",
    [
        "f = Flatten(g) z = MatMul(f, v) y = ArgMax<axis=1, keepdims=0>(z)",
        "f = Flatten(g) z = Gemm(f, v, b) p = Softmax(z) y = ArgMax<axis=-1, keepdims=0>(p)",
        "f = Reshape(g, target) h = Mul(one, f) z = MatMul(h, v) a = Add(z, b)"
        " y = ArgMax<axis=1, keepdims=0>(a)",
    ],
)
def test_labels_are_told_where_no_shape_of_the_scores_is(write, run, tmp_path, head):
    network = surgery.load_network(write(labels_of(head), opset=21, ir_version=10))
    answer = surgery.find_answer(network)
    assert (answer.output, answer.kind) == ("y", "labels")
    cut = surgery.cut_network(network, surgery.default_site(network), tmp_path)
    made = run(cut.prefix, {"x": IMAGES})
    passed = {name: made[name] for name in (cut.features, *cut.skip_inputs)}
    (scores,) = run(cut.suffix, {**passed, cut.mask: np.ones((1, 4), np.float32)}).values()
    assert scores.shape == (3, 5)
    labels = run(network.path, {"x": IMAGES})["y"]
    np.testing.assert_array_equal(scores.argmax(axis=1), labels)


@pytest.mark.parametrize(
    "head",
    [
        "y = ArgMax<axis=1, keepdims=0>(g)",
        "m = Mul(g, g) y = ArgMax<axis=1, keepdims=0>(m)",
        "n = MatMul(x, g) y = ArgMax<axis=1, keepdims=0>(n)",
    ],
)
@pytest.mark.parametrize("name", [None, "y"])
def test_labels_of_what_may_be_no_scores_are_refused_with_a_way_out(write, head, name):
    network = surgery.load_network(write(labels_of(head), opset=21, ir_version=10))
    with pytest.raises(ModelError, match=r"ArgMax of [gmn], .* Export .* before the ArgMax\.$"):
        surgery.find_answer(network, name)


@pytest.mark.parametrize("keepdims", [0, 1])
def test_labels_that_are_the_last_of_equal_scores_are_refused(write, keepdims):
    last = f"y = ArgMax<axis=1, keepdims={keepdims}, select_last_index=1>(z)"
    network = surgery.load_network(
        write(labels_of(f"f = Flatten(g) z = MatMul(f, v) {last}"), opset=21, ir_version=10)
    )
    for output in (None, "y"):
        with pytest.raises(ModelError, match=r"select_last_index.* Export .* before the ArgMax\.$"):
            surgery.find_answer(network, output)


def test_labels_of_a_map_are_none_of_an_image(write):
    head = "f = Reshape(g, four) y = ArgMax<axis=1, keepdims=0>(f)"
    network = surgery.load_network(write(labels_of(head), opset=21, ir_version=10))
    with pytest.raises(ModelError, match=r"No output of .* has the shape of class scores"):
        surgery.find_answer(network)
