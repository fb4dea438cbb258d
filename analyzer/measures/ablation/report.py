"""The ablation's section of the report: curves, the scatter of the classes, and their table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.audit_record import AuditRecord, ClassRecord, quantity
from analyzer.errors import AuditFolderError
from analyzer.files import RUN_AGAIN
from analyzer.measures.ablation.class_curves import CURVES, ClassCurves, read_curves
from analyzer.measures.measure import ReportSection
from analyzer.measures.svg import Frame, path_through

__all__ = [
    "CurveFigure",
    "Panel",
    "Point",
    "RankingWords",
    "ScatterFigure",
    "class_table_section",
    "curve_figure",
    "report_section",
    "scatter_figure",
    "words_for",
]


_STEPS = (0.02, 0.05, 0.1, 0.2)  # of the ticks of an axis within 0 and 1
_LEAST_SPAN = 0.1  # below it an axis would magnify noise
_FEW = 12  # classes up to which all of them are drawn
_PANEL = Frame(width=240, height=142, left=36, right=8, top=8, bottom=22)
_WIDE = Frame(width=480, height=310, left=48, right=14, top=14, bottom=44)


@dataclass(frozen=True, slots=True)
class Point:
    """A marker in pixels, with the text that explains it and whether it stands out."""

    x: float
    y: float
    title: str = ""
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: where (pixels) and what it says."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class CurveFigure:
    """The two curves of a class or of the network (Fig. 1A of the paper) as SVG paths."""

    frame: Frame
    descending: str
    ascending: str
    area: str  # between the two curves
    chance: float  # y of the chance line
    n0: Point  # on the descending curve
    n0_r: Point  # on the ascending curve
    channels: int  # M


@dataclass(frozen=True, slots=True)
class ScatterFigure:
    """One point a class, at (ζ_j, κ_j) (Fig. 2B of the paper)."""

    frame: Frame
    points: tuple[Point, ...]  # marked ones last, so that they are drawn on top
    mean: Point  # ζ, κ of the network
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def curve_figure(
    descending: np.ndarray,
    ascending: np.ndarray,
    *,
    chance: float,
    n0: float,
    n0_r: float,
    frame: Frame,
) -> CurveFigure:
    """Draw accuracies over the number of removed units.

    Args:
        descending: ndarray of shape (M + 1,), E(n) between 0 and 1.
        ascending: ndarray of shape (M + 1,), E_r(n).
        chance: accuracy of guessing.
        n0: turning point of E in units; need not be whole for an average.
        n0_r: turning point of E_r.
        frame: what to draw in.
    """
    channels = len(descending) - 1
    down, up = _vertices(descending, frame), _vertices(ascending, frame)
    return CurveFigure(
        frame=frame,
        descending=path_through(down),
        ascending=path_through(up),
        area=path_through(np.concatenate([down, up[::-1]])) + "z",
        chance=round(float(frame.y(chance)), 1),
        n0=_turning_point(descending, n0, frame),
        n0_r=_turning_point(ascending, n0_r, frame),
        channels=channels,
    )


def scatter_figure(
    zeta: np.ndarray,
    kappa: np.ndarray,
    *,
    mean: tuple[float, float],
    titles: list[str],
    marked: np.ndarray,
    frame: Frame,
) -> ScatterFigure:
    """Draw classes at (ζ_j, κ_j), on axes that just hold them.

    Args:
        zeta: ndarray of shape (K,).
        kappa: ndarray of shape (K,).
        mean: ζ and κ of the network.
        titles: what each point says when pointed at.
        marked: bool ndarray of shape (K,), True for flagged classes.
        frame: what to draw in.
    """
    x_values, y_values = _round_values(zeta), _round_values(kappa)

    def place(x: float, y: float, title: str, mark: bool = False) -> Point:
        return Point(
            round(float(frame.x((x - x_values[0]) / (x_values[-1] - x_values[0]))), 1),
            round(float(frame.y((y - y_values[0]) / (y_values[-1] - y_values[0]))), 1),
            title,
            mark,
        )

    points = [place(*point) for point in zip(zeta, kappa, titles, map(bool, marked), strict=True)]
    return ScatterFigure(
        frame=frame,
        points=tuple(sorted(points, key=lambda point: point.marked)),
        mean=place(*mean, "network"),
        x_ticks=tuple(Tick(place(v, y_values[0], "").x, f"{v:.3g}") for v in x_values),
        y_ticks=tuple(Tick(place(x_values[0], v, "").y, f"{v:.3g}") for v in y_values),
    )


def _vertices(values: np.ndarray, frame: Frame) -> np.ndarray:
    """Pixels of shape (points, 2), without points on the straight line of their neighbors."""
    x = frame.x(np.linspace(0.0, 1.0, len(values)))
    y = np.round(frame.y(np.asarray(values, float)), 1)
    bend = np.ones(len(values), bool)
    bend[1:-1] = np.abs(np.diff(y, 2)) > 1e-9
    return np.stack([np.round(x, 1), y], axis=1)[bend]


def _turning_point(curve: np.ndarray, n: float, frame: Frame) -> Point:
    channels = len(curve) - 1
    height = float(np.interp(n, np.arange(channels + 1), curve))
    return Point(round(float(frame.x(n / channels)), 1), round(float(frame.y(height)), 1))


def _round_values(values: np.ndarray) -> np.ndarray:
    """From four to eight evenly spaced round numbers that enclose ``values`` of [0, 1]."""
    low, high = float(np.min(values)), float(np.max(values))
    if high - low < _LEAST_SPAN:
        low = min(max(0.0, (low + high - _LEAST_SPAN) / 2), 1.0 - _LEAST_SPAN)
        high = low + _LEAST_SPAN
    step = next(step for step in _STEPS if (high - low) / step <= 6)
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return np.arange(first, last + 1) * step


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


def class_table_section(record: AuditRecord) -> ReportSection:
    """The table of the classes, which is all that a network without a site shows."""
    return ReportSection(
        links=(("table", "Classes"),),
        template=Path(__file__).parent / "class_table.html.jinja",
        values=_table_values(record),
    )


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
    if len(curves[0].order) != record.channels:
        raise AuditFolderError(
            f"{CURVES} has {len(curves[0].order)} channels, audit.json {record.channels}; "
            "they are of two audits."
        )
    _check_values(record)
    groups = _chosen(record.classes, record.worst_first)
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
                mean=(quantity(record.zeta), quantity(record.kappa)),
                titles=[f"{e.name}: ζ {e.zeta:.3f}, κ {e.kappa:.3f}" for e in record.classes],
                marked=np.array([bool(entry.flags) for entry in record.classes]),
                frame=_WIDE,
            ),
            "groups": tuple(
                (why, tuple(_panel(entry, by_index[entry.index], record.chance) for entry in some))
                for why, some in groups
            ),
            "notable": tuple((entry, why) for why, some in groups if why for entry in some),
            **_table_values(record),
            "flagged": sum(bool(entry.flags) for entry in record.classes),
        },
    )


def _table_values(record: AuditRecord) -> dict[str, Any]:
    """What the table of the classes shows.

    Raises:
        AuditFolderError: a gap is none that a class can have.
    """
    said = [
        (f"classes[{number}].{name}", getattr(entry, name))
        for number, entry in enumerate(record.classes)
        for name in ("gap", "gap_low", "gap_high")
    ]
    _check_range([one for one in said if one[1] is not None], -1, 1)
    return {
        "classes": record.worst_first,
        "gaps": any(entry.gap is not None for entry in record.classes),
    }


def _check_values(record: AuditRecord) -> None:
    """Refuse values that no counts give, and that no figure has room for.

    Raises:
        AuditFolderError: the message names the first.
    """
    shares = [("accuracy", record.accuracy), ("zeta", record.zeta), ("kappa", record.kappa)]
    removed = []
    for number, entry in enumerate(record.classes):
        for name in ("accuracy", "zeta", "kappa"):
            shares.append((f"classes[{number}].{name}", getattr(entry, name)))
        for name in ("n0", "n0_r"):
            removed.append((f"classes[{number}].{name}", getattr(entry, name)))
    _check_range([*shares, ("chance", record.chance)], 0, 1)
    _check_range(removed, 0, record.channels)


def _check_range(values: Iterable[tuple[str, float | None]], least: float, most: float) -> None:
    for name, said in values:
        if not least <= (value := quantity(said)) <= most:
            raise AuditFolderError(
                f"audit.json: the field '{name}' must be from {least} to {most}, not {value:g}. "
                f"{RUN_AGAIN}"
            )


def words_for(rank: str) -> RankingWords:
    """The words for a ranking; one that this version does not know keeps its name."""
    return _WORDS.get(rank) or RankingWords(
        most="highest ranked",
        least="lowest ranked",
        order=f"ranked by {rank}",
        meaning=f"by {rank}.",
    )


def _chosen(
    classes: Sequence[ClassRecord], worst_first: Sequence[ClassRecord]
) -> list[tuple[str, list[ClassRecord]]]:
    """Which classes to draw, in groups with the reason; one group without when all fit."""
    if len(classes) <= _FEW:
        return [("", list(classes))]
    by_zeta = sorted(classes, key=lambda entry: (-quantity(entry.zeta), entry.index))
    by_kappa = sorted(classes, key=lambda entry: (quantity(entry.kappa), entry.index))
    flagged = [entry for entry in by_zeta if entry.flags]
    groups: list[tuple[str, list[ClassRecord]]] = []
    taken: set[int] = set()
    for why, entries in (
        ("flagged", flagged),
        ("largest gap", [one for one in worst_first if one.gap is not None]),
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
        n0=quantity(entry.n0),
        n0_r=quantity(entry.n0_r),
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
