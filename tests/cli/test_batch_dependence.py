"""Networks whose answer for an image depends on the others of its batch."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from analyzer.measures.ablation.sample_scores import SampleCounts
from analyzer.measures.margins.distances import normalized_margins
from analyzer.runtime.independence import CheckedSizes

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


def change_above(path, size):
    """Let the network in ``path`` add to the score of one class in batches of more images."""
    model = onnx.load(path)
    model.graph.initializer.extend(
        [
            onnx.numpy_helper.from_array(np.array([size], np.float32), "size"),
            onnx.numpy_helper.from_array(np.float32([[0] * 9 + [1000]]), "extra"),
        ]
    )
    onnx.save(model, path)
    shape = helper.make_node("Shape", ["image"], ["rows"], start=0, end=1)
    cast = helper.make_node("Cast", ["rows"], ["count"], to=TensorProto.FLOAT)
    above = [
        helper.make_node("Greater", ["count", "size"], ["above"]),
        helper.make_node("Cast", ["above"], ["one"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["one", "extra"], ["more"]),
        helper.make_node("Add", ["scores", "more"], ["answer"]),
    ]
    append(path, [shape, cast, *above], "batch")


@pytest.mark.parametrize("size", [4, 65, 250])
def test_answers_that_change_in_batches_above_a_size_are_refused(
    onnx_gap, network, train, tmp_path, size
):
    change_above(network, size)
    options = ("--data", train, "--out", tmp_path / "audit", *COMMON, "--anyway")
    shown = onnx_gap("audit", network, *options)
    assert shown.code == 2
    assert "for an image depends on the other images of its batch" in shown.err
    assert not (tmp_path / "audit").exists()


def test_verify_looks_at_the_sizes_it_runs(onnx_gap, network, train, monkeypatch):
    change_above(network, 4)
    audit = ("audit", network, "--data", train, "--out", "audit", *COMMON, "--anyway")
    verify = ("verify", "audit", "--data", train)
    with monkeypatch.context() as unchecked:
        unchecked.setattr(CheckedSizes, "check", lambda *given, **named: None)
        assert onnx_gap(*audit).code == 0
        assert onnx_gap(*verify).code == 0
    shown = onnx_gap(*verify)
    assert shown.code == 2
    assert "for an image depends on the other images of its batch" in shown.err


def test_a_sweep_that_its_own_scores_deny_is_refused(onnx_gap, network, train, monkeypatch):
    change_above(network, 65)
    monkeypatch.setattr(CheckedSizes, "check", lambda *given, **named: None)
    monkeypatch.setattr(SampleCounts, "denied_by", lambda *given: np.array([3]))
    shown = onnx_gap("audit", network, "--data", train, "--out", "audit", *COMMON, "--anyway")
    assert shown.code == 2
    assert "say otherwise, so there is no one answer to count" in shown.err


def test_margins_that_deny_the_sweep_are_refused(onnx_gap, network, train, monkeypatch):
    audit = ("audit", network, "--data", train, "--out", "audit", *COMMON, "--anyway")
    assert onnx_gap(*audit).code == 0
    monkeypatch.setattr(
        "analyzer.measures.margins.measure.normalized_margins",
        lambda margin, *others: normalized_margins(
            np.where(np.arange(len(margin)), margin, -margin), *others
        ),
    )
    shown = onnx_gap(*audit, "--margins")
    assert shown.code == 2
    assert "denies what was counted of it" in shown.err
