"""`onnx-gap compare`"""

import pytest


@pytest.fixture
def two(audit, save, digits):
    """An audit on true labels, and one of the same network on partly wrong ones."""
    true = audit("true")
    labels = digits["labels"].copy()
    labels[::3] = (labels[::3] + 1) % 10
    save(images=digits["images"], labels=labels)
    return true, audit("wrong")


def test_an_audit_is_no_worse_than_itself(audit, onnx_gap):
    folder = audit()
    shown = onnx_gap("compare", folder, folder)
    assert shown.code == 0
    assert "+0.0000" in shown.out
    assert shown.err == "Warning: Both audits are of the same network.\n"


def test_what_got_worse_is_said_and_exits_with_1(two, onnx_gap):
    shown = onnx_gap("compare", *two)
    assert shown.code == 1
    assert shown.out.splitlines()[0].split() == ["before", "after", "difference"]
    assert "5 of 10 classes" in shown.out
    assert "Worse: κ fell" in shown.err
    assert onnx_gap("compare", *two, "--tolerance", 1).code == 0


def test_json_is_alone_on_standard_output(two, onnx_gap):
    shown = onnx_gap("compare", *two, "--json")
    assert shown.code == 1
    assert shown.json["worse"] is True
    assert len(shown.json["classes"]) == 10
    assert shown.json["reasons"][0] in shown.err


def test_a_folder_without_an_audit(audit, onnx_gap, tmp_path):
    shown = onnx_gap("compare", audit(), tmp_path)
    assert shown.code == 2
    assert shown.err.startswith(f"Error: {tmp_path}/audit.json does not exist")
