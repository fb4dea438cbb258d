"""Quantized networks: a removed channel holds the code that stands for zero."""

import numpy as np
import onnx
import pytest

from analyzer import surgery
from analyzer.audit import run_audit
from analyzer.audit_options import AuditRequest
from analyzer.errors import SiteError

ACTIVITY_STEPS = 0.05

QLINEAR = """
net (float[N,3,8,8] x) => (float[N,5] y)
<float s = {0.05}, uint8 z = {117}, float ws = {0.02}, int8 wz = {0}, int8[4,3,3,3] w,
 int8[4,5] v, float[5] b>
{
    q = QuantizeLinear(x, s, z)
    c = QLinearConv<pads=[1,1,1,1]>(q, s, z, w, ws, wz, s, z)
    p = MaxPool<kernel_shape=[2,2],strides=[2,2]>(c)
    d = DequantizeLinear(p, s, z)
    g = GlobalAveragePool(d)
    f = Flatten(g)
    fq = QuantizeLinear(f, s, z)
    m = QLinearMatMul(fq, s, z, v, ws, wz, s, z)
    h = DequantizeLinear(m, s, z)
    y = Add(h, b)
}
"""

QDQ = """
net (float[N,3,8,8] x) => (float[N,5] y)
<float s = {0.05}, uint8 z = {40}, float ws = {0.02}, int8 wz = {0}, int8[4,3,3,3] w,
 int8[4,5] v>
{
    q = QuantizeLinear(x, s, z)
    d = DequantizeLinear(q, s, z)
    wd = DequantizeLinear(w, ws, wz)
    c = Conv<pads=[1,1,1,1]>(d, wd)
    r = Relu(c)
    q2 = QuantizeLinear(r, s, z)
    d2 = DequantizeLinear(q2, s, z)
    p = MaxPool<kernel_shape=[8,8]>(d2)
    q3 = QuantizeLinear(p, s, z)
    d3 = DequantizeLinear(q3, s, z)
    f = Flatten(d3)
    vd = DequantizeLinear(v, ws, wz)
    y = MatMul(f, vd)
}
"""


@pytest.fixture
def quantized(write):
    """ONNX text with int8 weights → file."""

    def make(text, **options):
        path = write(text.replace("int8[4,3,3,3] w", "float[1] w_").replace(
            "int8[4,5] v", "float[1] v_"), **options)  # fmt: skip
        model = onnx.load(path)
        random = np.random.default_rng(0)
        for name, shape in (("w", (4, 3, 3, 3)), ("v", (4, 5))):
            array = random.integers(-90, 91, shape).astype(np.int8)
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        onnx.save(model, path)
        return path

    return make


def feeds(count=3):
    return {"x": np.random.default_rng(3).normal(size=(count, 3, 8, 8)).astype(np.float32)}


def test_qlinear_convolution_is_cut_behind_its_pool(quantized, cut_and_compare, run):
    network = surgery.load_network(quantized(QLINEAR))
    site = surgery.named_site(network, "c")
    assert (site.operator, site.channels) == ("QLinearConv", 4)
    cut = cut_and_compare(network, site, feeds())
    assert cut.tensor == "fq"  # dequantized, pooled and quantized again on the way
    masked = cut.prefix.parent.parent / "masked.onnx"
    model = onnx.load(masked)
    where = next(n for n in model.graph.node if n.op_type == "Where")
    zero = next(t for t in model.graph.initializer if t.name == where.input[2])
    assert onnx.numpy_helper.to_array(zero) == 117


def test_attribute_and_activity_are_measured_from_the_zero_point(quantized, run, tmp_path):
    network = surgery.load_network(quantized(QLINEAR))
    cut = surgery.cut_network(network, surgery.named_site(network, "m"), tmp_path)
    assert cut.tensor == "h"
    made = run(cut.prefix, feeds())
    steps = np.abs(made["h"]) / ACTIVITY_STEPS
    np.testing.assert_allclose(made[cut.activity], steps, atol=1e-3)
    np.testing.assert_array_equal(made[cut.active], made["h"] != 0)


def test_hidden_units_of_a_quantized_product(quantized, cut_and_compare):
    network = surgery.load_network(quantized(QLINEAR))
    cut_and_compare(network, surgery.named_site(network, "m"), feeds())
    cut_and_compare(network, surgery.named_site(network, "p"), feeds())


def test_qdq_activation_sinks_through_its_quantization(quantized, cut_and_compare):
    network = surgery.load_network(quantized(QDQ))
    site = surgery.default_site(network)
    assert (site.tensor, site.operator) == ("r", "Relu")
    cut = cut_and_compare(network, site, feeds())
    assert cut.tensor == "f"


PER_CHANNEL = """
net (float[N,3,8,8] x) => (float[N,4] y)
<float[3] s = {0.1, 0.2, 0.3}, uint8[3] z = {1, 2, 3}, float[4,3,3,3] u>
{
    q = QuantizeLinear<axis=1>(x, s, z)
    d = DequantizeLinear<axis=1>(q, s, z)
    c = Conv<pads=[1,1,1,1]>(d, u)
    g = GlobalAveragePool(c)
    y = Flatten(g)
}
"""


def test_zero_point_per_channel_is_refused(write, tmp_path):
    network = surgery.load_network(write(PER_CHANNEL))
    with pytest.raises(SiteError, match="zero point is computed or differs"):
        surgery.cut_network(network, surgery.named_site(network, "q", axis=1), tmp_path)


@pytest.mark.parametrize(("text", "site"), [(QLINEAR, "c"), (QLINEAR, "m"), (QDQ, None)])
def test_quantized_networks_are_audited(text, site, quantized, tmp_path):
    images = feeds(12)["x"]
    labels = np.random.default_rng(4).integers(0, 5, 12)
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    request = AuditRequest(
        anyway=True,
        model=quantized(text), data=str(tmp_path / "data.npz"), out=tmp_path / "audit", site=site,
        device="cpu",
    )  # fmt: skip
    result = run_audit(request)
    assert result.rows.run > 0
