"""Is an audit folder whole, and do its files follow from each other? All of it worked out again.

Three layers. Every file must be the one that the manifest lists. What follows from the counts is
computed again, the report included, so that a forged manifest helps little. What does not follow
from other files, such as the counts themselves, a forger of the manifest can replace: an audit of
the same network and data into another folder shows it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from analyzer.audit.assemble_record import warnings_of
from analyzer.audit.folder import REPORT, RESULT_FILES, read_record
from analyzer.audit.provenance import installed_versions
from analyzer.audit.report import class_table_check, html_of, page_of
from analyzer.audit.result_manifest import MANIFEST, check_signature, find_faults
from analyzer.audit.stopped import is_stopped, stopped_checks
from analyzer.audit.suspects import suspect_checks
from analyzer.audit.verdict import judge
from analyzer.audit_record import AuditRecord, ModelRecord
from analyzer.errors import AnalyzerError, AuditFolderError, parameter
from analyzer.estimation import conditions_of, read_gap_model
from analyzer.files import RUN_AGAIN
from analyzer.measures.ablation.measure import Ablation
from analyzer.measures.ablation.result_files import read_samples
from analyzer.measures.measure import Check, check, same
from analyzer.measures.registry import MEASURES, feature_values
from analyzer.runtime.providers import lacks_tf32

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
    signature: Path | None = None,
    allowed_signers: Path | None = None,
    signer: str | None = None,
    graph_budget: float | None = 1.0,
) -> Verification:
    """Hold every file against the manifest, and what follows from the counts against them.

    Args:
        folder: audit folder.
        model: the ONNX file; by default where the record says it was, if it is still there.
        gap_model: file of the gap model, to estimate the gap once more; by default likewise.
        signature, allowed_signers, signer: as of
            :func:`analyzer.audit.result_manifest.check_signature`; None: not checked.
        graph_budget: how many times the limits for a stranger's graph the network may have.

    Raises:
        AuditFolderError: a file of the folder is missing or unreadable, or the signature cannot be
            checked.
        ModelError: ``model`` was given and is not a readable network.
        GapModelError: ``gap_model`` was given and is not one.
    """
    folder = Path(folder)
    checks = _signatures(folder, signature, allowed_signers, signer)
    if is_stopped(folder):
        return _verify_stopped(folder, checks, model, graph_budget)
    record = read_record(folder)
    files = _files(folder)
    checks.append(files)
    try:
        checks += _contents(folder, record)
    except AuditFolderError as error:
        if files.passed:
            raise
        checks.append(Check("contents", False, _what(error)))
        return Verification(tuple(checks), ("What follows from the counts was not checked.",))
    report = _report(folder, record, sound=all(one.passed for one in checks))
    return _verification(
        *checks, report, _model(record, model, graph_budget), _gap(record, gap_model)
    )


def _verification(*found: Check | str) -> Verification:
    """Checks, and sentences about those that were not made."""
    return Verification(
        tuple(one for one in found if isinstance(one, Check)),
        tuple(one for one in found if isinstance(one, str)),
    )


def _verify_stopped(
    folder: Path, signed: Sequence[Check], model: str | Path | None, graph_budget: float | None
) -> Verification:
    """Hold what an audit that was stopped has left against each other."""
    record, found = stopped_checks(folder)
    right = "is the network that was looked at."
    return _verification(
        *signed, _files(folder), *found, _network(record.model, right, model, graph_budget)
    )


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
    yield _warnings(folder, record)
    yield _verdict(record)
    yield _data(folder, record)
    yield _precision(record)


def _warnings(folder: Path, record: AuditRecord) -> Check:
    wanted = warnings_of(record, Ablation().read(folder, record))
    missing = [one for one in wanted if one not in record.warnings]
    wrong = [f"A warning is missing from audit.json: {one}." for one in missing]
    wrong += [
        f"audit.json warns without a reason: {one}." for one in record.warnings if one not in wanted
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
    return check("data", wrong, f"{record.data.samples} of {record.data.given} samples were used.")


def _report(folder: Path, record: AuditRecord, *, sound: bool) -> Check | str:
    """Whether the report is what the files give, which must be ``sound`` to be shown at all."""
    if not sound:
        return f"{REPORT} was not rendered again: what it would be rendered from is wrong."
    made, now = (one.get("onnx-gap") for one in (record.versions, installed_versions()))
    if made != now:
        return (
            f"{REPORT} was not rendered again: onnx-gap {made} made it, this is {now}. "
            f"{MANIFEST} speaks for it."
        )
    try:
        same_text = (folder / REPORT).read_bytes() == html_of(page_of(folder)).encode()
    except OSError as error:
        same_text = False
        wrong = f"{REPORT} cannot be read: {error.strerror or error}."
    else:
        wrong = f"{REPORT} is not what the other files give: it was edited, or is of another audit."
    return check("report", [] if same_text else [wrong], f"{REPORT} shows what the files say.")


def _precision(record: AuditRecord) -> Check:
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


def _model(
    record: AuditRecord, model: str | Path | None, graph_budget: float | None
) -> Check | str:
    def site_differs(network: Any, path: Path) -> list[str]:
        return _site(record, network, path)

    right = "is the network that was audited."
    return _network(record.model, right, model, graph_budget, site_differs)


def _network(
    said: ModelRecord,
    right: str,
    model: str | Path | None,
    graph_budget: float | None,
    further: Callable[[Any, Path], list[str]] = lambda network, path: [],
) -> Check | str:
    """Whether a file is the network that a record names, and what else is wrong with it."""
    path = Path(said.path if model is None else model)
    if model is None and not path.is_file():
        return f"The network was not compared: {path} does not exist; name it with --model."
    # Imported here: onnx is needed only to find the external data that count as the model.
    from analyzer.surgery import load_network

    network = load_network(path, graph_budget=graph_budget)
    info = network.info
    if info.sha256 != said.sha256:
        wrong = [f"{path} has SHA-256 {info.sha256}, the audit is of {said.sha256}."]
    else:
        wrong = _differences(said, info, ("bytes", "producer", "opset"), "model")
        wrong += further(network, path)
    return check("model", wrong, f"{path} {right}")


def _site(record: AuditRecord, network: Any, path: Path) -> list[str]:
    from analyzer.surgery import find_site

    asked = record.settings
    try:
        site = find_site(
            network,
            asked.get("site"),
            at=asked.get("at", "activation"),
            axis=asked.get("axis"),
            output=asked.get("output"),
        )
    except (AnalyzerError, TypeError, ValueError) as error:
        return [f"The settings do not name a site of {path}: {error}"]
    names = ("tensor", "axis", "channels", "kind", "operator")
    return _differences(record.site, site, names, "site")


def _differences(said: Any, found: Any, names: tuple[str, ...], section: str) -> list[str]:
    return [
        f"{section}.{name} is {getattr(said, name)!r} in the record, the network gives "
        f"{getattr(found, name)!r}."
        for name in names
        if getattr(said, name) != getattr(found, name)
    ]


def _gap(record: AuditRecord, gap_model: str | Path | None) -> Check | str:
    if record.gap is None:
        return f"There is no estimated gap to check. {record.no_gap}".rstrip()
    path = Path(record.gap.gap_model_name if gap_model is None else gap_model)
    if gap_model is None and not path.is_file():
        return (
            f"The estimated gap was not checked: {path} does not exist; name the gap model "
            "with --gap-model."
        )
    line = read_gap_model(path)
    wrong = []
    if line.sha256 != record.gap.gap_model:
        wrong.append(
            f"{path} has SHA-256 {line.sha256}, the gap was estimated with {record.gap.gap_model}."
        )
    again = line.estimate(
        feature_values(record), rank=record.rank, conditions=conditions_of(record)
    )
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
    return check("gap", wrong, f"The estimate {again.estimate:.6g} follows from the gap model.")
