"""Does an audit folder hold together? Everything that follows from its counts, worked out anew."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.audit.folder import (
    CURVES,
    MARGINS,
    SAMPLES,
    read_arrays,
    read_curves,
    read_margins,
    read_samples,
)
from analyzer.audit.record import AuditRecord, read_record
from analyzer.audit.verify_margins import margin_faults
from analyzer.errors import AnalyzerError
from analyzer.estimation.curve_features import curve_features
from analyzer.estimation.gap_model_file import read_gap_model
from analyzer.estimation.quantities import class_quantities, network_quantities
from analyzer.records import ClassCurves, SampleCounts

__all__ = ["Check", "Verification", "verify"]

_CLOSE = 1e-9  # relative; the quantities are ratios of integers, so only printing can differ
_NEAR = 1e-4  # of the largest margin


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    passed: bool
    sentence: str  # what was found


@dataclass(frozen=True, slots=True)
class Verification:
    """All that was looked at, and what could not be."""

    checks: tuple[Check, ...]
    not_checked: tuple[str, ...]  # sentences

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "passed": self.passed,
            "checks": [asdict(check) for check in self.checks],
            "not_checked": list(self.not_checked),
        }


def verify(
    folder: str | Path,
    *,
    model: str | Path | None = None,
    gap_model: str | Path | None = None,
) -> Verification:
    """Work out anew what ``audit.json`` says, from ``curves.npz`` and ``samples.npz``.

    Args:
        folder: audit folder.
        model: the ONNX file; by default where the record says it was, if it is still there.
        gap_model: file of the gap model, to estimate the gap once more; by default likewise.

    Raises:
        AuditFolderError: a file of the folder is missing or unreadable.
        ModelError: ``model`` was given and is not a readable network.
        GapModelError: ``gap_model`` was given and is not one.
    """
    record = read_record(folder)
    curves = read_curves(folder)
    samples = read_samples(folder)
    score = read_arrays(Path(folder) / SAMPLES, ("score",))["score"]
    checks = [
        _classes(record, curves),
        _ends(curves),
        *_quantities(record, curves),
        _accuracy(record, curves),
        *_samples(record, curves, samples),
        _score(samples, score, record.site.channels),
        *_scores(samples),
        _rows(record),
        _precision(record),
        *_margins(record, folder),
    ]
    not_checked = []
    for check in (
        _features(record, curves, samples),
        _model(record, model),
        _gap(record, gap_model),
    ):
        if isinstance(check, Check):
            checks.append(check)
        else:
            not_checked.append(check)
    return Verification(tuple(checks), tuple(not_checked))


def _check(name: str, wrong: Sequence[str], right: str) -> Check:
    """Passed with the sentence ``right``, or failed with what is ``wrong``, first things first."""
    if not wrong:
        return Check(name, True, right)
    further = f" ({len(wrong) - 1} more like it)" if len(wrong) > 1 else ""
    return Check(name, False, wrong[0] + further)


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
    if channels != record.site.channels:
        wrong.append(f"{CURVES} has {channels} channels, audit.json {record.site.channels}.")
    total = sum(found.values())
    if total != record.data.samples:
        wrong.append(f"{CURVES} counts {total} samples, audit.json {record.data.samples}.")
    return _check(
        "classes", wrong, f"{len(found)} classes, {total} samples and {channels} channels agree."
    )


def _ends(curves: Sequence[ClassCurves]) -> Check:
    wrong = [
        f"The curves of class {curve.class_index} differ with {what} removed: "
        f"{curve.descending[n]} and {curve.ascending[n]} correct."
        for curve in curves
        for n, what in ((0, "nothing"), (-1, "every unit"))
        if curve.descending[n] != curve.ascending[n]
    ]
    return _check("ends", wrong, "The two curves of each class start and end alike.")


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
        if not _same(getattr(said[q.class_index], name), getattr(q, name))
    ]
    right = f"n0, n0_r, ζ, κ and accuracy of {len(found)} classes follow from the curves."
    yield _check("quantities", wrong, right)
    zeta, kappa = network_quantities(found)
    wrong = [
        f"{symbol} of the network is {a} in audit.json, the classes give {b}."
        for symbol, a, b in (("ζ", record.zeta, zeta), ("κ", record.kappa, kappa))
        if not _same(a, b)
    ]
    right = f"ζ = {zeta:.6g} and κ = {kappa:.6g} are the averages over the classes."
    yield _check("network", wrong, right)


def _features(
    record: AuditRecord, curves: Sequence[ClassCurves], samples: SampleCounts
) -> Check | str:
    if record.features is None:
        return "The audit is older than the features of the curves, which were not checked."
    found = curve_features(curves, samples, record.chance)
    wrong = [
        f"{name} is {record.features.get(name)} in audit.json, the counts give {value}."
        for name, value in found.items()
        if not _same(record.features.get(name, math.nan), value)
    ]
    return _check("features", wrong, f"{len(found)} features of the curves follow from the counts.")


def _accuracy(record: AuditRecord, curves: Sequence[ClassCurves]) -> Check:
    correct = sum(int(curve.descending[0]) for curve in curves)
    accuracy = correct / sum(curve.samples for curve in curves)
    wrong = [f"The accuracy is {record.accuracy} in audit.json, the curves give {accuracy}."]
    right = f"The accuracy {accuracy:.6g} is that of the curves with nothing removed."
    return _check("accuracy", [] if _same(record.accuracy, accuracy) else wrong, right)


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
    yield _check("samples", wrong, f"{SAMPLES} adds up to {CURVES} in every class.")
    top = record.site.channels + 1
    outside = [
        f"'{name}' of sample {np.argmax(bad)} is not between 0 and M + 1 = {top}."
        for name in ("descending", "ascending")
        if (bad := (getattr(samples, name) < 0) | (getattr(samples, name) > top)).any()
    ]
    yield _check("sample counts", outside, f"Every sample's counts lie between 0 and {top}.")


def _score(samples: SampleCounts, score: np.ndarray, channels: int) -> Check:
    wanted = (samples.ascending.astype(np.float64) - samples.descending) / (channels + 1)
    agrees = score.shape == wanted.shape and np.allclose(score, wanted, rtol=0, atol=1e-6)
    return _check(
        "score",
        [] if agrees else [f"'score' in {SAMPLES} is not (ascending − descending) / (M + 1)."],
        "The scores follow from the sample counts.",
    )


def _scores(samples: SampleCounts) -> Iterator[Check]:
    scores = samples.scores
    if scores is None:  # written by an early version
        return
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
    yield _check("scores", wrong, "Log-probabilities and margins go with what is correct.")


def _rows(record: AuditRecord) -> Check:
    # METHOD's curves have M + 1 values of n in each of two orders.
    possible = 2 * record.data.samples * (record.site.channels + 1)
    rows = record.rows
    wrong = []
    if rows.possible != possible:
        wrong.append(f"rows.possible is {rows.possible}, samples and channels give {possible}.")
    if not 0 <= rows.run <= rows.possible:
        wrong.append(f"{rows.run} rows were run of {rows.possible} possible ones.")
    return _check("rows", wrong, f"{rows.run} of {rows.possible} rows were run.")


def _precision(record: AuditRecord) -> Check:
    device = record.device
    asked = record.settings.get("precision", "float32")  # audits from before there was a choice
    wrong = []
    if asked != device.precision:
        wrong.append(
            f"{asked} was asked for, and the device is said to have run {device.precision}."
        )
    if device.precision == "tf32" and "cpu" in device.used:
        wrong.append("No processor has TF32, and the device is said to have been one.")
    return _check("precision", wrong, f"Counted in {device.precision} on {device.used}.")


def _margins(record: AuditRecord, folder: str | Path) -> Iterator[Check]:
    if record.margins is not None:
        right = f"The five numbers of {len(record.margins.layers)} layers follow from {MARGINS}."
        yield _check("margins", margin_faults(record, read_margins(folder)), right)


def _model(record: AuditRecord, model: str | Path | None) -> Check | str:
    path = Path(record.model.path if model is None else model)
    if model is None and not path.is_file():
        return f"The network was not compared: {path} is not there; name it with --model."
    # Imported here: onnx is needed only to find the external data that count as the model.
    from analyzer.surgery import load

    found = load(path).info.sha256
    wrong = f"{path} has SHA-256 {found}, the audit is of {record.model.sha256}."
    right = f"{path} is the network that was audited."
    return _check("model", [] if found == record.model.sha256 else [wrong], right)


def _gap(record: AuditRecord, gap_model: str | Path | None) -> Check | str:
    if record.gap is None:
        return "There is no estimated gap to check: the audit was made without a gap model."
    path = Path(record.gap.gap_model_name if gap_model is None else gap_model)
    if gap_model is None and not path.is_file():
        return (
            f"The estimated gap was not worked out anew: {path} is not there; name the gap model "
            "with --gap-model."
        )
    line = read_gap_model(path)
    wrong = []
    if line.sha256 != record.gap.gap_model:
        wrong.append(
            f"{path} has SHA-256 {line.sha256}, the gap was estimated with {record.gap.gap_model}."
        )
    margins = record.margins.values() if record.margins else {}
    values = {"zeta": record.zeta, "kappa": record.kappa, **(record.features or {}), **margins}
    again = line.estimate(values)
    wrong += [
        f"The gap's {name} is {getattr(record.gap, name)} in audit.json, "
        f"the gap model gives {getattr(again, name)}."
        for name in ("estimate", "low", "high", "coverage", "inside_range")
        if not _same(getattr(record.gap, name), getattr(again, name))
    ]
    return _check("gap", wrong, f"The estimate {again.estimate:.6g} follows from the gap model.")


def _same(said: float, found: float) -> bool:
    return math.isclose(said, found, rel_tol=_CLOSE, abs_tol=_CLOSE)
