"""Prefix and suffix against the masked network, and suffixes that begin with a linear operator."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import parser

from analyzer import surgery
from analyzer.errors import ModelError, SiteError

PLAIN = """
net (float[N,1,8,8] x) => (float[N,5] y)
<float[6,1,3,3] w, float[6] b, float[5,96] v, float[5] d>
{
    c = Conv<pads=[1,1,1,1]>(x, w, b)
    r = Relu(c)
    p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
    f = Flatten(p)
    y = Gemm<transB=1>(f, v, d)
}
"""

RESIDUAL = """
net (float[N,4,6,6] x) => (float[N,5] y)
<float[4,4,3,3] w1, float[4,4,3,3] w2, float[4,4,3,3] w3, float[5,4] v>
{
    [first] c1 = Conv<pads=[1,1,1,1]>(x, w1)
    r1 = Relu(c1)
    [second] c2 = Conv<pads=[1,1,1,1]>(r1, w2)
    r2 = Relu(c2)
    [third] c3 = Conv<pads=[1,1,1,1]>(r2, w3)
    a = Add(c3, r1)
    r3 = Relu(a)
    g = GlobalAveragePool(r3)
    f = Flatten(g)
    y = Gemm<transB=1>(f, v)
}
"""


def image(*shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_cut_sinks_through_pool_and_flatten(write, cut_and_compare, operators):
    network = surgery.load_network(write(PLAIN))
    cut = cut_and_compare(network, surgery.default_site(network), {"x": image(4, 1, 8, 8)})
    assert (cut.site.tensor, cut.tensor, cut.features) == ("r", "f", "f")
    assert operators(cut.suffix) == ["Cast", "Reshape", "Expand", "Reshape", "Where", "Gemm"]
    made = ["Conv", "Relu", "MaxPool", "Flatten", "Abs", "ReduceSum"]
    assert operators(cut.prefix)[:6] == made
    assert cut.skip_inputs == cut.shared_inputs == cut.warnings == ()


def test_attribute_is_at_the_site_and_active_at_the_cut(write, tmp_path, run):
    network = surgery.load_network(write(PLAIN))
    site = surgery.named_site(network, "c", at="conv")
    cut = surgery.cut_network(network, site, tmp_path)
    x = image(3, 1, 8, 8)
    x[1] = np.nan
    made = run(cut.prefix, {"x": x})
    weights = {v.name: v.const_value.numpy() for v in network.model.graph.initializers.values()}
    padded = np.pad(x[:, 0], ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    maps = np.einsum("nyxij,cij->ncyx", windows, weights["w"][:, 0])
    maps += weights["b"][:, None, None]
    np.testing.assert_allclose(made[cut.activity], np.abs(maps).sum((2, 3)), rtol=1e-5)
    pooled = np.maximum(maps, 0).max((2, 3)) > 0
    pooled[1] = True  # NaN is not zero
    assert cut.tensor == "f"
    np.testing.assert_array_equal(made[cut.active], pooled)


def test_residual_around_a_named_site_becomes_a_side_input(write, cut_and_compare, operators):
    network = surgery.load_network(write(RESIDUAL))
    site = surgery.named_site(network, "second")
    cut = cut_and_compare(network, site, {"x": image(4, 4, 6, 6)})
    assert (site.tensor, cut.skip_inputs, cut.shared_inputs) == ("r2", ("r1",), ())
    assert operators(cut.suffix)[-7:] == [
        "Where", "Conv", "Add", "Relu", "GlobalAveragePool", "Flatten", "Gemm",
    ]  # fmt: skip


def test_site_read_twice_is_masked_for_both_readers(write, cut_and_compare):
    network = surgery.load_network(write(RESIDUAL))
    cut = cut_and_compare(network, surgery.named_site(network, "r1"), {"x": image(4, 4, 6, 6)})
    assert cut.skip_inputs == ()
    assert cut.tensor == "r1"


def test_shape_taken_above_the_cut_is_rebuilt_for_the_suffix(write, cut_and_compare, operators):
    network = surgery.load_network(
        write("""
        net (float[N,2,H,W] x) => (float[N,5] y)
        <float[3,2,3,3] w, float[5,3] v, int64[1] at = {0}, int64[1] two = {2}>
        {
            c = Conv<pads=[1,1,1,1]>(x, w)
            r = Relu(c)
            s = Shape(x)
            n = Gather(s, at)
            h = Gather(s, two)
            n_float = Cast<to=1>(n)
            h_float = Cast<to=1>(h)
            ratio = Div(h_float, n_float)
            again = Mul(ratio, n_float)
            q = Sigmoid(r)
            g = GlobalAveragePool(q)
            f = Flatten(g)
            z = Mul(f, again)
            y = Gemm<transB=1>(z, v)
        }
        """)
    )
    x = image(4, 2, 6, 7)
    cut = cut_and_compare(network, surgery.named_site(network, "r"), {"x": x})
    assert cut.skip_inputs == cut.shared_inputs == ("x_shape",)
    assert "Shape" in operators(cut.prefix)


def test_view_by_a_size_above_the_cut_is_settled(write, cut_and_compare, operators):
    network = surgery.load_network(
        write("""
        net (float[N,2,6,6] x) => (float[N,5] y)
        <float[3,2,3,3] w, float[5,3] v, int64 at = {0}, int64[1] rest = {-1}, int64[1] zero = {0}>
        {
            c = Conv<pads=[1,1,1,1]>(x, w)
            r = Relu(c)
            g = GlobalAveragePool(r)
            s = Shape(x)
            n = Gather(s, at)
            u = Unsqueeze(n, zero)
            t = Concat<axis=0>(u, rest)
            f = Reshape(g, t)
            y = Gemm<transB=1>(f, v)
        }
        """)
    )
    cut = cut_and_compare(network, surgery.default_site(network), {"x": image(4, 2, 6, 6)})
    assert (cut.tensor, cut.skip_inputs) == ("f", ())
    assert operators(cut.suffix) == ["Cast", "Where", "Gemm"]


def test_fully_convolutional_scores_are_flattened(write, cut_and_compare):
    network = surgery.load_network(
        write("""
        net (float[N,2,6,6] x) => (float[N,5,1,1] y)
        <float[3,2,3,3] w, float[5,3,1,1] v>
        {
            c = Conv(x, w)
            r = Relu(c)
            k = Conv(r, v)
            e = Relu(k)
            y = GlobalAveragePool(e)
        }
        """)
    )
    cut = cut_and_compare(network, surgery.named_site(network, "r"), {"x": image(4, 2, 6, 6)})
    assert cut.scores == "y_flat"
    cut = cut_and_compare(network, surgery.default_site(network), {"x": image(4, 2, 6, 6)})
    assert (cut.site.tensor, cut.tensor) == ("e", "e")


def test_extra_output_is_dropped_with_a_warning(write, cut_and_compare):
    text = PLAIN.replace("(float[N,5] y)", "(float[N,5] y, float[N,6,8,8] r)")
    network = surgery.load_network(write(text))
    cut = cut_and_compare(
        network, surgery.default_site(network), {"x": image(4, 1, 8, 8)}, output="y"
    )
    assert cut.warnings == (
        "The network has several outputs; y is taken for the class scores. Others can be named: r.",
    )


def test_values_from_constants_are_made_in_both_halves(write, cut_and_compare):
    text = RESIDUAL.replace("a = Add(c3, r1)", "k = Add(w1, w2) m = Conv<pads=[1,1,1,1]>(c3, k) "
                            "a = Add(m, r1)")  # fmt: skip
    network = surgery.load_network(write(text))
    cut = cut_and_compare(network, surgery.named_site(network, "r2"), {"x": image(4, 4, 6, 6)})
    assert cut.skip_inputs == ("r1",)


@pytest.mark.parametrize("opset", [7, 9, 11, 12, 13, 18, 21])
def test_every_opset(write, cut_and_compare, opset):
    network = surgery.load_network(write(PLAIN, opset=opset, ir_version=4 if opset < 10 else 8))
    assert network.info.opset == opset
    cut_and_compare(network, surgery.default_site(network), {"x": image(4, 1, 8, 8)})


def test_half_precision(write, cut_and_compare, run):
    network = surgery.load_network(write(PLAIN.replace("float[", "float16[")))
    x = image(4, 1, 8, 8).astype(np.float16)
    site = surgery.default_site(network)
    # Not exact: the CPU computes in float32 and rounds only where a graph ends.
    cut = cut_and_compare(network, site, {"x": x}, exact=False, rtol=5e-3)
    made = run(cut.prefix, {"x": x})
    assert made[cut.activity].dtype == np.float32
    assert made[cut.features].dtype == np.float16


def test_double_precision_hidden_units(write, cut_and_compare, run):
    network = surgery.load_network(
        write("""
        net (double[N,7] x) => (double[N,5] y)
        <double[6,7] w, double[5,6] v>
        {
            h = Gemm<transB=1>(x, w)
            r = Relu(h)
            y = Gemm<transB=1>(r, v)
        }
        """)
    )
    assert [s.tensor for s in surgery.candidates(network)] == ["r"]
    x = image(4, 7).astype(np.float64)
    cut = cut_and_compare(network, surgery.named_site(network, "r"), {"x": x})
    made = run(cut.prefix, {"x": x})
    assert (made[cut.activity].dtype, made[cut.features].dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(made[cut.active], made[cut.features] != 0)


def test_site_that_the_scores_do_not_depend_on_is_refused(write, tmp_path):
    text = PLAIN.replace("f = Flatten(p)", "f = Flatten(p) unused = Relu(p)")
    network = surgery.load_network(write(text))
    site = surgery.named_site(network, "unused", axis=1)
    with pytest.raises(SiteError, match=r"does not depend on the tensor unused.*site"):
        surgery.cut_network(network, site, tmp_path)


@pytest.mark.parametrize("site", ["p", "places"])
def test_no_cut_lies_between_places_in_a_batch_and_who_takes_them(write, tmp_path, site):
    text = """
    net (float[N,3,8,8] x) => (float[N,4] y)
    <float[4,3,3,3] w>
    {
        c = Conv<pads=[1,1,1,1]>(x, w)
        r = Relu(c)
        p, places = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
        u = MaxUnpool<kernel_shape=[2,2], strides=[2,2]>(p, places)
        g = GlobalAveragePool(u)
        y = Flatten(g)
    }
    """
    network = surgery.load_network(write(text))
    with pytest.raises(SiteError, match="MaxUnpool u behind it takes places from before it"):
        surgery.cut_network(network, surgery.find_site(network, site), tmp_path)
    for whole in ("c", "u"):
        surgery.cut_network(network, surgery.find_site(network, whole), tmp_path)


def test_missing_folder_is_refused(write, tmp_path):
    network = surgery.load_network(write(PLAIN))
    with pytest.raises(ModelError, match="does not exist"):
        surgery.cut_network(network, surgery.default_site(network), tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "site", "shape"), [(PLAIN, None, (2, 1, 8, 8)), (RESIDUAL, "r2", (2, 4, 6, 6))]
)
def test_network_is_not_changed(write, cut_and_compare, text, site, shape):
    def said():
        graph = network.model.graph
        uses = {v.name: len(v.uses()) for node in graph for v in (*node.inputs, *node.outputs) if v}
        return str(network.model), uses

    network = surgery.load_network(write(text))
    before = said()
    cut_and_compare(network, surgery.find_site(network, site), {"x": image(*shape)})
    assert said() == before


def test_subgraphs_read_the_masked_tensor_and_what_bypasses_it(write, cut_and_compare):
    network = surgery.load_network(
        write("""
        net (float[N,4,6,6] x) => (float[N,5] y) <float[4,4,1,1] w1, float[4,4,1,1] w2,
        float[4,5] v, bool yes = {1}>
        { c1 = Conv(x, w1) r1 = Relu(c1) c2 = Conv(r1, w2) r2 = Relu(c2)
          z = If(yes) <then_branch = g1 () => (float[N,4,6,6] t) { n = Neg(r2) t = Sub(n, r1) },
                       else_branch = g2 () => (float[N,4,6,6] e) { e = Add(r1, r2) }>
          p = GlobalAveragePool(z) f = Flatten(p) y = MatMul(f, v) }""")
    )
    site = surgery.named_site(network, "r2")
    cut = cut_and_compare(network, site, {"x": image(3, 4, 6, 6)})
    assert (cut.tensor, cut.skip_inputs) == ("r2", ("r1",))


def test_no_half_written_file_is_left(write, tmp_path):
    network = surgery.load_network(write(PLAIN))
    folder = tmp_path / "halves"
    folder.mkdir()
    surgery.cut_network(network, surgery.default_site(network), folder)
    assert {"prefix.onnx", "suffix.onnx"} <= {p.name for p in folder.iterdir()}
    assert not list(folder.glob(".*"))


HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
WEIGHTS = {
    "w": (5, 3, 1, 1), "v": (6, 5), "f": (20, 6), "b": (6,), "u": (4, 6),
    "c": (6, 5, 1, 1), "d": (6, 5, 2, 2), "e": (4, 6, 1, 1), "apart": (10, 1, 1, 1),
}  # fmt: skip


def linear_network(body: str, folder):
    """images (N, 3, 2, 2) → a (N, 5, 2, 2), activated; ``body`` goes on to ``scores``."""
    shape = "N,K,1,1" if "scores = Conv" in body else "N,K"
    text = f"""{HEADER} net (float[N,3,2,2] images) => (float[{shape}] scores)
    {{ x = Conv(images, w)  a = Relu(x)  {body} }}"""
    model = parser.parse_model(text)
    random = np.random.default_rng(3)
    for name, shape in WEIGHTS.items():
        array = random.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(model, folder / "linear_network.onnx")
    return surgery.load_network(folder / "linear_network.onnx")


MEAN = "p = GlobalAveragePool(a)"
POOLED = "p = GlobalAveragePool(a)  g = Flatten(p)"

LINEAR = {
    "gemm": (f"{POOLED} scores = Gemm<transB=1>(g, v, b)", False),
    "gemm scaled": (f"{POOLED} scores = Gemm<transB=1, alpha=0.5, beta=2.0>(g, v, b)", False),
    "weights in half the bytes": (
        f"{POOLED} h = Cast<to=10>(v)  wide = Cast<to=1>(h)  scores = Gemm<transB=1>(g, wide, b)",
        False,
    ),
    "softmax": (f"{POOLED} z = Gemm<transB=1>(g, v, b)  scores = Softmax(z)", False),
    "positions": ("g = Flatten(a)  scores = Gemm(g, f, b)", False),
    "matmul": ("g = Flatten(a)  scores = MatMul(g, f)", False),
    "matmul and bias": ("g = Flatten(a)  m = MatMul(g, f)  scores = Add(m, b)", False),
    "channels last": (
        "t = Transpose<perm=[0,2,3,1]>(a)  g = Flatten(t)  scores = Gemm(g, f)",
        False,
    ),
    "tail": ("g = Flatten(a)  h = Gemm(g, f, b)  r = Relu(h)  scores = Gemm<transB=1>(r, u)", True),
    "convolution": (f"{MEAN} z = Conv(p, c, b)  scores = Flatten(z)", False),
    "convolution to the scores": (f"{MEAN} scores = Conv(p, c, b)", False),
    "convolution padded as before": (
        f'{MEAN} z = Conv<auto_pad="SAME_UPPER">(p, c)  scores = Flatten(z)',
        False,
    ),
    "convolution and softmax": (
        f"{MEAN} z = Conv(p, c, b)  s = Softmax<axis=1>(z)  scores = Flatten(s)",
        False,
    ),
    "convolution and softmax of one each": (
        f"{MEAN} z = Conv(p, c, b)  s = Softmax(z)  scores = Flatten(s)",
        True,
    ),
    "two convolutions": (f"{MEAN} z = Conv(p, c, b)  r = Relu(z)  scores = Conv(r, e)", True),
    "kernel as large as the map": (
        "z = Conv(a, d, b)  r = Relu(z)  g = Flatten(r)  scores = Gemm<transB=1>(g, u)",
        True,
    ),
    "sigmoid": (f"{POOLED} z = Gemm<transB=1>(g, v, b)  scores = Sigmoid(z)", True),
}

NOT_LINEAR = {
    "relu before the product": (
        "t = Tanh(a)  n = Neg(t)  s = Exp(n)  g = Flatten(s)  scores = Gemm(g, f)"
    ),
    "two consumers": "g = Flatten(a)  h = Gemm(g, f)  k = MatMul(g, f)  scores = Add(h, k)",
    "convolution over positions": "z = Conv(a, c)  g = GlobalMaxPool(z)  scores = Flatten(g)",
    "convolution of padding": f"{MEAN} z = Conv<pads=[1,1,0,0]>(p, d)  scores = Flatten(z)",
    "convolution in groups": f"{MEAN} z = Conv<group=5>(p, apart)  scores = Flatten(z)",
    "features on the right": f"{POOLED} t = Transpose(g)  m = MatMul(v, t)  scores = Transpose(m)",
}


@pytest.mark.parametrize("name", LINEAR)
def test_head_and_tail_repeat_the_suffix(name, tmp_path):
    body, has_tail = LINEAR[name]
    loaded = linear_network(body, tmp_path)
    found = surgery.cut_network(loaded, surgery.named_site(loaded, "a"), tmp_path)
    assert found.head is not None
    assert (found.head.tail is not None) == has_tail

    random = np.random.default_rng(4)
    images = random.normal(size=(7, 3, 2, 2)).astype(np.float32)
    mask = (random.random((7, 5)) < 0.5).astype(np.float32)
    prefix, suffix = (
        ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        for path in (found.prefix, found.suffix)
    )
    features = prefix.run([found.features], {"images": images})[0]
    expected = suffix.run(None, {found.features: features, found.mask: mask})[0]

    by_unit = features.reshape(7, found.head.outer, 5, found.head.inner)
    by_unit = np.moveaxis(by_unit, 2, 1).reshape(7, 5, -1) * mask[:, :, None]
    z = np.load(found.head.bias) + np.einsum("nup,upd->nd", by_unit, np.load(found.head.weights))
    if has_tail:
        tail = ort.InferenceSession(found.head.tail, providers=["CPUExecutionProvider"])
        z = tail.run(None, {found.head.tail_input: z.astype(np.float32)})[0]
        np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(z.argmax(axis=1), expected.argmax(axis=1))


@pytest.mark.parametrize("name", NOT_LINEAR)
def test_other_suffixes_have_no_head(name, tmp_path):
    loaded = linear_network(NOT_LINEAR[name], tmp_path)
    assert surgery.cut_network(loaded, surgery.named_site(loaded, "a"), tmp_path).head is None


def test_the_cost_of_attention_is_known_with_an_open_batch(write):
    network = surgery.load_network(
        write("""
        net (float[N,3,8,8] x) => (float[N,5] y)
        <float[4,3,3,3] w, float[16,5] v, int64[3] rows = {0, 4, 64}>
        {
            c = Conv<pads=[1,1,1,1]>(x, w)
            r = Relu(c)
            q = Reshape(r, rows)
            k = Transpose<perm=[0,2,1]>(q)
            a = MatMul(q, k)
            f = Flatten(a)
            y = MatMul(f, v)
        }
        """)
    )
    found = surgery.outline_network(network, surgery.default_site(network))
    assert found.prefix_operations == (4 * 8 * 8) * (3 * 3 * 3)
    assert found.suffix_operations == (4 * 4) * 64 + 5 * 16
