"""Every rule: operators that are passed, and the same ones when they do not keep zeros."""

import numpy as np
import pytest

from analyzer import surgery

TEXT = """
net (float[N,3,12,12] x) => (float[N,K] y)
<float[4,3,3,3] w, float[4,2,3,3] grouped, float[4,1,3,3] depthwise, float[4] bias,
 float[1,4,1,1] scale, float two = {2.0}, float zero = {0.0}, float infinite = {inf},
 float six = {6.0}, float one = {1.0}, float[4] s, float[4] b, float[4] m, float[4] var,
 int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}, int64[1] three = {3}, int64[3] runs = {0, 4, -1}>
{
    c = Conv(x, w)
    r = Relu(c)
    BODY
    q = Sigmoid(a)
    g = GlobalMaxPool(q)
    h = Flatten(g)
    y = Identity(h)
}
"""
PASSED = [
    "a = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(r)",
    "a = MaxPool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(r)",
    "a = AveragePool<kernel_shape=[2,2], strides=[2,2]>(r)",
    "a = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(r)",
    "a = GlobalAveragePool(r)",
    "a = GlobalMaxPool(r)",
    "a = ReduceMean<axes=[2,3]>(r)",
    "a = ReduceMax<axes=[-1]>(r)",
    "t = ReduceL2<axes=[2], keepdims=0>(r) a = Unsqueeze(t, three)",
    "t = ReduceSum<keepdims=0>(r, three) a = Unsqueeze(t, three)",
    "a = LeakyRelu(r)",
    "a = Elu(r)",
    "a = Clip(r, zero, six)",
    "a = Mul(scale, r)",
    "a = Div(r, two)",
    "t = Cast<to=11>(r) a = Cast<to=1>(t)",
    "a = Dropout(r)",
    "a = Identity(r)",
    "a = Conv<group=4>(r, depthwise)",
    "p = Pad(r, pads) a = MaxPool<kernel_shape=[3,3], strides=[3,3]>(p)",
    "t = Reshape(r, runs) a = Unsqueeze(t, three)",
    "t = Transpose<perm=[0,2,3,1]>(r) a = ReduceMax<axes=[1,2]>(t)",
]
STOPPED = [
    "a = BatchNormalization(r, s, b, m, var)",
    "a = Sigmoid(r)",
    "a = Clip(r, one, six)",
    "a = Mul(r, infinite)",
    "a = Div(two, r)",
    "a = Add(r, two)",
    "a = Conv<group=4>(r, depthwise, bias)",
    "a = Conv<group=2>(r, grouped)",
    "a = ReduceMean<axes=[1]>(r)",
    "a = Softmax<axis=1>(r)",
    "a = LRN<size=3>(r)",
    "a = Mul(r, r)",
    "e = Relu(r) d = MaxPool<kernel_shape=[2,2]>(r) f = GlobalMaxPool(d) a = Add(e, f)",
    "p, indices = MaxPool<kernel_shape=[2,2]>(r) i = Cast<to=1>(indices) a = Add(i, p)",
    "a = MaxPool<kernel_shape=[2,2], strides=[2,2], pads=[1,1,1,1], ceil_mode=1>(r)",
]


def network(write, body):
    return surgery.load_network(write(TEXT.replace("BODY", body)))


def image():
    return np.random.default_rng(5).normal(size=(3, 3, 12, 12)).astype(np.float32)


@pytest.mark.parametrize("body", PASSED)
def test_operator_is_passed(write, cut_and_compare, body):
    found = network(write, body)
    cut = cut_and_compare(found, surgery.named_site(found, "r"), {"x": image()})
    assert cut.tensor == "a"


@pytest.mark.parametrize("body", STOPPED)
def test_operator_that_mixes_or_moves_zeros_is_not_passed(write, cut_and_compare, body):
    found = network(write, body)
    cut = cut_and_compare(found, surgery.named_site(found, "r"), {"x": image()})
    assert cut.tensor == "r"


def test_cut_goes_back_to_the_smallest_tensor(write, cut_and_compare):
    body = "t = GlobalMaxPool(r) a = Pad(t, pads)"
    found = network(write, body)
    cut = cut_and_compare(found, surgery.named_site(found, "r"), {"x": image()})
    assert cut.tensor == "t"


@pytest.mark.parametrize(
    ("body", "mask"),
    [
        ("f = Flatten(r) y = MatMul(f, v)", ["Cast", "Reshape", "Expand", "Reshape", "Where"]),
        (
            "t = Transpose<perm=[0,2,3,1]>(r) f = Flatten(t) y = MatMul(f, v)",
            ["Cast", "Reshape", "Expand", "Reshape", "Where"],
        ),
        (
            "p = GlobalAveragePool(r) t = Transpose<perm=[0,2,3,1]>(p) f = Flatten(t) "
            "k = MatMul(f, u) y = Relu(k)",
            ["Cast", "Where"],
        ),
    ],
)
def test_flattened_channels(write, cut_and_compare, operators, body, mask):
    found = surgery.load_network(
        write(f"""
        net (float[N,3,12,12] x) => (float[N,5] y)
        <float[4,3,3,3] w, float[400,5] v, float[4,5] u>
        {{
            c = Conv(x, w)
            r = Relu(c)
            {body}
        }}
        """)
    )
    cut = cut_and_compare(found, surgery.default_site(found), {"x": image()})
    assert cut.tensor == "f"
    assert operators(cut.suffix)[: len(mask)] == mask
