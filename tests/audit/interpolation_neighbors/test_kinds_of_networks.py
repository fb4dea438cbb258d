"""Interpolation and neighbors are measured of networks of every kind."""

import re

import numpy as np
import onnx
import pytest
from interpolated_audits import BOTH

from analyzer.audit import run_audit, verify_audit
from analyzer.audit_options import AuditRequest

HEAD = "g = GlobalAveragePool(r)  f = Flatten(g)  "


KINDS = {
    "logits": ("float[N,3,6,6] x", "float[N,3] y", "c = Conv(x, w)", HEAD + "y = MatMul(f, v)"),
    "fixed batch": ("float[4,3,6,6] x", "float[4,3] y", "c = Conv(x, w)",
                    HEAD + "y = MatMul(f, v)"),
    "labels": ("float[N,3,6,6] x", "int64[N] y", "c = Conv(x, w)",
               HEAD + "z = MatMul(f, v)  y = ArgMax<axis=1, keepdims=0>(z)"),
    "a single score": ("float[N,3,6,6] x", "float[N,1] y", "c = Conv(x, w)",
                       HEAD + "z = MatMul(f, u)  y = Sigmoid(z)"),
    "uint8": ("uint8[N,3,6,6] x", "float[N,3] y", "i = Cast<to=1>(x)  c = Conv(i, w)",
              HEAD + "y = MatMul(f, v)"),
    "channels last": ("float[N,6,6,3] x", "float[N,3] y",
                      "i = Transpose<perm=[0,3,1,2]>(x)  c = Conv(i, w)",
                      HEAD + "y = MatMul(f, v)"),
    "an extra input": ("float[N,3,6,6] x, float[1] factor", "float[N,3] y",
                       "i = Mul(x, factor)  c = Conv(i, w)", HEAD + "y = MatMul(f, v)"),
    "224 × 224": ("float[N,3,224,224] x", "float[N,3] y", "c = Conv<strides=[8,8]>(x, w)",
                  HEAD + "y = MatMul(f, v)"),
    "200 classes": ("float[N,3,6,6] x", "float[N,200] y", "c = Conv(x, w)",
                    HEAD + "y = MatMul(f, t)"),
    "quantized": ("float[N,3,6,6] x", "float[N,3] y",
                  "d = Conv(x, w)  e = Relu(d)  q = QuantizeLinear(e, s, o)  "
                  "c = DequantizeLinear(q, s, o)", HEAD + "y = MatMul(f, v)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_every_kind(kind, tmp_path):
    inputs, outputs, start, head = KINDS[kind]
    random = np.random.default_rng(0)
    graph = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["": 17]> g ({inputs}) => ({outputs}) '
        f"{{ {start}  r = Relu(c)  {head} }}"
    )
    constants = {
        "w": random.normal(size=(5, 3, 3, 3)).astype(np.float32),
        "v": random.normal(size=(5, 3)).astype(np.float32),
        "t": random.normal(size=(5, 200)).astype(np.float32),
        "u": random.normal(size=(5, 1)).astype(np.float32),
        "s": np.float32(0.05),
        "o": np.uint8(0),
    }
    for name, value in constants.items():
        if re.search(rf"[(, ]{name}[,)]", start + head):
            graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), name))
    onnx.save(graph, tmp_path / "network.onnx")
    shape = {"channels last": (6, 6, 3), "224 × 224": (3, 224, 224)}.get(kind, (3, 6, 6))
    images = random.normal(size=(26, *shape)).astype(np.float32)
    if kind == "uint8":
        images = random.integers(0, 256, size=(26, *shape), dtype=np.uint8)
    labels = np.arange(26) % (2 if kind == "a single score" else 3)
    np.savez(tmp_path / "train.npz", images=images, labels=labels)
    result = run_audit(
        AuditRequest(
            anyway=True,
            model=tmp_path / "network.onnx", data=str(tmp_path / "train.npz"),
            out=tmp_path / "audit", device="cpu",
            inputs=(("factor", "2.0"),) if "factor" in inputs else (),
        )
    )  # fmt: skip
    assert (result.sections.keys(), result.unmeasured) == (set(BOTH), {})
    assert result.sections["interpolation"].samples == 26
    assert result.sections["interpolation"].accuracy == pytest.approx(result.accuracy)
    assert verify_audit(tmp_path / "audit").passed
