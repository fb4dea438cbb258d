"""`onnx-gap zoo`"""

import pytest

import model_zoo


def test_list_names_all_that_can_be_named_and_trained(onnx_gap):
    shown = onnx_gap("zoo", "list")
    assert (shown.code, shown.err) == (0, "")
    first = [line.split()[0] for line in shown.out.splitlines() if line]
    for entry in model_zoo.entries():
        assert f"zoo:{entry.name}" in first
    for name in model_zoo.POPULATIONS:
        assert name in first
    kinds = {line.split()[0]: line.split("  ")[1:] for line in shown.out.splitlines() if line}
    assert any("data, gap model" in cell for cell in kinds["zoo:digits"])


@pytest.mark.parametrize("wrong", ["digits-c41", "digit-c40"])
def test_a_name_that_the_zoo_lacks(onnx_gap, wrong):
    shown = onnx_gap("audit", f"zoo:{wrong}", "--out", "audit")
    assert shown.code == 2
    assert "digits-c40" in shown.err


def test_data_are_no_network(onnx_gap):
    shown = onnx_gap("inspect", "zoo:digits")
    assert shown.code == 2
    assert "zoo:digits is a data set" in shown.err


def test_train_passes_its_options_on(onnx_gap, monkeypatch, tmp_path):
    given = {}

    def train_population(name, out, **options):
        given.update(name=name, out=out, **options)

    monkeypatch.setattr(model_zoo, "train_population", train_population)
    shown = onnx_gap(
        *("zoo", "train", "digits", "--out", tmp_path, "--processes", 2, "--limit", 3),
        *("--samples", 100, "--data", tmp_path / "data", "--float32"),
    )
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith(f"{tmp_path / 'manifest.csv'}: written")
    del given["progress"]
    assert given == {
        "name": "digits",
        "out": tmp_path,
        "processes": 2,
        "limit": 3,
        "samples": 100,
        "data": tmp_path / "data",
        "float32": True,
    }


def test_a_population_that_there_is_not(onnx_gap, tmp_path):
    shown = onnx_gap("zoo", "train", "digts", "--out", tmp_path / "out")
    assert shown.code == 2
    assert "did you mean digits" in shown.err
    assert not (tmp_path / "out").exists()
