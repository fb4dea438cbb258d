"""``report.html``: one file to read, print and keep; it needs neither network nor script.

Computed first, rendered then: :func:`page_of` turns the record and the curves into what the
templates show, and the templates escape every string.
"""

import contextlib
import os
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from analyzer.audit.facts import FactGroup, facts_of
from analyzer.audit.figures import CurveFigure, Frame, ScatterFigure, curve_figure, scatter_figure
from analyzer.audit.folder import CURVES, REPORT, read_curves
from analyzer.audit.palette import DARK, LIGHT
from analyzer.audit.rankings import RankingWords, words_for
from analyzer.audit.record import AuditRecord, ClassRecord, read_record
from analyzer.audit.suspects import Suspect, read_suspects, read_thumbnails
from analyzer.errors import AuditFolderError
from analyzer.files import write_text
from analyzer.records import ClassCurves

__all__ = ["Page", "Panel", "html_of", "page_of", "render_report"]

_TEMPLATES = Path(__file__).parent / "templates"
_FEW = 12  # classes up to which all of them are drawn
_SHOWN = 24  # of the suspects
_COARSE = 48  # pixels
_PANEL = Frame(width=240, height=142, left=30, right=8, top=8, bottom=22)
_WIDE = Frame(width=480, height=310, left=48, right=14, top=14, bottom=44)


@dataclass(frozen=True, slots=True)
class Panel:
    """One class, drawn."""

    record: ClassRecord
    figure: CurveFigure


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
    ranking: RankingWords
    mean: CurveFigure
    scatter: ScatterFigure
    groups: tuple[tuple[str, tuple[Panel, ...]], ...]  # (why, classes)
    notable: tuple[tuple[ClassRecord, str], ...]  # (class, why), only when there are many
    flagged: int
    suspects: tuple[tuple[Suspect, Picture | None], ...]  # the first ones
    facts: tuple[FactGroup, ...]


def render_report(folder: str | Path) -> Path:
    """Read the record, the curves and the suspects of ``folder``, write its ``report.html``.

    Raises:
        AuditFolderError: one of them is missing, damaged, or they do not belong together.
    """
    path = Path(folder) / REPORT
    record, curves = read_record(folder), read_curves(folder)
    suspects = read_suspects(folder) if record.suspects else ()
    write_text(path, html_of(page_of(record, curves, suspects, read_thumbnails(folder))))
    return path


def page_of(
    record: AuditRecord,
    curves: Sequence[ClassCurves],
    suspects: Sequence[Suspect],
    thumbnails: Mapping[int, bytes],
) -> Page:
    """Compute what the report of ``record`` shows.

    Args:
        record: the audit.
        curves: of its classes.
        suspects: samples by rank; the first are shown.
        thumbnails: PNG files of those by index.

    Raises:
        AuditFolderError: the curves are of other classes or another site than the record.
    """
    by_index = {curve.class_index: curve for curve in curves}
    if sorted(by_index) != sorted(entry.index for entry in record.classes):
        raise AuditFolderError(
            f"{CURVES} and audit.json name different classes; they are of two audits."
        )
    if len(curves[0].order) != record.site.channels:
        raise AuditFolderError(
            f"{CURVES} has {len(curves[0].order)} channels, audit.json {record.site.channels}; "
            "they are of two audits."
        )
    groups = _chosen(record.classes)
    return Page(
        record=record,
        title=re.split(r"[\\/]", record.model.path)[-1],
        created=_moment(record.created),
        warnings=_warnings(record),
        scale=_scale(record),
        ranking=words_for(record.rank),
        mean=_mean_figure(record, curves),
        scatter=scatter_figure(
            np.array([entry.zeta for entry in record.classes]),
            np.array([entry.kappa for entry in record.classes]),
            mean=(record.zeta, record.kappa),
            titles=[f"{e.name}: ζ {e.zeta:.3f}, κ {e.kappa:.3f}" for e in record.classes],
            marked=np.array([bool(entry.flags) for entry in record.classes]),
            frame=_WIDE,
        ),
        groups=tuple(
            (why, tuple(_panel(entry, by_index[entry.index], record.chance) for entry in entries))
            for why, entries in groups
        ),
        notable=tuple((entry, why) for why, entries in groups if why for entry in entries),
        flagged=sum(bool(entry.flags) for entry in record.classes),
        suspects=tuple((one, _picture(thumbnails.get(one.index))) for one in suspects[:_SHOWN]),
        facts=facts_of(record),
    )


def html_of(page: Page) -> str:
    """``page`` as one HTML document."""
    # Imported here: an audit pays for the template engine only once it has something to show.
    from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined

    # Compiled templates lie where Python puts compiled modules, if that can be written.
    compiled = _TEMPLATES / "__pycache__"
    with contextlib.suppress(OSError):
        compiled.mkdir(exist_ok=True)
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        bytecode_cache=(
            FileSystemBytecodeCache(str(compiled)) if os.access(compiled, os.W_OK) else None
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(fixed=_fixed, percent=_percent)
    template = environment.get_template("report.html.jinja")
    return template.render(page=page, record=page.record, light=LIGHT, dark=DARK)


def _chosen(classes: Sequence[ClassRecord]) -> list[tuple[str, list[ClassRecord]]]:
    """Which classes to draw, in groups with the reason; one group without when all fit."""
    if len(classes) <= _FEW:
        return [("", list(classes))]
    by_zeta = sorted(classes, key=lambda entry: (-entry.zeta, entry.index))
    by_kappa = sorted(classes, key=lambda entry: (entry.kappa, entry.index))
    flagged = [entry for entry in by_zeta if entry.flags]
    groups: list[tuple[str, list[ClassRecord]]] = []
    taken: set[int] = set()
    for why, entries in (
        ("flagged", flagged),
        ("highest ζ", by_zeta),
        ("lowest κ", by_kappa),
        ("lowest ζ", by_zeta[::-1]),
    ):
        group = [entry for entry in entries if entry.index not in taken][:4]
        taken.update(entry.index for entry in group)
        if group:
            groups.append((why, group))
    return groups


def _panel(entry: ClassRecord, curve: ClassCurves, chance: float) -> Panel:
    figure = curve_figure(
        curve.descending / curve.samples,
        curve.ascending / curve.samples,
        chance=chance,
        n0=entry.n0,
        n0_r=entry.n0_r,
        frame=_PANEL,
    )
    return Panel(entry, figure)


def _picture(png: bytes | None) -> Picture | None:
    if png is None:
        return None
    width = int.from_bytes(png[16:20], "big")  # where a PNG file has it
    return Picture(f"data:image/png;base64,{b64encode(png).decode()}", width <= _COARSE)


def _scale(record: AuditRecord) -> Scale | None:
    if record.gap is None:
        return None
    gap = record.gap
    unseen = (min(1.0, max(0.0, record.accuracy - g)) for g in (gap.high, gap.estimate, gap.low))
    return Scale(*unseen)


def _mean_figure(record: AuditRecord, curves: Sequence[ClassCurves]) -> CurveFigure:
    """Both curves averaged over the classes, with the averages of the turning points."""
    return curve_figure(
        np.mean([curve.descending / curve.samples for curve in curves], axis=0),
        np.mean([curve.ascending / curve.samples for curve in curves], axis=0),
        chance=record.chance,
        n0=float(np.mean([entry.n0 for entry in record.classes])),
        n0_r=float(np.mean([entry.n0_r for entry in record.classes])),
        frame=_WIDE,
    )


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
