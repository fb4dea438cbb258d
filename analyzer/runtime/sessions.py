"""onnxruntime sessions on a device that is asked for by name and read back, never assumed."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort

from analyzer.errors import AnalyzerError, DeviceError, ModelError
from analyzer.runtime.devices import CUDA, check_gpu, gpu_count, named_devices

__all__ = ["Held", "OutOfMemory", "Session", "open_session"]

# onnxruntime writes its own words to standard error; what matters comes back as exceptions.
_FATAL_ONLY = 4
_MEMORY_WORDS = re.compile(r"alloc|out of memory|CUDA failure 2\b|BFCArena", re.IGNORECASE)


class OutOfMemory(AnalyzerError):
    """A batch did not fit into memory; a smaller one may."""


@dataclass(frozen=True, slots=True)
class Held:
    """An array that lies where a session runs."""

    value: ort.OrtValue = field(repr=False)
    nbytes: int


@dataclass(frozen=True, slots=True)
class Session:
    """A network ready to run, and where it runs."""

    path: Path
    device: str  # "cpu" or "cuda:N", as read back from onnxruntime
    note: str | None  # why "auto" did not take a GPU that is there
    outputs: tuple[str, ...]
    tf32: bool  # products of float32 are of factors rounded to TF32
    _session: ort.InferenceSession = field(repr=False)

    def run(
        self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None
    ) -> list[np.ndarray]:
        """The named outputs (default: all), for inputs given by name.

        Raises:
            OutOfMemory: the batch did not fit.
            ModelError: onnxruntime could not run the network on these inputs.
        """
        with self._explained(feeds):
            return self._session.run(outputs, dict(feeds))

    def run_held(
        self,
        feeds: Mapping[str, "np.ndarray | Held"],
        outputs: Sequence[str],
        held: Collection[str] = (),
    ) -> "dict[str, np.ndarray | Held]":
        """As :meth:`run`, with inputs that lie on the device and outputs that stay there.

        Args:
            held: those of the outputs that stay.
        """
        kind, index = _place(self.device)
        with self._explained(feeds):
            binding = self._session.io_binding()
            for name, value in feeds.items():
                if isinstance(value, Held):
                    binding.bind_ortvalue_input(name, value.value)
                else:
                    binding.bind_cpu_input(name, np.ascontiguousarray(value))
            for name in outputs:
                if name in held:
                    binding.bind_output(name, kind, index)
                else:
                    binding.bind_output(name, "cpu")
            self._session.run_with_iobinding(binding)
            found = binding.get_outputs()
            return {
                name: Held(value, value.tensor_size_in_bytes()) if name in held else value.numpy()
                for name, value in zip(outputs, found, strict=True)
            }

    def hold(self, array: np.ndarray) -> Held:
        """Brings an array to where the session runs."""
        with self._explained({}):
            value = ort.OrtValue.ortvalue_from_numpy(
                np.ascontiguousarray(array), *_place(self.device)
            )
        return Held(value, array.nbytes)

    @contextmanager
    def _explained(self, feeds: Mapping[str, "np.ndarray | Held"]) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # onnxruntime raises a family without a useful base
            if _MEMORY_WORDS.search(str(error)):
                raise OutOfMemory(f"out of memory in {self.path.name}: {_line(error)}") from error
            shapes = ", ".join(
                f"{name} {tuple(value.value.shape() if isinstance(value, Held) else value.shape)}"
                for name, value in feeds.items()
            )
            raise ModelError(
                f"the network refused its input ({shapes}): {_line(error)}; "
                "check the image size (--img-size) and the layout (--layout)"
            ) from error


def open_session(
    path: Path,
    requested: str = "auto",
    *,
    threads: int = 0,
    custom_ops: Path | None = None,
    tf32: bool = False,
) -> Session:
    """A session for the network at ``path``.

    Args:
        requested: "cpu", "cuda", "cuda:N", or "auto": the first GPU that onnxruntime really
            runs on, else the processor.
        threads: threads of one operator; 0 leaves it to onnxruntime (all cores).
        custom_ops: a library of custom operators that the network uses.
        tf32: let a GPU round the factors of products of float32 to TF32.

    Raises:
        DeviceError: the name is none of these, or CUDA was asked for and cannot be had, or TF32
            where there is none.
        ModelError: onnxruntime cannot load the network.
    """
    name, *others = named_devices(requested)
    if others:
        raise DeviceError(f"--device {requested}: this runs on one device; name {name} alone")
    if name == "cpu" or (name == "auto" and not gpu_count()):
        return _open(path, "cpu", None, threads, custom_ops, tf32)
    device = "cuda:0" if name == "auto" else name
    try:
        return _open(path, device, None, threads, custom_ops, tf32)
    except DeviceError as error:
        if name == "auto" and not tf32:
            note = f"there is a GPU, but {error}; ran on the CPU"
            return _open(path, "cpu", note, threads, custom_ops, tf32)
        way_out = "--device cpu --precision float32" if tf32 else "--device cpu"
        raise DeviceError(
            f"--device {device}: {error}; use {way_out} to run on the processor"
        ) from error


def _open(
    path: Path,
    device: str,
    note: str | None,
    threads: int,
    custom_ops: Path | None,
    tf32: bool,
) -> Session:
    providers: list = ["CPUExecutionProvider"]
    if device != "cpu":
        index = device.removeprefix("cuda:")
        check_gpu(int(index), tf32=tf32)
        # TF32 keeps 10 of 23 bits of a product's factors: enough to change which class wins.
        providers.insert(0, (CUDA, {"device_id": index, "use_tf32": str(int(tf32))}))
    elif tf32:
        raise DeviceError(
            "--precision tf32 is for NVIDIA GPUs, and the network would run on the processor; use "
            "--precision float32, or --device cuda where there is a GPU"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _FATAL_ONLY
    # Fused integer kernels round otherwise than the operators that the file names, and which are
    # fused depends on what else reads a tensor: the halves would not repeat the whole.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    ort.set_default_logger_severity(_FATAL_ONLY)
    if custom_ops is not None:
        try:
            options.register_custom_ops_library(str(custom_ops))
        except Exception as error:
            raise ModelError(
                f"onnxruntime cannot load the custom operators in {custom_ops}: {_line(error)}"
            ) from error
    try:
        session = ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        way_out = (
            f"; on {device} it knows this operator for other types of elements only: export the "
            "network in float32"
            if "NOT_IMPLEMENTED" in str(error)
            else ""
        )
        raise ModelError(f"onnxruntime cannot load {path.name}: {_line(error)}{way_out}") from error
    if device != "cpu" and session.get_providers()[0] != CUDA:
        raise DeviceError(
            "onnxruntime could not load the CUDA libraries "
            "(pip install 'onnx-gap[cuda]' brings them)"
        )
    outputs = tuple(output.name for output in session.get_outputs())
    return Session(Path(path), device, note, outputs, tf32, session)


def _place(device: str) -> tuple[str, int]:
    """A device as onnxruntime's bindings name it."""
    kind, _, index = device.partition(":")
    return kind, int(index or 0)


def _line(error: Exception) -> str:
    """The first line of an error without onnxruntime's own prefix."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", first)
