"""An audit that a first look stopped: ``stopped.json``, and a page that says why and how to go on.

Both are listed in a manifest of their own, so that they appear together and ``verify`` can hold
them against each other. A folder with a result keeps that result.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyzer.audit.folder import AUDIT, REPORT, RESULT_FILES, STOPPED, read_record
from analyzer.audit.html_pages import moment, render_page
from analyzer.audit.provenance import FactGroup, facts_of_stopped, installed_versions
from analyzer.audit.result_manifest import check_files, unchanged
from analyzer.audit.unfinished_audit import UnfinishedAudit
from analyzer.audit.verdict import FAIL, NOT_JUDGEABLE, is_at_chance, is_too_few
from analyzer.audit_record import SCHEMA, StoppedRecord
from analyzer.errors import AuditFolderError
from analyzer.files import RUN_AGAIN, holds, read_json, write_json, write_text
from analyzer.json_codec import JsonSource, decode, encode
from analyzer.measures.measure import Check, check, same
from analyzer.measures.test_data.measure import (
    MATRIX_CLASSES,
    ConfusionCell,
    confusion_cells,
)

__all__ = [
    "html_of_stopped",
    "is_stopped",
    "keep_stopped",
    "read_stopped",
    "recorded_names",
    "stopped_checks",
    "stopped_dict",
]

_LISTED = 15  # confusions, where there are too many classes for a matrix


@dataclass(frozen=True, slots=True)
class Confusion:
    """Samples of one class that are named another."""

    label: str
    named: str
    samples: int
    share: float  # of the samples of the label
    expected: bool  # whether the order that was found has them so


@dataclass(frozen=True, slots=True)
class StoppedPage:
    """Everything that the template shows."""

    record: StoppedRecord
    title: str
    created: str  # for people; "" when not recorded
    at_chance: bool
    too_few: bool  # samples, to tell whether it is
    cells: list[list[ConfusionCell]]  # of a matrix; empty where it would be too large
    confusions: tuple[Confusion, ...]  # the most frequent, where there is no matrix
    moved: tuple[tuple[str, str], ...]  # labels and what they are named, where an order was found
    facts: tuple[FactGroup, ...]


def keep_stopped(record: StoppedRecord, out: Path, unfinished: UnfinishedAudit) -> Path | None:
    """Write the record and its page into the folder ``out``, unless a result is there.

    Returns:
        The page; None where it was not written.

    Raises:
        OutputError: the folder cannot be written.
    """
    if (out / AUDIT).exists():
        return None
    with unfinished.result() as folder:
        write_json(folder / STOPPED, stopped_dict(record))
        write_text(folder / REPORT, html_of_stopped(record))
    return out / REPORT


def is_stopped(folder: Path) -> bool:
    """Whether a first look stopped the audit in ``folder``, and no other has finished there."""
    return (folder / STOPPED).is_file() and not (folder / AUDIT).exists()


def stopped_dict(record: StoppedRecord) -> dict[str, object]:
    """``record`` as JSON values, ``schema`` first."""
    value = encode(record, "stopped")
    return {"schema": value.pop("schema"), **value}


def recorded_names(folder: Path) -> tuple[str, str]:
    """What the record of an audit, finished or stopped, calls its network and gap model.

    Raises:
        AuditFolderError: there is none, or it is damaged.
    """
    if is_stopped(folder):
        return _read(folder).model.path, ""
    record = read_record(folder)
    asked = record.settings.get("gap_model") or ""
    return record.model.path, record.gap.gap_model_name if record.gap else str(asked)


def read_stopped(folder: Path, *, besides: Collection[str] = ()) -> StoppedRecord:
    """The record of a stopped audit whose files, ``besides`` some, match its manifest.

    Raises:
        AuditFolderError: one of them does not, or ``stopped.json`` is damaged.
    """
    with unchanged(folder):
        check_files(folder, RESULT_FILES, besides=besides)
        return _read(folder)


def stopped_checks(folder: Path) -> tuple[StoppedRecord, list[Check]]:
    """The record, and whether its figures and the page follow from what was seen.

    Raises:
        AuditFolderError: ``stopped.json`` is damaged.
    """
    record = _read(folder)
    return record, list(_checks(folder, record))


def html_of_stopped(record: StoppedRecord) -> str:
    """The page as one HTML document."""
    page = _page(record)
    return render_page("stopped.html.jinja", page=page, record=record)


def _read(folder: Path) -> StoppedRecord:
    path = folder / STOPPED
    value = read_json(path)
    source = JsonSource(str(path), AuditFolderError, RUN_AGAIN)
    record: StoppedRecord = decode(StoppedRecord, value, source)
    classes = range(len(record.classes))
    order = record.order
    if (
        record.schema != SCHEMA
        or not all(i in classes and j in classes and n > 0 for i, j, n in record.confusions)
        or not record.confusions
        or (order and sorted(order.named_as) != list(classes))
    ):
        raise AuditFolderError(f"{path} is not the record of a first look. {RUN_AGAIN}")
    return record


def _counts(record: StoppedRecord) -> np.ndarray:
    """int64 (K, K): samples by label and named class."""
    counts = np.zeros((len(record.classes),) * 2, np.int64)
    for label, named, samples in record.confusions:
        counts[label, named] += samples
    return counts


def _checks(folder: Path, record: StoppedRecord) -> Iterator[Check]:
    samples = sum(count for _, _, count in record.confusions)
    right = sum(count for label, named, count in record.confusions if label == named)
    wrong = []
    if samples != record.data.samples:
        wrong.append(f"The confusions are of {samples} samples, not of {record.data.samples}.")
    if not same(record.accuracy, right / samples):
        wrong.append(f"The accuracy is {record.accuracy}, the confusions give {right / samples}.")
    yield check("accuracy", wrong, f"{right:,} of {samples:,} samples are named as labeled.")
    yield _verdict(record)
    made, now = (one.get("onnx-gap") for one in (record.versions, installed_versions()))
    if made == now:
        agrees = holds(folder / REPORT, html_of_stopped(record).encode())
        wrong = [] if agrees else [f"{REPORT} is not what {STOPPED} gives: it was edited."]
        yield check("report", wrong, f"{REPORT} shows what {STOPPED} says.")


def _verdict(record: StoppedRecord) -> Check:
    limit = record.settings.get("min_accuracy")
    unknown = record.order is not None or is_at_chance(
        record.accuracy, record.chance, record.data.samples
    )
    wrong = []
    if unknown != (record.verdict.outcome == NOT_JUDGEABLE):
        wrong.append(f"The verdict {record.verdict.outcome!r} does not follow from the figures.")
    if record.verdict.outcome == FAIL and not (limit is not None and record.accuracy < limit):
        wrong.append(f"An accuracy of {record.accuracy} is not under the limit {limit}.")
    return check("verdict", wrong, record.verdict.sentence)


def _page(record: StoppedRecord) -> StoppedPage:
    names, order = record.classes, record.order
    readable = len(names) <= MATRIX_CLASSES
    moved: tuple[tuple[str, str], ...] = ()
    if order is not None:
        moved = tuple(
            (names[label], names[named])
            for label, named in enumerate(order.named_as)
            if label != named
        )
    return StoppedPage(
        record=record,
        title=re.split(r"[\\/]", record.model.path)[-1],
        created=moment(record.created),
        at_chance=is_at_chance(record.accuracy, record.chance, record.data.samples),
        too_few=record.accuracy > record.chance and is_too_few(record.chance, record.data.samples),
        cells=confusion_cells(_counts(record)) if readable else [],
        confusions=() if readable else tuple(_most_confused(record)),
        moved=moved,
        facts=facts_of_stopped(record),
    )


def _most_confused(record: StoppedRecord) -> Iterator[Confusion]:
    rows: Counter[int] = Counter()
    for label, _, count in record.confusions:
        rows[label] += count
    wrong = [pair for pair in record.confusions if pair[0] != pair[1]]
    for label, named, count in sorted(wrong, key=lambda pair: -pair[2])[:_LISTED]:
        yield Confusion(
            record.classes[label],
            record.classes[named],
            count,
            float(count / rows[label]),
            record.order is not None and record.order.named_as[label] == named,
        )
