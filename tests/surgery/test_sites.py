import numpy as np
import pytest

from analyzer import surgery
from analyzer.errors import ModelError, SiteError

SQUEEZENET = """
net (float[N,3,8,8] x) => (float[N,5] y)
<float[4,3,3,3] w, float[5,4,1,1] v>
{
    c = Conv<pads=[1,1,1,1]>(x, w)
    r = Relu(c)
    k = Conv(r, v)
    e = Relu(k)
    p = GlobalAveragePool(e)
    y = Flatten(p)
}
"""

EXCITE = """
net (float[N,3,8,8] x) => (float[N,5] y)
<float[4,3,3,3] w, float[2,4,1,1] w1, float[4,2,1,1] w2, float[5,4] v>
{
    c = Conv<pads=[1,1,1,1]>(x, w)
    r = Relu(c)
    g = GlobalAveragePool(r)
    s1 = Conv(g, w1)
    s2 = Relu(s1)
    s3 = Conv(s2, w2)
    gate = HardSigmoid(s3)
    m = Mul(r, gate)
    p = GlobalAveragePool(m)
    f = Flatten(p)
    y = Gemm<transB=1>(f, v)
}
"""

LINEAR = """
net (float[N,3,8,8] x) => (float[N,5] y)
<float[4,3,3,3] w, float[5,4] v>
{
    [conv] c = Conv<pads=[1,1,1,1]>(x, w)
    p = AveragePool<kernel_shape=[2,2]>(c)
    f = GlobalAveragePool(p)
    g = Flatten(f)
    y = Gemm<transB=1>(g, v)
}
"""

NHWC = """
net (float[N,8,8,3] x) => (float[N,5] y)
<float[4,3,3,3] w, float[256,5] v, int64[2] target = {-1, 256}>
{
    t = Transpose<perm=[0,3,1,2]>(x)
    c = Conv<pads=[1,1,1,1]>(t, w)
    u = Transpose<perm=[0,2,3,1]>(c)
    r = Relu(u)
    f = Reshape(r, target)
    y = MatMul(f, v)
}
"""


BRANCHES = """
net (float[N,3,8,8] x) => (float[N,5] y)
<float[4,3,3,3] w, float[2,4,1,1] v1, float[3,4,1,1] v2, float[5,5] u>
{
    c = Conv<pads=[1,1,1,1]>(x, w)
    r = Relu(c)
    c1 = Conv(r, v1)
    a1 = Relu(c1)
    c2 = Conv(r, v2)
    a2 = Relu(c2)
    d = Concat<axis=1>(a1, a2)
    p = GlobalAveragePool(d)
    f = Flatten(p)
    y = Gemm<transB=1>(f, u)
}
"""


GROUP_NORM = """
net (float[N,3,8,8] x) => (float[N,5] y)
<float[4,3,3,3] w, float[6,4,3,3] u, float[5,384] v, int64[3] groups = {0, 2, -1},
 float[2] ones = {1, 1}, float[2] zeros = {0, 0}, float[6,1,1] scale = {1, 2, 3, 4, 5, 6}>
{
    c = Conv<pads=[1,1,1,1]>(x, w)
    r = Relu(c)
    d = Conv<pads=[1,1,1,1]>(r, u)
    g = Reshape(d, groups)
    n = InstanceNormalization(g, ones, zeros)
    sizes = Shape(d)
    back = Reshape(n, sizes)
    scaled = Mul(back, scale)
    a = Relu(scaled)
    f = Flatten(a)
    y = Gemm<transB=1>(f, v)
}
"""

LOST = """
net (float[N,3,8,8] x) => (float[N,5] y)
<float[4,3,3,3] w, float[5,256] v, int64[1] first = {0}>
{
    c = Conv<pads=[1,1,1,1]>(x, w)
    r = Relu(c)
    sizes = Shape(r)
    places = NonZero(sizes)
    axes = Squeeze(places, first)
    same = Gather(sizes, axes)
    l = Reshape(r, same)
    s = Relu(l)
    f = Flatten(s)
    y = Gemm<transB=1>(f, v)
}
"""


@pytest.fixture
def network(write):
    return lambda text: surgery.load_network(write(text))


def image(*shape):
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def test_classifier_convolution_counts_as_last_activation(network):
    site = surgery.default_site(network(SQUEEZENET))
    assert (site.tensor, site.channels, site.convolution) == ("e", 5, "k")
    assert "are the class scores themselves" in site.warnings[0]


def test_a_named_site_that_is_the_class_scores_says_so(network):
    (warning,) = surgery.named_site(network(LINEAR), "y").warnings
    assert "y are the class scores themselves" in warning
    assert surgery.named_site(network(LINEAR), "c").warnings == ()


def test_branches_of_activations_count_as_one_activation(network, cut_and_compare):
    found = network(BRANCHES)
    site = surgery.default_site(found)
    assert (site.tensor, site.operator, site.kind) == ("d", "Concat", "activation")
    assert site.channels == 5
    assert site.warnings == ()
    cut_and_compare(found, site, {"x": image(3, 3, 8, 8)})


def test_channels_are_followed_through_group_normalization(network, cut_and_compare):
    found = network(GROUP_NORM)
    site = surgery.default_site(found)
    assert (site.tensor, site.channels, site.axis, site.warnings) == ("a", 6, 1, ())
    assert surgery.named_site(found, "d", at="activation").tensor == "a"
    cut_and_compare(found, site, {"x": image(3, 3, 8, 8)})


def test_a_reshape_that_is_not_undone_keeps_no_channels(network):
    other = GROUP_NORM.replace("sizes = Shape(d)", "").replace("float[6,1,1]", "float[1,6,1]")
    other = other.replace("float[2] ones", "int64[4] sizes = {0, 8, 6, 8}, float[2] ones")
    site = surgery.default_site(network(other))
    assert site.tensor == "r"
    assert "The activation a of the shape [N, 8, 6, 8] lies on every path" in site.warnings[0]
    assert "pass --site 'a' and its --axis" in site.warnings[0]


def test_an_activation_whose_shape_is_lost_is_named(network):
    site = surgery.default_site(network(LOST))
    assert (site.tensor, site.kind) == ("r", "activation")
    (warning,) = site.warnings
    assert "The activation s lies on every path, too" in warning
    assert "its shape cannot be inferred. Export" in warning


def test_a_branch_without_activation_keeps_the_concatenation_a_tensor(network):
    site = surgery.default_site(network(BRANCHES.replace("a2 = Relu(c2)", "a2 = Neg(c2)")))
    assert (site.tensor, site.operator) == ("r", "Relu")


def test_gate_is_neither_default_nor_candidate(network):
    found = network(EXCITE)
    site = surgery.default_site(found)
    assert (site.tensor, site.operator) == ("r", "Relu")
    tensors = [s.tensor for s in surgery.candidates(found)]
    assert tensors == ["c", "r", "s1", "s2", "s3"]


def test_squeeze_and_excitation_around_the_site(network, cut_and_compare):
    found = network(EXCITE)
    cut = cut_and_compare(found, surgery.default_site(found), {"x": image(3, 3, 8, 8)})
    assert (cut.tensor, cut.skip_inputs) == ("r", ())


def test_without_activation_the_last_tensor_is_taken_with_a_warning(network):
    site = surgery.default_site(network(LINEAR))
    assert (site.tensor, site.kind, site.operator) == ("f", "tensor", "GlobalAveragePool")
    assert "No activation lies on every path" in site.warnings[0]


def test_channels_are_followed_to_the_last_axis(network, cut_and_compare):
    found = network(NHWC)
    site = surgery.default_site(found)
    assert (site.tensor, site.axis, site.channels) == ("r", 3, 4)
    cut = cut_and_compare(found, site, {"x": image(3, 8, 8, 3)})
    assert (cut.tensor, cut.skip_inputs) == ("f", ())


def test_without_convolution_there_is_no_default(network):
    text = "net (float[N,7] x) => (float[N,5] y) <float[7,5] w> { y = MatMul(x, w) }"
    with pytest.raises(SiteError, match=r"has no convolution.*onnx-gap inspect"):
        surgery.default_site(network(text))


def test_convolution_name_means_its_activated_output(network):
    found = network(
        """
        net (float[N,3,8,8] x) => (float[N,5] y)
        <float[4,3,3,3] w, float[4,4,1,1] w2, float[1,4,1,1] bias, float[4] s, float[4] b,
         float[4] m, float[4] var, float[5,4] v>
        {
            [one] c = Conv<pads=[1,1,1,1]>(x, w)
            n = BatchNormalization(c, s, b, m, var)
            t = Add(n, bias)
            i = Sigmoid(t)
            r = Mul(t, i)
            [two] k = Conv(r, w2)
            a = Add(k, r)
            e = Relu(a)
            p = GlobalAveragePool(e)
            f = Flatten(p)
            y = Gemm<transB=1>(f, v)
        }
        """
    )
    one = surgery.named_site(found, "one")
    assert (one.tensor, one.operator, one.kind, one.convolution) == (
        "r", "SiLU", "activation", "one",
    )  # fmt: skip
    assert surgery.named_site(found, "two").tensor == "e"
    raw = surgery.named_site(found, "two", at="conv")
    assert (raw.tensor, raw.kind, raw.operator) == ("k", "convolution", "Conv")
    assert surgery.named_site(found, "a").kind == "tensor"


@pytest.mark.parametrize("at", ["activation", "conv"])
def test_at_is_for_convolutions_by_whatever_name(network, at):
    found = network(
        """
        net (float[N,3,6,6] x) => (float[N,4] y)
        <float[4,3,3,3] w>
        {
            c = Conv(x, w)
            r = Relu(c)
            p = GlobalAveragePool(r)
            y = Flatten(p)
        }
        """
    )
    wanted = {"activation": ("r", "activation"), "conv": ("c", "convolution")}[at]
    site = surgery.named_site(found, "c", at=at)
    assert (site.tensor, site.kind) == wanted
    site = surgery.named_site(found, "c")
    assert (site.tensor, site.kind) == ("c", "tensor")
    for other in ("r", "x"):
        with pytest.raises(SiteError, match=rf"at={at} is for a convolution, and '{other}'"):
            surgery.named_site(found, other, at=at)


def test_convolution_without_activation_says_where_it_goes(network):
    with pytest.raises(SiteError, match=r"'conv'.*goes into AveragePool.*at=conv"):
        surgery.named_site(network(LINEAR), "conv")


def test_unknown_name_gets_near_matches(network):
    with pytest.raises(SiteError, match=r"no node or tensor called 'con'.*Did you mean 'conv'"):
        surgery.named_site(network(LINEAR), "con")


def test_weights_are_no_site(network):
    with pytest.raises(SiteError, match="no node or tensor called 'w'"):
        surgery.named_site(network(LINEAR), "w")


@pytest.mark.parametrize("axis", [0, 4, -5])
def test_axis_that_holds_no_channels_is_refused(network, axis):
    with pytest.raises(SiteError, match=rf"axis {axis} holds no known number of channels"):
        surgery.named_site(network(LINEAR), "c", axis=axis)


def test_negative_axis_counts_from_the_end(network):
    assert surgery.named_site(network(NHWC), "r", axis=-1).axis == 3


def test_repeated_names_ask_for_a_tensor(network):
    text = SQUEEZENET.replace("c = Conv", "[same] c = Conv").replace("k = Conv", "[same] k = Conv")
    found = network(text)
    with pytest.raises(SiteError, match=r"2 nodes called 'same'.*c, k"):
        surgery.named_site(found, "same")
    assert surgery.default_site(found).convolution == "k"


def test_several_score_outputs_ask_for_one(network):
    text = SQUEEZENET.replace("=> (float[N,5] y)", "=> (float[N,5] y, float[N,5] z)")
    found = network(text.replace("y = Flatten(p)", "y = Flatten(p) z = Softmax(y)"))
    with pytest.raises(ModelError, match=r"output: y \[N, 5\], z \[N, 5\]"):
        surgery.default_site(found)
    assert surgery.default_site(found, output="y").tensor == "e"
    with pytest.raises(ModelError, match="no output called 'q'"):
        surgery.default_site(found, output="q")


CHANNELS_AS_IMAGES = """
net (float[N,2,8,8] x) => (float[N,5] y)
<float[4,2,3,3] w, float[3,1,3,3] u, float[5,12] v, int64[4] apart = {-1, 1, 8, 8},
 int64[4] again = {-1, 12, 8, 8}>
{
    c = Conv<pads=[1,1,1,1]>(x, w)
    r = Relu(c)
    a = Reshape(r, apart)
    d = Conv<pads=[1,1,1,1]>(a, u)
    e = Relu(d)
    b = Reshape(e, again)
    p = GlobalAveragePool(b)
    f = Flatten(p)
    y = Gemm<transB=1>(f, v)
}
"""


def test_channels_that_lie_along_the_batch_are_no_site(network):
    found = network(CHANNELS_AS_IMAGES)
    assert surgery.default_site(found).tensor == "r"
    assert [site.tensor for site in surgery.candidates(found)] == ["c", "r"]
    with pytest.raises(SiteError, match=r"'e' of .* has 4 entries along axis 0 for each image"):
        surgery.named_site(found, "e")
