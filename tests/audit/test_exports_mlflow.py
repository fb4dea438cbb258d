"""An audit in MLflow, read back by MLflow's own client."""

import dataclasses
import os
import sys
from pathlib import Path

import pytest

from analyzer.audit import exports, log_to_mlflow, read_record
from analyzer.audit.verdict import judge
from analyzer.errors import OutputError
from analyzer.measures.test_data.measure import TestRecord
from tools.forged_folders import rewrite_record


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The address of an empty store, and its client."""
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # newer ones want a database
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    uri = (tmp_path / "store").as_uri()
    return uri, mlflow.MlflowClient(uri)


@pytest.fixture
def judged(audit):
    record = dataclasses.replace(read_record(audit), chance=0.001, doubtful_labels=0.125)
    record = dataclasses.replace(record, settings={**record.settings, "max_gap": 0.3})
    rewrite_record(audit, dataclasses.replace(record, verdict=judge(record)))
    return audit


def test_figures_options_origin_and_files_are_logged(judged, store, tmp_path):
    uri, client = store
    run = client.get_run(log_to_mlflow(judged, uri))
    record = read_record(judged)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["accuracy"] == record.accuracy
    assert run.data.metrics["zeta"] == record.zeta
    assert run.data.metrics["doubtful_labels"] == 0.125
    gap = [run.data.metrics[f"gap_{name}"] for name in ("low", "estimate", "high")]
    assert gap == [0.34, 0.41, 0.48]
    assert run.data.params["max_gap"] == "0.3"
    assert run.data.params["model"] == "models/digits-c40.onnx"
    assert run.data.tags["onnx_gap.verdict"] == "fail"
    assert run.data.tags["onnx_gap.model_sha256"] == record.model.sha256
    files = {one.path for one in client.list_artifacts(run.info.run_id, "audit")}
    assert files == {f"audit/{one.name}" for one in judged.iterdir() if one.is_file()}
    kept = client.download_artifacts(run.info.run_id, "audit/audit.json", str(tmp_path))
    assert Path(kept).read_bytes() == (judged / "audit.json").read_bytes()


def test_figures_of_test_data_are_metrics(judged, store):
    uri, client = store
    record = read_record(judged)
    test = TestRecord("t.npz", 20, "0" * 64, 0.8, 0.95, record.accuracy - 0.8, None)
    rewrite_record(judged, dataclasses.replace(record, sections={**record.sections, "test": test}))
    metrics = client.get_run(log_to_mlflow(judged, uri)).data.metrics
    assert metrics["test_accuracy"] == 0.8
    assert metrics["test_gap"] == test.gap
    assert metrics["test_top5"] == 0.95
    assert "train_top5" not in metrics


def test_an_estimate_that_does_not_hold_is_a_tag(judged, store):
    uri, client = store
    record = read_record(judged)
    gap = dataclasses.replace(record.gap, inside_range=False)
    rewrite_record(judged, dataclasses.replace(record, gap=gap))
    data = client.get_run(log_to_mlflow(judged, uri)).data
    assert "unlike those" in data.tags["onnx_gap.no_estimate"]
    assert not [name for name in data.metrics if name.startswith(("gap", "expected"))]


def test_auto_is_where_mlflow_would_log(judged, store, monkeypatch):
    uri, client = store
    import mlflow

    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "audits")
    mlflow.set_tracking_uri(uri)
    run = client.get_run(log_to_mlflow(judged))
    assert client.get_experiment(run.info.experiment_id).name == "audits"
    assert mlflow.get_tracking_uri() == uri


def test_a_database_is_a_store(judged, store, tmp_path):
    for package in ("sqlalchemy", "alembic"):
        pytest.importorskip(package, reason="the extra mlflow is not installed")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    import mlflow

    run = mlflow.MlflowClient(uri).get_run(log_to_mlflow(judged, uri))
    assert run.data.metrics["accuracy"] == read_record(judged).accuracy


def test_a_database_needs_what_the_extra_brings(judged, store, monkeypatch):
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(OutputError, match=r"sqlite:///mlflow.db .* 'onnx-gap\[mlflow\]'"):
        log_to_mlflow(judged, "sqlite:///mlflow.db")


def test_a_dead_server_is_not_waited_for_long(judged, store, monkeypatch):
    import mlflow

    waited = {}

    def refuse(**_):
        waited.update({name: os.environ.get(name) for name in exports._PATIENCE})
        raise mlflow.exceptions.MlflowException("nobody is there")

    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    monkeypatch.setattr(mlflow, "start_run", refuse)
    with pytest.raises(OutputError, match="nobody is there"):
        log_to_mlflow(judged, "http://127.0.0.1:1")
    assert list(waited.values()) == ["3", "5"]
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_no_address_is_refused(judged):
    with pytest.raises(OutputError, match="mlflow is empty"):
        log_to_mlflow(judged, "")


def test_a_store_that_there_is_not(judged, store):
    with pytest.raises(OutputError, match="MLflow did not take the audit: "):
        log_to_mlflow(judged, "nonsense://somewhere")


def test_without_mlflow_the_way_out_is_named(judged, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "")  # so that it is as before in the end
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")
    with pytest.raises(OutputError, match=r"pip install 'onnx-gap\[mlflow\]'"):
        log_to_mlflow(judged)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"  # before anything of it is imported
