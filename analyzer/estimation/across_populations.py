"""A gap model of several populations, each counting as much as any other, for networks of others.

Everything that is said of a new network is learned by leaving whole populations out: the interval
is hierarchical conformal prediction (Lee, Barber & Willett 2023) in its cross-validated form, where
what is exchangeable is populations, not networks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from analyzer.errors import GapModelError
from analyzer.estimation.applicability_domain import ApplicabilityDomain
from analyzer.estimation.feature_sets import checked_columns, feature_set
from analyzer.estimation.fitting import correlation
from analyzer.estimation.gap_model import FittedOn, GapModel, LeftOut
from analyzer.estimation.intervals import (
    MeasuredCoverage,
    check_coverage,
    covers,
    fewest_points,
)
from analyzer.estimation.linear_fits import weighted_plane
from analyzer.estimation.population_table import PopulationTable

__all__ = ["LeftOutEstimates", "estimate_left_out_populations", "fit_across_populations"]

_FLOOR = 0.2
"""Errors are measured in units of the estimate plus this: on populations left out whole, networks
with small gaps erred by less. From 0.05 to 0.3 the same share of the gaps was held."""


@dataclass(frozen=True, slots=True)
class LeftOutEstimates:
    """Estimates of the N networks of a population, by a gap model of all others."""

    gap: np.ndarray  # float64 (N,), the true one
    estimate: np.ndarray  # float64 (N,)
    low: np.ndarray  # float64 (N,), of the interval
    high: np.ndarray
    inside: np.ndarray  # bool (N,), of the gap model's domain

    @property
    def held(self) -> np.ndarray:
        """bool (N,): whether the interval holds the gap."""
        return covers((self.low, self.high), self.gap)


def fit_across_populations(
    tables: Mapping[str, PopulationTable],
    *,
    name: str,
    data: str,
    architecture: str,
    coverage: float = 0.9,
    features: str = "measures",
) -> GapModel:
    """Fit a plane to several populations together.

    Args:
        tables: population -> its networks; those without a gap or a feature are left out.
        name: what results call the gap model.
        data, architecture: of the populations, for readers.
        coverage: nominal coverage of the interval, in (0, 1), over populations to come.
        features: the name of one of :data:`analyzer.estimation.FEATURE_SETS`, by forward passes
            alone: nothing of the site is held against the domain.

    Raises:
        GapModelError: fewer populations than an interval of this coverage needs, a table that
            lacks a feature, or a population without networks.
    """
    fitted = _fit(tables, name, data, architecture, coverage, features)
    if len(tables) <= fewest_points(coverage):  # without one of them, there is no interval
        return fitted
    left_out = estimate_left_out_populations(tables, coverage=coverage, features=features)
    held = [one.held.mean() for one in left_out.values()]
    return replace(fitted, coverage=MeasuredCoverage(coverage, None, float(np.mean(held))))


def estimate_left_out_populations(
    tables: Mapping[str, PopulationTable],
    *,
    coverage: float = 0.9,
    features: str = "measures",
) -> dict[str, LeftOutEstimates]:
    """Estimate each population by the gap model of all others.

    Raises:
        GapModelError: as :func:`fit_across_populations`.
    """
    found = {}
    for left_out, table in tables.items():
        others = {name: one for name, one in tables.items() if name != left_out}
        fitted = _fit(others, f"all but {left_out}", "", "", coverage, features)
        known = _usable(table, left_out, fitted.features)
        rows = []
        for row in range(len(known)):
            one = fitted.estimate(known.values(row), conditions=known.conditions(row))
            rows.append((one.estimate, one.low, one.high, one.inside_range))
        estimate, low, high, inside = np.array(rows, float).T
        found[left_out] = LeftOutEstimates(known.gap, estimate, low, high, inside.astype(bool))
    return found


def _fit(
    tables: Mapping[str, PopulationTable],
    name: str,
    data: str,
    architecture: str,
    coverage: float,
    features: str,
) -> GapModel:
    check_coverage(coverage)
    least = fewest_points(coverage)
    if len(tables) < least:
        raise GapModelError(
            f"An interval of coverage {coverage:g} over populations needs {least} of them, there "
            f"are {len(tables)}: add populations, or ask for less coverage."
        )
    names = feature_set(features).needed
    known = {population: _usable(table, population, names) for population, table in tables.items()}
    parts = [checked_columns({**one.complete(names), "gap": one.gap}) for one in known.values()]
    points = np.concatenate([np.column_stack([part[n] for n in names]) for part in parts])
    gap = np.concatenate([part["gap"] for part in parts])
    sizes = [len(part["gap"]) for part in parts]
    population = np.repeat(np.arange(len(parts)), sizes)
    weight = np.repeat([1 / size for size in sizes], sizes)
    coefficients, intercept = weighted_plane(points, gap, weight)

    networks = len(gap)
    left_out = np.empty((networks, len(names)))
    intercepts = np.empty(networks)
    for number in range(len(parts)):
        own, rest = population == number, population != number
        left_out[own], intercepts[own] = weighted_plane(points[rest], gap[rest], weight[rest])
    estimates = (left_out * points).sum(axis=1) + intercepts
    by_others = LeftOut(
        coefficients=tuple(tuple(row) for row in left_out.tolist()),
        intercepts=tuple(intercepts.tolist()),
        residuals=(),
        weights=tuple((weight / (len(parts) + 1)).tolist()),
        floor=_FLOOR,
    )
    errors = (gap - estimates) / by_others.may_err(estimates)

    share = weight / len(parts)  # sums to 1
    centre = share @ points
    offset = points - centre
    inverse_scatter = np.linalg.inv((offset * share[:, None] * networks).T @ offset)
    leverage = 1 / networks + np.einsum("ni,ij,nj->n", offset, inverse_scatter, offset)
    estimate = points @ coefficients + intercept
    conditions = [one.conditions(row) for one in known.values() for row in range(len(one))]
    domain = ApplicabilityDomain.of(conditions)
    return GapModel(
        name=name,
        features=names,
        coefficients=tuple(coefficients.tolist()),
        intercept=float(intercept),
        fitted_on=FittedOn(
            networks=networks,
            data=data,
            architecture=architecture,
            recipe={"population": list(known)},
            domain=None if domain is None else domain.without_site(),
        ),
        feature_ranges=tuple((float(c.min()), float(c.max())) for c in points.T),
        gap_range=(float(gap.min()), float(gap.max())),
        feature_means=tuple(centre.tolist()),
        feature_scales=tuple(points.std(axis=0).tolist()),
        inverse_scatter=tuple(tuple(row) for row in inverse_scatter.tolist()),
        max_leverage=float(leverage.max()),
        residual_variance=float(share @ (gap - estimate) ** 2),
        correlation=correlation(estimate, gap),
        t_quantile=None,
        coverage=MeasuredCoverage(coverage, None, None),
        left_out=replace(by_others, residuals=tuple(errors.tolist())),
    )


def _usable(table: PopulationTable, population: str, names: tuple[str, ...]) -> PopulationTable:
    """The networks whose gap and features are known."""
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise GapModelError(
            f"The population {population!r} has no column {', '.join(missing)}: audit it again "
            "with this version."
        )
    known = np.isfinite(table.gap)
    for name in names:
        known &= np.isfinite(table.columns[name])
    if not known.any():
        raise GapModelError(
            f"No network of the population {population!r} has a gap and all of "
            f"{', '.join(names)}: leave its table out, or audit it again."
        )
    return table.take(np.flatnonzero(known))
