"""The examples of a population in the package, and weights stored as float16."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest

import model_zoo
from analyzer import surgery
from analyzer.errors import AnalyzerError
from model_zoo import bundled, entries
from tools.build_bundle import build_bundle, write_float16


def test_bundle_of_a_population_can_be_looked_up(plain_networks, tmp_path, monkeypatch):
    folder = build_bundle("tiny", plain_networks, bundled=tmp_path)
    monkeypatch.setattr(bundled, "BUNDLED", tmp_path)
    found = entries()
    levels = (0, 20, 40, 60, 80, 100)
    assert [entry.name for entry in found] == ["tiny", *(f"tiny-c{level}" for level in levels)]
    assert all(entry.gap_model is None for entry in found)
    (folder / bundled.GAP_MODEL).write_text("{}")
    assert all(entry.gap_model == folder / bundled.GAP_MODEL for entry in entries())
    index = json.loads((folder / bundled.INDEX).read_text())
    assert index["data"]["samples"] == 100


def test_bundle_wants_every_level(trained, tmp_path):
    (trained / "tiny-c40-00.onnx").unlink()
    with pytest.raises(AnalyzerError, match="tiny-c40-00"):
        build_bundle("tiny", trained, bundled=tmp_path / "bundled")
    assert not (tmp_path / "bundled").exists()


def scores(path, images):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def test_float16_takes_half_the_bytes_and_gives_the_same_answers(tmp_path):
    entry = model_zoo.find("digits-c0")
    small = tmp_path / "float16.onnx"
    write_float16(entry.model, small)
    assert small.stat().st_size < 0.55 * entry.model.stat().st_size
    kept = {tensor.data_type for tensor in onnx.load(small).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kept
    with np.load(entry.data) as stored:
        images = stored["images"][:300, None].astype(np.float32) / 255
    before, after = scores(entry.model, images), scores(small, images)
    assert np.abs(before - after).max() < 5e-3 * np.abs(before).max()
    assert np.mean(before.argmax(1) == after.argmax(1)) > 0.99


def test_the_surgery_sees_the_same_site_and_the_same_linear_head(tmp_path):
    entry = model_zoo.find("digits-c0")
    small = tmp_path / "float16.onnx"
    write_float16(entry.model, small)
    cuts = []
    for path in (entry.model, small):
        network = surgery.load_network(path)
        folder = tmp_path / path.stem
        folder.mkdir()
        site = surgery.default_site(network)
        cuts.append((site.tensor, surgery.cut_network(network, site, folder).head))
    (tensor, whole), (same, rounded) = cuts
    assert same == tensor
    weights = [np.load(head.weights) for head in (whole, rounded)]
    assert np.abs(weights[0] - weights[1]).max() <= 2**-10 * np.abs(weights[0]).max()


def test_margins_are_had_of_them(tmp_path):
    small = tmp_path / "float16.onnx"
    write_float16(model_zoo.find("digits-c0").model, small)
    found = surgery.write_margin_graph(
        surgery.load_network(small), tmp_path / "m.onnx", (1, 8, 8), most=4
    )
    assert len(found.layers) == 4
