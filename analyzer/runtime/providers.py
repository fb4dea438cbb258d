"""Execution providers, and their devices by the names that people give them.

All that depends on the device is asked of its provider. A new one is a subclass of
:class:`Provider` and a place in :data:`PROVIDERS`.
"""

import ctypes
import sys
from abc import ABC, abstractmethod
from typing import ClassVar

from analyzer.errors import DeviceError, parameter

__all__ = [
    "AUTO",
    "PROVIDERS",
    "Cpu",
    "Cuda",
    "Provider",
    "lacks_tf32",
    "list_devices",
    "named_devices",
    "preferred_devices",
    "provider_of",
]

AUTO = "auto"
"""Asks for the first device that networks really run on."""

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_COMPUTE_CAPABILITY_MAJOR = 75  # as cuDeviceGetAttribute numbers it
_FIRST_WITH_TF32 = 8  # Ampere


class Provider(ABC):
    """An execution provider of onnxruntime and the devices that it runs networks on.

    Its devices are named by ``kind`` where there can be one alone, else by ``kind`` and a number.
    """

    kind: ClassVar[str]
    name: ClassVar[str]  # what onnxruntime calls the provider
    device_noun: ClassVar[str]  # what sentences call one of the devices
    numbered: ClassVar[bool]  # devices are "kind:0", "kind:1", …; several can share an audit
    has_tf32: ClassVar[bool]
    keeps_features: ClassVar[bool]  # bringing features here costs more than running them there
    sums_linear_heads: ClassVar[bool]  # running sums of a linear head cost less than its products
    batch_bytes: ClassVar[int]  # of images in one run of a network

    def device(self, index: int) -> str:
        """The name of the device of that number."""
        return f"{self.kind}:{index}" if self.numbered else self.kind

    def memory(self, index: int) -> tuple[str, int]:
        """The memory of the device of that number, as onnxruntime's bindings name it."""
        return self.kind, index

    @abstractmethod
    def count(self) -> int:
        """How many devices this machine has."""

    @abstractmethod
    def check(self, index: int, *, tf32: bool = False) -> None:
        """Make the provider ready to open a session on a device.

        Args:
            index: the device's number.
            tf32: the device must have TF32.

        Raises:
            DeviceError: onnxruntime lacks the provider, there is no such device, or it has no
                TF32.
        """

    @abstractmethod
    def session_options(self, index: int, *, tf32: bool) -> dict[str, str]:
        """The provider's own options for a session on the device of that number."""

    @abstractmethod
    def why_not_loaded(self) -> str:
        """A sentence for a session that onnxruntime did not give to the provider."""


class Cpu(Provider):
    """onnxruntime's own kernels on all cores."""

    kind = "cpu"
    name = "CPUExecutionProvider"
    device_noun = "processor"
    numbered = False
    has_tf32 = False
    keeps_features = False
    sums_linear_heads = True
    # What the layers make of the images should stay near the caches, and large buffers cost their
    # first touch.
    batch_bytes = 4 << 20

    def count(self) -> int:
        return 1

    def check(self, index: int, *, tf32: bool = False) -> None:
        if tf32:
            raise DeviceError(
                f"{parameter('precision', 'tf32')} is for NVIDIA GPUs, and the network would run "
                f"on the processor. Use {parameter('precision', 'float32')}, or "
                f"{parameter('device', 'cuda')} where there is a GPU."
            )

    def session_options(self, index: int, *, tf32: bool) -> dict[str, str]:
        return {}

    def why_not_loaded(self) -> str:
        return "The installed onnxruntime cannot run on the processor. Install it again."


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
        from analyzer.runtime.sessions import ort  # not for those who only name devices

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


PROVIDERS: tuple[Provider, ...] = (Cuda(), Cpu())
"""In the order in which "auto" tries them; the last one is always there."""


def named_devices(requested: str) -> tuple[str, ...]:
    """What a request names: "auto", "cpu", "cuda:N", or several GPUs separated by commas.

    Raises:
        DeviceError: a name is not one of these, or the list names something else than GPUs, or one
            of them twice.
    """
    names = tuple(_named(name.strip()) for name in requested.split(","))
    if len(names) > 1:
        for number, name in enumerate(names):
            if name == AUTO or not provider_of(name)[0].numbered:
                raise DeviceError(
                    f"{parameter('device', requested)}: only GPUs share an audit, and {name!r} is "
                    "none. Name GPUs alone, as cuda:0,cuda:1."
                )
            if name in names[:number]:
                raise DeviceError(
                    f"{parameter('device', requested)} names {name} twice. Name each GPU once."
                )
    return names


def _named(name: str) -> str:
    if name == AUTO:
        return name
    provider, index = provider_of(name)
    return provider.device(index)


def provider_of(device: str) -> tuple[Provider, int]:
    """The execution provider of a device, and the device's number; "cuda" is "cuda:0".

    Raises:
        DeviceError: there is no device of that name.
    """
    kind, colon, number = device.partition(":")
    for provider in PROVIDERS:
        if kind == provider.kind:
            if not colon:
                return provider, 0
            if provider.numbered and number.isascii() and number.isdigit():
                return provider, int(number)
    kinds = [name for one in reversed(PROVIDERS) for name in _names(one)]
    raise DeviceError(
        f"Unknown device {device!r}: use {', '.join([AUTO, *kinds])}, or several GPUs separated by "
        "commas."
    )


def _names(provider: Provider) -> tuple[str, ...]:
    """What names of a provider's devices look like."""
    return (provider.kind, f"{provider.kind}:N") if provider.numbered else (provider.kind,)


def preferred_devices() -> tuple[str, ...]:
    """The devices of this machine that "auto" tries before the processor, in that order."""
    return tuple(provider.device(0) for provider in PROVIDERS[:-1] if provider.count())


def list_devices() -> dict[str, str | None]:
    """Each device of this machine, and why networks cannot run on it; None if they should."""
    found: dict[str, str | None] = {}
    for provider in reversed(PROVIDERS):
        for index in range(provider.count()):
            try:
                provider.check(index)
                found[provider.device(index)] = None
            except DeviceError as error:
                found[provider.device(index)] = str(error)
    return found


def lacks_tf32(devices: str) -> bool:
    """Whether one of the devices, separated by commas, is of a kind that has no TF32."""
    kinds = {device.partition(":")[0] for device in devices.split(",")}
    return any(provider.kind in kinds and not provider.has_tf32 for provider in PROVIDERS)
