"""`onnx-gap inspect`"""

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
