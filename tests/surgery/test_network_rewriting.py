"""A network as another tool leaves it."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from analyzer import surgery
from analyzer.errors import ModelError

NETWORK = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[N,2,4,4] x, float[1] factor) => (float[N,2] y)
    <float[2,2,1,1] w = {1, 2, 3, 4}> {
        c = Conv(x, w)
        s = Mul(c, factor)
        r = Relu(s)
        p = GlobalAveragePool(r)
        y = Flatten(p)
    }"""


@pytest.fixture
def network(tmp_path):
    onnx.save(onnx.parser.parse_model(NETWORK), tmp_path / "net.onnx")
    bound, _ = surgery.bind_inputs(
        surgery.load_network(tmp_path / "net.onnx"), {"factor": np.array(2.0, np.float32)}
    )
    return bound


def scores(path, images):
    return ort.InferenceSession(path).run(None, {"x": images})[0]


def double_and_turn_around(path):
    """Doubles the convolution's weights, and puts the nodes into an order nobody could run."""
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        if list(tensor.dims) == [2, 2, 1, 1]:
            doubled = 2 * onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(doubled, tensor.name))
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes[::-1])
    return proto


def test_the_new_network_is_what_the_tool_leaves(network, tmp_path):
    for name in ("same", "doubled"):
        (tmp_path / name).mkdir()
    same = surgery.rewrite_network(network, tmp_path / "same", onnx.load)
    doubled = surgery.rewrite_network(network, tmp_path / "doubled", double_and_turn_around)
    assert doubled.path.parent == tmp_path / "doubled"
    assert [info.name for info in doubled.info.inputs] == ["x"]
    assert surgery.default_site(doubled).tensor == surgery.default_site(network).tensor
    images = np.random.default_rng(0).normal(size=(3, 2, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(
        scores(doubled.path, images), 2 * scores(same.path, images), rtol=1e-6
    )


def test_what_is_no_network_is_refused(network, tmp_path):
    def cut_off(path):
        proto = onnx.load(path)
        del proto.graph.node[1:]
        return proto

    with pytest.raises(ModelError, match="not a valid ONNX network"):
        surgery.rewrite_network(network, tmp_path, cut_off)
