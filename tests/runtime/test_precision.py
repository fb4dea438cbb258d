"""Making float16 of a network, and holding a network that rounds more against itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper

from analyzer import runtime, surgery
from analyzer.errors import ModelError
from analyzer.measures.ablation.compare_with_whole import check_precision
from analyzer.measures.ablation.prefix_and_suffix import open_network
from analyzer.measures.ablation.ranking_and_evaluations import Evaluations

FIXTURES = Path(__file__).parents[1] / "fixtures"
IMAGES = np.random.default_rng(0).normal(size=(5, 3, 32, 32)).astype(np.float32)


def test_inputs_and_outputs_stay_as_they_are():
    proto = runtime.in_float16(FIXTURES / "resnet34-dynamo-free.onnx")
    values = (*proto.graph.input, *proto.graph.output)
    kinds = {value.type.tensor_type.elem_type for value in values}
    assert kinds == {TensorProto.FLOAT}
    weights = {tensor.data_type for tensor in proto.graph.initializer}
    assert TensorProto.FLOAT16 in weights
    assert TensorProto.FLOAT not in weights


def test_operators_without_float16_may_read_the_same_value(tmp_path):
    proto = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N,4] x) => (float[N,3] y) <float[4,3] w> {
            m = MatMul(x, w)  a = Max(m, m)  b = Min(m, a)  c = Celu(a)  y = Add(c, b)
        }"""
    )
    weights = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    proto = onnx.shape_inference.infer_shapes(proto)
    onnx.save(proto, tmp_path / "net.onnx")
    found = runtime.in_float16(tmp_path / "net.onnx")
    made = [name for node in found.graph.node for name in node.output]
    assert len(made) == len(set(made))
    x = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    rounded, whole = (
        ort.InferenceSession(one.SerializeToString()).run(None, {"x": x})[0]
        for one in (found, proto)
    )
    np.testing.assert_allclose(rounded, whole, rtol=0.02, atol=0.02)


def test_a_file_that_cannot_be_converted(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"none")
    with pytest.raises(ModelError, match=r"cannot be converted.*precision=float32"):
        runtime.in_float16(tmp_path / "net.onnx")


@pytest.fixture
def network(tmp_path):
    loaded = surgery.load_network(FIXTURES / "vgg16-dynamo-free.onnx")
    cut = surgery.cut_network(loaded, surgery.default_site(loaded), tmp_path)
    return open_network(cut, "input", "cpu")


def moved_by(network, change):
    """The network with scores that are changed."""

    class Changed(type(network)):
        __slots__ = ()

        def scores(self, found, mask):
            return change(network.scores(found, mask))

    return Changed(network.cut, network.prefix, network.suffix, network.image, precision="fp16")


def test_a_network_does_not_move_from_itself(network):
    assert check_precision(network, network, IMAGES, seed=0) == 0


def test_how_far_scores_move(network):
    near = moved_by(network, lambda scores: scores * np.float32(1.01))
    assert check_precision(near, network, IMAGES, seed=0) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("factor", [1.2, np.nan, np.inf])
def test_another_network_is_refused(network, factor):
    far = moved_by(network, lambda scores: scores * np.float32(factor))
    with pytest.raises(ModelError, match=r"In fp16 a score moves by .*precision=float32"):
        check_precision(far, network, IMAGES, seed=0)


def test_scores_that_float16_cannot_hold_are_refused(network):
    rounded = replace(network, precision="fp16")
    found = rounded.features(IMAGES)
    rank = np.tile(np.arange(network.cut.site.channels), (len(IMAGES), 1))
    first = np.zeros(1, dtype=np.int64)
    evaluations = Evaluations.asked(first, first, first + 1)
    assert rounded.classes(found, rank, evaluations).shape == (1,)
    found.values[network.cut.features][:] = np.inf
    with pytest.raises(ModelError, match="not finite in float16"):
        rounded.classes(found, rank, evaluations)
    network.classes(found, rank, evaluations)  # float32 says what the network says
