"""How well single wrong labels are found: the measures, the study on a bundled network."""

import numpy as np
import pytest
from trained_digits import trained_digits

from analyzer.errors import AnalyzerError
from analyzer.files import sha256
from tools.evidence import single_samples
from tools.evidence.single_samples import (
    CLEANLAB,
    has_cleanlab,
    main,
    measured,
    sample_findings,
    samples_figure,
    study,
)
from tools.evidence.tables import EVIDENCE, Table, read_table

TABLES = sorted(EVIDENCE.glob("samples-*.csv"))


@pytest.fixture
def trained(tmp_path):
    """The bundled networks of clean labels and of 40 % corrupted ones, as they were trained."""
    folder = tmp_path / "trained"
    folder.mkdir()
    trained_digits(folder)
    return folder


def test_measures_by_hand():
    suspicion = np.array([9.0, 8.0, 8.0, 7.0, *range(0, -96, -1)])
    wrong = np.zeros(100, bool)
    wrong[[1, 3, 50]] = True
    better = np.zeros(100, bool)
    better[3] = True
    found = measured(suspicion, wrong, better)
    assert found["precision_1"] == 0
    assert found["other_1"] is None
    assert found["precision_5"] == pytest.approx(2 / 5)
    assert found["other_5"] == pytest.approx(1 / 2)
    lower = (95 + 0.5) + 95 + 49  # right samples below each wrong one, equal ones by half
    assert found["auc"] == pytest.approx(lower / (3 * 97))


def test_findings_are_means_over_the_networks_of_a_level():
    columns = {
        "population": "p p p", "corruption": "0.1 0.1 0.2", "score": "a a a",
        "samples": "100 100 100", "wrong": "9 11 20", "memorized": "1 0.8 1",
        "auc": "0.6 0.8 0.9", "precision_1": "1 0 1", "precision_5": "0.5 0.7 1",
        "other_1": "0.5  1", "other_5": "0 0 0",
    }  # fmt: skip
    cells = {name: tuple(text.split(" ")) for name, text in columns.items()}
    found = sample_findings(Table("made up", cells))
    assert (found.levels, found.scores) == ((0.1, 0.2), ("a",))
    first = found.at(0.1)
    assert (first.networks, first.samples, first.wrong, first.share) == (2, 100, 10, 0.1)
    assert (first.auc, first.precision_1, first.memorized) == pytest.approx((0.7, 0.5, 0.9))
    assert first.other_1 == 0.5  # of the network that has it
    assert found.mean("a", "auc") == pytest.approx(0.8)


def test_equal_suspicions_count_by_their_share():
    wrong = np.zeros(200, bool)
    wrong[:50] = True
    found = measured(np.zeros(200), wrong, ~wrong)
    assert found["auc"] == 0.5
    assert (found["precision_1"], found["precision_5"]) == pytest.approx((1 / 4, 1 / 4))
    assert found["other_5"] == 0


def test_networks_are_measured_once(trained, tmp_path, monkeypatch):
    table = tmp_path / "samples.csv"
    found = study(trained, tmp_path / "audits", table)
    assert set(found.texts("network")) == {"digits-c40-00"}  # clean labels have none to find
    assert found.numbers("wrong")[0] == pytest.approx(0.36 * 1300, rel=0.05)
    auc = dict(zip(found.texts("score"), found.numbers("auc"), strict=True))
    assert auc["suspicion"] > auc["log_probability"] > 0.7
    assert (set(CLEANLAB) <= set(auc)) == has_cleanlab()
    if has_cleanlab():
        assert auc["self_confidence"] == pytest.approx(auc["log_probability"], abs=1e-4)
    before = table.read_bytes()
    monkeypatch.setattr(single_samples, "_audited", lambda *_: pytest.fail("measured again"))
    study(trained, tmp_path / "audits", table)
    assert table.read_bytes() == before


def test_without_cleanlab_its_scores_are_left_out(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(single_samples, "has_cleanlab", lambda: False)
    table = tmp_path / "samples.csv"
    assert main([str(trained), str(tmp_path / "audits"), "--out", str(table)]) == 0
    said = capsys.readouterr()
    assert "pip install cleanlab" in said.err
    assert "suspicion" in said.out
    assert not set(CLEANLAB) & set(read_table(table).texts("score"))


def test_the_audit_of_another_network_is_refused(trained, tmp_path):
    study(trained, tmp_path / "audits", tmp_path / "samples.csv")
    other = tmp_path / "audits" / "audits" / "digits-c40-00" / "audit.json"
    text = other.read_text(encoding="utf-8")
    network = sha256(trained / "digits-c40-00.onnx")
    other.write_text(text.replace(network, "0" * 64), encoding="utf-8")
    with pytest.raises(AnalyzerError, match="is the audit of another network"):
        study(trained, tmp_path / "audits", tmp_path / "other.csv")


def test_a_table_of_other_networks_is_not_gone_on_from(trained, tmp_path):
    with pytest.raises(AnalyzerError, match="not among these networks; name another --out"):
        study(trained, tmp_path / "audits", TABLES[0])


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_committed_tables_are_whole(path):
    found = sample_findings(read_table(path))
    assert path.stem == f"samples-{found.population}"
    everywhere = len(found.levels) * len(found.scores)
    assert len(found.findings) == everywhere
    assert {"suspicion", "ablation", *CLEANLAB} <= set(found.scores)
    loss, confidence = found.of("log_probability"), found.of("self_confidence")
    for one, other in zip(loss, confidence, strict=True):
        assert one.auc == pytest.approx(other.auc, abs=0.01)  # the same but for rounding
    assert len(samples_figure(found).axes) == 3
