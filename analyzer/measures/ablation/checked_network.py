"""The network, cut and opened on every device in the precision asked for, and checked there.

Before a sweep is built on it, the surgery checks itself on real images: the cut network must give
what the whole one gives, with nothing removed and under random masks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from analyzer import runtime, surgery
from analyzer.audit_options import AuditRequest
from analyzer.errors import ModelError, parameter
from analyzer.measures.ablation.cut_network import CutNetwork, open_network
from analyzer.measures.measure import Job, Subject
from analyzer.records import Cut
from analyzer.runtime.batching import padded
from analyzer.runtime.predictions import WholeNetwork, scores_of
from analyzer.runtime.sessions import Session, open_session

__all__ = [
    "CheckedNetwork",
    "check_precision",
    "check_surgery",
    "in_precision",
    "open_checked",
]


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
            extra_inputs=subject.extra_inputs,
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


_MASKS = 3
# Of the scores' scale: prefix and suffix may be compiled into other kernels than the whole.
_TOLERANCE = 1e-3
# Two scores nearer than this, of their scale, may change places by rounding alone.
_NEAR_TIE = 1e-4
# Of the scores' scale: where they move by more, it is another network.
_MOST_ROUNDING = 0.1


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
    found = network.features(images)

    whole = _opened(original, network)
    actual = network.scores(found, np.ones((len(images), channels), dtype=np.float32))
    expected = _in_batches(whole, original, images)
    _compare(expected, actual, kind, "with nothing removed")

    with_mask = replace(original, path=masked, extra_inputs=())
    whole = _opened(with_mask, network)
    random = np.random.default_rng(seed)
    for number in range(1, _MASKS + 1):
        mask = (random.random((len(images), channels)) < 0.5).astype(np.float32)
        expected = _in_batches(whole, with_mask, images, {network.cut.mask: mask})
        actual = network.scores(found, mask)
        _compare(expected, actual, kind, f"under random mask {number}")
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


def _in_batches(
    session: Session,
    whole: WholeNetwork,
    images: np.ndarray,
    others: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Scores (B, K) or labels (B, 1) of a whole network, in batches of the size it takes.

    Args:
        others: what else it is fed, by name, (B, …).
    """
    count, fixed = len(images), whole.image.fixed_batch
    size = fixed or count
    parts = []
    for start in range(0, count, size):
        piece = slice(start, start + size)
        feeds = whole.feeds(images[piece])
        feeds |= {name: padded(value[piece], fixed) for name, value in (others or {}).items()}
        found = session.run(feeds, [whole.answer.output])[0]
        given = fixed or min(size, count - start)
        if len(found) != given:  # a Reshape can spread one image's values over several rows
            raise ModelError(
                f"The network gives {len(found)} rows of scores for {given} images. Check "
                f"{parameter('img_size')} and {parameter('layout')}."
            )
        parts.append(found)
    return scores_of(np.concatenate(parts)[:count], whole.answer.kind)


def _compare(expected: np.ndarray, actual: np.ndarray, kind: str, case: str) -> None:
    if kind == "labels":
        _compare_labels(expected[:, 0], actual, case)
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
    clear = (top[:, -1] - top[:, 0]) / scale > _NEAR_TIE
    moved = clear & (expected.argmax(axis=1) != actual.argmax(axis=1))
    worst = int(np.argmax(np.where(moved, np.inf, error)))
    if error[worst] > _TOLERANCE or moved.any():
        where = int(np.argmax(difference[worst]))
        raise ModelError(
            f"The cut network does not repeat the original ({case}): class {where} scores "
            f"{actual[worst, where]:.6g} instead of {expected[worst, where]:.6g}. "
            f"Try another {parameter('site')}, and please report this network."
        )


def _compare_labels(expected: np.ndarray, actual: np.ndarray, case: str) -> None:
    """As for scores; labels say nothing of near ties, so the cut network's own scores must."""
    top = np.sort(actual, axis=1)
    clear = top[:, -1] - top[:, -2] > _NEAR_TIE * np.abs(actual).max(axis=1)
    moved = np.flatnonzero(clear & (expected != actual.argmax(axis=1)))
    if len(moved):
        raise ModelError(
            f"The cut network does not repeat the original ({case}): an image is of class "
            f"{actual[moved[0]].argmax()} instead of {expected[moved[0]]}. "
            f"Try another {parameter('site')}, and please report this network."
        )
