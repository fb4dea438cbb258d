"""``population.html``: a population's table for people, sortable, a link to each report in it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from analyzer.audit.folder import REPORT
from analyzer.audit.html_pages import fixed, moment, render_page
from analyzer.audit.population_result import AUDITS, PAGE, AuditedNetwork, AuditedPopulation
from analyzer.audit_record import GapRecord
from analyzer.estimation import RANK
from analyzer.measures.svg import Frame
from analyzer.output_files import write_text

__all__ = ["write_page"]

_FRAME = Frame(width=480, height=360, left=48, right=14, top=14, bottom=44)
_STEPS = (0.05, 0.1, 0.2, 0.5)  # of the ticks
_WIDEST = 6  # hyperparameters shown as columns


@dataclass(frozen=True, slots=True)
class _Axis:
    """Values from ``low`` to ``high``, which lie at 0 and 1."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> "_Axis":
        """An axis of round numbers that holds 0 and ``values``."""
        low, high = min(0.0, *values), max(0.1, *values)
        step = next((s for s in _STEPS if (high - low) / s <= 6), _STEPS[-1])
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        return cls(first * step, last * step, tuple(n * step for n in range(first, last + 1)))

    def at(self, value: float) -> float:
        """Where ``value`` lies, as a share of the axis."""
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True)
class _Interval:
    """An estimate drawn: per cent of the axis from its left end."""

    record: GapRecord
    left: float
    width: float
    estimate: float
    gap: float | None  # that is known
    known: float | None  # where that lies


@dataclass(frozen=True, slots=True)
class _Row:
    """A network of the table."""

    name: str
    report: str  # address, relative to the page
    cells: tuple[str, ...]  # of the hyperparameters
    train: float | None
    test: float | None
    zeta: float
    kappa: float
    gap: float | None
    interval: _Interval | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Dot:
    """An estimate over a known gap, in pixels."""

    x: float
    y: float
    low: float
    high: float
    inside: bool
    title: str


@dataclass(frozen=True, slots=True)
class _Figure:
    """Estimates over known gaps."""

    frame: Frame
    dots: tuple[_Dot, ...]
    ticks: tuple[tuple[float, float, str], ...]  # x, y and what the tick says
    line: str  # where both are equal


def write_page(population: AuditedPopulation, out: Path) -> None:
    """Write ``population.html`` into the folder of the population.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(out / PAGE, _html(population, out.resolve().name))


def _html(population: AuditedPopulation, title: str) -> str:
    table, networks = population.table, population.networks
    varying = {name: cells for name, cells in table.hyperparameters.items() if len(set(cells)) > 1}
    shown = dict(list(varying.items())[:_WIDEST])
    axis = _axis(networks.values())
    rows = [
        _row(name, one, tuple(cells[number] for cells in shown.values()), axis)
        for number, (name, one) in enumerate(networks.items())
    ]
    drawn = [row.interval for row in rows if row.interval is not None]
    judged = [one for one in drawn if one.known is not None]
    return render_page(
        "population.html.jinja",
        script="sort_table.js",
        title=title,
        created=moment(datetime.now(UTC).isoformat()),
        rank=table.further[RANK][0],
        hyperparameters=tuple(shown),
        left_out=tuple(varying)[_WIDEST:],
        rows=rows,
        estimates=[one.record for one in drawn],
        outside=sum(not one.record.inside_range for one in drawn),
        held=sum(_holds(one) for one in judged),
        judged=len(judged),
        with_test=any(row.test is not None for row in rows),
        known=sum(row.gap is not None for row in rows),
        axis=axis,
        figure=_figure(rows, axis) if judged else None,
        warnings=population.shared_warnings(),
        failures=[(name, str(why)) for name, why in population.failures.items()],
    )


def _row(name: str, one: AuditedNetwork, cells: tuple[str, ...], axis: _Axis) -> _Row:
    values = {key: None if math.isnan(value) else value for key, value in one.values.items()}
    gap = values["gap"]
    return _Row(
        name=name,
        report=f"{AUDITS}/{quote(name)}/{REPORT}",
        cells=cells,
        train=values["train_accuracy"],
        test=values["test_accuracy"],
        zeta=one.values["zeta"],
        kappa=one.values["kappa"],
        gap=gap,
        interval=None if one.estimate is None else _interval(one.estimate, gap, axis),
        warnings=tuple(dict.fromkeys((*one.warnings, *_cautions(one.estimate)))),
    )


def _cautions(estimate: GapRecord | None) -> tuple[str, ...]:
    # An estimate's first warning is the caution that belongs to all of them.
    return () if estimate is None else estimate.warnings[1:]


def _axis(networks: Iterable[AuditedNetwork]) -> _Axis:
    values = [0.0]
    for one in networks:
        if one.estimate is not None:
            values += [one.estimate.low, one.estimate.estimate, one.estimate.high]
        if not math.isnan(one.values["gap"]):
            values.append(one.values["gap"])
    return _Axis.of(values)


def _interval(estimate: GapRecord, gap: float | None, axis: _Axis) -> _Interval:
    left, right = axis.at(estimate.low), axis.at(estimate.high)
    return _Interval(
        record=estimate,
        left=round(100 * left, 2),
        width=round(100 * (right - left), 2),
        estimate=round(100 * axis.at(estimate.estimate), 2),
        gap=gap,
        known=None if gap is None else round(100 * axis.at(gap), 2),
    )


def _holds(one: _Interval) -> bool:
    """Whether an interval holds the known gap."""
    return one.gap is not None and one.record.low <= one.gap <= one.record.high


def _figure(rows: Sequence[_Row], axis: _Axis) -> _Figure:
    def x(value: float) -> float:
        return round(float(_FRAME.x(axis.at(value))), 1)

    def y(value: float) -> float:
        return round(float(_FRAME.y(axis.at(value))), 1)

    dots = [
        _Dot(
            x=x(row.gap),
            y=y(row.interval.record.estimate),
            low=y(row.interval.record.low),
            high=y(row.interval.record.high),
            inside=row.interval.record.inside_range,
            title=f"{row.name}: known {row.gap:.3f}, estimated {row.interval.record.estimate:.3f}",
        )
        for row in rows
        if row.interval is not None and row.gap is not None
    ]
    return _Figure(
        frame=_FRAME,
        dots=tuple(dots),
        ticks=tuple((x(value), y(value), fixed(value, 2)) for value in axis.ticks),
        line=f"M{x(axis.low)} {y(axis.low)}L{x(axis.high)} {y(axis.high)}",
    )
