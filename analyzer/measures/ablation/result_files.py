"""``curves.npz`` and ``samples.npz``: what the sweep counted, per class and per sample."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analyzer.errors import AuditFolderError
from analyzer.files import RUN_AGAIN, check_names, integers, read_arrays, write_arrays
from analyzer.records import ClassCurves, SampleCounts, SampleScores

__all__ = ["CURVES", "SAMPLES", "read_curves", "read_samples", "write_curves", "write_samples"]

CURVES = "curves.npz"
SAMPLES = "samples.npz"
_COUNTS = ("label", "correct", "descending", "ascending")
_SCORES = ("log_probability", "margin", "other", "index")
_FLOATS = ("log_probability", "margin")


def write_curves(folder: str | Path, curves: Sequence[ClassCurves]) -> None:
    """Write ``curves.npz``: the curves of K classes, all with the same M, by class index."""
    curves = sorted(curves, key=lambda curve: curve.class_index)
    write_arrays(
        Path(folder) / CURVES,
        {
            "descending": np.stack([curve.descending for curve in curves]).astype(np.int64),
            "ascending": np.stack([curve.ascending for curve in curves]).astype(np.int64),
            "samples": np.array([curve.samples for curve in curves], np.int64),
            "order": np.stack([curve.order for curve in curves]).astype(np.int64),
            "class_index": np.array([curve.class_index for curve in curves], np.int64),
        },
    )


def write_samples(folder: str | Path, samples: SampleCounts, channels: int) -> None:
    """Write ``samples.npz``, with the score (ascending − descending) / (M + 1) of each sample."""
    difference = samples.ascending.astype(np.float64) - samples.descending
    arrays = {
        "label": samples.label.astype(np.int64),
        "correct": samples.correct.astype(bool),
        "descending": samples.descending.astype(np.int32),
        "ascending": samples.ascending.astype(np.int32),
        "score": (difference / (channels + 1)).astype(np.float32),
        "index": samples.index.astype(np.int64),
        "log_probability": samples.scores.log_probability.astype(np.float32),
        "margin": samples.scores.margin.astype(np.float32),
        "other": samples.scores.other.astype(np.int32),
    }
    write_arrays(Path(folder) / SAMPLES, arrays)


def read_curves(folder: str | Path) -> tuple[ClassCurves, ...]:
    """The class curves of an audit folder, by class index.

    Raises:
        AuditFolderError: ``curves.npz`` is missing, damaged or contradicts itself.
    """
    path = Path(folder) / CURVES
    arrays = read_arrays(path, ("descending", "ascending", "samples", "order", "class_index"))
    order = integers(path, arrays, "order", 2)
    classes, channels = order.shape
    wanted = {
        "descending": (classes, channels + 1),
        "ascending": (classes, channels + 1),
        "samples": (classes,),
        "class_index": (classes,),
    }
    for name, shape in wanted.items():
        found = integers(path, arrays, name, len(shape)).shape
        if found != shape:
            raise AuditFolderError(
                f"{path}: '{name}' has shape {found} where 'order' asks for {shape}."
            )
    if not classes or not channels:
        raise AuditFolderError(f"{path} holds no class or no channel. {RUN_AGAIN}")
    samples, index = arrays["samples"], arrays["class_index"]
    if np.any(np.diff(index) <= 0) or index[0] < 0:
        raise AuditFolderError(f"{path}: 'class_index' is not ascending from 0.")
    if np.any(samples <= 0):
        raise AuditFolderError(f"{path}: class {index[samples <= 0][0]} has no samples.")
    for name in ("descending", "ascending"):
        bad = np.any((arrays[name] < 0) | (arrays[name] > samples[:, None]), axis=1)
        if bad.any():
            raise AuditFolderError(
                f"{path}: '{name}' of class {index[bad][0]} is not between 0 and its samples."
            )
    bad = np.any(np.sort(order, axis=1) != np.arange(channels), axis=1)
    if bad.any():
        raise AuditFolderError(
            f"{path}: 'order' of class {index[bad][0]} does not name every channel once."
        )
    return tuple(
        ClassCurves(
            class_index=int(index[j]),
            samples=int(samples[j]),
            order=order[j],
            descending=arrays["descending"][j],
            ascending=arrays["ascending"][j],
        )
        for j in range(classes)
    )


def read_samples(folder: str | Path) -> SampleCounts:
    """The per-sample counts of an audit folder, in the order of the data.

    Raises:
        AuditFolderError: ``samples.npz`` is missing, damaged or contradicts itself.
    """
    path = Path(folder) / SAMPLES
    arrays = read_arrays(path)
    names = (*_COUNTS, *_SCORES)
    check_names(path, names, tuple(arrays))
    count = integers(path, arrays, "label", 1).shape
    for name in names:
        if name not in _FLOATS:
            integers(path, arrays, name, 1)
        if arrays[name].shape != count:
            raise AuditFolderError(
                f"{path}: '{name}' has shape {arrays[name].shape} where 'label' has {count}."
            )
    return SampleCounts(
        label=arrays["label"].astype(np.int64),
        correct=arrays["correct"].astype(bool),
        descending=arrays["descending"].astype(np.int32),
        ascending=arrays["ascending"].astype(np.int32),
        index=arrays["index"].astype(np.int64),
        scores=SampleScores(
            log_probability=arrays["log_probability"].astype(np.float32),
            margin=arrays["margin"].astype(np.float32),
            other=arrays["other"].astype(np.int32),
        ),
    )
