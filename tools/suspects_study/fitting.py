"""The line that tells how likely a label is wrong: its fit, and whether its odds hold elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.audit.suspect_ranking import DEPTHS, DoubtLine

__all__ = ["FITTED_ON", "Calibration", "Cell", "calibrations", "fit_line", "samples_rows"]

FITTED_ON = ("digits", "glyphs")
"""Data sets; the third, Fashion-MNIST, tests."""

MOST = 20
"""Percent of wrong labels, at most, of the networks in the fit: what data of life have."""

AGREEMENT_PARTS = 40
"""Agreement is counted in fortieths: ten neighbors at four depths."""

HOLD_PARTS = 8
"""Hold is counted in eighths: eight partners."""

_SOFT = 0.1
_STEPS = 50
_BINS = np.linspace(0, 1, 11)


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """Networks whose samples are counted together."""

    data_set: str
    noise: str  # "clean", "uniform" or "confusable"
    level: int  # percent


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the line says of a cell's samples, and what is true of them."""

    cell: Cell
    samples: int
    said: float  # mean of the probabilities
    wrong: float  # share of the labels
    error: float  # mean |share wrong − probability| over ten bins of the probability
    likely: tuple[int, int]  # samples at 0.5 to 0.9, and wrong ones among them
    certain: tuple[int, int]  # the same above 0.9


def samples_rows(counts: Mapping[tuple[Any, ...], int]) -> list[dict[str, Any]]:
    """Rows of ``samples.csv`` from counts by (cell, agreement, hold, depths, wrong)."""
    keys = sorted({key[:-1] for key in counts})
    return [
        {
            "data_set": cell.data_set,
            "noise": cell.noise,
            "level": cell.level,
            "agreement": agreement,
            "hold": hold,
            "depths": depths,
            "right": counts.get((cell, agreement, hold, depths, False), 0),
            "wrong": counts.get((cell, agreement, hold, depths, True), 0),
        }
        for cell, agreement, hold, depths in keys
    ]


@dataclass(frozen=True, slots=True, eq=False)
class _Counts:
    """Columns of ``samples.csv``."""

    cells: Sequence[Cell]
    terms: np.ndarray  # float64 (R, 3)
    right: np.ndarray  # float64 (R,)
    wrong: np.ndarray  # float64 (R,)


def _read(rows: Sequence[Mapping[str, Any]]) -> _Counts:
    numbers = np.array(
        [
            [float(row[name]) for name in ("agreement", "hold", "depths", "right", "wrong")]
            for row in rows
        ]
    )
    agreement, hold, depths, right, wrong = numbers.T
    return _Counts(
        cells=[Cell(str(r["data_set"]), str(r["noise"]), int(r["level"])) for r in rows],
        terms=np.stack(
            [
                np.log(agreement / AGREEMENT_PARTS + _SOFT),
                np.log(hold / HOLD_PARTS + _SOFT),
                depths / len(DEPTHS),
            ],
            axis=1,
        ),
        right=right,
        wrong=wrong,
    )


def fit_line(
    rows: Sequence[Mapping[str, Any]], *, without: str = "", depths: bool = True
) -> DoubtLine:
    """Logistic regression of "wrong" on the terms, by maximum likelihood; each cell counts alike.

    Args:
        rows: of ``samples.csv``.
        without: a data set that is left out.
        depths: False leaves that term out.
    """
    found = _read(rows)
    kept = np.array(
        [
            cell.data_set in FITTED_ON and cell.data_set != without and cell.level <= MOST
            for cell in found.cells
        ]
    )
    cells = [cell for cell, one in zip(found.cells, kept, strict=True) if one]
    right, wrong = found.right[kept], found.wrong[kept]
    total = dict.fromkeys(cells, 0.0)
    for cell, count in zip(cells, right + wrong, strict=True):
        total[cell] += count
    weight = 1 / np.array([total[cell] for cell in cells])
    columns = [0, 1, 2] if depths else [0, 1]
    points = np.column_stack([found.terms[kept][:, columns], np.ones(len(cells))])
    agreement, hold, *of_depths, intercept = _logistic(
        points, weight * right, weight * wrong
    ).tolist()
    return DoubtLine(agreement, hold, of_depths[0] if depths else 0.0, intercept)


def _logistic(points: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Newton's method; what it maximizes is concave, and has a maximum where classes overlap."""
    a = np.zeros(points.shape[1])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-points @ a))
        slope = points.T @ (wrong - (right + wrong) * p)
        curvature = (points * ((right + wrong) * p * (1 - p))[:, None]).T @ points
        step = np.linalg.solve(curvature, slope)
        a += step
        if np.abs(step).max() < 1e-10:
            break
    return a


def calibrations(rows: Sequence[Mapping[str, Any]]) -> Iterator[Calibration]:
    """Each cell's, by the line that was fitted without its data set."""
    found = _read(rows)
    for cell in sorted(set(found.cells)):
        own = np.array([one == cell for one in found.cells])
        line = fit_line(rows, without=cell.data_set)
        weights = np.array([line.agreement, line.hold, line.depths])
        p = 1 / (1 + np.exp(-(found.terms[own] @ weights + line.intercept)))
        wrong, count = found.wrong[own], found.right[own] + found.wrong[own]
        place = np.digitize(p, _BINS[1:-1])
        off = [abs(wrong[place == k].sum() - (p * count)[place == k].sum()) for k in range(10)]
        likely, certain = (p >= 0.5) & (p < 0.9), p >= 0.9
        yield Calibration(
            cell=cell,
            samples=int(count.sum()),
            said=float((p * count).sum() / count.sum()),
            wrong=float(wrong.sum() / count.sum()),
            error=float(sum(off) / count.sum()),
            likely=(int(count[likely].sum()), int(wrong[likely].sum())),
            certain=(int(count[certain].sum()), int(wrong[certain].sum())),
        )
