"""`onnx-gap compare`"""

import shutil

import pytest
from cli_commands import BUNDLED


@pytest.fixture
def two(audit, save, digits):
    """An audit on true labels, and one of the same network on partly wrong ones."""
    true = audit("true")
    labels = digits["labels"].copy()
    labels[::3] = (labels[::3] + 1) % 10
    save(images=digits["images"], labels=labels)
    return true, audit("wrong")


@pytest.fixture
def paired(audit, onnx_gap, network, tmp_path, digits, save):
    """Audits of two networks on the same samples."""
    other = shutil.copy(BUNDLED / "digits-c40.onnx", tmp_path / "network-c40.onnx")
    folder = tmp_path / "other"
    before = audit("one")
    arguments = ("--data", tmp_path / "train.npz", "--preprocess", "none", "--out", folder)
    assert onnx_gap("audit", other, *arguments).code == 0
    return before, folder


def test_an_audit_is_no_worse_than_itself(audit, onnx_gap):
    folder = audit()
    shown = onnx_gap("compare", folder, folder)
    assert shown.code == 0
    assert "+0.0000 to +0.0000  within noise" in shown.out
    assert shown.err == "Warning: Both audits are of the same network.\n"


def test_what_got_worse_is_said_and_exits_with_1(two, onnx_gap):
    shown = onnx_gap("compare", *two)
    assert shown.code == 1
    assert shown.out.splitlines()[0].split()[:3] == ["before", "after", "difference"]
    assert "Worse: κ fell" in shown.err
    assert onnx_gap("compare", *two, "--tolerance", 1).code == 0


def test_other_data_are_not_ranked_but_said(two, onnx_gap):
    shown = onnx_gap("compare", *two)
    assert "not known: the data are not the same." in shown.out
    assert "beyond noise" not in shown.out
    assert "moved" not in shown.out
    assert max(map(len, shown.out.splitlines()[:4])) <= 80
    for option in (("--seed", 3), ("--resamples", 100)):
        shown = onnx_gap("compare", *two, *option)
        assert shown.code == 2
        assert f"{option[0]} {option[1]} does nothing here" in shown.err
    assert onnx_gap("compare", *two, two[0], "--seed", 3).code == 1  # one of them is drawn for


def test_the_same_samples_are_held_against_sampling_noise(paired, onnx_gap):
    shown = onnx_gap("compare", *paired)
    accuracy = next(line for line in shown.out.splitlines() if line.startswith("accuracy"))
    assert accuracy.endswith("beyond noise")
    found = onnx_gap("compare", *paired, "--json", "--seed", 3, "--resamples", 500).json
    noise = found["noise"]
    assert (noise["seed"], noise["resamples"], noise["confidence"]) == (3, 500, 0.95)
    assert noise["quantities"]["accuracy"]["beyond"] is True
    difference = found["accuracy"]["after"] - found["accuracy"]["before"]
    assert noise["quantities"]["accuracy"]["difference"] == pytest.approx(difference)
    again = onnx_gap("compare", *paired, "--json", "--seed", 3, "--resamples", 500).json
    assert again == found


def test_several_audits_are_each_held_against_the_first(paired, audit, onnx_gap, tmp_path):
    folder = audit("random", "--rank", "random")
    page = tmp_path / "page.html"
    shown = onnx_gap("compare", *paired, folder, "--html", page, "--tolerance", 0)
    assert shown.code == 1
    assert shown.out.startswith(f"{paired[1]} against {paired[0]}\n")
    assert f"\n\n{folder} against {paired[0]}\n" in shown.out
    assert f"Not judgeable: {folder}: ζ and κ are not the same quantities" in shown.err
    text = page.read_text(encoding="utf-8")
    assert "not the same quantity" in text
    assert "beyond sampling noise" in text
    found = onnx_gap("compare", *paired, folder, "--json").json
    assert [one["comparable"] for one in found["comparisons"]] == [True, False]


def test_other_rankings_alone_cannot_be_judged(paired, audit, onnx_gap):
    shown = onnx_gap("compare", paired[0], audit("random", "--rank", "random"))
    assert shown.code == 4
    assert "Not judgeable: ζ and κ are not the same quantities in both audits." in shown.err


def test_a_page_that_cannot_be_written(paired, onnx_gap, tmp_path):
    shown = onnx_gap("compare", *paired, "--html", tmp_path / "nowhere" / "page.html")
    assert shown.code == 2
    assert "page.html cannot be written" in shown.err


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
