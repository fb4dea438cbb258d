import numpy as np
import onnx
import pytest

from analyzer import surgery
from analyzer.surgery.activations import find_activations

DECOMPOSED = {
    "SiLU": "s = Sigmoid(c) a = Mul(c, s)",
    "HardSwish": "s = HardSigmoid<alpha=0.16666667, beta=0.5>(c) a = Mul(s, c)",
    "HardSwish by Clip": "s = Add(c, three) t = Clip(s, zero, six) u = Mul(c, t) a = Div(u, six)",
    "HardSwish by Clip, divided first": (
        "s = Add(c, three) t = Clip(s, zero, six) u = Div(t, six) a = Mul(c, u)"
    ),
    "Mish": "s = Softplus(c) t = Tanh(s) a = Mul(c, t)",
    "Mish by Exp": "q = Exp(c) o = Add(q, one) s = Log(o) t = Tanh(s) a = Mul(c, t)",
    "GELU": "s = Div(c, root2) t = Erf(s) u = Add(t, one) w2 = Mul(c, u) a = Mul(w2, half)",
    "GELU, halved first": (
        "h = Mul(half, c) s = Div(c, root2) t = Erf(s) u = Add(one, t) a = Mul(h, u)"
    ),
    "GELU by Tanh": (
        "q = Pow(c, three) k = Mul(q, k0) s = Add(c, k) r0 = Mul(s, k1) t = Tanh(r0) "
        "u = Add(t, one) h = Mul(c, half) a = Mul(h, u)"
    ),
    "GELU by Tanh and products": (
        "q0 = Mul(c, c) q = Mul(q0, c) k = Mul(q, k0) s = Add(c, k) r0 = Mul(s, k1) "
        "t = Tanh(r0) u = Add(t, one) h = Mul(c, half) a = Mul(h, u)"
    ),
    "QuickGELU": "q = Mul(c, k2) s = Sigmoid(q) a = Mul(c, s)",
}
TEXT = """
net (float[N,3,8,8] x) => (float[N,5] y)
<float[4,3,3,3] w, float[5,4] v, float half = {0.5}, float one = {1.0}, float zero = {0.0},
 float three = {3.0}, float six = {6.0}, float root2 = {1.41421356}, float k0 = {0.044715},
 float k1 = {0.79788456}, float k2 = {1.702}>
{
    [conv] c = Conv(x, w)
    ACTIVATION
    p = GlobalAveragePool(a)
    f = Flatten(p)
    y = Gemm<transB=1>(f, v)
}
"""


@pytest.mark.parametrize("form", DECOMPOSED)
def test_decomposed_form_is_one_activation(write, form):
    network = surgery.load_network(write(TEXT.replace("ACTIVATION", DECOMPOSED[form])))
    (activation,) = find_activations(network.model.graph).values()
    assert activation.name == form.split()[0].rstrip(",")
    assert (activation.input.name, activation.output.name) == ("c", "a")
    assert len(activation.nodes) == DECOMPOSED[form].count(" = ")
    site = surgery.default_site(network)
    assert (site.tensor, site.operator) == ("a", activation.name)
    assert surgery.named_site(network, "conv") == site


def test_decomposed_form_keeps_zeros_and_is_passed(write, cut_and_compare):
    network = surgery.load_network(write(TEXT.replace("ACTIVATION", DECOMPOSED["GELU"])))
    site = surgery.named_site(network, "conv", at="conv")
    x = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)
    assert cut_and_compare(network, site, {"x": x}).tensor == "f"


@pytest.mark.parametrize(
    "body",
    [
        "s = Sigmoid(x0) a = Mul(c, s)",  # a gate from elsewhere
        "s = Exp(c) a = Mul(c, s)",  # a function of x alone, but not one of that kind
        "a = Mul(c, c)",
    ],
)
def test_other_products_are_no_activation(write, body):
    text = TEXT.replace("ACTIVATION", f"x0 = Conv(x, w) {body}")
    network = surgery.load_network(write(text))
    names = [a.name for a in find_activations(network.model.graph).values()]
    assert "SiLU" not in names
    assert all(name == "Sigmoid" for name in names)


@pytest.mark.parametrize(
    "call",
    ["Relu(c)", "LeakyRelu(c)", "PRelu(c, half)", "Clip(c, zero, six)", "Elu(c)", "Selu(c)",
     "Celu(c)", "HardSwish(c)", "Mish(c)", "Softplus(c)", "Sigmoid(c)", "Tanh(c)", "Gelu(c)"],
)  # fmt: skip
def test_single_operators(write, call):
    network = surgery.load_network(write(TEXT.replace("ACTIVATION", f"a = {call}"), opset=20))
    site = surgery.default_site(network)
    assert (site.tensor, site.operator) == ("a", call.split("(")[0])


@pytest.mark.parametrize(
    ("operator", "cut"), [("Gelu", "f"), ("QuickGelu", "f"), ("FastGelu", "c")]
)
def test_contrib_operators_are_passed_where_they_keep_zero(write, cut_and_compare, operator, cut):
    path = write(TEXT.replace("ACTIVATION", "a = Relu(c)"))
    model = onnx.load(path)
    node = next(node for node in model.graph.node if node.op_type == "Relu")
    node.op_type, node.domain = operator, "com.microsoft"
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    shape = onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, ["N", 4, 6, 6])
    model.graph.value_info.append(shape)  # which onnx does not infer
    onnx.save(model, path)
    network = surgery.load_network(path)
    assert surgery.default_site(network).operator == operator
    site = surgery.named_site(network, "conv", at="conv")
    x = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)
    assert cut_and_compare(network, site, {"x": x}).tensor == cut
