"""The ablation's section of the report: curves, the scatter of the classes, and their table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyzer.audit_record import AuditRecord, ClassRecord
from analyzer.errors import AuditFolderError
from analyzer.measures.ablation.report_figures import (
    CurveFigure,
    curve_figure,
    scatter_figure,
)
from analyzer.measures.ablation.result_files import CURVES, read_curves
from analyzer.measures.measure import ReportSection
from analyzer.measures.svg import Frame
from analyzer.records import ClassCurves

__all__ = ["Panel", "RankingWords", "report_section", "words_for"]

_FEW = 12  # classes up to which all of them are drawn
_PANEL = Frame(width=240, height=142, left=30, right=8, top=8, bottom=22)
_WIDE = Frame(width=480, height=310, left=48, right=14, top=14, bottom=44)


@dataclass(frozen=True, slots=True)
class Panel:
    """One class, drawn."""

    record: ClassRecord
    figure: CurveFigure


@dataclass(frozen=True, slots=True)
class RankingWords:
    """One ranking in words."""

    most: str  # the units at its head
    least: str  # those at its foot
    order: str  # "removed, for each class …"
    meaning: str  # how it is made, per class


_WORDS = {
    "l1": RankingWords(
        most="most active",
        least="least active",
        order="in the order of how strongly that class excites them",
        meaning="by the mean, over its training samples, of the sum of the absolute values of the "
        "unit's map.",
    ),
    "selectivity": RankingWords(
        most="most selective",
        least="least selective",
        order="in the order of how much more that class excites them than the others do",
        meaning="by class selectivity, (a − b) / (a + b): a is the unit's mean activity over the "
        "class's training samples, b the mean of that over the other classes. The method itself "
        "ranks by a alone.",
    ),
    "random": RankingWords(
        most="first drawn",
        least="last drawn",
        order="in an order drawn at random",
        meaning="drawn at random, as a control: what ζ and κ say under it, they owe nothing to the "
        "activity of the units, by which the method ranks.",
    ),
}


def report_section(folder: Path, record: AuditRecord) -> ReportSection:
    """Compute what the section shows.

    Raises:
        AuditFolderError: the curves are missing or damaged, or of other classes or another site
            than the record.
    """
    curves = read_curves(folder)
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
    return ReportSection(
        links=(("curves", "Curves"), ("classes", "Classes"), ("table", "Table")),
        template=Path(__file__).parent / "ablation.html.jinja",
        words=Path(__file__).parent / "ablation_words.html.jinja",
        values={
            "ranking": words_for(record.rank),
            "mean": _mean_figure(record, curves),
            "scatter": scatter_figure(
                np.array([entry.zeta for entry in record.classes]),
                np.array([entry.kappa for entry in record.classes]),
                mean=(record.zeta, record.kappa),
                titles=[f"{e.name}: ζ {e.zeta:.3f}, κ {e.kappa:.3f}" for e in record.classes],
                marked=np.array([bool(entry.flags) for entry in record.classes]),
                frame=_WIDE,
            ),
            "groups": tuple(
                (why, tuple(_panel(entry, by_index[entry.index], record.chance) for entry in some))
                for why, some in groups
            ),
            "notable": tuple((entry, why) for why, some in groups if why for entry in some),
            "flagged": sum(bool(entry.flags) for entry in record.classes),
        },
    )


def words_for(rank: str) -> RankingWords:
    """The words for a ranking; one that this version does not know keeps its name."""
    return _WORDS.get(rank) or RankingWords(
        most="highest ranked",
        least="lowest ranked",
        order=f"ranked by {rank}",
        meaning=f"by {rank}.",
    )


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
