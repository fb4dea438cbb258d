"""Whether record, ``curves.npz`` and ``samples.npz`` follow from each other."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from analyzer.audit_record import AuditRecord
from analyzer.errors import AnalyzerError
from analyzer.measures.ablation.class_curves import CURVES, ClassCurves, read_curves
from analyzer.measures.ablation.curve_features import (
    class_quantities,
    compute_curve_features,
    network_quantities,
)
from analyzer.measures.ablation.sample_scores import (
    SAMPLES,
    SampleCounts,
    class_accuracies,
    read_samples,
    score_checks,
)
from analyzer.measures.measure import Check, check, same

__all__ = ["ablation_checks"]


def ablation_checks(folder: Path, record: AuditRecord) -> Iterator[Check]:
    """Every check of the curves, the samples and what follows from them.

    Raises:
        AuditFolderError: one of the files is missing or damaged.
    """
    samples = read_samples(folder)
    if record.site is None:
        yield _without_site(record, samples)
        yield from score_checks(folder, samples, 0)
        return
    curves = read_curves(folder)
    yield _classes(record, curves)
    yield _ends(curves)
    yield from _quantities(record, curves)
    yield _accuracy(record, curves)
    yield from _samples(record, curves, samples)
    yield from score_checks(folder, samples, record.channels)
    yield _rows(record)
    yield _features(record, curves, samples)


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
    known, said = compute_curve_features(curves, samples, record.chance), record.features
    wrong = [
        f"{name} is {said.get(name, 'missing')} in audit.json, the counts give "
        f"{known.get(name, 'no such feature')}."
        for name in {**known, **said}
        if not same(said.get(name, math.nan), known.get(name, math.nan))
    ]
    return check("features", wrong, f"{len(said)} features of the curves follow from the counts.")


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
