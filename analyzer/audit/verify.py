"""Does an audit folder hold together? Everything that follows from its counts, worked out anew."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from analyzer.audit.checks import Check, check, same
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
from analyzer.audit.suspects import read_suspects
from analyzer.audit.verify_margins import margin_faults
from analyzer.audit.verify_samples import sample_checks
from analyzer.errors import AnalyzerError
from analyzer.estimation.gap_model_file import read_gap_model
from analyzer.measures.ablation.quantities import (
    class_quantities,
    compute_curve_features,
    network_quantities,
)
from analyzer.records import ClassCurves, SampleCounts
from analyzer.runtime.devices import lacks_tf32

__all__ = ["Check", "Verification", "verify_audit"]


@dataclass(frozen=True, slots=True)
class Verification:
    """All that was looked at, and what could not be."""

    checks: tuple[Check, ...]
    not_checked: tuple[str, ...]  # sentences

    @property
    def passed(self) -> bool:
        return all(one.passed for one in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "passed": self.passed,
            "checks": [asdict(one) for one in self.checks],
            "not_checked": list(self.not_checked),
        }


def verify_audit(
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
        *sample_checks(record, curves, samples, score, read_suspects(folder)),
        _rows(record),
        _precision(record),
        *_margins(record, folder),
    ]
    not_checked = []
    for one in (
        _features(record, curves, samples),
        _model(record, model),
        _gap(record, gap_model),
    ):
        if isinstance(one, Check):
            checks.append(one)
        else:
            not_checked.append(one)
    return Verification(tuple(checks), tuple(not_checked))


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
    return check(
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


def _features(
    record: AuditRecord, curves: Sequence[ClassCurves], samples: SampleCounts
) -> Check | str:
    if record.features is None:
        return "The audit is older than the features of the curves, which were not checked."
    found = compute_curve_features(curves, samples, record.chance)
    wrong = [
        f"{name} is {record.features.get(name)} in audit.json, the counts give {value}."
        for name, value in found.items()
        if not same(record.features.get(name, math.nan), value)
    ]
    return check("features", wrong, f"{len(found)} features of the curves follow from the counts.")


def _accuracy(record: AuditRecord, curves: Sequence[ClassCurves]) -> Check:
    correct = sum(int(curve.descending[0]) for curve in curves)
    accuracy = correct / sum(curve.samples for curve in curves)
    wrong = [f"The accuracy is {record.accuracy} in audit.json, the curves give {accuracy}."]
    right = f"The accuracy {accuracy:.6g} is that of the curves with nothing removed."
    return check("accuracy", [] if same(record.accuracy, accuracy) else wrong, right)


def _rows(record: AuditRecord) -> Check:
    # METHOD's curves have M + 1 values of n in each of two orders.
    possible = 2 * record.data.samples * (record.site.channels + 1)
    rows = record.rows
    wrong = []
    if rows.possible != possible:
        wrong.append(f"rows.possible is {rows.possible}, samples and channels give {possible}.")
    if not 0 <= rows.run <= rows.possible:
        wrong.append(f"{rows.run} rows were run of {rows.possible} possible ones.")
    return check("rows", wrong, f"{rows.run} of {rows.possible} rows were run.")


def _precision(record: AuditRecord) -> Check:
    device = record.device
    asked = record.settings.get("precision", "float32")  # audits from before there was a choice
    wrong = []
    if asked != device.precision:
        wrong.append(
            f"{asked} was asked for, and the device is said to have run {device.precision}."
        )
    if device.precision == "tf32" and lacks_tf32(device.used):
        wrong.append("No processor has TF32, and the device is said to have been one.")
    return check("precision", wrong, f"Counted in {device.precision} on {device.used}.")


def _margins(record: AuditRecord, folder: str | Path) -> Iterator[Check]:
    if record.margins is not None:
        right = f"The five numbers of {len(record.margins.layers)} layers follow from {MARGINS}."
        yield check("margins", margin_faults(record, read_margins(folder)), right)


def _model(record: AuditRecord, model: str | Path | None) -> Check | str:
    path = Path(record.model.path if model is None else model)
    if model is None and not path.is_file():
        return f"The network was not compared: {path} is not there; name it with --model."
    # Imported here: onnx is needed only to find the external data that count as the model.
    from analyzer.surgery import load

    found = load(path).info.sha256
    wrong = f"{path} has SHA-256 {found}, the audit is of {record.model.sha256}."
    right = f"{path} is the network that was audited."
    return check("model", [] if found == record.model.sha256 else [wrong], right)


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
    again = line.estimate(record.values(), circumstances=record.circumstances)
    wrong += [
        f"The gap's {name} is {getattr(record.gap, name)} in audit.json, "
        f"the gap model gives {getattr(again, name)}."
        for name in ("estimate", "low", "high", "coverage", "inside_range")
        if not same(getattr(record.gap, name), getattr(again, name))
    ]
    return check("gap", wrong, f"The estimate {again.estimate:.6g} follows from the gap model.")
