"""`onnx-gap fit`"""

import json
import shutil

import pytest
from cli_commands import SHELF

TABLE = SHELF / "population.csv"


def test_a_gap_model_with_its_scores(onnx_gap, tmp_path):
    out = tmp_path / "gap.json"
    shown = onnx_gap("fit", TABLE, "-o", out, "--trained-on", "digits", "--architecture", "tiny")
    assert (shown.code, shown.err) == (0, "")
    assert "60 networks (tiny; digits)" in shown.out
    assert "SSR over 100 splits with 6 of 60 networks held out" in shown.out
    assert shown.out.endswith(f"{out}: written\n")
    assert json.loads(out.read_text(encoding="utf-8"))["name"] == "gap"


def test_json_has_the_scores_of_each_feature(onnx_gap, tmp_path):
    arguments = ("fit", TABLE, "-o", tmp_path / "gap.json", "--json", "--splits", 20, "--seed", 3)
    shown = onnx_gap(*arguments)
    assert (shown.code, shown.err) == (0, "")
    assert shown.json["networks"] == 60
    assert len(shown.json["both"]["split_ssr"]) == 20
    assert shown.json["zeta_r"] > 0 > shown.json["kappa_r"]
    assert onnx_gap(*arguments).out == shown.out


def test_networks_without_a_known_gap_are_left_out_with_a_warning(onnx_gap, tmp_path):
    header, first, *others = TABLE.read_text(encoding="utf-8").splitlines()
    unknown = ("test_accuracy", "gap")
    cells = zip(header.split(","), first.split(","), strict=True)
    first = ",".join("" if name in unknown else cell for name, cell in cells)
    (tmp_path / "population.csv").write_text("\n".join([header, first, *others]) + "\n")
    shown = onnx_gap("fit", tmp_path / "population.csv", "-o", tmp_path / "gap.json")
    assert shown.code == 0
    assert "Warning: 1 of 60 networks have no known gap" in shown.err


def test_too_few_networks(onnx_gap, tmp_path):
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    (tmp_path / "few.csv").write_text("\n".join(lines[:3]) + "\n")
    shown = onnx_gap("fit", tmp_path / "few.csv", "-o", tmp_path / "gap.json")
    assert shown.code == 2
    assert len(shown.err.splitlines()) == 1
    assert not (tmp_path / "gap.json").exists()


@pytest.mark.parametrize("value", ["0", "1", "2", "nan"])
def test_a_coverage_that_is_none(onnx_gap, tmp_path, value):
    shown = onnx_gap("fit", TABLE, "-o", tmp_path / "gap.json", "--coverage", value)
    assert shown.code == 2
    assert "--coverage" in shown.err


def test_the_table_is_not_overwritten_by_a_folder(onnx_gap, tmp_path):
    shutil.copy(TABLE, tmp_path / "population.csv")
    shown = onnx_gap("fit", tmp_path / "population.csv", "-o", tmp_path)
    assert shown.code == 2
    assert "is a directory" in shown.err
