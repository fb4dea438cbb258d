"""The network, cut and opened on every device in the precision asked for, and checked there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyzer import runtime, surgery
from analyzer.audit.request import AuditRequest
from analyzer.audit.subject import Subject
from analyzer.errors import ModelError
from analyzer.measures import ablation
from analyzer.records import Cut

__all__ = ["Opened", "in_precision", "open_checked"]


@dataclass(frozen=True, slots=True)
class Opened:
    """A cut network, ready for the sweep."""

    networks: tuple[ablation.CutNetwork, ...]  # one a device
    classes: int  # K
    warnings: tuple[str, ...]

    @property
    def cut(self) -> Cut:
        return self.networks[0].cut


def open_checked(
    request: AuditRequest,
    subject: Subject,
    folder: Path,
    images: np.ndarray,
    say: Callable[[str], None],
) -> Opened:
    """Cuts the network, opens it on every device, and checks there that it is still the same.

    The surgery is checked in float32. Another precision is then held against that.

    Args:
        folder: takes the files.
        images: (B, …), on which it is checked.
        say: told what a person waiting would want to know of the device.

    Raises:
        DeviceError: a device cannot be had, or lacks the precision.
        ModelError: the network cannot be cut, run, or converted; or a check fails.
    """
    in_float32 = _InFloat32(request, subject, folder, images)
    cut, rounded = in_float32.cut, request.precision != "float32"
    if request.precision == "fp16":
        half = in_precision(subject.network, request.precision, folder)
        cut = surgery.cut(half, subject.site, half.path.parent, output=request.output)
    networks, notes, moved = [], [], 0.0
    for device in runtime.named_devices(request.device):
        network = _open(request, subject, cut, device, request.precision)
        if network.prefix.note:
            say(network.prefix.note)
            notes.append(network.prefix.note)
        exact = network
        if rounded:
            exact = _open(request, subject, in_float32.cut, network.prefix.device, "float32")
        classes = in_float32.check(exact)
        if rounded:
            off = ablation.check_precision(network, exact, images, seed=request.seed)
            moved = max(moved, off)
        networks.append(network)
    if rounded:
        notes.append(
            f"Counted in {request.precision}: on {len(images)} images scores moved by up to "
            f"{moved:.2g} of their scale from those in float32, so answers that are decided by "
            "less can be others"
        )
    return Opened(tuple(networks), classes, (*cut.warnings, *notes))


def in_precision(network: surgery.Network, precision: str, folder: Path) -> surgery.Network:
    """The network with the file that its precision needs: itself, unless it has to be converted.

    Args:
        network: its further inputs bound.
        folder: takes the files, in a folder of their own.

    Raises:
        ModelError: it cannot be converted.
    """
    if precision != "fp16":
        return network
    place = folder / "float16"
    place.mkdir()
    return surgery.rewritten(network, place, runtime.in_float16)


class _InFloat32:
    """The network in float32, cut and whole, and the images to compare the two on."""

    def __init__(self, request: AuditRequest, subject: Subject, folder: Path, images: np.ndarray):
        self._request, self._subject, self._images = request, subject, images
        self.cut = surgery.cut(subject.network, subject.site, folder, output=request.output)
        self._masked = folder / "masked.onnx"
        surgery.write_masked(subject.network, subject.site, self._masked)
        self._original = surgery.runnable(subject.network, folder)

    def check(self, network: ablation.CutNetwork) -> int:
        """K, the number of classes, if the cut network gives what the whole one gives."""
        subject, request = self._subject, self._request
        original = runtime.WholeNetwork(
            self._original,
            subject.info.inputs[0],
            surgery.answer(subject.network, request.output),
            further=subject.further,
            custom_ops=network.cut.custom_ops,
        )
        return ablation.check_surgery(
            network, original, self._masked, self._images, seed=request.seed
        )


def _open(
    request: AuditRequest, subject: Subject, cut: Cut, device: str, precision: str
) -> ablation.CutNetwork:
    try:
        return ablation.open_network(
            cut,
            subject.info.inputs[0].name,
            device,
            threads=request.threads,
            # Estimates look at a whole class at once, so its features come here.
            resident=False if request.tolerance else None,
            precision=precision,
        )
    except ModelError as error:
        if precision == "float32":
            raise
        raise ModelError(f"in {precision}: {error}; or use --precision float32") from error
