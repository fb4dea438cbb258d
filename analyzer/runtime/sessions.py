"""onnxruntime sessions on a device that is asked for by name and read back, never assumed.

The one place that imports onnxruntime: without its telemetry and without words of its own. Official
builds write a device identifier and a database of events under the user's cache folder and the
folder for temporary files, and upload from there. The variable prevents all of that if it is set
before onnxruntime is first imported; a process that imported it earlier is at least kept from
recording what happens from here on.
"""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.common_types import GUARD_SIZES, GUARDS
from analyzer.errors import DeviceError, ModelError, parameter
from analyzer.runtime.batch_size import OutOfMemory
from analyzer.runtime.independence import CheckedSizes
from analyzer.runtime.installed_onnxruntime import explain_broken_module, refuse_old_module
from analyzer.runtime.providers import (
    AUTO,
    PROVIDERS,
    Provider,
    named_devices,
    preferred_devices,
    provider_of,
)

__all__ = ["DeviceArray", "Session", "load_float16_converter", "open_session", "ort"]

_FATAL_ONLY = 4  # severity for logs: what matters comes back as exceptions

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
try:
    import onnxruntime as ort

    ort.disable_telemetry_events()
    ort.set_default_logger_severity(_FATAL_ONLY)
    refuse_old_module(ort.__version__)
except DeviceError:
    raise
except Exception as error:  # of half a module, or of a library that it loads
    raise explain_broken_module(error) from error

_MEMORY_WORDS = re.compile(r"alloc|out of memory|CUDA failure 2\b|BFCArena", re.IGNORECASE)
_NO_MEMORY = re.compile("bad_alloc|cannot allocate memory|failed to allocate", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DeviceArray:
    """An array that lies where a session runs."""

    value: ort.OrtValue = field(repr=False)
    nbytes: int

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape())

    def numpy(self) -> np.ndarray:
        """Bring the array here."""
        return self.value.numpy()


@dataclass(frozen=True, slots=True)
class Session:
    """A network ready to run, and where it runs."""

    path: Path
    device: str  # as named_devices names it, read back from onnxruntime
    provider: Provider  # the device's
    note: str | None  # why "auto" did not take a device that it prefers
    outputs: tuple[str, ...]
    tf32: bool  # products of float32 are of factors rounded to TF32
    _memory: tuple[str, int]  # the device's, as onnxruntime's bindings name it
    _session: ort.InferenceSession = field(repr=False)
    checked: CheckedSizes = field(default_factory=CheckedSizes, repr=False)  # of batches

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

    def run_on_device(
        self,
        feeds: Mapping[str, np.ndarray | DeviceArray],
        outputs: Sequence[str],
        stay: Collection[str] = (),
    ) -> tuple[dict[str, np.ndarray], dict[str, DeviceArray]]:
        """As :meth:`run`, with inputs that lie on the device and outputs that stay there.

        Args:
            stay: those of the outputs that stay.

        Returns:
            The outputs that come here, and those that stay, by name.
        """
        with self._explained(feeds):
            binding = self._session.io_binding()
            for name, value in feeds.items():
                if isinstance(value, DeviceArray):
                    binding.bind_ortvalue_input(name, value.value)
                else:
                    binding.bind_cpu_input(name, np.ascontiguousarray(value))
            for name in outputs:
                if name in stay:
                    binding.bind_output(name, *self._memory)
                else:
                    binding.bind_output(name)
            self._session.run_with_iobinding(binding)
            found = dict(zip(outputs, binding.get_outputs(), strict=True))
            here = {name: value.numpy() for name, value in found.items() if name not in stay}
            there = {
                name: DeviceArray(value, value.tensor_size_in_bytes())
                for name, value in found.items()
                if name in stay
            }
            return here, there

    def to_device(self, array: np.ndarray) -> DeviceArray:
        """Bring an array to where the session runs."""
        with self._explained({}):
            value = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), *self._memory)
        return DeviceArray(value, array.nbytes)

    @contextmanager
    def _explained(self, feeds: Mapping[str, np.ndarray | DeviceArray]) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # onnxruntime raises a family without a useful base
            if _MEMORY_WORDS.search(str(error)):
                raise OutOfMemory(f"Out of memory in {self.path.name}: {_line(error)}.") from error
            for guard, does in GUARDS.items():
                # A node of a branch that onnxruntime takes out of its If has lost its name.
                size = rf"requested shape:\{{[-\d,]*\b{GUARD_SIZES[guard]}\}}"
                if re.search(rf"Name:'{guard}|{size}", str(error)):
                    raise ModelError(f"For an image the network {does}.") from error
            shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in feeds.items())
            raise ModelError(
                f"The network cannot be run on its input ({shapes}): {_line(error)}. If it takes "
                f"images of another size or layout, say so with {parameter('img_size')} or "
                f"{parameter('layout')}; if not, export it again until onnxruntime runs it."
            ) from error


def open_session(
    path: Path,
    requested: str = AUTO,
    *,
    threads: int = 0,
    custom_ops: Path | None = None,
    tf32: bool = False,
    optimized: bool = True,
) -> Session:
    """A session for the network at ``path``.

    Args:
        requested: "cpu", "cuda", "cuda:N", or "auto": the first GPU that onnxruntime really
            runs on, else the processor.
        threads: threads of one operator; 0 leaves it to onnxruntime (all cores).
        custom_ops: a library of custom operators that the network uses.
        tf32: let a GPU round the factors of products of float32 to TF32.
        optimized: let onnxruntime fuse operators first, which takes it time in proportion to the
            square of the nodes.

    Raises:
        DeviceError: the name is not one of these, or the device that was asked for is unavailable,
            or TF32 where there is none.
        ModelError: onnxruntime cannot load the network.
    """
    name, *others = named_devices(requested)
    if others:
        raise DeviceError(
            f"{parameter('device', requested)}: this runs on one device. Name {name} alone."
        )
    opened = partial(
        _open, path, threads=threads, custom_ops=custom_ops, tf32=tf32, optimized=optimized
    )
    resort = PROVIDERS[-1]
    last, note = resort.device(0), None
    tried = preferred_devices() if name == AUTO else {name} - {last}
    for device in tried:
        try:
            return opened(device)
        except DeviceError as error:
            if name != AUTO or tf32:
                way_out = parameter("device", last)
                if tf32:
                    way_out += f" with {parameter('precision', 'float32')}"
                raise DeviceError(
                    f"{parameter('device', device)}: {error.message} Use {way_out} to run on the "
                    f"{resort.device_noun}."
                ) from error
            note = (
                f"The network ran on the {resort.device_noun}, although there is a "
                f"{provider_of(device)[0].device_noun}. {error}"
            )
    return opened(last, note)


def _open(
    path: Path,
    device: str,
    note: str | None = None,
    *,
    threads: int,
    custom_ops: Path | None,
    tf32: bool,
    optimized: bool,
) -> Session:
    provider, index = provider_of(device)
    provider.check(index, tf32=tf32)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _FATAL_ONLY
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Fused integer kernels round otherwise than the operators that the file names, and which are
    # fused depends on what else reads a tensor: prefix and suffix would not repeat the whole.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    if custom_ops is not None:
        try:
            options.register_custom_ops_library(str(custom_ops))
        except Exception as error:
            raise ModelError(
                f"onnxruntime cannot load the custom operators in {custom_ops}: {_line(error)}."
            ) from error
    providers = {provider.name: provider.session_options(index, tf32=tf32)}
    providers.setdefault(PROVIDERS[-1].name, {})  # for operators that the device lacks
    try:
        session = ort.InferenceSession(str(path), options, providers=list(providers.items()))
    except Exception as error:
        if _NO_MEMORY.search(str(error)):
            raise OutOfMemory(
                f"There is not enough memory for onnxruntime to load {path.name} "
                f"({_line(error)}). Give the process more."
            ) from error
        way_out = (
            f" On {device} it does not know this operator, or knows it for other types of "
            "elements only: export the network without it, or in float32."
            if "NOT_IMPLEMENTED" in str(error)
            else ""
        )
        raise ModelError(
            f"onnxruntime cannot load {path.name}: {_line(error)}.{way_out}"
        ) from error
    if session.get_providers()[0] != provider.name:
        raise DeviceError(provider.why_not_loaded())
    outputs = tuple(output.name for output in session.get_outputs())
    memory = provider.memory(index)
    return Session(Path(path), device, provider, note, outputs, tf32, memory, session)


def load_float16_converter() -> tuple[Callable[..., Any], Sequence[str]]:
    """onnxruntime's own converter, and the operators that it knows to be without float16.

    Imported when it is asked for, because that takes time.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    return convert_float_to_float16, DEFAULT_OP_BLOCK_LIST


def _line(error: Exception) -> str:
    """The first line of an error without onnxruntime's own prefix and without a full stop."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", first).rstrip(" .")
