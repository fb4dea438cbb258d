"""`--margins`, from the audit over the table to the scores of a fit."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from cli_commands import BUNDLED

from analyzer.estimation import read_population, write_population
from analyzer.measures.interpolation.mixing import INTERPOLATION_FEATURES
from analyzer.measures.margins.distances import MARGIN_FEATURES, margin_column
from analyzer.measures.neighbors.votes import NEIGHBORS_FEATURES

TABLE = BUNDLED / "population.csv"
COLUMNS = [margin_column(layer, feature) for layer in range(4) for feature in MARGIN_FEATURES]


def test_an_audit_says_what_it_measured(onnx_gap):
    arguments = ("audit", "zoo:digits-c0", "--limit-per-class", 6, "--out", "audit")
    assert "margins" not in onnx_gap(*arguments).out
    shown = onnx_gap(*arguments, "--margins")
    assert shown.code == 0, shown.err
    assert "log of the median distance at 4 layers: " in shown.out
    layers = onnx_gap(*arguments, "--json").json["margins"]["layers"]
    assert [layer["operator"] for layer in layers] == ["input", "Relu", "Relu", "Relu"]
    assert onnx_gap("verify", "audit").code == 0


def test_the_report_has_a_table_of_the_layers(onnx_gap, tmp_path):
    arguments = ("audit", "zoo:digits-c0", "--limit-per-class", 3, "--out", tmp_path / "audit")
    assert onnx_gap(*arguments).code == 0
    assert 'id="margins"' not in (tmp_path / "audit" / "report.html").read_text(encoding="utf-8")
    assert onnx_gap(*arguments, "--margins").code == 0
    report = (tmp_path / "audit" / "report.html").read_text(encoding="utf-8")
    assert 'id="margins"' in report
    assert "relu_4" in report


@pytest.fixture
def manifest(tmp_path):
    """Three digits bundled networks."""
    train, path = BUNDLED / "train.npz", tmp_path / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "model", "train_data", "keys", "gap"])
        for level in (0, 20, 40):
            model = BUNDLED / f"digits-c{level}.onnx"
            writer.writerow([f"c{level}", model, train, f"images,labels_c{level}", level / 100])
    return path


def test_a_population_has_columns_of_the_features(onnx_gap, manifest, tmp_path):
    out = tmp_path / "population"
    declared = ("--mean", 0, "--std", 1)
    arguments = ("population", manifest, *declared, "--limit-per-class", 4, "--out", out)
    assert onnx_gap(*arguments).code == 0
    assert not set(COLUMNS) & set(read_population(out / "population.csv").features)
    shown = onnx_gap(*arguments, "--margins")
    assert (shown.code, shown.err) == (0, "")
    table = read_population(out / "population.csv")
    assert [name for name in table.features if name.startswith("margin_")] == COLUMNS
    assert not set(COLUMNS) & set(table.hyperparameters)
    record = json.loads((out / "audits" / "c20" / "audit.json").read_text(encoding="utf-8"))
    layers = record["neighbors"]["layers"]
    assert table.features["neighbors_error_first"][1] == layers[1]["error"]
    further = [*INTERPOLATION_FEATURES, *NEIGHBORS_FEATURES]
    assert list(table.features)[-len(further) :] == further
    assert not set(further) & set(table.hyperparameters)
    assert table.features["margin_2_q3"][1] == record["margins"]["layers"][2]["q3"]


@pytest.fixture
def table(tmp_path):
    """(columns) → the digits' table with made-up margins, of which the first follows the gap."""
    population = read_population(TABLE)
    random = np.random.default_rng(0)
    features = {name: random.normal(size=len(population)) for name in COLUMNS}
    features["margin_0_q1"] = -population.gap + random.normal(0, 0.05, len(population))

    def make(networks=None, missing=()):
        found = {name: values.copy() for name, values in features.items()}
        for name in missing:
            found[name][0] = np.nan
        path = tmp_path / "table.csv"
        kept = dataclasses.replace(population, features=found)
        write_population(kept.take(range(networks or len(population))), path)
        return path

    return make


def test_a_fit_scores_the_estimate_beside_the_quantities(onnx_gap, table, tmp_path):
    arguments = ("fit", table(), "-o", tmp_path / "gap.json", "--splits", 5)
    shown = onnx_gap(*arguments)
    assert shown.code == 0
    assert "not scored" not in shown.err
    rows = [line.split()[0] for line in shown.out.splitlines() if line]
    assert rows[2:7] == ["features", "ζ", "ζ", "κ", "margins"]
    scores = onnx_gap(*arguments, "--json").json
    assert len(scores["margins"]["split_ssr"]) == 5
    assert scores["margins"]["out_of_fold_r"] > scores["both"]["out_of_fold_r"]
    assert json.loads((tmp_path / "gap.json").read_text())["features"] == ["zeta", "kappa"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"networks": 20}, "its 20 features need more than the 18 networks"),
        ({"missing": ["margin_3_upper"]}, "1 networks have no margin_3_upper"),
    ],
)
def test_a_fit_says_why_the_estimate_is_not_scored(onnx_gap, table, tmp_path, options, why):
    shown = onnx_gap("fit", table(**options), "-o", tmp_path / "gap.json", "--splits", 5)
    assert shown.code == 0
    assert f"Warning: The margin-based estimate is not scored: {why}" in shown.err
    assert "margins" not in shown.out
