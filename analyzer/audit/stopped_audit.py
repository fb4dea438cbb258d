"""An audit that a first look stopped: ``stopped.json``, and a page that says why and how to go on.

Both are listed in a manifest of their own, so that they appear together and ``verify`` can hold
them against each other. A folder with a result keeps that result.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from analyzer.audit.first_look_verdict import (
    KNOWS_ORDER,
    FirstLookFigures,
    inverse_order,
    judge_first_look,
)
from analyzer.audit.folder import AUDIT, REPORT, RESULT_FILES, STOPPED, check_grounds, read_record
from analyzer.audit.html_pages import moment, render_page
from analyzer.audit.provenance import FactGroup, facts_of_stopped, installed_versions
from analyzer.audit.result_manifest import check_files, unchanged
from analyzer.audit.unfinished_audit import UnfinishedAudit
from analyzer.audit.verdict import is_at_chance, is_too_few, limits_of
from analyzer.audit_record import (
    SCHEMA,
    UNDECLARED,
    OrderRecord,
    StoppedRecord,
    VerdictRecord,
)
from analyzer.errors import AnalyzerError, AuditFolderError
from analyzer.files import RUN_AGAIN, holds, read_json
from analyzer.json_codec import JsonSource, decode, encode
from analyzer.measures.measure import Check, check, same
from analyzer.measures.test_data.measure import (
    MATRIX_CLASSES,
    ConfusionCell,
    confusion_cells,
)
from analyzer.output_files import write_json, write_text

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
    pairs = {(label, named) for label, named, _ in record.confusions}
    if (
        record.schema != SCHEMA
        or not all(i in classes and j in classes and n > 0 for i, j, n in record.confusions)
        or not 0 < len(pairs) == len(record.confusions)
        or sum(n for _, _, n in record.confusions) > source.largest_integer
        or (order and sorted(order.named_as) != list(classes))
    ):
        raise AuditFolderError(f"{path} is not the record of a first look. {RUN_AGAIN}")
    check_grounds(record, source)
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
    """Whether the verdict, and what the record tells of why, are those that its figures give."""
    wrong = []
    if record.order is not None:
        wrong += _order_faults(record, record.order)
    if wrong or (record.reason, record.verdict) not in _endings(record):
        wrong.append(f"The verdict does not follow from the other fields of {STOPPED}.")
    return check("verdict", wrong, record.verdict.sentence)


def _order_faults(record: StoppedRecord, order: OrderRecord) -> list[str]:
    """What the record says of another order of the classes, and its confusions deny."""
    counts = {(label, named): samples for label, named, samples in record.confusions}
    found = sum(counts.get(pair, 0) for pair in enumerate(order.named_as))
    given = sum(counts.get((label, label), 0) for label in range(len(record.classes)))
    wrong = []
    if found <= given or record.accuracy >= KNOWS_ORDER or not 0 <= order.accuracy <= 1:
        wrong.append("The other order of the classes does not follow from the confusions.")
    if order.names != tuple(record.classes[place] for place in inverse_order(order.named_as)):
        wrong.append("The names in the other order are not those of the classes.")
    return wrong


def _endings(record: StoppedRecord) -> Iterator[tuple[str, VerdictRecord]]:
    """Every reason and verdict that a first look can have given, of what the record says it saw.

    It does not say whether the network takes floating point numbers, whether whoever asked used
    the command line, and with a limit per class whether the samples are all of them.
    """
    data, order = record.data, record.order
    whole = data.samples + len(record.skipped) >= data.given
    limited = record.settings.get("limit_per_class") is not None
    scale = data.preprocessing.get("scale", 1.0)
    known = isinstance(scale, int | float) and 0 < abs(scale) < math.inf
    for of_all, floating in product({whole, whole or limited}, (True, False)):
        figures = FirstLookFigures(
            accuracy=record.accuracy,
            chance=record.chance,
            samples=data.samples,
            whole=of_all,
            order=(order.accuracy, order.named_as) if order else None,
            names=record.classes,
            by_name=order is not None and order.by_name,
            fed=record.fed,
            floating=floating,
            undeclared=data.preprocessing.get("origin") == UNDECLARED,
            scale=scale if known else 1.0,
        )
        for told in (AnalyzerError.for_command_line, AnalyzerError.for_library):
            ending = judge_first_look(figures, limits_of(record.settings), told)
            if ending is not None:
                yield told(AnalyzerError(ending.message)), ending.verdict


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
