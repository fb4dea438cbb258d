"""Which suffixes begin with a linear operator, and whether head and tail repeat them."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import parser

from analyzer.surgery import cut_network, load_network, named_site

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
WEIGHTS = {
    "w": (5, 3, 1, 1), "v": (6, 5), "f": (20, 6), "b": (6,), "u": (4, 6),
    "c": (6, 5, 1, 1), "d": (6, 5, 2, 2), "e": (4, 6, 1, 1), "apart": (10, 1, 1, 1),
}  # fmt: skip


def network(body: str, folder):
    """images (N, 3, 2, 2) → a (N, 5, 2, 2), activated; ``body`` goes on to ``scores``."""
    shape = "N,K,1,1" if "scores = Conv" in body else "N,K"
    text = f"""{HEADER} net (float[N,3,2,2] images) => (float[{shape}] scores)
    {{ x = Conv(images, w)  a = Relu(x)  {body} }}"""
    model = parser.parse_model(text)
    random = np.random.default_rng(3)
    for name, shape in WEIGHTS.items():
        array = random.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(model, folder / "network.onnx")
    return load_network(folder / "network.onnx")


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
    loaded = network(body, tmp_path)
    found = cut_network(loaded, named_site(loaded, "a"), tmp_path)
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
    loaded = network(NOT_LINEAR[name], tmp_path)
    assert cut_network(loaded, named_site(loaded, "a"), tmp_path).head is None
