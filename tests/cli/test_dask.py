"""A population audited on the workers of a Dask cluster is the one audited here."""

import threading
from types import SimpleNamespace

import pytest
from joblib._dask import DaskDistributedBackend

import model_zoo
from analyzer.audit import population
from analyzer.cli import population_command

distributed = pytest.importorskip("distributed", reason="needs the extra dask")


def test_population_on_a_dask_cluster(onnx_gap, tmp_path):
    lines = ["name,model,train_data,keys,train_accuracy,test_accuracy"]
    for level, test_accuracy in (("c0", 0.97), ("c40", 0.69)):
        entry = model_zoo.find(f"digits-{level}")
        lines.append(
            f'{level},{entry.model},{entry.data},"{",".join(entry.keys)}",1.0,{test_accuracy}'
        )
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    options = ("--mean", 0, "--std", 1, "--limit-per-class", 5)
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as c:
        on_cluster = onnx_gap(
            "population", manifest, *options, "--dask", c.scheduler_address, "--out", "cluster"
        )
    assert on_cluster.code == 0, on_cluster.err
    here = onnx_gap("population", manifest, *options, "--out", "here")
    assert here.code == 0
    tables = [
        (tmp_path / "here" / name / "population.csv").read_text() for name in ("cluster", "here")
    ]
    assert tables[0] == tables[1]


def test_a_run_without_workers_says_so_and_goes_on_with_the_next_one(
    onnx_gap, tmp_path, monkeypatch
):
    entry = model_zoo.find("digits-c0")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(
        f'name,model,train_data,keys\na,{entry.model},{entry.data},"images,labels_c0"\n'
    )
    monkeypatch.setattr(population_command, "_WATCH_SECONDS", 0.2)
    defaults = DaskDistributedBackend.__init__.__defaults__
    assert defaults[-1] == 10  # seconds that joblib would wait
    monkeypatch.setattr(DaskDistributedBackend.__init__, "__defaults__", (*defaults[:-1], 0.5))
    options = ("--mean", 0, "--std", 1, "--limit-per-class", 5, "--out", "out")
    with distributed.LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=None) as c:
        joined = threading.Timer(2, c.scale, [1])
        joined.start()
        found = onnx_gap("population", manifest, *options, "--dask", c.scheduler_address)
        joined.join()
    assert found.code == 0, found.err
    assert found.err.count("No worker of the Dask scheduler") == 1


def test_a_worker_that_is_lost_is_reported_also_at_the_very_end(monkeypatch):
    said = []
    monkeypatch.setattr(population_command, "warn", said.append)
    found = iter([{"tcp://a": 1, "tcp://b": 1}, {"tcp://b": 1}])
    with population_command._watching(SimpleNamespace(ncores=lambda: next(found)), "tcp://c"):
        pass
    assert len(said) == 1
    assert "1 of the Dask workers left or were lost (tcp://a)" in said[0]


def test_a_lost_scheduler_is_no_fault_of_a_row(onnx_gap, tmp_path, monkeypatch):
    def lose(*_, **__):
        raise distributed.CancelledError("the scheduler is gone")

    monkeypatch.setattr(population, "_measured", lose)
    entry = model_zoo.find("digits-c0")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(
        f'name,model,train_data,keys\na,{entry.model},{entry.data},"images,labels_c0"\n'
    )
    found = onnx_gap("population", manifest, "--mean", 0, "--std", 1, "--out", "out")
    assert found.code == 2
    assert "scheduler was lost before it was audited" in found.err
    assert "Start a scheduler and workers again" in found.err
    assert "row" not in found.err


def test_no_scheduler_at_the_address(onnx_gap, tmp_path):
    entry = model_zoo.find("digits-c0")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(
        f'name,model,train_data,keys\na,{entry.model},{entry.data},"images,labels_c0"\n'
    )
    nobody = ("--dask", "tcp://127.0.0.1:9", "--out", "out")
    found = onnx_gap("population", manifest, *nobody, "--jobs", 2)
    assert (found.code, "--jobs is for processes of this machine" in found.err) == (2, True)
    found = onnx_gap("population", manifest, *nobody)
    assert found.code == 2
    assert "127.0.0.1:9" in found.err
