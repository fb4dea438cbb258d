"""An audit on several devices leaves the files that one device leaves; here they are processors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analyzer import runtime
from analyzer.audit import read_record, run_audit, verify_audit
from analyzer.audit_options import AuditRequest
from analyzer.errors import DeviceError

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def request_for(tmp_path):
    def make(name: str = "vgg16", count: int = 50, **options) -> AuditRequest:
        random = np.random.default_rng(0)
        images = random.normal(size=(count, 3, 32, 32)).astype(np.float32)
        np.savez(tmp_path / "train.npz", images=images, labels=random.integers(0, 6, count))
        return AuditRequest(
            anyway=True,
            model=FIXTURES / f"{name}-dynamo-free.onnx", data=str(tmp_path / "train.npz"),
            out=tmp_path / "audit", **options,
        )  # fmt: skip

    return make


@pytest.fixture
def processors(monkeypatch):
    """Lets "cuda:0,cuda:1,…" mean as many processors."""
    real = runtime.named_devices

    def named(requested: str) -> tuple[str, ...]:
        return ("cpu",) * len(real(requested))

    monkeypatch.setattr(runtime, "named_devices", named)


def assert_same_files(one: Path, other: Path) -> None:
    for name in ("curves.npz", "samples.npz"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize("name", ["vgg16", "resnet34", "mobilenetv3"])
@pytest.mark.parametrize("precision", ["float32", "fp16"])
def test_several_devices_leave_the_files_of_one(
    name, precision, request_for, tmp_path, monkeypatch, processors
):
    monkeypatch.setattr("analyzer.runtime.batch_size._MOST_IMAGES", 8)
    request = request_for(name, precision=precision)
    one = run_audit(replace(request, device="cpu"))
    several = replace(request, out=tmp_path / "several", device="cuda:0,cuda:1,cuda:2")
    found = run_audit(several)
    assert_same_files(request.out, several.out)
    assert found.device.requested == "cuda:0,cuda:1,cuda:2"
    assert found.device.used == "cpu,cpu,cpu"
    assert (found.zeta, found.kappa, found.data, found.classes) == (
        one.zeta, one.kappa, one.data, one.classes,
    )  # fmt: skip
    assert found.seconds.prefix + found.seconds.sweep <= found.seconds.total
    assert verify_audit(several.out).passed


def test_devices_without_a_class_are_not_named(request_for, processors):
    request = request_for(device=",".join(f"cuda:{n}" for n in range(9)))
    assert run_audit(request).device.used == ",".join(["cpu"] * 6)


class Stopped(BaseException):
    """Stands for Ctrl-C."""


@pytest.mark.parametrize("stage", ["network", "sweep"])
def test_an_interrupted_audit_goes_on_on_all_devices(
    stage, request_for, tmp_path, monkeypatch, processors
):
    monkeypatch.setattr("analyzer.measures.checkpoint.SECONDS", 0)
    monkeypatch.setattr("analyzer.measures.ablation.sweep._CHUNK_CELLS", 1)
    monkeypatch.setattr("analyzer.runtime.batch_size._MOST_IMAGES", 4)
    request = request_for(device="cuda:0,cuda:1", memory=1)
    whole = replace(request, out=tmp_path / "whole")
    run_audit(whole)

    def stop(told: str, done: int, total: int) -> None:
        if told == stage and done > total // 2:
            raise Stopped

    with pytest.raises(Stopped):
        run_audit(request, progress=stop)
    said = []
    run_audit(request, say=said.append)
    assert any(sentence.startswith("Resuming after") for sentence in said)
    assert_same_files(request.out, whole.out)
    assert read_record(request.out).rows == read_record(whole.out).rows
    assert not (request.out / ".unfinished").exists()


def test_a_device_that_cannot_be_had_is_named(request_for, monkeypatch):
    monkeypatch.setattr("analyzer.runtime.providers.Cuda.count", lambda self: 0)
    request = request_for(device="cuda:0,cuda:1")
    with pytest.raises(DeviceError, match=r"device=cuda:0: .*device=cpu"):
        run_audit(request)
    assert not request.out.exists()


def test_selectivity_wants_one_device(request_for, processors):
    request = request_for(device="cuda:0,cuda:1", rank="selectivity")
    with pytest.raises(DeviceError, match="rank=selectivity compares all classes"):
        run_audit(request)
    assert not request.out.exists()
