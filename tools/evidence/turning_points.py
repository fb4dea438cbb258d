"""Where the curves' turning points are looked for, and what each says of the gap.

Eq. 2 takes the first n at which E is at chance, Eq. 3 the last at which E_r is at its maximum; ζ
adds the two up. The table ``turning-NAME.csv`` has both for other levels too: n0 where E is at most
so much, n0_r where E_r is at least such a share of its maximum; plain averages over the classes, as
shares of the units. The first of each is the one that ζ is made of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.estimation import draw_splits, score_features
from analyzer.measures.ablation.class_curves import ClassCurves
from analyzer.measures.ablation.curve_features import (
    ascending_turning_point,
    descending_turning_point,
)
from tools.evidence.analysis import agreement
from tools.evidence.findings import Findings
from tools.evidence.tables import Table

__all__ = ["TurningPoint", "turning_cells", "turning_points"]

LEVELS = ("chance", "0.10", "0.20", "0.50", "0.80", "0.90")  # of E
SHARES = ("1.00", "0.95", "0.90", "0.80", "0.70", "0.50")  # of the maximum of E_r


@dataclass(frozen=True, slots=True)
class TurningPoint:
    """One level at which a turning point is looked for, over N networks."""

    curve: str  # "E" or "E_r"
    level: str  # of LEVELS or SHARES
    r: float | None  # with the gap
    out_of_fold_r: float  # of ζ made with it, and κ

    @property
    def looked_for(self) -> str:
        """The level in words."""
        if self.level == LEVELS[0]:
            return "at chance (Eq. 2)"
        if self.curve == "E":
            return f"at most {float(self.level):.0%}"
        if self.level == SHARES[0]:
            return "at the maximum (Eq. 3)"
        return f"at least {float(self.level):.0%} of the maximum"


def turning_cells(curves: Sequence[ClassCurves], chance: float) -> dict[str, float]:
    """A network's cells of the table, by column; curves of classes with samples."""
    count = np.array([curve.samples for curve in curves])
    descending = np.stack([curve.descending for curve in curves])  # (K, M + 1)
    ascending = np.stack([curve.ascending for curve in curves])
    units = descending.shape[1] - 1
    cells = {}
    for level in LEVELS:
        at = chance if level == "chance" else float(level)
        n0, _ = descending_turning_point(descending, count, at)
        cells[f"n0 {level}"] = round(float(n0.mean()) / units, 6)
    for share in SHARES:
        cells[f"n0_r {share}"] = round(float(_kept(ascending, share).mean()) / units, 6)
    return cells


def _kept(ascending: np.ndarray, share: str) -> np.ndarray:
    """The largest n below M at which E_r is at least that share of its maximum there, (K,)."""
    if share == SHARES[0]:
        return ascending_turning_point(ascending)
    some_left = ascending[:, :-1]
    enough = some_left >= float(share) * some_left.max(axis=1, keepdims=True)
    return some_left.shape[1] - 1 - enough[:, ::-1].argmax(axis=1)


def turning_points(table: Table, findings: Findings) -> tuple[TurningPoint, ...]:
    """What each column of a population's table says of the gap of its networks.

    ζ is made with the column in the place of its own turning point, the other being as it is.

    Raises:
        AnalyzerError: a network or a column is missing.
    """
    rows = table.where(np.isin(table.texts("network"), findings.networks.texts("name")))
    columns = {name: rows.numbers(name) for name in rows.columns if name != "network"}
    gap, kappa = findings.column("gap"), findings.column("kappa")
    return tuple(
        TurningPoint(
            curve=curve,
            level=level,
            r=agreement(columns[f"{symbol} {level}"], gap).r,
            out_of_fold_r=_estimated(columns, symbol, level, kappa, gap),
        )
        for curve, symbol, levels in (("E", "n0", LEVELS), ("E_r", "n0_r", SHARES))
        for level in levels
    )


def _estimated(
    columns: Mapping[str, np.ndarray], symbol: str, level: str, kappa: np.ndarray, gap: np.ndarray
) -> float:
    used = {"n0": LEVELS[0], "n0_r": SHARES[0], symbol: level}
    zeta = (columns[f"n0 {used['n0']}"] + 1 - columns[f"n0_r {used['n0_r']}"]) / 2  # Eq. 4
    splits = draw_splits(len(gap))
    return score_features({"zeta": zeta, "kappa": kappa}, gap, splits).out_of_fold_r
