"""Hostile audit folders, gap models and population tables: what earlier runs are said to have left.

A changed file of an audit comes with a manifest that fits it, as a forger writes it: otherwise the
manifest's check would be all that is tried.
"""

import hashlib
import json
import shutil
from pathlib import Path

from hypothesis import strategies as st

from analyzer.audit import run_audit
from analyzer.make_request import audit_request
from tools.fuzz.harness import ROOT, Case, Content, Target, base_of
from tools.fuzz.mutations import changed_json, changed_table, damaged

__all__ = ["AUDIT_FOLDERS", "GAP_MODELS", "POPULATION_TABLES"]

_DIGITS = ROOT / "model_zoo" / "bundled" / "digits"
_READ, _WRITTEN = "first", "out"  # the same audit twice
_SMALL = ("--limit-per-class", "3", "--margins", "--suspects", "4")


def _prepare(folder: Path) -> None:
    """Audits of a bundled network, a gap model and a population table."""
    options = {"limit_per_class": 3, "margins": True, "suspects": 4}
    run_audit(audit_request("zoo:digits-c0", None, folder / _READ, **options))
    shutil.copytree(folder / _READ, folder / _WRITTEN)
    shutil.copy(_DIGITS / "gap_model.json", folder)
    shutil.copy(_DIGITS / "population.csv", folder)


_COMMANDS = (
    ("verify", _READ),
    ("verify", _READ, "--json"),
    ("compare", _READ, _WRITTEN),
    ("compare", _WRITTEN, _READ, "--json"),
    ("report", _WRITTEN),
    ("audit", "zoo:digits-c0", *_SMALL, "--out", _WRITTEN),
)


@st.composite
def _audit_folders(draw: st.DrawFn) -> Case:
    command = draw(st.sampled_from(_COMMANDS))
    place = _WRITTEN if command[0] in ("report", "audit") else _READ
    audit = base_of(_prepare) / place
    manifest = json.loads((audit / "manifest.json").read_bytes())
    name = draw(st.sampled_from(["audit.json"] * 8 + [*manifest["files"], "manifest.json"]))
    content = (audit / name).read_bytes()
    if name.endswith(".json") and draw(st.integers(0, 9)):
        content = draw(changed_json(json.loads(content)))
    elif name.endswith(".csv"):
        content = draw(changed_table(content))
    else:
        content = draw(damaged(content))
    files: dict[str, Content] = {f"{place}/{name}": content}
    if name != "manifest.json" and draw(st.integers(0, 9)):
        entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        manifest["files"][name] = entry
        files[f"{place}/manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()
    return Case(command, files)


@st.composite
def _gap_models(draw: st.DrawFn) -> Case:
    content = (_DIGITS / "gap_model.json").read_bytes()
    if draw(st.integers(0, 9)):
        content = draw(changed_json(json.loads(content)))
    else:
        content = draw(damaged(content))
    name = "gap_model.json"
    command = draw(
        st.sampled_from(
            [
                ("audit", "zoo:digits-c0", *_SMALL, "--gap-model", name, "--out", _WRITTEN),
                ("verify", _READ, "--gap-model", name),
            ]
        )
    )
    return Case(command, {name: content})


@st.composite
def _population_tables(draw: st.DrawFn) -> Case:
    content = draw(changed_table((_DIGITS / "population.csv").read_bytes()))
    splits = ("--splits", "2")
    features = draw(st.sampled_from(["paper", "extended"]))
    command = ("fit", "population.csv", "-o", "out.json", *splits, "--features", features)
    return Case(command, {"population.csv": content})


AUDIT_FOLDERS = Target("audit-folders", _audit_folders(), _prepare)
GAP_MODELS = Target("gap-models", _gap_models(), _prepare)
POPULATION_TABLES = Target("population-tables", _population_tables())
