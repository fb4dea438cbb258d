import numpy as np
import pytest

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
    assert operators(cut.prefix)[:4] == ["Conv", "Relu", "Abs", "ReduceSum"]
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


def test_missing_folder_is_refused(write, tmp_path):
    network = surgery.load_network(write(PLAIN))
    with pytest.raises(ModelError, match="does not exist"):
        surgery.cut_network(network, surgery.default_site(network), tmp_path / "nowhere")


def test_network_is_not_changed(write, cut_and_compare):
    network = surgery.load_network(write(PLAIN))
    before = str(network.model)
    cut_and_compare(network, surgery.default_site(network), {"x": image(2, 1, 8, 8)})
    assert str(network.model) == before


def test_no_half_written_file_is_left(write, tmp_path):
    network = surgery.load_network(write(PLAIN))
    folder = tmp_path / "halves"
    folder.mkdir()
    surgery.cut_network(network, surgery.default_site(network), folder)
    assert {"prefix.onnx", "suffix.onnx"} <= {p.name for p in folder.iterdir()}
    assert not list(folder.glob(".*"))
