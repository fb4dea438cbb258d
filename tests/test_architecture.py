"""The direction of imports, and what a start pays for."""

import ast
import re
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
        ("import model_zoo; model_zoo.POPULATIONS", "torch sklearn onnx onnxruntime"),
        (
            "import model_zoo; model_zoo.find('digits-c0')",
            "model_zoo.populations model_zoo.recipes",
        ),
        (
            "import tempfile, model_zoo; from pathlib import Path; from analyzer import surgery; "
            "network = surgery.load_network(model_zoo.find('digits-c0').model); "
            "site = surgery.default_site(network); "
            "surgery.cut_network(network, site, Path(tempfile.mkdtemp()))",
            "sympy.core onnxruntime PIL analyzer.surgery.margin_graph",
        ),
    ],
)
def test_an_import_pays_only_for_what_it_needs(code, unwanted):
    check = f"import sys; {code}; print(*set({unwanted.split()!r}) & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == []


def test_what_a_measure_is_built_from_takes_groups_of_options_and_no_request():
    named = {
        path.relative_to(ROOT / "analyzer").as_posix()
        for path in (ROOT / "analyzer").rglob("*.py")
        if re.search(r"(?<!analyzer[.])\bAuditRequest\b", path.read_text())
    }
    named = {name for name in named if not name.startswith("cli/")}  # which makes them
    measures = {name for name in named if name.startswith("measures/")}
    assert {Path(name).name for name in measures} == {"measure.py"}
    assert not {name for name in named if name.startswith(("runtime/", "surgery/", "data/"))}
    makes_its_own = {"audit/population.py", "audit/verify_against_data.py"}
    assert named - measures - makes_its_own == {
        "make_request.py",
        "audit_options.py",
        "audit/run.py",
        "audit/inputs.py",
        "audit/first_look.py",
        "audit/assemble_record.py",
        "audit/finished_before.py",
    }


def test_no_package_exports_a_name_that_is_a_module_of_it():
    # Which of the two is found would depend on what was imported before.
    for stub in (ROOT / "analyzer").rglob("__init__.pyi"):
        names = {
            name.asname or name.name
            for one in ast.parse(stub.read_text()).body
            if isinstance(one, ast.ImportFrom)
            for name in one.names
        }
        modules = {path.stem for path in stub.parent.iterdir()}
        assert not names & modules, stub
