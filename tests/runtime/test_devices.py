"""Devices by name: what is understood, what is refused, and why."""

import re
from pathlib import Path

import pytest

from analyzer.errors import DeviceError
from analyzer.runtime import devices as gpus_module
from analyzer.runtime import named_devices, open_session

MODEL = Path(__file__).parents[1] / "fixtures" / "vgg16-dynamo-free.onnx"


@pytest.mark.parametrize(
    ("requested", "names"),
    [
        ("auto", ("auto",)),
        ("cpu", ("cpu",)),
        ("cuda", ("cuda:0",)),
        ("cuda:3", ("cuda:3",)),
        ("cuda:0,cuda:1", ("cuda:0", "cuda:1")),
        ("cuda:1, cuda", ("cuda:1", "cuda:0")),
    ],
)
def test_names_that_are_understood(requested, names):
    assert named_devices(requested) == names


@pytest.mark.parametrize(
    ("requested", "sentence"),
    [
        ("gpu", "unknown device 'gpu'"),
        ("", "unknown device ''"),
        ("cuda:0,", "unknown device ''"),
        ("cuda:-1", "unknown device 'cuda:-1'"),
        ("cuda:0,cpu", "'cpu' is none"),
        ("auto,cuda:1", "'auto' is none"),
        ("cuda,cuda:1,cuda:0", "names cuda:0 twice"),
    ],
)
def test_names_that_are_refused(requested, sentence):
    with pytest.raises(DeviceError, match=re.escape(sentence)):
        named_devices(requested)


@pytest.fixture
def gpus(monkeypatch):
    """A driver that sees two GPUs, and an onnxruntime with CUDA."""
    monkeypatch.setattr(gpus_module, "gpu_count", lambda: 2)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [gpus_module.CUDA])
    monkeypatch.setattr("onnxruntime.preload_dlls", lambda: None)


def test_a_gpu_that_is_not_there_is_named(gpus):
    with pytest.raises(DeviceError, match=r"--device cuda:2: there is no GPU 2, only 2.*--device"):
        open_session(MODEL, "cuda:2")


def test_tf32_on_a_gpu_without_it(gpus, monkeypatch):
    monkeypatch.setattr(gpus_module, "_compute_capability", lambda index: 7 + index)
    with pytest.raises(DeviceError, match=r"no TF32.*its own is 7.*--precision float32"):
        open_session(MODEL, "cuda:0", tf32=True)
    gpus_module.check_gpu(0)
    gpus_module.check_gpu(1, tf32=True)


@pytest.mark.parametrize("requested", ["cpu", "auto"])
def test_tf32_on_the_processor_is_refused(requested, monkeypatch):
    monkeypatch.setattr("analyzer.runtime.sessions.gpu_count", lambda: 0)
    with pytest.raises(DeviceError, match="--precision tf32 is for NVIDIA GPUs"):
        open_session(MODEL, requested, tf32=True)


def test_auto_takes_no_other_device_than_tf32_has(gpus, monkeypatch):
    """Without TF32 it would say so and take the processor."""
    monkeypatch.setattr("analyzer.runtime.sessions.gpu_count", lambda: 2)
    monkeypatch.setattr(gpus_module, "_compute_capability", lambda index: 7)
    with pytest.raises(DeviceError, match="no TF32"):
        open_session(MODEL, "auto", tf32=True)


def test_a_session_says_whether_it_rounds_to_tf32():
    assert not open_session(MODEL, "cpu").tf32
