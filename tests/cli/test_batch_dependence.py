"""Networks whose answer for an image depends on the others of its batch."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

COMMON = ("--neighbor-samples", 0, "--interpolation-samples", 0)
ROWS = helper.make_node("Constant", [], ["rows"], value_ints=[0])
TAILS = {
    "mean": [
        ROWS,
        helper.make_node("ReduceMean", ["scores", "rows"], ["middle"]),
        helper.make_node("Sub", ["scores", "middle"], ["answer"]),
    ],
    "softmax": [helper.make_node("Softmax", ["scores"], ["answer"], axis=0)],
    "greatest": [
        ROWS,
        helper.make_node("ReduceMax", ["scores", "rows"], ["most"]),
        helper.make_node("Sub", ["scores", "most"], ["answer"]),
    ],
}


def append(path, nodes, batch):
    """Let the network in ``path`` end in nodes that make ``answer``, in batches of that size."""
    model = onnx.load(path)
    model.graph.node.extend(nodes)
    del model.graph.output[:], model.graph.value_info[:]
    model.graph.output.append(
        helper.make_tensor_value_info("answer", TensorProto.FLOAT, [batch, 10])
    )
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    if isinstance(batch, int):
        sizes[0].dim_value = batch
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("tail", "batch", "options"),
    [
        ("mean", "batch", ()),
        ("mean", 4, ("--anyway",)),
        ("softmax", "batch", ("--anyway",)),
        ("greatest", 4, ()),
    ],
)
def test_answers_that_depend_on_the_batch_are_refused(
    onnx_gap, network, train, tmp_path, tail, batch, options
):
    append(network, TAILS[tail], batch)
    shown = onnx_gap(
        "audit", network, "--data", train, "--out", tmp_path / "audit", *COMMON, *options
    )
    assert shown.code == 2
    assert "output answer for an image depends on the other images of its batch" in shown.err
    assert not (tmp_path / "audit").exists()


ROUNDED = [
    helper.make_node("DynamicQuantizeLinear", ["scores"], ["integers", "scale", "zero"]),
    helper.make_node("DequantizeLinear", ["integers", "scale", "zero"], ["answer"]),
]


def test_dynamic_quantization_runs_one_image_at_a_time(onnx_gap, network, train, digits, tmp_path):
    append(network, ROUNDED, "batch")
    shown = onnx_gap(
        "audit", network, "--data", train, "--out", "audit", *COMMON, "--anyway", "--json"
    )
    assert shown.code == 0, shown.err
    assert any("runs one image at a time" in sentence for sentence in shown.json["warnings"])
    session = onnxruntime.InferenceSession(network)
    images = digits["images"].reshape(-1, 1, 1, 8, 8).astype(np.float32) / 255
    alone = [session.run(["answer"], {"image": image})[0][0] for image in images]
    label = digits["labels"]
    with np.load("audit/samples.npz") as samples:
        assert samples["correct"].tolist() == (np.argmax(alone, axis=1) == label).tolist()
        rival = np.array(alone)
        own = rival[np.arange(len(label)), label]
        rival[np.arange(len(label)), label] = -np.inf
        np.testing.assert_allclose(samples["margin"], own - rival.max(axis=1), atol=1e-5)
    assert onnx_gap("verify", "audit", "--data", train, "--cells", "all").code == 0


def test_dynamic_quantization_of_larger_batches_is_refused(onnx_gap, network, train):
    append(network, ROUNDED, 4)
    shown = onnx_gap("audit", network, "--data", train, "--out", "audit", *COMMON)
    assert shown.code == 2
    assert "is fixed to batches of 4 images and quantizes by the range" in shown.err
