"""The direction of imports, and what a start pays for."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_imports_keep_their_direction():
    found = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import analyzer.cli", "numpy onnx onnxruntime rich"),
        ("import analyzer.audit", "onnx onnxruntime PIL sklearn scipy matplotlib jinja2"),
        ("from analyzer.audit import run_audit", "sklearn scipy matplotlib torch joblib"),
        ("import model_zoo", "torch sklearn onnx onnxruntime"),
    ],
)
def test_an_import_pays_only_for_what_it_needs(code, unwanted):
    check = f"import sys; {code}; print(*set({unwanted.split()!r}) & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == []
