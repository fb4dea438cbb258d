"""Networks that compute in float16, where rounding decides more than elsewhere."""

import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import analyzer
from analyzer import surgery


def half_network(path, seed):
    random = np.random.default_rng(seed)
    shapes = {"k0": (8, 1, 3, 3), "k1": (8, 8, 3, 3), "k2": (12, 8, 3, 3), "head": (192, 10)}
    weights = {
        name: random.normal(size=shape).astype(np.float16) / np.float16(np.sqrt(shape[1]))
        for name, shape in shapes.items()
    }
    nodes, last = [], "x"
    for number in range(3):
        nodes += [
            helper.make_node("Conv", [last, f"k{number}"], [f"c{number}"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"c{number}"], [f"r{number}"]),
        ]
        last = f"r{number}"
    nodes += [
        helper.make_node("MaxPool", [last], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["m"], ["f"]),
        helper.make_node("MatMul", ["f", "head"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "half",
        [value("x", TensorProto.FLOAT16, ["N", 1, 8, 8])],
        [value("y", TensorProto.FLOAT16, ["N", 10])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("seed", range(3))
def test_a_true_audit_passes(tmp_path, seed):
    network = half_network(tmp_path / "half.onnx", seed)
    assert surgery.type_rounding(surgery.load_network(network)) == 2.0**-10
    random = np.random.default_rng(seed + 100)
    data = random.random((60, 1, 8, 8)).astype(np.float16), np.arange(60) % 10
    options = {"interpolation_samples": 0, "neighbor_samples": 0, "gap_model": "none"}
    out = tmp_path / "audit"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", analyzer.AuditWarning)
        analyzer.audit_network(network, data, out, site="r1", anyway=True, **options)
    found = analyzer.verify_audit(out, data=data)
    assert [one.sentence for one in found.checks if not one.passed] == []


def test_weights_that_are_only_stored_in_float16_do_not_round(tmp_path):
    model = onnx.parser.parse_model(
        """
        <ir_version: 9, opset_import: ["" : 17]>
        net (float[N,2] x) => (float[N,2] y) <float16[2,2] w = {1, 2, 3, 4}> {
            v = Cast<to=1>(w)  y = MatMul(x, v)
        }"""
    )
    onnx.save(model, tmp_path / "net.onnx")
    assert surgery.type_rounding(surgery.load_network(tmp_path / "net.onnx")) == 0
