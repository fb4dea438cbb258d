"""The files of an audit folder: written whole or not at all, read with every doubt spoken out.

==================  =====================================================================
``audit.json``      the record (:mod:`analyzer.audit.record`)
``curves.npz``      per class: correct counts of both orders, samples, unit order
``samples.npz``     per sample: label, correct, at how many n it is right in each order, and
                    what the scores say with nothing removed
``margins.npz``     per sample and layer: distance to the nearest other class; only with margins
``suspects.csv``    the samples that look most as if they were memorised, by name
``thumbnails.npz``  pictures of the first of them (:mod:`analyzer.audit.suspects`)
``report.html``     what people read (:mod:`analyzer.audit.report`)
==================  =====================================================================
"""

import json
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.errors import AuditFolderError
from analyzer.files import write_arrays
from analyzer.records import ClassCurves, SampleCounts, SampleScores

__all__ = [
    "AUDIT",
    "CURVES",
    "MARGINS",
    "REPORT",
    "SAMPLES",
    "prepare_folder",
    "read_arrays",
    "read_curves",
    "read_json",
    "read_margins",
    "read_samples",
    "write_curves",
    "write_margins",
    "write_samples",
]

AUDIT = "audit.json"
CURVES = "curves.npz"
SAMPLES = "samples.npz"
MARGINS = "margins.npz"
REPORT = "report.html"
_ANEW = "Run the audit again with --fresh."
_COUNTS = ("label", "correct", "descending", "ascending")
_SCORES = ("log_probability", "margin", "other", "index")  # early versions did not write them
_FLOATS = ("log_probability", "margin")


def prepare_folder(folder: str | Path) -> Path:
    """Make ``folder`` (and its parents) if needed and show that files can be written in it.

    Raises:
        AuditFolderError: it is a file, or cannot be made or written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError:
        raise AuditFolderError(
            f"{folder} is a file, not a folder; name another place for the audit."
        ) from None
    except OSError as error:
        raise AuditFolderError(
            f"{folder} cannot be written: {error.strerror or error}. "
            "Name a folder that exists or can be made, with room and write permission."
        ) from error
    return folder


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
    }
    if samples.scores is not None:
        arrays |= {
            "index": samples.index.astype(np.int64),
            "log_probability": samples.scores.log_probability.astype(np.float32),
            "margin": samples.scores.margin.astype(np.float32),
            "other": samples.scores.other.astype(np.int32),
        }
    write_arrays(Path(folder) / SAMPLES, arrays)


def write_margins(folder: str | Path, distances: np.ndarray, variation: np.ndarray) -> None:
    """Write ``margins.npz``: distances (S, L) and total variations (L,) at L layers."""
    write_arrays(Path(folder) / MARGINS, {"distance": distances, "total_variation": variation})


def read_json(path: str | Path) -> Any:
    """The content of a JSON file.

    Raises:
        AuditFolderError: there is no such file, or it is not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise AuditFolderError(f"{path} is not valid JSON: {error}. {_ANEW}") from None


def read_arrays(path: str | Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays ``names`` (all when None) of an ``.npz`` file; pickles are never loaded.

    Raises:
        AuditFolderError: there is no such file, it is damaged, or lacks one of ``names``.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files if names is None else names
            _check_names(path, names, archive.files)
            return {name: archive[name] for name in names}
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error):
        raise AuditFolderError(
            f"{path} is damaged or not an .npz file of plain arrays. {_ANEW}"
        ) from None


def read_curves(folder: str | Path) -> tuple[ClassCurves, ...]:
    """The class curves of an audit folder, by class index.

    Raises:
        AuditFolderError: ``curves.npz`` is missing, damaged or contradicts itself.
    """
    path = Path(folder) / CURVES
    arrays = read_arrays(path, ("descending", "ascending", "samples", "order", "class_index"))
    order = _integers(path, arrays, "order", 2)
    classes, channels = order.shape
    wanted = {
        "descending": (classes, channels + 1),
        "ascending": (classes, channels + 1),
        "samples": (classes,),
        "class_index": (classes,),
    }
    for name, shape in wanted.items():
        found = _integers(path, arrays, name, len(shape)).shape
        if found != shape:
            raise AuditFolderError(
                f"{path}: '{name}' has shape {found} where 'order' asks for {shape}."
            )
    if not classes or not channels:
        raise AuditFolderError(f"{path} holds no class or no channel. {_ANEW}")
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
    names = _COUNTS if _SCORES[0] not in arrays else (*_COUNTS, *_SCORES)
    _check_names(path, names, tuple(arrays))
    count = _integers(path, arrays, "label", 1).shape
    for name in names:
        if name not in _FLOATS:
            _integers(path, arrays, name, 1)
        if arrays[name].shape != count:
            raise AuditFolderError(
                f"{path}: '{name}' has shape {arrays[name].shape} where 'label' has {count}."
            )
    scores = None
    if names != _COUNTS:
        scores = SampleScores(
            log_probability=arrays["log_probability"].astype(np.float32),
            margin=arrays["margin"].astype(np.float32),
            other=arrays["other"].astype(np.int32),
        )
    return SampleCounts(
        label=arrays["label"].astype(np.int64),
        correct=arrays["correct"].astype(bool),
        descending=arrays["descending"].astype(np.int32),
        ascending=arrays["ascending"].astype(np.int32),
        index=None if scores is None else arrays["index"].astype(np.int64),
        scores=scores,
    )


def read_margins(folder: str | Path) -> np.ndarray:
    """The distances of an audit folder, float64 (S, L), in the order of the data.

    Raises:
        AuditFolderError: ``margins.npz`` is missing, damaged or holds something else.
    """
    path = Path(folder) / MARGINS
    distances = read_arrays(path, ("distance",))["distance"]
    if distances.dtype != np.float64 or distances.ndim != 2 or not np.isfinite(distances).all():
        raise AuditFolderError(f"{path}: 'distance' is not a table of finite numbers. {_ANEW}")
    return distances


def _check_names(path: Path, names: Sequence[str], present: Sequence[str]) -> None:
    missing = [name for name in names if name not in present]
    if missing:
        raise AuditFolderError(
            f"{path} has no array '{missing[0]}' (it has: {', '.join(present)}); "
            "it was not written by an audit."
        )


def _integers(path: Path, arrays: dict[str, np.ndarray], name: str, rank: int) -> np.ndarray:
    array = arrays[name]
    if array.dtype.kind not in "iub" or array.ndim != rank:
        raise AuditFolderError(
            f"{path}: '{name}' is {array.dtype} of shape {array.shape}; "
            f"integers with {rank} dimension(s) were expected."
        )
    return array


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _unreadable(path: Path, error: OSError) -> AuditFolderError:
    if isinstance(error, FileNotFoundError):
        return AuditFolderError(f"{path} does not exist; name a folder that an audit has written.")
    return AuditFolderError(f"{path} cannot be read: {error.strerror or error}.")
