"""What the analyzer asks of an execution provider."""

from abc import ABC, abstractmethod
from typing import ClassVar

__all__ = ["Provider"]


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
