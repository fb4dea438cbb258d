"""``curves.npz`` and ``samples.npz``: written, read, and checked against each other."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from analyzer.audit_record import AuditRecord, ClassRecord
from analyzer.common_types import ClassCurves, SampleCounts, SampleScores
from analyzer.errors import AnalyzerError, AuditFolderError
from analyzer.files import RUN_AGAIN, check_names, integers, read_arrays, write_arrays
from analyzer.measures.ablation.curve_features import (
    class_quantities,
    compute_curve_features,
    network_quantities,
)
from analyzer.measures.measure import Check, check, same

__all__ = [
    "CURVES",
    "SAMPLES",
    "ablation_checks",
    "class_accuracies",
    "read_curves",
    "read_samples",
    "write_curves",
    "write_samples",
]


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


_NEAR = 1e-4  # of the largest margin


def ablation_checks(folder: Path, record: AuditRecord) -> Iterator[Check]:
    """Every check of the curves, the samples and what follows from them.

    Raises:
        AuditFolderError: one of the files is missing or damaged.
    """
    samples = read_samples(folder)
    score = read_arrays(folder / SAMPLES, ("score",))["score"]
    if record.site is None:
        yield _without_site(record, samples)
        yield _score(samples, score, 0)
        yield from _scores(samples)
        return
    curves = read_curves(folder)
    yield _classes(record, curves)
    yield _ends(curves)
    yield from _quantities(record, curves)
    yield _accuracy(record, curves)
    yield from _samples(record, curves, samples)
    yield _score(samples, score, record.channels)
    yield from _scores(samples)
    yield _rows(record)
    yield _features(record, curves, samples)


def class_accuracies(
    samples: SampleCounts, class_name: Callable[[int], str]
) -> tuple[ClassRecord, ...]:
    """The records of the classes where nothing was removed, by index."""
    return tuple(
        ClassRecord(
            index=int(index),
            name=class_name(int(index)),
            samples=int((samples.label == index).sum()),
            accuracy=float(samples.correct[samples.label == index].mean()),
            n0=None,
            n0_r=None,
            zeta=None,
            kappa=None,
            chance_reached=False,
        )
        for index in np.unique(samples.label)
    )


def _without_site(record: AuditRecord, samples: SampleCounts) -> Check:
    """Accuracies against samples, and that nothing is said of units."""
    names = record.class_names
    found = class_accuracies(samples, lambda index: names.get(index, str(index)))
    wrong = [
        f"'{name}' is {value} in audit.json, which names no site."
        for name, value in (("zeta", record.zeta), ("kappa", record.kappa))
        if value is not None
    ]
    counted = tuple(
        # What is estimated of a class is checked with the gap.
        replace(one, gap=None, gap_low=None, gap_high=None, sureness=())
        for one in record.classes
    )
    if counted != found:
        wrong.append(f"The classes of audit.json are not those of {SAMPLES}.")
    if not same(record.accuracy, float(samples.correct.mean())):
        wrong.append(f"The accuracy of audit.json is not that of {SAMPLES}.")
    if len(samples.label) != record.data.samples:
        wrong.append(
            f"{SAMPLES} has {len(samples.label)} samples, audit.json {record.data.samples}."
        )
    for name in ("descending", "ascending"):
        if not np.array_equal(getattr(samples, name), samples.correct):
            wrong.append(f"'{name}' in {SAMPLES} is not 'correct', and nothing was removed.")
    if record.rows.possible or record.rows.run or record.features or record.tolerance:
        wrong.append("audit.json tells of evaluations or features, and names no site.")
    return check("classes", wrong, f"{len(found)} classes follow from {SAMPLES}; there is no site.")


def _classes(record: AuditRecord, curves: Sequence[ClassCurves]) -> Check:
    said = {entry.index: entry.samples for entry in record.classes}
    found = {curve.class_index: curve.samples for curve in curves}
    wrong = [
        f"Class {index} has {said.get(index, 'no')} samples in audit.json and "
        f"{found.get(index, 'none')} in {CURVES}."
        for index in sorted(said.keys() | found.keys())
        if said.get(index) != found.get(index)
    ]
    channels = len(curves[0].order)
    if channels != record.channels:
        wrong.append(f"{CURVES} has {channels} channels, audit.json {record.channels}.")
    total = sum(found.values())
    if total != record.data.samples:
        wrong.append(f"{CURVES} counts {total} samples, audit.json {record.data.samples}.")
    right = f"{len(found):,} classes, {total:,} samples and {channels:,} channels agree."
    return check("classes", wrong, right)


def _ends(curves: Sequence[ClassCurves]) -> Check:
    wrong = [
        f"The curves of class {curve.class_index} differ with {what} removed: "
        f"{curve.descending[n]} and {curve.ascending[n]} correct."
        for curve in curves
        for n, what in ((0, "nothing"), (-1, "every unit"))
        if curve.descending[n] != curve.ascending[n]
    ]
    return check("ends", wrong, "The two curves of each class start and end alike.")


def _quantities(record: AuditRecord, curves: Sequence[ClassCurves]) -> Iterator[Check]:
    said = {entry.index: entry for entry in record.classes}
    try:
        found = [class_quantities(curve, record.chance) for curve in curves]
    except AnalyzerError as error:
        yield Check("quantities", False, str(error))
        return
    wrong = [
        f"Class {q.class_index}: {name} is {getattr(said[q.class_index], name)} in audit.json, "
        f"the curves give {getattr(q, name)}."
        for q in found
        if q.class_index in said
        for name in ("accuracy", "n0", "n0_r", "zeta", "kappa", "chance_reached")
        if not same(getattr(said[q.class_index], name), getattr(q, name))
    ]
    wrong += [
        f"The flags of class {q.class_index} in audit.json are not those of its curves."
        for q in found
        if q.class_index in said and said[q.class_index].flags != q.flags
    ]
    right = f"n0, n0_r, ζ, κ and accuracy of {len(found)} classes follow from the curves."
    yield check("quantities", wrong, right)
    zeta, kappa = network_quantities(found)
    wrong = [
        f"{symbol} of the network is {a} in audit.json, the classes give {b}."
        for symbol, a, b in (("ζ", record.zeta, zeta), ("κ", record.kappa, kappa))
        if not same(a, b)
    ]
    right = f"ζ = {zeta:.6g} and κ = {kappa:.6g} are the averages over the classes."
    yield check("network", wrong, right)


def _accuracy(record: AuditRecord, curves: Sequence[ClassCurves]) -> Check:
    correct = sum(int(curve.descending[0]) for curve in curves)
    accuracy = correct / sum(curve.samples for curve in curves)
    wrong = [f"The accuracy is {record.accuracy} in audit.json, the curves give {accuracy}."]
    right = f"The accuracy {accuracy:.6g} is that of the curves with nothing removed."
    return check("accuracy", [] if same(record.accuracy, accuracy) else wrong, right)


def _features(record: AuditRecord, curves: Sequence[ClassCurves], samples: SampleCounts) -> Check:
    known = compute_curve_features(curves, samples, record.chance)
    wrong = [
        f"{name} is {said} in audit.json, the counts give {known.get(name, 'no such feature')}."
        for name, said in record.features.items()
        if not same(said, known.get(name, math.nan))
    ]
    return check(
        "features", wrong, f"{len(record.features)} features of the curves follow from the counts."
    )


def _samples(
    record: AuditRecord, curves: Sequence[ClassCurves], samples: SampleCounts
) -> Iterator[Check]:
    """Samples against curves: counted either way, the hits are the same."""
    wrong = []
    for curve in curves:
        own = samples.label == curve.class_index
        for name, by_sample, by_curve in (
            ("samples", own.sum(), curve.samples),
            ("correct", samples.correct[own].sum(), curve.descending[0]),
            ("descending", samples.descending[own].sum(dtype=np.int64), curve.descending.sum()),
            ("ascending", samples.ascending[own].sum(dtype=np.int64), curve.ascending.sum()),
        ):
            if by_sample != by_curve:
                wrong.append(
                    f"Class {curve.class_index}: '{name}' adds up to {by_sample} over {SAMPLES}, "
                    f"{by_curve} in {CURVES}."
                )
    known = sum(curve.samples for curve in curves)
    if len(samples.label) != known:
        wrong.append(f"{SAMPLES} has {len(samples.label)} samples, {CURVES} counts {known}.")
    yield check("samples", wrong, f"{SAMPLES} adds up to {CURVES} in every class.")
    top = record.channels + 1
    outside = [
        f"'{name}' of sample {np.argmax(bad)} is not between 0 and M + 1 = {top}."
        for name in ("descending", "ascending")
        if (bad := (getattr(samples, name) < 0) | (getattr(samples, name) > top)).any()
    ]
    yield check("sample counts", outside, f"Every sample's counts lie between 0 and {top}.")


def _score(samples: SampleCounts, score: np.ndarray, channels: int) -> Check:
    wanted = (samples.ascending.astype(np.float64) - samples.descending) / (channels + 1)
    agrees = score.shape == wanted.shape and np.allclose(score, wanted, rtol=0, atol=1e-6)
    return check(
        "score",
        [] if agrees else [f"'score' in {SAMPLES} is not (ascending − descending) / (M + 1)."],
        "The scores follow from the sample counts.",
    )


def _scores(samples: SampleCounts) -> Iterator[Check]:
    scores = samples.scores
    wrong = []
    for name, bad in (
        ("log_probability", ~(scores.log_probability <= 0)),
        ("margin", ~np.isfinite(scores.margin)),
        ("other", (scores.other == samples.label) | (scores.other < 0)),
        ("index", np.diff(samples.index, prepend=-1) <= 0),
    ):
        if bad.any():
            wrong.append(f"'{name}' of sample {np.argmax(bad)} in {SAMPLES} cannot be.")
    # Margins near zero may change sides by rounding alone.
    clear = np.abs(scores.margin) > _NEAR * np.abs(scores.margin).max(initial=0)
    against = clear & ((scores.margin > 0) != samples.correct)
    if against.any():
        wrong.append(f"'margin' of sample {np.argmax(against)} in {SAMPLES} denies 'correct'.")
    yield check("scores", wrong, "Log-probabilities and margins go with what is correct.")


def _rows(record: AuditRecord) -> Check:
    # METHOD's curves have M + 1 values of n in each of two orders.
    possible = 2 * record.data.samples * (record.channels + 1)
    rows = record.rows
    wrong = []
    if rows.possible != possible:
        wrong.append(f"rows.possible is {rows.possible}, samples and channels give {possible}.")
    if not 0 <= rows.run <= rows.possible:
        wrong.append(f"{rows.run:,} evaluations were run of {rows.possible:,} possible ones.")
    return check("rows", wrong, f"{rows.run:,} of {rows.possible:,} evaluations were run.")
