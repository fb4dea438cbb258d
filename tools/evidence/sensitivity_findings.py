"""What a table of :mod:`tools.evidence.sensitivity` says: what follows the gap, by choice."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analyzer.errors import GapModelError
from analyzer.estimation import draw_splits, score_features
from tools.evidence.analysis import FEWEST, agreement, agreement_within_levels
from tools.evidence.tables import Table

__all__ = ["HEADER", "Sensitivity", "sensitivities"]

HEADER = (
    "variation", "value", "networks", "ζ", "κ", "area", "r(ζ, gap)", "r(κ, gap)", "r(area, gap)",
    "within: ζ", "κ", "area", "out of fold: ζ and κ", "area",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """All audits of a population under one choice; None is what cannot be computed."""

    variation: str
    value: str
    networks: int  # N
    zeta: float  # mean
    kappa: float  # mean
    area: float  # under E_r, mean
    zeta_r: float | None  # Pearson's r with the gap
    kappa_r: float | None
    area_r: float | None
    zeta_within: float | None  # the same without what differs between corruption levels
    kappa_within: float | None
    area_within: float | None
    out_of_fold_r: float | None  # of gaps estimated by Eq. 7, fitted on other networks
    area_out_of_fold_r: float | None  # of gaps estimated by a line through the area

    def cells(self) -> tuple[str, ...]:
        """For a table under :data:`HEADER`."""
        correlations = (
            self.zeta_r, self.kappa_r, self.area_r, self.zeta_within, self.kappa_within,
            self.area_within, self.out_of_fold_r, self.area_out_of_fold_r,
        )  # fmt: skip
        return (
            self.variation,
            self.value,
            str(self.networks),
            f"{self.zeta:.3f}",
            f"{self.kappa:.3f}",
            f"{self.area:.3f}",
            *("–" if r is None else f"{r:+.2f}" for r in correlations),
        )


def sensitivities(table: Table) -> tuple[Sensitivity, ...]:
    """Every variation and value of the table, in its order.

    Raises:
        AnalyzerError: a column is missing, or a cell is no number.
    """
    pairs = list(zip(table.texts("variation"), table.texts("value"), strict=True))
    return tuple(
        _sensitivity(table.where(np.array([other == pair for other in pairs])))
        for pair in dict.fromkeys(pairs)
    )


def _sensitivity(rows: Table) -> Sensitivity:
    zeta, kappa, area, gap = (rows.numbers(name) for name in ("zeta", "kappa", "area", "gap"))
    levels = rows.texts("corruption").tolist()
    within = [agreement_within_levels(quantity, gap, levels) for quantity in (zeta, kappa, area)]
    return Sensitivity(
        variation=str(rows.texts("variation")[0]),
        value=str(rows.texts("value")[0]),
        networks=len(rows),
        zeta=float(zeta.mean()),
        kappa=float(kappa.mean()),
        area=float(area.mean()),
        zeta_r=agreement(zeta, gap).r,
        kappa_r=agreement(kappa, gap).r,
        area_r=agreement(area, gap).r,
        zeta_within=within[0].r if within[0] else None,
        kappa_within=within[1].r if within[1] else None,
        area_within=within[2].r if within[2] else None,
        out_of_fold_r=_out_of_fold({"zeta": zeta, "kappa": kappa}, gap),
        area_out_of_fold_r=_out_of_fold({"area": area}, gap),
    )


def _out_of_fold(columns: Mapping[str, np.ndarray], gap: np.ndarray) -> float | None:
    if len(gap) < FEWEST:
        return None
    try:
        return score_features(columns, gap, draw_splits(len(gap), splits=1)).out_of_fold_r
    except GapModelError:  # a quantity that is the same for all networks
        return None
