"""The benchmark's equality half, on small sizes: the counts are those of the reference way."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the benchmark's networks need the extra zoo")

ROOT = Path(__file__).parents[1]


def test_the_counts_of_the_benchmark_are_those_of_the_reference(tmp_path):
    found = subprocess.run(
        [sys.executable, "tools/bench_sweep.py", "--small", "--json", str(tmp_path / "rows.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    result = json.loads((tmp_path / "rows.json").read_text())
    rows, whole = result["sweeps"], result["whole"]
    assert {row["case"] for row in rows} >= {"resnet34", "mobilenetv2", "vgg16-cifar-10"}
    for row in [*rows, whole]:
        assert row["differing"] <= row["near_ties"], row["case"]
        assert row["rows_run"] <= row["rows_possible"]
    for row in rows:
        assert row["accuracy"] > 0.5, row["case"]
        if row["estimated"]:
            assert row["estimated"]["zeta_error"] <= row["estimated"]["zeta_bound"]
            assert row["estimated"]["kappa_error"] <= row["estimated"]["kappa_bound"]
    assert whole["case"] == "digits-c0"
    assert 0 < whole["imports_seconds"][0] < whole["process_seconds"][0]


def test_a_case_that_is_none_is_refused():
    found = subprocess.run(
        [sys.executable, "tools/bench_sweep.py", "digits"], cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 2
    assert "no case digits; there are resnet34" in found.stderr
