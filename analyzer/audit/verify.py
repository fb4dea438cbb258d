"""Does an audit folder hold together? Everything that follows from its counts, worked out again."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from analyzer.audit.folder import read_record
from analyzer.audit.suspects import suspect_checks
from analyzer.audit_record import AuditRecord
from analyzer.estimation import conditions_of, read_gap_model
from analyzer.measures.measure import Check, check, same
from analyzer.measures.registry import MEASURES, feature_values
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
    """Work out again what ``audit.json`` says, from the files beside it.

    Args:
        folder: audit folder.
        model: the ONNX file; by default where the record says it was, if it is still there.
        gap_model: file of the gap model, to estimate the gap once more; by default likewise.

    Raises:
        AuditFolderError: a file of the folder is missing or unreadable.
        ModelError: ``model`` was given and is not a readable network.
        GapModelError: ``gap_model`` was given and is not one.
    """
    folder = Path(folder)
    record = read_record(folder)
    checks = [one for measure in MEASURES for one in measure.checks(folder, record)]
    checks += [*suspect_checks(folder, record), _precision(record)]
    not_checked = []
    for one in (_model(record, model), _gap(record, gap_model)):
        if isinstance(one, Check):
            checks.append(one)
        else:
            not_checked.append(one)
    return Verification(tuple(checks), tuple(not_checked))


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


def _model(record: AuditRecord, model: str | Path | None) -> Check | str:
    path = Path(record.model.path if model is None else model)
    if model is None and not path.is_file():
        return f"The network was not compared: {path} does not exist; name it with --model."
    # Imported here: onnx is needed only to find the external data that count as the model.
    from analyzer.surgery import load_network

    found = load_network(path).info.sha256
    wrong = f"{path} has SHA-256 {found}, the audit is of {record.model.sha256}."
    right = f"{path} is the network that was audited."
    return check("model", [] if found == record.model.sha256 else [wrong], right)


def _gap(record: AuditRecord, gap_model: str | Path | None) -> Check | str:
    if record.gap is None:
        return "There is no estimated gap to check: the audit was made without a gap model."
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
    again = line.estimate(feature_values(record), conditions=conditions_of(record))
    wrong += [
        f"The gap's {name} is {getattr(record.gap, name)} in audit.json, "
        f"the gap model gives {getattr(again, name)}."
        for name in ("estimate", "low", "high", "coverage", "inside_range")
        if not same(getattr(record.gap, name), getattr(again, name))
    ]
    return check("gap", wrong, f"The estimate {again.estimate:.6g} follows from the gap model.")
