"""The network, cut and opened on every device in the precision asked for, and checked there."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyzer import runtime, surgery
from analyzer.errors import ModelError, parameter
from analyzer.measures.ablation.cut_network import CutNetwork, open_network
from analyzer.measures.ablation.surgery_check import check_precision, check_surgery
from analyzer.measures.measure import Job, Subject
from analyzer.records import Cut
from analyzer.request import AuditRequest

__all__ = ["CheckedNetwork", "in_precision", "open_checked"]


@dataclass(frozen=True, slots=True)
class CheckedNetwork:
    """A cut network, ready for the sweep."""

    on_devices: tuple[CutNetwork, ...]  # one a device
    classes: int  # K
    warnings: tuple[str, ...]

    @property
    def cut(self) -> Cut:
        """As it is on every device."""
        return self.on_devices[0].cut


def open_checked(job: Job, images: np.ndarray) -> CheckedNetwork:
    """Cut the network, open it on every device, and check there that it is still the same.

    The surgery is checked in float32. Another precision is then held against that.

    Args:
        job: its scratch folder takes the files.
        images: (B, …), on which the network is checked.

    Raises:
        DeviceError: a device is unavailable, or lacks the precision.
        ModelError: the network cannot be cut, run, or converted; or a check fails.
    """
    request, subject = job.request, job.subject
    in_float32 = _InFloat32(job, images)
    cut, rounded = in_float32.cut, request.precision != "float32"
    if request.precision == "fp16":
        converted = in_precision(subject.network, request.precision, job.scratch)
        cut = surgery.cut_network(
            converted, subject.site, converted.path.parent, output=request.output
        )
    networks, notes, moved = [], [], 0.0
    for device in runtime.named_devices(request.device):
        network = _open(request, subject, cut, device, request.precision)
        if network.prefix.note:
            job.say(network.prefix.note)
            notes.append(network.prefix.note)
        exact = network
        if rounded:
            exact = _open(request, subject, in_float32.cut, network.prefix.device, "float32")
        classes = in_float32.check(exact)
        if rounded:
            off = check_precision(network, exact, images, seed=request.seed)
            moved = max(moved, off)
        networks.append(network)
    if rounded:
        notes.append(
            f"Counted in {request.precision}: on {len(images)} images scores moved by up to "
            f"{moved:.2g} of their scale from those in float32, so answers that are decided by "
            "less can be others"
        )
    return CheckedNetwork(tuple(networks), classes, (*cut.warnings, *notes))


def in_precision(network: surgery.Network, precision: str, folder: Path) -> surgery.Network:
    """The network with the file that its precision needs: itself, unless it has to be converted.

    Args:
        network: its extra inputs bound.
        precision: one of :data:`analyzer.runtime.PRECISIONS`.
        folder: takes the files, in a folder of their own.

    Raises:
        ModelError: it cannot be converted.
    """
    if precision != "fp16":
        return network
    place = folder / "float16"
    place.mkdir()
    return surgery.rewrite_network(network, place, runtime.in_float16)


class _InFloat32:
    """The network in float32, cut and whole, and the images to compare the two on."""

    def __init__(self, job: Job, images: np.ndarray):
        self._job, self._images = job, images
        network, site, output = job.subject.network, job.subject.site, job.request.output
        self.cut = surgery.cut_network(network, site, job.scratch, output=output)
        self._masked = job.scratch / "masked.onnx"
        surgery.write_masked(network, site, self._masked)
        self._original = surgery.runnable_file(network, job.scratch)

    def check(self, network: CutNetwork) -> int:
        """K, the number of classes, if the cut network gives what the whole one gives."""
        subject, request = self._job.subject, self._job.request
        original = runtime.WholeNetwork(
            self._original,
            subject.network.info.inputs[0],
            surgery.find_answer(subject.network, request.output),
            further=subject.extra_inputs,
            custom_ops=network.cut.custom_ops,
        )
        return check_surgery(network, original, self._masked, self._images, seed=request.seed)


def _open(
    request: AuditRequest, subject: Subject, cut: Cut, device: str, precision: str
) -> CutNetwork:
    try:
        return open_network(
            cut,
            subject.network.info.inputs[0].name,
            device,
            threads=request.threads,
            # Estimates look at a whole class at once, so its features come here.
            resident=False if request.tolerance else None,
            precision=precision,
        )
    except ModelError as error:
        if precision == "float32":
            raise
        raise ModelError(
            f"In {precision}: {error.message} Or use {parameter('precision', 'float32')}."
        ) from error
