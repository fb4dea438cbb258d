"""The curves of each class, and ``curves.npz``, which holds them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyzer.errors import AuditFolderError
from analyzer.files import RUN_AGAIN, array_of, read_arrays
from analyzer.output_files import write_arrays

__all__ = ["CURVES", "ClassCurves", "read_curves", "write_curves"]

CURVES = "curves.npz"


@dataclass(frozen=True, slots=True)
class ClassCurves:
    """Cumulative unit ablation of one class: METHOD's E and E_r as correct counts."""

    class_index: int
    samples: int
    order: np.ndarray  # int64 (M,): channels by descending activity
    descending: np.ndarray  # int64 (M + 1,): correct with the n most active removed
    ascending: np.ndarray  # int64 (M + 1,): correct with the n least active removed


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


def read_curves(folder: str | Path) -> tuple[ClassCurves, ...]:
    """The class curves of an audit folder, by class index.

    Raises:
        AuditFolderError: ``curves.npz`` is missing, damaged or contradicts itself.
    """
    path = Path(folder) / CURVES
    arrays = read_arrays(path, ("descending", "ascending", "samples", "order", "class_index"))
    order = array_of(path, arrays, "order", np.int64, (None, None))
    classes, channels = order.shape
    wanted = {
        "descending": (classes, channels + 1),
        "ascending": (classes, channels + 1),
        "samples": (classes,),
        "class_index": (classes,),
    }
    for name, shape in wanted.items():
        array_of(path, arrays, name, np.int64, shape)
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
