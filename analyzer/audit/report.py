"""``report.html``: one file to read, print and keep; it needs neither network nor script.

Computed first, then rendered: :func:`page_of` turns an audit folder into what the templates show,
each measure its own section, and the templates escape every string.
"""

import re
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from analyzer.audit.folder import (
    REPORT,
    RESULT_FILES,
    UnfinishedAudit,
    finished_audit,
    read_record,
)
from analyzer.audit.folder_lock import locked
from analyzer.audit.plots import DARK, LIGHT
from analyzer.audit.provenance import FactGroup, provenance_of
from analyzer.audit.suspects import Suspect, read_suspects, read_thumbnails
from analyzer.audit.verdict import doubt_of
from analyzer.audit_record import AuditRecord
from analyzer.files import write_text
from analyzer.measures.measure import ReportSection
from analyzer.measures.registry import MEASURES
from analyzer.printable import printable

__all__ = ["Page", "Scale", "expected_accuracy", "html_of", "page_of", "render_report"]

_TEMPLATES = Path(__file__).parent / "templates"
_SHOWN = 24  # of the suspects
_COARSE = 48  # pixels


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
class Page:
    """Everything that the template shows."""

    record: AuditRecord
    title: str
    created: str  # for people; "" when not recorded
    warnings: tuple[str, ...]
    scale: Scale | None  # None without an estimate
    doubt: str  # why the estimate cannot be relied on; "" where it can
    sections: tuple[ReportSection, ...]  # of the measures
    suspects: tuple[tuple[Suspect, Picture | None], ...]  # the first ones
    facts: tuple[FactGroup, ...]


def render_report(folder: str | Path) -> Path:
    """Read the finished audit in ``folder`` and write its ``report.html`` again.

    Raises:
        AuditFolderError: a file is missing or damaged, or they do not belong together.
    """
    folder = Path(folder)
    read_record(folder)  # before anything is made there
    with locked(folder):
        unfinished = UnfinishedAudit(folder)
        unfinished.complete()
        with finished_audit(folder, besides=[REPORT]):
            html = html_of(page_of(folder))
        with unfinished.result(kept=set(RESULT_FILES) - {REPORT}) as staged:
            write_text(staged / REPORT, html)
    return folder / REPORT


def page_of(folder: str | Path) -> Page:
    """Compute what the report of the audit in ``folder`` shows.

    Raises:
        AuditFolderError: a file is missing or damaged, or they do not belong together.
    """
    folder = Path(folder)
    record = read_record(folder)
    suspects = read_suspects(folder)[:_SHOWN] if record.suspects else ()
    thumbnails = read_thumbnails(folder)
    sections = (measure.report(folder, record) for measure in MEASURES)
    return Page(
        record=record,
        title=re.split(r"[\\/]", record.model.path)[-1],
        created=_moment(record.created),
        warnings=_warnings(record),
        scale=expected_accuracy(record),
        doubt=doubt_of(record),
        sections=tuple(section for section in sections if section is not None),
        suspects=tuple((one, _picture(thumbnails.get(one.index))) for one in suspects),
        facts=provenance_of(record),
    )


def html_of(page: Page) -> str:
    """``page`` as one HTML document."""
    # Imported here: an audit pays for the template engine only once it has something to show.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    rooms = dict.fromkeys(section.template.parent for section in page.sections)
    environment = Environment(
        loader=FileSystemLoader([_TEMPLATES, *rooms]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(fixed=_fixed, percent=_percent)
    template = environment.get_template("report.html.jinja")
    document = template.render(page=page, record=page.record, light=LIGHT, dark=DARK)
    return printable(document, keep="\n\t")


def _picture(png: bytes | None) -> Picture | None:
    if png is None:
        return None
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


def _fixed(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def _moment(created: str) -> str:
    if not created:
        return ""
    try:
        return f"{datetime.fromisoformat(created).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return created
