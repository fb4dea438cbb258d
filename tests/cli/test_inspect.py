"""`onnx-gap inspect`"""

import onnx
import pytest
from cli_commands import ROOT

import analyzer.runtime
from analyzer.errors import ModelError

FACTS = ["network", "input", "output", "site", "cut", "skip", "cost"]


def test_the_default_site_is_marked_and_its_cost_told(onnx_gap, network):
    shown = onnx_gap("inspect", network)
    assert (shown.code, shown.err) == (0, "")
    names = [line.split()[0] for line in shown.out.splitlines() if line[:1].isalpha()]
    assert names == FACTS
    assert "relu_3 [batch, 48, 4, 4]: M = 48 on axis 1" in shown.out
    assert [line.split()[1] for line in shown.out.splitlines() if line[:1] == "▶"] == ["relu_3"]


def test_a_site_of_ones_own(onnx_gap, network):
    shown = onnx_gap("inspect", network, "--site", "node_conv2d_1", "--at", "conv")
    assert shown.code == 0
    assert [line.split()[1] for line in shown.out.splitlines() if line[:1] == "▶"] == ["conv2d_1"]


def test_where_no_site_is_found_those_worth_choosing_are_listed(onnx_gap, network):
    shown = onnx_gap("inspect", network, "--site", "relu_9")
    assert shown.code == 2
    assert "no node or tensor called 'relu_9'" in shown.err
    assert "relu_3" in shown.out
    assert "▶" not in shown.out
    assert onnx_gap("inspect", network, "--site", "relu_9", "--json").out == ""


def test_json(onnx_gap):
    shown = onnx_gap("inspect", "zoo:digits-c0", "--json")
    assert shown.code == 0
    assert shown.json["info"]["path"] == "zoo:digits-c0"
    assert shown.json["site"]["channels"] == 48
    assert len(shown.json["candidates"]) == 8
    assert shown.json["prefix_operations"] > shown.json["suffix_operations"]


FIXTURES = ROOT / "tests" / "fixtures"


@pytest.fixture
def left_open(tmp_path):
    """left_open(name): a fixture's network that leaves the height and width of its images open."""

    def change(name):
        model = onnx.load(FIXTURES / f"{name}.onnx")
        for axis, size in zip((2, 3), "hw", strict=True):
            model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = size
        del model.graph.value_info[:]
        onnx.save(model, tmp_path / f"{name}.onnx")
        return tmp_path / f"{name}.onnx"

    return change


@pytest.mark.parametrize("name", ["resnet34-dynamo-free", "mobilenetv3-older-free"])
def test_where_shapes_are_open_an_image_is_run_to_know_the_cost(onnx_gap, left_open, name):
    known = onnx_gap("inspect", FIXTURES / f"{name}.onnx", "--json").json
    path = left_open(name)
    found = onnx_gap("inspect", path, "--img-size", 32, "--json").json
    for part in ("prefix_operations", "suffix_operations"):
        assert found[part] == known[part] > 0
    assert (known["image"], found["image"]) == (None, [3, 32, 32])
    shown = onnx_gap("inspect", path)
    assert "of an image [3, 224, 224], which was run" in shown.out


def test_a_network_whose_image_cannot_be_run_has_no_known_cost(onnx_gap, left_open, monkeypatch):
    def refused(*_, **__):
        raise ModelError("onnxruntime cannot load it.")

    monkeypatch.setattr(analyzer.runtime, "open_session", refused)
    shown = onnx_gap("inspect", left_open("resnet34-dynamo-free"))
    assert (shown.code, shown.err) == (0, "")
    assert "not known: the network leaves shapes open, and no image could be run" in shown.out


def test_the_last_dozen_candidates_are_listed_within_80_columns(onnx_gap):
    path = FIXTURES / "densenet121-older-free.onnx"
    shown = onnx_gap("inspect", path)
    listed = shown.out.split("\n\n", 1)[1]
    assert "12 of 241 candidates; --all lists the others" in listed
    assert listed.count("M = ") == 12
    assert max(map(len, listed.splitlines())) <= 80
    assert onnx_gap("inspect", path, "--all").out.count("M = ") == 242  # and that of the site


def test_the_chosen_site_is_listed_even_if_it_is_none_of_the_last(onnx_gap):
    path = FIXTURES / "densenet121-older-free.onnx"
    first = onnx_gap("inspect", path, "--json").json["candidates"][0]["tensor"]
    shown = onnx_gap("inspect", path, "--site", first)
    assert [line.split()[1] for line in shown.out.splitlines() if line[:1] == "▶"] == [first]
    assert "13 of 241 candidates" in shown.out
