"""Whether a cut network gives what the whole one gives, before a sweep is built on it.

On real images, on every device and in the precision asked for, with nothing removed and under
random masks.
"""

import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from analyzer import runtime, surgery
from analyzer.audit_options import RunOptions
from analyzer.common_types import Cut, Site
from analyzer.errors import ModelError, parameter
from analyzer.measures.ablation.prefix_and_suffix import CutNetwork, open_network
from analyzer.measures.measure import Job, Subject
from analyzer.measures.unmasked_predictions import in_precision
from analyzer.runtime.predictions import WholeNetwork, scores_in_batches
from analyzer.runtime.sessions import DeviceArray, Session, open_session

__all__ = ["CheckedNetwork", "check_precision", "check_surgery", "open_checked"]

_OUR_FILE = re.compile(r"^onnxruntime cannot load \S+: (Load model from .*? failed: ?)?")
_WAY_OUT = (
    f"Name another {parameter('site')}, or export the network in another way: with a newer opset, "
    "or without sequences, optional values and local functions."
)
_MASKS = 3
# Of the scores' scale: prefix and suffix may be compiled into other kernels than the whole.
_TOLERANCE = 1e-3
# Two scores nearer than this, of their scale, may change places by rounding alone.
_NEAR_TIE = 1e-4
# Units in the last place of a 16-bit type: so far apart may scores be in a network of such numbers.
_LAST_PLACES = 16
# Of the scores' scale: where they move by more, it is another network.
_MOST_ROUNDING = 0.1


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


def open_checked(
    job: Job,
    site: Site,
    images: np.ndarray,
    run: RunOptions,
    *,
    seed: int,
    resident: bool | None,
) -> CheckedNetwork:
    """Cut the network, open it on every device, and check there that it is still the same.

    The surgery is checked in float32. Another precision is then held against that.

    Args:
        job: its scratch folder takes the files.
        site: of the network.
        images: (B, …), on which the network is checked.
        run: where, and in which precision.
        seed: of the masks under which it is checked.
        resident: as for :func:`open_network`.

    Raises:
        DeviceError: a device is unavailable, or lacks the precision.
        ModelError: the network cannot be cut, run, or converted; or a check fails.
    """
    subject = job.subject
    in_float32 = _InFloat32(subject, site, images, job.scratch)
    cut, rounded = in_float32.cut, run.precision != "float32"
    if run.precision == "fp16":
        converted = in_precision(subject.network, subject.output, run.precision, job.scratch)
        cut = surgery.cut_network(converted, site, converted.path.parent, output=subject.output)
    image = subject.network.info.inputs[0].name
    opened = partial(_open, image=image, threads=run.threads, resident=resident)
    networks, notes, moved = [], [], 0.0
    for device in runtime.named_devices(run.device):
        try:
            network = opened(cut, device, precision=run.precision)
        except ModelError as error:
            in_float32.blame(error, device)
            raise
        if network.prefix.note:
            job.say(network.prefix.note)
            notes.append(network.prefix.note)
        exact = network
        if rounded:
            exact = opened(in_float32.cut, network.prefix.device, precision="float32")
        classes = in_float32.check(exact, seed=seed)
        if rounded:
            off = check_precision(network, exact, images, seed=seed)
            moved = max(moved, off)
        networks.append(network)
    if rounded:
        notes.append(
            f"Counted in {run.precision}: on {len(images)} images scores moved by up to "
            f"{moved:.2g} of their scale from those in float32, so answers that are decided by "
            "less can be others."
        )
    return CheckedNetwork(tuple(networks), classes, (*in_float32.cut.warnings, *notes))


class _InFloat32:
    """The network in float32, cut and whole, and the images to compare the two on."""

    def __init__(self, subject: Subject, site: Site, images: np.ndarray, folder: Path):
        network = subject.network
        self._path = network.path
        self.cut = surgery.cut_network(network, site, folder, output=subject.output)
        self._images, self._masked = images, folder / "masked.onnx"
        surgery.write_masked(network, site, self._masked, to_run=True)
        self._original = runtime.WholeNetwork(
            surgery.runnable_file(network, folder),
            network.info.inputs[0],
            subject.answer,
            extra_inputs=subject.extra_inputs,
            custom_ops=network.custom_ops,
            largest=network.largest,
        )

    def blame(self, error: ModelError, device: str) -> None:
        """Say of a part that cannot be opened whether the whole network can.

        Raises:
            ModelError: about the whole, or about the cut.
        """
        site, whole = self.cut.site.tensor, self._original
        try:
            open_session(whole.path, device, custom_ops=whole.custom_ops)
        except ModelError as reason:
            raise ModelError(
                f"onnxruntime cannot load {self._path}: {_reason(reason)} Export it again, until "
                "onnxruntime does."
            ) from error
        raise ModelError(
            f"onnxruntime loads {self._path}, but not what is left where it is cut at {site!r}: "
            f"{_reason(error)} {_WAY_OUT}"
        ) from error

    def check(self, network: CutNetwork, *, seed: int) -> int:
        """K, the number of classes, if the cut network gives what the whole one gives."""
        return check_surgery(network, self._original, self._masked, self._images, seed=seed)


def _reason(error: ModelError) -> str:
    """Why onnxruntime cannot load a file, without the name of ours that it had."""
    return _OUR_FILE.sub("", error.message)


def _open(
    cut: Cut, device: str, *, image: str, threads: int, resident: bool | None, precision: str
) -> CutNetwork:
    try:
        return open_network(
            cut, image, device, threads=threads, resident=resident, precision=precision
        )
    except ModelError as error:
        if precision == "float32":
            raise
        raise ModelError(
            f"In {precision}: {error.message} Or use {parameter('precision', 'float32')}."
        ) from error


def check_surgery(
    network: CutNetwork,
    original: WholeNetwork,
    masked: Path,
    images: np.ndarray,
    *,
    seed: int,
) -> int:
    """Compare the cut network with the whole one on a few images.

    With nothing removed, prefix and suffix must give the original's scores; under random masks
    those of the masked original.

    Args:
        original: the network as it was given.
        masked: the same with its mask in place, and nothing further to feed.
        images: (B, …).
        seed: of the masks.

    Returns:
        K, the number of classes.

    Raises:
        ModelError: they differ, or the output is not one score per class.
    """
    channels, kind = network.cut.site.channels, original.answer.kind
    expected = scores_in_batches(original, _opened(original, network), images)
    found = network.features(images)
    actual = network.intact_scores(found)
    rounding = _LAST_PLACES * max(map(_epsilon, found.values.values()), default=0.0)
    _compare(expected, actual, kind, "with nothing removed", rounding)

    with_mask = replace(original, path=masked, extra_inputs=())
    try:
        whole = _opened(with_mask, network)
    except ModelError as error:
        site = network.cut.site.tensor
        raise ModelError(
            f"onnxruntime loads the network, but not with a mask at {site!r}: {_reason(error)} "
            f"{_WAY_OUT}"
        ) from error
    random = np.random.default_rng(seed)
    for number in range(1, _MASKS + 1):
        mask = (random.random((len(images), channels)) < 0.5).astype(np.float32)
        expected = scores_in_batches(with_mask, whole, images, {network.cut.mask: mask})
        actual = network.scores(found, mask)
        _compare(expected, actual, kind, f"under random mask {number}", rounding)
    return actual.shape[1]


def check_precision(
    network: CutNetwork, exact: CutNetwork, images: np.ndarray, *, seed: int
) -> float:
    """Compare a cut network that rounds more than float32 with the one in float32.

    Args:
        images: (B, …).
        seed: of the masks; one of them removes nothing.

    Returns:
        By how much a score moves at most, as a part of the image's largest.

    Raises:
        ModelError: that is too much to speak of the same network.
    """
    channels = network.cut.site.channels
    random = np.random.default_rng(seed)
    masks = (random.random((1 + _MASKS, len(images), channels)) < 0.5).astype(np.float32)
    masks[0] = 1
    found, wanted = network.features(images), exact.features(images)
    moved = 0.0
    for mask in masks:
        rounded, scores = network.scores(found, mask), exact.scores(wanted, mask)
        with np.errstate(invalid="ignore"):
            distance = np.nan_to_num(np.abs(rounded - scores), nan=np.inf)
        distance = np.where(np.isfinite(scores), distance, 0)
        scale = np.where(np.isfinite(scores), np.abs(scores), 0).max(axis=1)
        with np.errstate(over="ignore"):
            part = distance.max(axis=1) / np.maximum(scale, np.finfo(np.float32).tiny)
        moved = max(moved, float(part.max()))
    if moved > _MOST_ROUNDING:
        raise ModelError(
            f"In {network.precision} a score moves by {moved:.2g} of its scale from what it is in "
            "float32, so this would be another network. Use "
            f"{parameter('precision', 'float32')}."
        )
    return moved


def _opened(whole: WholeNetwork, network: CutNetwork) -> Session:
    """A whole network on the device of a cut one."""
    return open_session(whole.path, network.prefix.device, custom_ops=whole.custom_ops)


def _epsilon(values: np.ndarray | DeviceArray) -> float:
    """What numbers of that type are rounded to, as a part of them; 0 for integers."""
    dtype = (values if isinstance(values, np.ndarray) else values.numpy()).dtype
    if dtype.name == "bfloat16":  # which numpy does not count among its own
        return 2.0**-7
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else 0.0


def _compare(
    expected: np.ndarray, actual: np.ndarray, kind: str, case: str, rounding: float = 0.0
) -> None:
    """Refuse scores that differ by more than rounding explains.

    Args:
        rounding: of the type that the network computes in, as a part of a score.
    """
    if kind == "labels":
        _compare_labels(expected[:, 0], actual, case, rounding)
        return
    if expected.shape != actual.shape:
        raise ModelError(
            f"The cut network gives scores of shape {actual.shape} where the original gives "
            f"{expected.shape} ({case}). This is a defect of the surgery: please report it."
        )
    expected, actual = expected.astype(np.float64), actual.astype(np.float64)
    finite = np.where(np.isfinite(expected), np.abs(expected), 0)
    scale = finite.max(axis=1, initial=np.finfo(np.float32).tiny)
    same = (expected == actual) | (np.isnan(expected) & np.isnan(actual))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0, np.nan_to_num(np.abs(expected - actual), nan=np.inf))
    error = difference.max(axis=1) / scale
    top = np.sort(expected, axis=1)[:, -2:]
    with np.errstate(invalid="ignore"):  # of infinite scores, which are equal
        clear = (top[:, -1] - top[:, 0]) / scale > max(_NEAR_TIE, rounding)
    moved = clear & (expected.argmax(axis=1) != actual.argmax(axis=1))
    worst = int(np.argmax(np.where(moved, np.inf, error)))
    if error[worst] > max(_TOLERANCE, rounding) or moved.any():
        where = int(np.argmax(difference[worst]))
        raise ModelError(
            f"The cut network does not repeat the original ({case}): class {where} scores "
            f"{actual[worst, where]:.6g} instead of {expected[worst, where]:.6g}. "
            f"Try another {parameter('site')}, and please report this network."
        )


def _compare_labels(expected: np.ndarray, actual: np.ndarray, case: str, rounding: float) -> None:
    """As for scores; labels say nothing of near ties, so the cut network's own scores must."""
    top = np.sort(actual, axis=1)
    near = max(_NEAR_TIE, rounding)
    with np.errstate(invalid="ignore"):
        clear = top[:, -1] - top[:, -2] > near * np.abs(actual).max(axis=1)
    moved = np.flatnonzero(clear & (expected != actual.argmax(axis=1)))
    if len(moved):
        raise ModelError(
            f"The cut network does not repeat the original ({case}): an image is of class "
            f"{actual[moved[0]].argmax()} instead of {expected[moved[0]]}. "
            f"Try another {parameter('site')}, and please report this network."
        )
