"""The measurement of a GPU runs on a processor too, on small sizes: there it is the same code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def bench(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "tools/bench_cuda.py", "--small", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_it_measures_and_compares(tmp_path):
    found = bench("--device", "cpu", "--json", tmp_path / "rows.json")
    assert found.returncode == 0, found.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["precision"], row["threads"]) for row in rows] == [
        ("float32", 1), ("float32", 2), ("fp16", 1), ("fp16", 2),
    ]  # fmt: skip
    for row in rows:
        assert row["device"] == "cpu"
        assert row["accuracy"] > 0.5
        assert 0 < row["rows_run"] <= row["rows_possible"]
        assert row["peak"] > 0
        assert row["seconds"] > 0
        if row["precision"] == "float32":
            assert row["differing"] <= row["near_ties"]
    assert found.stdout.count("\n| cpu |") == len(rows)


def test_a_limit_that_is_not_kept_is_a_failure():
    found = bench("--device", "cpu", "--precision", "float32", "--most-seconds", 1e-6)
    assert found.returncode == 1, found.stderr


@pytest.mark.parametrize("arguments", [["--device", "cpu,cuda:0"], ["--precision", "tf32"]])
def test_what_cannot_be_had_is_said(arguments):
    found = bench(*(["--device", "cpu"] if arguments[0] == "--precision" else []), *arguments)
    assert found.returncode != 0
    assert "DeviceError" in found.stderr
