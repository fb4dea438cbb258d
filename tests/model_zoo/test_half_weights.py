"""Networks in half the bytes: as exact as float16 is, and seen through by the surgery."""

import numpy as np
import onnx
import onnxruntime

import model_zoo
from analyzer import surgery
from model_zoo.half_weights import write_half


def scores(path, images):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def test_half_the_bytes_the_same_answers(tmp_path):
    entry = model_zoo.find("digits-c0")
    half = tmp_path / "half.onnx"
    write_half(entry.model, half)
    assert half.stat().st_size < 0.55 * entry.model.stat().st_size
    kept = {tensor.data_type for tensor in onnx.load(half).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kept
    with np.load(entry.data) as stored:
        images = stored["images"][:300, None].astype(np.float32) / 255
    before, after = scores(entry.model, images), scores(half, images)
    assert np.abs(before - after).max() < 5e-3 * np.abs(before).max()
    assert np.mean(before.argmax(1) == after.argmax(1)) > 0.99


def test_the_surgery_sees_the_same_site_and_the_same_linear_head(tmp_path):
    entry = model_zoo.find("digits-c0")
    half = tmp_path / "half.onnx"
    write_half(entry.model, half)
    cuts = []
    for path in (entry.model, half):
        network = surgery.load_network(path)
        folder = tmp_path / path.stem
        folder.mkdir()
        site = surgery.default_site(network)
        cuts.append((site.tensor, surgery.cut_network(network, site, folder).head))
    (tensor, whole), (same, halved) = cuts
    assert same == tensor
    weights = [np.load(head.weights) for head in (whole, halved)]
    assert np.abs(weights[0] - weights[1]).max() <= 2**-10 * np.abs(weights[0]).max()


def test_margins_are_had_of_them(tmp_path):
    half = tmp_path / "half.onnx"
    write_half(model_zoo.find("digits-c0").model, half)
    found = surgery.write_margin_graph(
        surgery.load_network(half), tmp_path / "m.onnx", (1, 8, 8), most=4
    )
    assert len(found.layers) == 4
