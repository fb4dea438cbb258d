"""Devices by the names people give them, and the GPUs that NVIDIA's driver sees."""

import ctypes
import re
import sys

import onnxruntime as ort

from analyzer.errors import DeviceError

__all__ = ["CUDA", "check_gpu", "devices", "gpu_count", "named_devices"]

CUDA = "CUDAExecutionProvider"
_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_COMPUTE_CAPABILITY_MAJOR = 75  # as cuDeviceGetAttribute numbers it
_FIRST_WITH_TF32 = 8  # Ampere


def named_devices(requested: str) -> tuple[str, ...]:
    """What a request names: "auto", "cpu", "cuda:N", or several GPUs separated by commas.

    Raises:
        DeviceError: a name is none of these, or the list names something else than GPUs, or one
            of them twice.
    """
    names = tuple(_named(name.strip()) for name in requested.split(","))
    if len(names) > 1:
        for number, name in enumerate(names):
            if not name.startswith("cuda:"):
                raise DeviceError(
                    f"--device {requested}: only GPUs share an audit, and {name!r} is none; name "
                    "GPUs alone, as cuda:0,cuda:1"
                )
            if name in names[:number]:
                raise DeviceError(f"--device {requested} names {name} twice; name each GPU once")
    return names


def _named(name: str) -> str:
    found = re.fullmatch(r"(auto|cpu)|cuda(?::(\d+))?", name)
    if found is None:
        raise DeviceError(
            f"unknown device {name!r}; use auto, cpu, cuda, cuda:N, or several GPUs as "
            "cuda:0,cuda:1"
        )
    return found[1] or f"cuda:{int(found[2] or 0)}"


def devices() -> dict[str, str | None]:
    """Each device of this machine, and why networks cannot run on it; None if they should."""
    found: dict[str, str | None] = {"cpu": None}
    for index in range(gpu_count()):
        try:
            check_gpu(index)
            found[f"cuda:{index}"] = None
        except DeviceError as error:
            found[f"cuda:{index}"] = str(error)
    return found


def check_gpu(index: int, *, tf32: bool = False) -> None:
    """Loads the CUDA libraries, after a look at whether there is any use in it.

    Args:
        tf32: the GPU must have TF32.

    Raises:
        DeviceError: onnxruntime has no CUDA, there is no such GPU, or it has no TF32.
    """
    if CUDA not in ort.get_available_providers():
        raise DeviceError(
            "the installed onnxruntime has no CUDA provider "
            "(pip uninstall onnxruntime, then pip install 'onnx-gap[cuda]')"
        )
    count = gpu_count()
    if count == 0:
        raise DeviceError("no NVIDIA GPU or driver was found")
    if index >= count:
        raise DeviceError(f"there is no GPU {index}, only {count}, numbered from 0")
    if tf32 and (major := _compute_capability(index)) < _FIRST_WITH_TF32:
        raise DeviceError(
            f"the GPU has no TF32, which begins with compute capability {_FIRST_WITH_TF32} (its "
            f"own is {major}); --precision float32 or fp16 runs on it"
        )
    ort.preload_dlls()


def gpu_count() -> int:
    """How many GPUs NVIDIA's driver sees; 0 without a driver."""
    driver = _driver()
    count = ctypes.c_int(0)
    if driver is None or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def _compute_capability(index: int) -> int:
    """The major number of a GPU's compute capability; 0 where the driver does not say."""
    driver = _driver()
    gpu, major = ctypes.c_int(0), ctypes.c_int(0)
    if driver is None or driver.cuDeviceGet(ctypes.byref(gpu), index) != 0:
        return 0
    driver.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_CAPABILITY_MAJOR, gpu)
    return major.value


def _driver() -> ctypes.CDLL | None:
    try:
        driver = ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    return driver if driver.cuInit(0) == 0 else None
