"""Devices by name: what is understood, what is refused, and why."""

import re
from pathlib import Path

import pytest

from analyzer.errors import DeviceError
from analyzer.runtime import images_at_once, lacks_tf32, list_devices, named_devices, open_session
from analyzer.runtime.providers import PROVIDERS, Cpu, Cuda

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
        ("cuda:007", ("cuda:7",)),
    ],
)
def test_names_that_are_understood(requested, names):
    assert named_devices(requested) == names


@pytest.mark.parametrize(
    ("requested", "sentence"),
    [
        ("gpu", "Unknown device 'gpu'"),
        ("", "Unknown device ''"),
        ("cuda:0,", "Unknown device ''"),
        ("cuda:-1", "Unknown device 'cuda:-1'"),
        ("cuda:", "Unknown device 'cuda:'"),
        ("cuda:²", "Unknown device 'cuda:²'"),
        ("cpu:0", "Unknown device 'cpu:0'"),
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
    monkeypatch.setattr(Cuda, "count", lambda self: 2)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [Cuda.name])
    monkeypatch.setattr("onnxruntime.preload_dlls", lambda: None)


def test_a_gpu_that_is_not_there_is_named(gpus):
    with pytest.raises(DeviceError, match=r"cuda:2: There is no GPU 2, only 2.*device=cpu"):
        open_session(MODEL, "cuda:2")


def test_tf32_on_a_gpu_without_it(gpus, monkeypatch):
    monkeypatch.setattr(Cuda, "compute_capability", lambda self, index: 7 + index)
    with pytest.raises(DeviceError, match=r"no TF32.*its own is 7.*precision=float32"):
        open_session(MODEL, "cuda:0", tf32=True)
    Cuda().check(0)
    Cuda().check(1, tf32=True)


@pytest.mark.parametrize("requested", ["cpu", "auto"])
def test_tf32_on_the_processor_is_refused(requested, monkeypatch):
    monkeypatch.setattr(Cuda, "count", lambda self: 0)
    with pytest.raises(DeviceError, match="precision=tf32 is for NVIDIA GPUs"):
        open_session(MODEL, requested, tf32=True)


def test_auto_takes_no_other_device_than_tf32_has(gpus, monkeypatch):
    """Without TF32 it would say so and take the processor."""
    monkeypatch.setattr(Cuda, "compute_capability", lambda self, index: 7)
    with pytest.raises(DeviceError, match="no TF32"):
        open_session(MODEL, "auto", tf32=True)


def test_a_session_says_whether_it_rounds_to_tf32():
    assert not open_session(MODEL, "cpu").tf32


def test_auto_says_why_it_did_not_take_the_gpu(gpus, monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [Cpu.name])
    session = open_session(MODEL, "auto")
    assert session.device == "cpu"
    assert "although there is a GPU. The onnxruntime that runs has no CUDA" in session.note


def test_a_silent_fallback_of_onnxruntime_is_an_error(gpus):
    """This onnxruntime has no CUDA; were it asked for all the same, it would take the processor."""
    with pytest.raises(DeviceError, match=r"cuda:1: .*could not load the CUDA libraries"):
        open_session(MODEL, "cuda:1")


def test_devices_are_listed_with_what_is_in_their_way(gpus, monkeypatch):
    assert list_devices() == {"cpu": None, "cuda:0": None, "cuda:1": None}
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [Cpu.name])
    found = list_devices()
    assert found["cpu"] is None
    assert "no CUDA provider" in found["cuda:1"]


@pytest.mark.parametrize(
    ("devices", "lacking"),
    [("cpu", True), ("cuda:0", False), ("cuda:0,cuda:1", False), ("cuda:0,cpu", True), ("", False)],
)
def test_devices_without_tf32(devices, lacking):
    assert lacks_tf32(devices) == lacking


def test_a_gpu_takes_more_images_at_once():
    image = 1 << 18
    assert images_at_once(image, "cuda:1") == 4 * images_at_once(image, "cpu")
    assert images_at_once(1 << 40, "cpu") == images_at_once(1 << 40, "cuda:0") >= 1


def test_the_last_resort_is_always_there():
    assert isinstance(PROVIDERS[-1], Cpu)
    assert PROVIDERS[-1].count() == 1
    assert len({provider.kind for provider in PROVIDERS}) == len(PROVIDERS)
