"""An audit run again on a folder that was forged, manifest and all."""

from dataclasses import replace

import pytest

import analyzer
from analyzer.audit import read_record, verify_audit
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
