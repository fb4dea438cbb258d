"""Interpolation's section of the report: the response curves."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analyzer.measures.measure import ReportSection
from analyzer.measures.svg import Frame, path_through

if TYPE_CHECKING:
    from analyzer.measures.interpolation.measure import InterpolationRecord

__all__ = ["ResponseCurve", "ResponseFigure", "report_section"]

_FRAME = Frame(width=480, height=300, left=48, right=14, top=14, bottom=44)


@dataclass(frozen=True, slots=True)
class ResponseCurve:
    """One curve, as a path and the points it goes through."""

    style: str  # a class of the page's style sheet
    words: str
    path: str  # "" without a point
    points: tuple[tuple[float, float, str], ...]  # pixels, and what the point says


@dataclass(frozen=True, slots=True)
class ResponseFigure:
    """The response curves of a network over how much of another image is mixed in."""

    frame: Frame
    curves: tuple[ResponseCurve, ...]
    x_ticks: tuple[tuple[float, str], ...]  # pixels, and what the tick says
    y_ticks: tuple[tuple[float, str], ...]


def report_section(record: "InterpolationRecord") -> ReportSection:
    """Compute what the section shows."""
    return ReportSection(
        links=(("interpolation", "Interpolation"),),
        template=Path(__file__).parent / "interpolation.html.jinja",
        words=Path(__file__).parent / "interpolation_words.html.jinja",
        values={"interpolation": record, "responses": _figure(record)},
    )


def _figure(record: "InterpolationRecord") -> ResponseFigure:
    mixed_in = [1 - weight for weight in record.lambdas]
    widest = max(mixed_in)
    known = [v for v in (*record.same, *record.other, *record.third) if v is not None]
    head = max([1.0, *known])

    def curve(
        style: str, words: str, values: tuple[float | None, ...], start: float | None
    ) -> ResponseCurve:
        places = [(0.0, start), *zip(mixed_in, values, strict=True)]
        points = tuple(
            (
                round(float(_FRAME.x(share / widest)), 1),
                round(float(_FRAME.y(value / head)), 1),
                f"{share:.0%} mixed in: {value:.3f}",
            )
            for share, value in places
            if value is not None
        )
        path = path_through(np.array([point[:2] for point in points])) if points else ""
        return ResponseCurve(style, words, path, points)

    start = None if record.accuracy is None else 1.0
    return ResponseFigure(
        frame=_FRAME,
        curves=(
            curve("down", "the label, towards an image of the same label", record.same, start),
            curve("up", "the label, towards an image of another label", record.other, start),
            curve("mean", "neither of the two labels", record.third, None),
        ),
        x_ticks=tuple(
            (round(float(_FRAME.x(share / widest)), 1), f"{100 * share:.0f}")
            for share in (0.0, *mixed_in)
        ),
        y_ticks=tuple(
            (round(float(_FRAME.y(value / head)), 1), f"{value:g}")
            for value in (0, 0.25, 0.5, 0.75, 1)
        ),
    )
