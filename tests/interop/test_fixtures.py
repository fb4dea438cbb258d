"""Small networks of every framework against the counts of the framework itself.

``python tools/interop --fixtures`` writes the fixtures; these tests need no framework.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from analyzer import surgery
from analyzer.audit import run_audit, verify_audit
from analyzer.audit_options import AuditRequest
from analyzer.errors import AnalyzerError
from analyzer.measures.ablation.class_curves import read_curves

FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "interop"
FILES = sorted(FOLDER.glob("*.onnx"))
FRAMEWORKS = {"torch", "tensorflow", "jax", "paddle", "sklearn"}


def read(path):
    with np.load(path.with_suffix(".npz")) as arrays:
        found = dict(arrays)
    return json.loads(str(found.pop("cell"))), found


def test_every_framework_has_a_fixture():
    assert {path.stem.split("-")[0] for path in FILES} >= FRAMEWORKS
    assert all(path.stat().st_size < 200_000 for path in FOLDER.iterdir())


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_counts_are_the_frameworks_own(path, tmp_path):
    cell, found = read(path)
    np.savez(tmp_path / "data.npz", images=found["images"], labels=found["labels"])
    site = cell["site"]
    if cell["hidden"]:
        listed = surgery.candidates(surgery.load_network(path))
        site = [s.tensor for s in listed if s.channels == cell["hidden"]][-1]
    request = AuditRequest(
        anyway=True,
        model=path, data=str(tmp_path / "data.npz"), out=tmp_path / "audit", site=site,
        at=cell["at"], axis=cell["axis"], device="cpu",
    )  # fmt: skip
    if cell["refusal"] and path.stem.startswith("tensorflow"):
        with pytest.raises(AnalyzerError, match=cell["refusal"]):
            run_audit(request)
        return
    result = run_audit(request)
    assert {"interpolation", "neighbors"} <= result.sections.keys()
    if cell["refusal"]:  # of the ablation alone: there is no site
        assert result.site is None
        assert cell["refusal"] in result.unmeasured["ablation"]
        assert verify_audit(tmp_path / "audit").passed
        return
    assert not result.unmeasured
    if site is None:
        assert result.site.operator.lower() == cell["expected"].lower()
    curves = {curve.class_index: curve for curve in read_curves(tmp_path / "audit")}
    assert sorted(curves) == found["class_index"].tolist()
    for index, label in enumerate(found["class_index"].tolist()):
        np.testing.assert_array_equal(curves[label].descending, found["descending"][index])
        np.testing.assert_array_equal(curves[label].ascending, found["ascending"][index])
