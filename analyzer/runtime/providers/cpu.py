"""The processor, which every machine has."""

from analyzer.errors import DeviceError, parameter
from analyzer.runtime.providers.provider import Provider

__all__ = ["Cpu"]


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
