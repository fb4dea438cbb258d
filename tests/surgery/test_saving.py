"""Files of networks and of their parts, and the network left as it was."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from analyzer import surgery
from analyzer.surgery import saving

TEXT = """
net (float[N,3,6,6] x) => (float[N,4] y)
<float[8,3,3,3] v, float[4,8,3,3] w>
{
    c = Conv(x, v)
    r = Relu(c)
    d = Conv(r, w)
    p = GlobalAveragePool(d)
    y = Flatten(p)
}
"""


def contents(network):
    return ir.to_proto(network.model).SerializeToString()


@pytest.mark.parametrize("external", [False, True])
def test_cutting_leaves_the_network_as_it_was(write, cut_and_compare, external):
    path = write(TEXT)
    model = onnx.load(path)
    model.graph.node[0].doc_string = "said of a node"
    model.graph.node[2].metadata_props.add(key="place", value="train.py")
    onnx.save(model, path, save_as_external_data=external, location="w.bin", size_threshold=0)
    network = surgery.load_network(path)
    before = contents(network)
    readers = {v.name: v.uses() for node in network.model.graph for v in node.outputs}
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype(np.float32)
    cut = cut_and_compare(network, surgery.default_site(network), {"x": x})
    assert contents(network) == before
    assert readers == {v.name: v.uses() for node in network.model.graph for v in node.outputs}
    for part in map(onnx.load, (cut.prefix, cut.suffix)):
        assert not any(node.doc_string or node.metadata_props for node in part.graph.node)
        assert not any(t.data_location for t in part.graph.initializer)


def test_weights_beyond_the_limit_lie_beside_a_part(write, tmp_path, cut_and_compare, monkeypatch):
    network = surgery.load_network(write(TEXT))
    before = contents(network)
    monkeypatch.setattr(saving, "_INLINE_LIMIT", 500)
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype(np.float32)
    cut = cut_and_compare(network, surgery.default_site(network), {"x": x})
    assert cut.prefix.with_name("prefix.onnx.data").stat().st_size == 8 * 3 * 3 * 3 * 4
    prefix = onnx.load(cut.prefix, load_external_data=False).graph.initializer
    outside = [tensor.name for tensor in prefix if tensor.data_location == tensor.EXTERNAL]
    assert outside == ["v"]  # what shapes follow from stays inside
    assert contents(network) == before
