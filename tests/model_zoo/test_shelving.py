import json

import pytest

from analyzer.errors import AnalyzerError
from model_zoo import build_shelf, entries, shelf


def test_shelf_of_a_population_can_be_looked_up(plain_networks, tmp_path, monkeypatch):
    folder = build_shelf("tiny", plain_networks, shelf=tmp_path)
    monkeypatch.setattr(shelf, "SHELF", tmp_path)
    found = entries()
    levels = (0, 20, 40, 60, 80, 100)
    assert [entry.name for entry in found] == ["tiny", *(f"tiny-c{level}" for level in levels)]
    assert all(entry.gap_model is None for entry in found)
    (folder / shelf.GAP_MODEL).write_text("{}")
    assert all(entry.gap_model == folder / shelf.GAP_MODEL for entry in entries())
    index = json.loads((folder / "shelf.json").read_text())
    assert index["data"]["samples"] == 100


def test_shelf_wants_every_level(trained, tmp_path):
    (trained / "tiny-c40-00.onnx").unlink()
    with pytest.raises(AnalyzerError, match="tiny-c40-00"):
        build_shelf("tiny", trained, shelf=tmp_path / "shelf")
    assert not (tmp_path / "shelf").exists()
