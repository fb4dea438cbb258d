"""NVIDIA's GPUs, as the driver sees them and onnxruntime's CUDA provider uses them."""

import ctypes
import sys

from analyzer.errors import DeviceError, parameter
from analyzer.runtime.providers.provider import Provider

__all__ = ["Cuda"]

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_COMPUTE_CAPABILITY_MAJOR = 75  # as cuDeviceGetAttribute numbers it
_FIRST_WITH_TF32 = 8  # Ampere


class Cuda(Provider):
    """GPUs, numbered as the driver numbers them."""

    kind = "cuda"
    name = "CUDAExecutionProvider"
    device_noun = "GPU"
    numbered = True
    has_tf32 = True
    keeps_features = True
    sums_linear_heads = False  # the whole product costs less than bringing the sums there
    batch_bytes = 16 << 20  # it wants more to do at once

    def count(self) -> int:
        """How many GPUs the driver sees; 0 without a driver."""
        driver = _driver()
        count = ctypes.c_int(0)
        if driver is None or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
        return count.value

    def check(self, index: int, *, tf32: bool = False) -> None:
        """Load the CUDA libraries, after a look at whether there is any use in it."""
        from analyzer.runtime.quiet_onnxruntime import ort  # not for those who only name devices

        if self.name not in ort.get_available_providers():
            raise DeviceError(
                "The onnxruntime that runs has no CUDA provider: `pip uninstall -y onnxruntime "
                "onnxruntime-gpu`, then `pip install --force-reinstall 'onnx-gap[cuda]'`."
            )
        count = self.count()
        if count == 0:
            raise DeviceError("There is no NVIDIA GPU, or no driver for it.")
        if index >= count:
            raise DeviceError(f"There is no GPU {index}, only {count}, numbered from 0.")
        if tf32 and (major := self.compute_capability(index)) < _FIRST_WITH_TF32:
            raise DeviceError(
                f"The GPU has no TF32, which begins with compute capability {_FIRST_WITH_TF32} "
                f"(its own is {major}). Use {parameter('precision', 'float32')} or fp16."
            )
        ort.preload_dlls()

    def compute_capability(self, index: int) -> int:
        """The major number of a GPU's compute capability; 0 where the driver does not say."""
        driver = _driver()
        gpu, major = ctypes.c_int(0), ctypes.c_int(0)
        if driver is None or driver.cuDeviceGet(ctypes.byref(gpu), index) != 0:
            return 0
        driver.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_CAPABILITY_MAJOR, gpu)
        return major.value

    def session_options(self, index: int, *, tf32: bool) -> dict[str, str]:
        # TF32 keeps 10 of 23 bits of a product's factors: enough to change which class wins.
        return {"device_id": str(index), "use_tf32": str(int(tf32))}

    def why_not_loaded(self) -> str:
        return (
            "onnxruntime could not load the CUDA libraries; pip install 'onnx-gap[cuda]' brings "
            "them."
        )


def _driver() -> ctypes.CDLL | None:
    try:
        driver = ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    return driver if driver.cuInit(0) == 0 else None
