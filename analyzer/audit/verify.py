"""Is an audit folder whole, and do its files follow from each other? All of it worked out again.

Three layers. Every file must be the one that the manifest lists. What follows from the counts is
computed again, the report included, so that a forged manifest helps little. What does not follow
from other files, such as the counts themselves, a forger of the manifest can replace: with the
network and the data, they are measured again, in parts that are drawn at random.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from analyzer.audit.assemble_record import (
    class_gap_faults,
    lacks_gap_model,
    warnings_of,
    with_sureness,
)
from analyzer.audit.folder import AUDIT, REPORT, RESULT_FILES, STOPPED, read_record
from analyzer.audit.provenance import installed_versions
from analyzer.audit.report import class_table_check, html_of, page_of
from analyzer.audit.result_manifest import MANIFEST, check_signature, find_faults, unchanged
from analyzer.audit.stopped_audit import is_stopped, stopped_checks
from analyzer.audit.suspects import (
    SUSPECTS,
    THUMBNAILS,
    how_many,
    read_thumbnails,
    suspect_checks,
)
from analyzer.audit.verdict import judge
from analyzer.audit.verify_against_data import Drawn, Remeasured, Remeasuring
from analyzer.audit_record import AuditRecord, StoppedRecord
from analyzer.common_types import GapEstimate, Progress, Site
from analyzer.errors import AnalyzerError, AuditFolderError, GapModelError, SiteError, parameter
from analyzer.estimation import GapModel, conditions_of, read_gap_model, unusual_settings
from analyzer.files import RUN_AGAIN, holds, is_readable_file, shown_path
from analyzer.input_budgets import DEFAULT_BUDGETS, Budgets
from analyzer.measures.ablation.class_curves import CURVES
from analyzer.measures.ablation.measure import Ablation
from analyzer.measures.ablation.sample_scores import read_samples
from analyzer.measures.interpolation.measure import read_answers
from analyzer.measures.measure import Check, check, same
from analyzer.measures.neighbors.record import read_votes
from analyzer.measures.registry import MEASURES, feature_values
from analyzer.runtime.providers import lacks_tf32

__all__ = ["Check", "Verification", "verify_audit"]


@dataclass(frozen=True, slots=True)
class Verification:
    """All that was looked at, and what could not be."""

    checks: tuple[Check, ...]
    not_checked: tuple[str, ...]  # sentences
    drawn: Drawn | None = None  # None: nothing was counted again

    @property
    def passed(self) -> bool:
        return all(one.passed for one in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "passed": self.passed,
            "checks": [asdict(one) for one in self.checks],
            "not_checked": list(self.not_checked),
            "drawn": None if self.drawn is None else self.drawn.to_dict(),
        }


def verify_audit(
    folder: str | Path,
    *,
    model: str | Path | None = None,
    gap_model: str | Path | None = None,
    signature: Path | None = None,
    allowed_signers: Path | None = None,
    signer: str | None = None,
    budget: tuple[tuple[str, int | None], ...] = (),
    remeasuring: Remeasuring | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Verification:
    """Hold every file against the manifest, and what follows from the counts against them.

    With the data, the counts themselves are held against what the network gives.

    Args:
        folder: audit folder.
        model: the ONNX file; by default where the record says it was, if it is still there.
        gap_model: file of the gap model, to estimate the gap again; by default likewise.
        signature, allowed_signers, signer: as of
            :func:`analyzer.audit.result_manifest.check_signature`; None: not checked.
        budget: what the files may ask for, where that is not the default.
        remeasuring: the data, and how much is measured again; None: nothing.
        progress: called with the stages of what is measured again.

    Raises:
        AuditFolderError: a file of the folder is missing or unreadable, or the signature cannot be
            checked; or a setting in the record is of a kind that no audit has.
        DataError, DeviceError: the data cannot be read, or not by the recorded preprocessing; or
            the network cannot be run there.
        ModelError: ``model`` was given and is not a readable network.
        GapModelError: ``gap_model`` was given and is not one.
    """
    folder = Path(folder)
    with unchanged(folder):  # what is signed and what is looked at are one result
        signed = _signatures(folder, signature, allowed_signers, signer)
        if is_stopped(folder):
            budgets = DEFAULT_BUDGETS.raised(budget)
            return _verify_stopped(folder, signed, model, gap_model, budgets, remeasuring)
        return _verify_finished(folder, signed, model, gap_model, budget, remeasuring, progress)


def _verify_finished(
    folder: Path,
    checks: list[Check],
    model: str | Path | None,
    gap_model: str | Path | None,
    budget: tuple[tuple[str, int | None], ...],
    remeasuring: Remeasuring | None,
    progress: Progress,
) -> Verification:
    record = read_record(folder)
    files = _files(folder)
    checks.append(files)
    not_checked = []
    try:
        checks += _contents(folder, record)
    except AuditFolderError as error:
        if files.passed:
            raise
        checks.append(Check("contents", False, _what(error)))
        return Verification(tuple(checks), ("What follows from the counts was not checked.",))
    sound = all(one.passed for one in checks if one.name != "signature")  # which is of no content
    report = _report(folder, record, sound=sound)
    for one in (
        report,
        _model(record, model, DEFAULT_BUDGETS.raised(budget)),
        _gap(record, gap_model),
    ):
        if isinstance(one, Check):
            checks.append(one)
        else:
            not_checked.append(one)
    drawn = None
    if remeasuring is not None:
        if not all(one.passed for one in checks):
            not_checked.append(
                "Nothing was measured again: what is in the folder is wrong already."
            )
        else:
            again = Remeasured(folder, record, model, budget, remeasuring)
            checks += again.checks(progress)
            not_checked += again.draw.omitted
            drawn = again.drawn
    return Verification(tuple(checks), tuple(not_checked), drawn)


def _signatures(
    folder: Path, signature: Path | None, allowed_signers: Path | None, signer: str | None
) -> list[Check]:
    if signature is not None and allowed_signers is not None:
        return [check_signature(folder, signature, allowed_signers, signer)]
    if signature is not None or allowed_signers is not None or signer is not None:
        raise AuditFolderError(
            f"{parameter('signature')} and {parameter('allowed_signers')} go together: name the "
            "signature, and the file of those who may sign."
        )
    return []


def _verify_stopped(
    folder: Path,
    signed: Sequence[Check],
    model: str | Path | None,
    gap_model: str | Path | None,
    budgets: Budgets,
    remeasuring: Remeasuring | None,
) -> Verification:
    """Hold what an audit that was stopped has left against each other."""
    for name, given in (("gap_model", gap_model), ("data", remeasuring)):
        if given is not None:
            raise AuditFolderError(
                f"{parameter(name)} does nothing here: a first look stopped the audit in {folder}, "
                "so nothing was counted or estimated. Leave it out."
            )
    files = _files(folder)
    record, found = stopped_checks(folder)
    settings = _settings(record, _shown_by_both(record, len(record.classes)))
    others = [name for name in RESULT_FILES if name not in (STOPPED, REPORT)]
    others_there = _of_others(folder, others, STOPPED)
    checks = [*signed, files, *found, _precision(record), settings, others_there]
    not_checked = []
    if not any(one.name == "report" for one in found):
        not_checked.append(_of_another_version(record.versions))
    path = Path(record.model.path if model is None else model)
    if model is None and not is_readable_file(path):
        return Verification(tuple(checks), (*not_checked, _unseen(path)))
    from analyzer.surgery import load_network

    info = load_network(path, budgets=budgets).info
    names = ("sha256", "bytes", "producer", "opset")
    wrong = _differences(record.model, info, names, "model")
    checks.append(check("model", wrong, f"{path} is the network that was looked at."))
    return Verification(tuple(checks), tuple(not_checked))


def _unseen(path: Path) -> str:
    return (
        f"The network was not compared: {shown_path(path)} is no file that can be read; name it "
        "with --model."
    )


def _files(folder: Path) -> Check:
    try:
        wrong = list(find_faults(folder, RESULT_FILES).values())
    except AuditFolderError as error:
        wrong = [_what(error)]
    return check("files", wrong, f"Every file is the one that {MANIFEST} lists.")


def _what(error: AuditFolderError) -> str:
    """What is wrong, without the advice to replace the folder that is being judged."""
    return str(AuditFolderError(error.message.removesuffix(RUN_AGAIN).rstrip()))


def _contents(folder: Path, record: AuditRecord) -> Iterator[Check]:
    """What follows from the counts.

    Raises:
        AuditFolderError: a file is missing or unreadable.
    """
    for measure in MEASURES:
        yield from measure.checks(folder, record)
    yield from suspect_checks(folder, record)
    yield class_table_check(folder, record)
    yield from _sureness(folder, record)
    yield _warnings(folder, record)
    yield _verdict(record)
    yield _data(folder, record)
    yield _precision(record)
    yield _settings(record, _shown(folder, record))
    idle = [name for one in MEASURES if not one.measured(record) for name in one.files]
    idle += [] if record.site else [CURVES]
    idle += [] if record.suspects else [SUSPECTS]
    idle += [] if read_thumbnails(folder) else [THUMBNAILS]
    yield _of_others(folder, [STOPPED, *idle], AUDIT)


def _of_others(folder: Path, names: Sequence[str], record: str) -> Check:
    """Whether there are files of a result for which the record of this one has no place."""
    wrong = [
        f"{name} is there, and {record} tells of nothing that would be in it."
        for name in names
        if os.path.lexists(folder / name)
    ]
    return check("other files", wrong, f"There is no file that {record} tells nothing of.")


def _warnings(folder: Path, record: AuditRecord) -> Check:
    wanted = warnings_of(record, Ablation().read(folder, record))
    missing = [one for one in wanted if one not in record.warnings]
    wrong = [f"A warning is missing from audit.json: {one}" for one in missing]
    wrong += [
        f"audit.json warns without a reason: {one}" for one in record.warnings if one not in wanted
    ]
    return check("warnings", wrong, f"{len(wanted)} warnings follow from the record.")


def _verdict(record: AuditRecord) -> Check:
    wrong = []
    if record.verdict != judge(record):
        wrong.append("The verdict does not follow from the other fields of audit.json.")
    said = "No limit was asked for." if record.verdict is None else record.verdict.sentence
    return check("verdict", wrong, said)


def _data(folder: Path, record: AuditRecord) -> Check:
    index = read_samples(folder).index
    wrong = []
    if len(index) and index[-1] >= record.data.given:
        wrong.append(
            f"Sample {index[-1]} was used, of {record.data.given} that audit.json says there are."
        )
    known = record.data.samples + len(record.skipped)
    if record.settings.get("limit_per_class") is None and known != record.data.given:
        wrong.append(
            f"{record.data.samples} samples were used and {len(record.skipped)} left out, of "
            f"{record.data.given} that audit.json says there are."
        )
    try:
        datetime.fromisoformat(record.created)
    except ValueError:
        wrong.append(f"'created' is {record.created!r} in audit.json, which is no time.")
    return check(
        "data", wrong, f"{record.data.samples:,} of {record.data.given:,} samples were used."
    )


def _sureness(folder: Path, record: AuditRecord) -> Iterator[Check]:
    """Whether the order of sureness that the record tells of follows from the files beside it."""
    measured = {"neighbors", "interpolation"} <= record.sections.keys()
    if not measured and not any(one.sureness for one in record.classes):
        return
    samples = read_samples(folder)
    votes = read_votes(folder) if "neighbors" in record.sections else None
    hold = read_answers(folder).hold if "interpolation" in record.sections else None
    sizes = {len(samples.label)}
    sizes |= set() if votes is None else {len(votes.content)}
    sizes |= set() if hold is None else {len(hold)}
    if len(sizes) > 1 or set(samples.label.tolist()) - {one.index for one in record.classes}:
        of_others = "The files are of other samples or classes than audit.json names."
        yield Check("sureness", False, of_others)
        return
    unsaid = [replace(one, sureness=()) for one in record.classes]
    wanted = with_sureness(unsaid, samples, votes, hold)
    wrong = [
        f"'sureness' of the class {one.name} is {list(one.sureness)} in audit.json, the files give "
        f"{list(again.sureness)}."
        for one, again in zip(record.classes, wanted, strict=True)
        if one.sureness != again.sureness
    ]
    yield check("sureness", wrong, "How sure the network is of each class follows from the files.")


def _report(folder: Path, record: AuditRecord, *, sound: bool) -> Check | str:
    """Whether the report is what the files give, which must be ``sound`` to be shown at all."""
    if not sound:
        return f"{REPORT} was not rendered again: what it would be rendered from is wrong."
    if record.versions.get("onnx-gap") != installed_versions().get("onnx-gap"):
        return _of_another_version(record.versions)
    agrees = holds(folder / REPORT, html_of(page_of(folder)).encode())
    wrong = f"{REPORT} is not what the other files give: it was edited, or is of another audit."
    return check("report", [] if agrees else [wrong], f"{REPORT} shows what the files say.")


def _of_another_version(versions: Mapping[str, str]) -> str:
    made, now = (one.get("onnx-gap") for one in (versions, installed_versions()))
    return (
        f"{REPORT} was not rendered again: onnx-gap {made} made it, this is {now}. {MANIFEST} "
        "speaks for it."
    )


def _precision(record: AuditRecord | StoppedRecord) -> Check:
    device = record.device
    asked = record.settings.get("precision")
    wrong = []
    if asked is None:
        wrong.append("The settings do not say which precision was asked for.")
    elif asked != device.precision:
        wrong.append(
            f"{asked} was asked for, and the device is said to have run {device.precision}."
        )
    if device.precision == "tf32" and lacks_tf32(device.used):
        wrong.append("No processor has TF32, and the device is said to have been one.")
    return check("precision", wrong, f"Counted in {device.precision} on {device.used}.")


def _shown_by_both(record: AuditRecord | StoppedRecord, classes: int) -> dict[str, Any]:
    """The settings that other fields show of an audit of so many classes, finished or not."""
    shown: dict[str, Any] = {"device": record.device.requested}
    if record.settings.get("chance") is not None or record.chance != 1 / classes:
        shown["chance"] = record.chance
    return shown


def _shown(folder: Path, record: AuditRecord) -> dict[str, Any]:
    """The settings that other fields and files show."""
    said = record.settings
    shown = _shown_by_both(record, len(record.classes) + len(record.empty_classes))
    if record.gap is not None:
        shown["gap_model"] = record.gap.gap_model_name
    if "tolerance" in said:
        shown["tolerance"] = record.tolerance.asked if record.tolerance else 0.0
    asked = said.get("suspects", record.suspects)
    known = asked in (None, "all") or type(asked) is int
    if not known or how_many(asked, read_samples(folder)) != record.suspects:
        shown["suspects"] = record.suspects
    there = record.sections.keys() | record.unmeasured.keys()
    if "test" not in there:
        shown["test_data"] = None
    elif said.get("test_data") is None and "test" in record.sections:
        shown["test_data"] = record.sections["test"].source
    if "margins" in said:
        shown["margins"] = "margins" in there
    for name in ("interpolation", "neighbors"):
        option = f"{name.removesuffix('s')}_samples"
        if option in said and (said[option] != 0) != (name in there):
            shown[option] = "all" if name in there else 0
    return shown


def _settings(record: AuditRecord | StoppedRecord, shown: Mapping[str, Any]) -> Check:
    """Whether the settings are those that other fields show."""
    said = record.settings
    wrong = [
        f"settings.{name} is {said[name]!r} in the record, other fields give {value!r}."
        for name, value in shown.items()
        if name in said and said[name] != value
    ]
    return check("settings", wrong, "The settings are those that other fields show.")


def _model(record: AuditRecord, model: str | Path | None, budgets: Budgets) -> Check | str:
    path = Path(record.model.path if model is None else model)
    if model is None and not is_readable_file(path):
        return _unseen(path)
    # Imported here: onnx is needed only to find the external data that count as the model.
    from analyzer.surgery import find_site, load_network

    network = load_network(path, budgets=budgets)
    info = network.info
    right = f"{path} is the network that was audited."
    if info.sha256 != record.model.sha256:
        wrong = f"{path} has SHA-256 {info.sha256}, the audit is of {record.model.sha256}."
        return check("model", [wrong], right)
    wrongs = _differences(record.model, info, ("bytes", "producer", "opset"), "model")
    asked = record.settings
    try:
        site: Site | None = find_site(
            network,
            asked.get("site"),
            at=asked.get("at"),
            axis=asked.get("axis"),
            output=asked.get("output"),
        )
    except (AnalyzerError, TypeError, ValueError) as error:
        site = None
        if record.site is not None or not isinstance(error, SiteError):
            wrongs.append(f"The settings do not name a site of {path}: {error}")
    names = ("tensor", "axis", "channels", "kind", "operator")
    if site is not None and record.site is not None:
        wrongs += _differences(record.site, site, names, "site")
    elif site is not None:
        wrongs.append(f"audit.json names no site, the network gives {site.tensor!r}.")
    return check("model", wrongs, right)


def _differences(said: Any, found: Any, names: tuple[str, ...], section: str) -> list[str]:
    return [
        f"{section}.{name} is {getattr(said, name)!r} in the record, the network gives "
        f"{getattr(found, name)!r}."
        for name in names
        if getattr(said, name) != getattr(found, name)
    ]


def _gap(record: AuditRecord, gap_model: str | Path | None) -> Check | str:
    recorded = record.gap.gap_model_name if record.gap else record.settings.get("gap_model")
    if recorded is None and not record.no_gap and gap_model is None:
        return "No gap model was asked for, so there is no estimated gap to check."
    if recorded is None and not record.no_gap:
        of_none = f"audit.json says that no gap model was asked for, and {gap_model} was named."
        return Check("gap", False, of_none)
    if recorded is None:
        return Check("gap", False, "'no_gap' tells why, but no gap model was asked for.")
    path = Path(str(recorded) if gap_model is None else gap_model)
    if gap_model is None and not is_readable_file(path):
        return (
            f"The estimated gap was not checked: {shown_path(path)} is no file that can be "
            "read; name the gap model with --gap-model."
        )
    if record.gap is None:
        return _no_gap(record, read_gap_model(path))
    line = read_gap_model(path)
    wrong = ["'no_gap' tells why there is no estimate, and there is one."] if record.no_gap else []
    if line.sha256 != record.gap.gap_model:
        wrong.append(
            f"{path} has SHA-256 {line.sha256}, the gap was estimated with {record.gap.gap_model}."
        )
    again = _estimate(record, line)
    wrong += [
        f"The gap's {name} is {getattr(record.gap, name)} in audit.json, "
        f"the gap model gives {getattr(again, name)}."
        for name in ("estimate", "low", "high", "coverage", "inside_range")
        if not same(getattr(record.gap, name), getattr(again, name))
    ]
    if record.gap.warnings != again.warnings:
        wrong.append("The warnings of the gap are not those that the gap model gives.")
    if record.gap.fitted_on != str(line.fitted_on):
        wrong.append(f"The gap model was fitted on {line.fitted_on}, audit.json says otherwise.")
    wrong += class_gap_faults(record, line)
    return check("gap", wrong, f"The estimate {again.estimate:.6g} follows from the gap model.")


def _estimate(record: AuditRecord, line: GapModel) -> GapEstimate:
    return line.estimate(
        feature_values(record),
        rank=record.rank,
        conditions=conditions_of(record),
        unusual=unusual_settings(record),
    )


def _no_gap(record: AuditRecord, line: GapModel) -> Check:
    """Whether the gap model gives no estimate, and for the reason that the record tells."""
    try:
        found = _estimate(record, line)
    except GapModelError as error:
        told = (error.for_library(), error.for_command_line())
        wrong = [] if record.no_gap in told else [f"'no_gap' is not why there is none: {told[1]}"]
        return check("gap", wrong, f"There is no estimated gap. {record.no_gap}")
    removed = f"audit.json has no estimated gap, the gap model gives {found.estimate:.6g}."
    if lacks_gap_model(record):
        removed += " If it was gone then, audit again with it: nothing is counted again."
    return Check("gap", False, removed)
