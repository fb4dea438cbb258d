"""What the attack by kills sees in a folder: a result, one that is refused, or none."""

import shutil

import pytest

from analyzer.api import audit_network
from analyzer.audit.folder import REPORT
from analyzer.audit.result_manifest import MANIFEST
from tools.attack_faults import REFUSED, print_of, results_in


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacked") / "audit"
    options = {"interpolation_samples": 0, "neighbor_samples": 0, "suspects": 0}
    audit_network("zoo:digits-c0", out=folder, limit_per_class=1, anyway=True, **options)
    return folder


@pytest.fixture
def audit(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "audit")


def test_results_are_whole_refused_or_none(audit, tmp_path):
    assert results_in(tmp_path / "none") == {}
    assert results_in(audit) == {"": print_of(audit)}
    assert "samples.npz" in print_of(audit)
    (audit / REPORT).write_text("edited")
    assert results_in(audit) == {"": {REFUSED: ""}}
    (audit / MANIFEST).unlink()
    assert results_in(audit) == {}


def test_results_of_a_population_have_the_names_of_networks(audit, tmp_path):
    folder = tmp_path / "population"
    (folder / "audits").mkdir(parents=True)
    audit.rename(folder / "audits" / "n")
    (folder / "population.csv").write_text("name\nn\n")
    found = results_in(folder)
    assert found.keys() == {"n", "population.csv"}
    assert found["n"] == print_of(folder / "audits" / "n")
