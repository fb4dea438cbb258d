"""What people read of an audit: ``report.html``, ``classes.csv``, and how it ended.

The report is one file to read, print and keep; it needs neither network nor script. Computed first,
then rendered: :func:`page_of` turns an audit folder into what the templates show, each measure its
own section, and the templates escape every string.

An :class:`Ending` is what others are told (:mod:`analyzer.audit.exports`,
:mod:`analyzer.audit.markdown`), so that an audit that stops early leaves the same pages as
one that goes on.
"""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from analyzer.audit.folder import (
    CLASSES,
    REPORT,
    RESULT_FILES,
    finished_audit,
    locked,
    read_record,
)
from analyzer.audit.html_pages import moment, render_page
from analyzer.audit.provenance import FactGroup, provenance_of
from analyzer.audit.stopped_audit import html_of_stopped, is_stopped, read_stopped
from analyzer.audit.suspects import (
    Suspect,
    listed_conflicts,
    neighbors_of,
    read_evidence,
    read_suspects,
    read_thumbnails,
    why_without_neighbors,
)
from analyzer.audit.unfinished_audit import UnfinishedAudit
from analyzer.audit.verdict import doubt_of
from analyzer.audit_record import AuditRecord, ClassRecord, GapRecord, VerdictRecord
from analyzer.errors import AuditFolderError, AuditStopped
from analyzer.files import RUN_AGAIN, holds
from analyzer.measures.measure import Check, ReportSection, check
from analyzer.measures.neighbors.twins import ConflictPair
from analyzer.measures.registry import MEASURES
from analyzer.output_files import csv_text, write_text

__all__ = [
    "Ending",
    "Page",
    "Scale",
    "class_table_check",
    "ending_of",
    "ending_of_stop",
    "expected_accuracy",
    "html_of",
    "page_of",
    "render_report",
    "write_class_table",
]

_SHOWN = 24  # of the suspects
_COARSE = 48  # pixels
_CLASS_COLUMNS = tuple(field.name for field in fields(ClassRecord))


@dataclass(frozen=True, slots=True)
class Scale:
    """The estimate read as accuracy on unseen data: accuracy − gap, held within 0 and 1."""

    low: float
    unseen: float
    high: float


@dataclass(frozen=True, slots=True)
class Picture:
    """A thumbnail."""

    uri: str  # the PNG file itself
    coarse: bool  # of so few pixels that they are better shown than blurred


@dataclass(frozen=True, slots=True)
class SuspectCard:
    """A suspect with its picture, and labels and pictures of its nearest neighbors."""

    suspect: Suspect
    picture: Picture | None
    neighbors: tuple[tuple[str, Picture | None], ...]


@dataclass(frozen=True, slots=True)
class ConflictCard:
    """Two samples that look the same and have different labels, with their pictures."""

    pair: ConflictPair
    pictures: tuple[Picture | None, Picture | None]


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that the template shows."""

    record: AuditRecord
    title: str
    created: str  # for people; "" when not recorded
    warnings: tuple[str, ...]
    scale: Scale | None  # None without an estimate
    doubt: str  # why the estimate cannot be relied on; "" where it can
    sections: tuple[ReportSection, ...]  # of the measures
    suspects: tuple[SuspectCard, ...]  # the first ones
    unsorted: str  # why they are sorted without neighbors and hold; "" if they are not
    conflicts: tuple[ConflictCard, ...]  # the first ones
    facts: tuple[FactGroup, ...]


def render_report(folder: str | Path) -> Path:
    """Read the audit in ``folder``, finished or stopped, and write its ``report.html`` again.

    Raises:
        AuditFolderError: a file is missing or damaged, or they do not belong together.
    """
    folder = Path(folder)
    if not is_stopped(folder):
        read_record(folder)  # before anything is made there
    with locked(folder) as check_lock:
        unfinished = UnfinishedAudit(folder, check_lock)
        unfinished.complete()
        html = _html_of_folder(folder)
        with unfinished.result(kept=set(RESULT_FILES) - {REPORT}) as staged:
            write_text(staged / REPORT, html)
    return folder / REPORT


def _html_of_folder(folder: Path) -> str:
    if is_stopped(folder):
        return html_of_stopped(read_stopped(folder, besides=[REPORT]))
    with finished_audit(folder, besides=[REPORT]):
        return html_of(page_of(folder))


def page_of(folder: str | Path) -> Page:
    """Compute what the report of the audit in ``folder`` shows.

    Raises:
        AuditFolderError: a file is missing or damaged, or they do not belong together.
    """
    folder = Path(folder)
    record = read_record(folder)
    pictures = {index: _picture(png) for index, png in read_thumbnails(folder).items()}
    sections = (measure.report(folder, record) for measure in MEASURES)
    return Page(
        record=record,
        title=re.split(r"[\\/]", record.model.path)[-1],
        created=moment(record.created),
        warnings=_warnings(record),
        scale=expected_accuracy(record),
        doubt=doubt_of(record),
        sections=tuple(section for section in sections if section is not None),
        suspects=_suspect_cards(folder, record, pictures),
        unsorted=why_without_neighbors(record),
        conflicts=tuple(
            ConflictCard(pair, (pictures.get(pair.index), pictures.get(pair.other_index)))
            for pair in listed_conflicts(record)
        ),
        facts=provenance_of(record),
    )


def html_of(page: Page) -> str:
    """``page`` as one HTML document."""
    folders = dict.fromkeys(section.template.parent for section in page.sections)
    return render_page("report.html.jinja", folders=folders, page=page, record=page.record)


def _suspect_cards(
    folder: Path, record: AuditRecord, pictures: Mapping[int, Picture]
) -> tuple[SuspectCard, ...]:
    if not record.suspects:
        return ()
    evidence, names = read_evidence(folder, record), record.class_names
    return tuple(
        SuspectCard(
            suspect=one,
            picture=pictures.get(one.index),
            neighbors=tuple(
                (names.get(label, str(label)), pictures.get(index))
                for index, label in neighbors_of(evidence, one.index)
            ),
        )
        for one in read_suspects(folder)[:_SHOWN]
    )


def _picture(png: bytes) -> Picture:
    width = int.from_bytes(png[16:20], "big")  # where a PNG file has it
    return Picture(f"data:image/png;base64,{b64encode(png).decode()}", width <= _COARSE)


def expected_accuracy(record: AuditRecord) -> Scale | None:
    """What the estimate says of unseen data, whether or not it can be relied on; None without."""
    if record.gap is None:
        return None
    gap = record.gap
    unseen = (min(1.0, max(0.0, record.accuracy - g)) for g in (gap.high, gap.estimate, gap.low))
    return Scale(*unseen)


def _warnings(record: AuditRecord) -> tuple[str, ...]:
    # A gap estimate's first warning is its caution, which stands beside the estimate.
    said = [*record.warnings, *(record.gap.warnings[1:] if record.gap else ())]
    return tuple(dict.fromkeys(said))


def write_class_table(folder: Path, record: AuditRecord) -> None:
    """Write ``classes.csv``; its columns are called as the fields of a class in ``audit.json``.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(folder / CLASSES, _class_table(record))


def class_table_check(folder: Path, record: AuditRecord) -> Check:
    """Whether ``classes.csv`` says what ``audit.json`` does.

    Raises:
        AuditFolderError: it is missing.
    """
    path = folder / CLASSES
    if not path.exists():
        raise AuditFolderError(f"{path} does not exist. {RUN_AGAIN}")
    agrees = holds(path, _class_table(record).encode(errors="backslashreplace"))
    wrong = [] if agrees else [f"{CLASSES} does not say of the classes what audit.json does."]
    right = f"{len(record.classes)} classes are listed as audit.json has them."
    return check("class table", wrong, right)


def _class_table(record: AuditRecord) -> str:
    rows = ([_cell(getattr(entry, name)) for name in _CLASS_COLUMNS] for entry in record.classes)
    return csv_text([_CLASS_COLUMNS, *rows])


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_cell, value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known of an audit that is over."""

    model: str  # as the caller gave it
    data: str
    accuracy: float  # on the training data, with nothing removed
    verdict: VerdictRecord | None  # None: no limit was asked for
    reason: str = ""  # why nothing was counted, and how to go on; "" where it was
    record: AuditRecord | None = None  # None where nothing was counted
    folder: Path | None = None  # None where nothing is said in one
    suspects: tuple[Suspect, ...] = ()

    @property
    def doubt(self) -> str:
        """Why there is no estimate to rely on; "" where there is one."""
        return self.reason if self.record is None else doubt_of(self.record)

    @property
    def gap(self) -> GapRecord | None:
        """The estimate where it can be relied on."""
        return None if self.record is None or self.doubt else self.record.gap

    @property
    def expected(self) -> Scale | None:
        """The accuracy that it means on unseen data."""
        return None if self.record is None or self.doubt else expected_accuracy(self.record)


def ending_of(folder: str | Path) -> Ending:
    """The ending of the finished audit in ``folder``.

    Raises:
        AuditFolderError: there is none, or its files do not belong together.
    """
    folder = Path(folder)
    with finished_audit(folder) as record:
        suspects = read_suspects(folder) if record.suspects else ()
    return Ending(
        model=record.model.path,
        data=record.data.source,
        accuracy=record.accuracy,
        verdict=record.verdict,
        record=record,
        folder=folder,
        suspects=suspects,
    )


def ending_of_stop(model: str, data: str, stopped: AuditStopped) -> Ending:
    """The ending of an audit that a first look stopped.

    Args:
        model, data: as the caller gave them.
        stopped: why.
    """
    return Ending(
        model=model,
        data=data,
        accuracy=stopped.accuracy,
        verdict=stopped.verdict,
        reason=stopped.for_command_line(),
        folder=None if stopped.report is None else stopped.report.parent,
    )
