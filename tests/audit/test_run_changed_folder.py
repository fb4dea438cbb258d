"""An audit whose folder somebody else changed: forged before, or put elsewhere meanwhile."""

from dataclasses import replace

import numpy as np
import pytest

import analyzer
from analyzer.audit import read_record, verify_audit
from analyzer.files import read_arrays
from analyzer.measures.interpolation.measure import Interpolation
from analyzer.output_files import write_arrays
from tools.forged_folders import rewrite_record

OPTIONS = {"limit_per_class": 2, "anyway": True, "neighbor_samples": 0, "suspects": 0}


@pytest.mark.parametrize("name", ["zeta", "kappa", "accuracy"])
def test_a_figure_that_the_counts_do_not_give_is_measured_again(tmp_path, name):
    def again():
        return analyzer.audit_network("zoo:digits-c0", out=tmp_path, **OPTIONS)

    again()
    before = read_record(tmp_path)
    rewrite_record(tmp_path, replace(before, **{name: getattr(before, name) / 2}))
    assert not verify_audit(tmp_path).passed
    again()
    assert getattr(read_record(tmp_path), name) == getattr(before, name)
    assert verify_audit(tmp_path).passed


@pytest.fixture
def unfinished(tmp_path, monkeypatch):
    """The state of a sweep that was done when its audit was interrupted."""

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Interpolation, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            analyzer.audit_network("zoo:digits-c0", out=tmp_path, **OPTIONS)
    return tmp_path / ".unfinished" / "ablation.npz"


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("hits", lambda hits: hits + 1, "contradicts itself"),
        ("curves", np.zeros_like, "contradicts itself"),
        ("samples", lambda samples: samples + 1, "contradicts itself"),
        ("sweep_seconds", lambda seconds: seconds * np.nan, "A number of ablation cannot be"),
    ],
)
def test_a_forged_state_is_no_result(unfinished, name, change, said):
    arrays = read_arrays(unfinished)
    write_arrays(unfinished, {**arrays, name: change(arrays[name])}, compressed=False)
    out = unfinished.parents[1]
    with pytest.raises(analyzer.AuditFolderError, match=said):
        analyzer.audit_network("zoo:digits-c0", out=out, **OPTIONS)
    assert not (out / "audit.json").exists()
    analyzer.audit_network("zoo:digits-c0", out=out, fresh=True, **OPTIONS)
    assert verify_audit(out).passed


def test_an_empty_folder_in_the_place_of_its_own_stays(tmp_path):
    out = tmp_path / "new" / "audit"

    def put_another(stage, done, total):
        if not (tmp_path / "moved").exists():
            out.rename(tmp_path / "moved")
            out.mkdir()

    with pytest.raises(analyzer.AuditFolderError, match="was moved, removed or replaced"):
        analyzer.audit_network("zoo:digits-c0", out=out, progress=put_another, **OPTIONS)
    assert out.is_dir()
    assert not any(out.iterdir())
