"""`onnx-gap report`"""

import sys
from pathlib import Path

import pytest


def test_the_report_is_written_again(audit, onnx_gap):
    folder = audit()
    before = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    shown = onnx_gap("report", folder)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == f"{folder / 'report.html'}: written\n"
    assert (folder / "report.html").read_bytes() == before


def test_a_folder_without_an_audit(onnx_gap, tmp_path):
    shown = onnx_gap("report", tmp_path)
    assert shown.code == 2
    assert len(shown.err.splitlines()) == 1
    assert not (tmp_path / "report.html").exists()


def test_a_model_card_leaves_the_folder_as_it_is(audit, onnx_gap, tmp_path):
    folder = audit()
    (folder / "report.html").chmod(0o444)
    before = {one.name: one.stat().st_mtime_ns for one in folder.iterdir()}
    shown = onnx_gap("report", folder, "--model-card", tmp_path / "cards" / "card.md")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == f"{tmp_path / 'cards' / 'card.md'}: written\n"
    assert (tmp_path / "cards" / "card.md").read_text(encoding="utf-8").startswith("---\n")
    assert {one.name: one.stat().st_mtime_ns for one in folder.iterdir()} == before


def test_a_place_for_a_card_that_cannot_be_written(audit, onnx_gap, tmp_path):
    folder = audit()
    shown = onnx_gap("report", folder, "--model-card", folder / "audit.json" / "card.md")
    assert shown.code == 2
    assert "card.md cannot be written: Not a directory." in shown.err
    shown = onnx_gap("report", folder, "--model-card", folder / "audit.json")
    assert shown.code == 2
    assert "audit.json would replace a file that this command reads or writes itself" in shown.err
    (folder / "card.md").write_text("# My own card")
    shown = onnx_gap("report", folder, "--model-card", folder / "card.md")
    assert shown.code == 2
    assert "card.md exists and is no model card that onnx-gap wrote" in shown.err


def test_where_mlflow_refuses_no_card_is_left(audit, onnx_gap, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    shown = onnx_gap("report", audit(), "--model-card", "card.md", "--mlflow", "auto")
    assert shown.code == 2
    assert "needs MLflow" in shown.err
    assert not Path("card.md").exists()


def test_mlflow_gets_a_run(audit, onnx_gap, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "store").as_uri()
    shown = onnx_gap("report", audit(), "--mlflow", uri)
    assert shown.code == 0, shown.err
    run = shown.out.split()[1].rstrip(":")
    assert mlflow.MlflowClient(uri).get_run(run).data.metrics["accuracy"] == 1.0


def test_a_store_of_mlflow_that_there_is_not(audit, onnx_gap):
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    shown = onnx_gap("report", audit(), "--mlflow", "nonsense://x")
    assert shown.code == 2
    assert shown.err.startswith("Error: MLflow did not take the audit: ")
    assert len(shown.err.splitlines()) == 1
