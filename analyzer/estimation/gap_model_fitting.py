"""Fitting a gap model to a population of networks (Eq. 7), or to several populations together.

Of several populations each counts as much as any other, and the gap model is for networks of
others. Everything that is said of a new network is learned by leaving whole populations out: the
interval is hierarchical conformal prediction (Lee, Barber & Willett 2023) in its cross-validated
form, where what is exchangeable is populations, not networks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analyzer.errors import GapModelError, parameter
from analyzer.estimation.applicability_domain import ApplicabilityDomain, AuditConditions, Range
from analyzer.estimation.feature_sets import (
    MOST_NETWORKS,
    MOST_RIDGE_NETWORKS,
    check_not_too_many,
    checked_columns,
    checked_features,
    feature_set,
)
from analyzer.estimation.gap_model import FittedOn, GapModel, LeftOut
from analyzer.estimation.population_table import PopulationTable
from analyzer.estimation.regression import (
    LEAST_COVERAGE,
    Fit,
    MeasuredCoverage,
    check_coverage,
    covers,
    fewest_points,
    least_squares,
    lines_without_each,
    measure_coverage,
    student_t_quantile,
    weighted_plane,
)
from analyzer.measures.registry import SYMBOLS

__all__ = [
    "LeftOutEstimates",
    "correlation",
    "estimate_left_out_populations",
    "fit_across_populations",
    "fit_gap_model",
    "fit_population",
]

_FLOOR = 0.2
"""Errors are measured in units of the estimate plus this: on populations left out whole, networks
with small gaps erred by less. From 0.05 to 0.3 the same share of the gaps was held."""

_FEW = 5.0
"""And grow by the root of 1 + this / samples of a class: with few of them, networks erred by more.
Of 0 to 20, this left the populations whose gaps are held least the least below their 90 %."""


def fit_gap_model(
    columns: Mapping[str, np.ndarray],
    gap: np.ndarray,
    *,
    name: str,
    data: str,
    architecture: str,
    recipe: Mapping[str, Sequence[float] | Sequence[str]] | None = None,
    rank: str = "l1",
    domain: ApplicabilityDomain | None = None,
    coverage: float = 0.9,
    fit: Fit = least_squares,
) -> GapModel:
    """Fit a line through any features.

    By least squares the prediction interval is Student's t, by a ridge it is jackknife+.

    Args:
        columns: feature -> float ndarray of shape (N,): "zeta" and "kappa" for Eq. 7.
        gap: float ndarray of shape (N,), training − test accuracy.
        name: what results call the gap model.
        data: the data set of the population, for readers.
        architecture: the architecture of its networks, for readers.
        recipe: per hyperparameter its range or its values, as :meth:`PopulationTable.recipe` gives.
        rank: what the units were ranked by, as :attr:`PopulationTable.rank` gives.
        domain: the conditions of the networks' audits, where they are known.
        coverage: nominal coverage of the prediction interval, in (0, 1).
        fit: :func:`least_squares`, or :func:`ridge`, whose penalty is that which predicts each
            network best from all the others.

    Raises:
        GapModelError: too few networks for the features or for an interval of this coverage, more
            than 5,000, or than 1,000 for a ridge, values that are not finite, a gap outside -1 to
            1, a quantity that is the same for all networks, features that cannot be distinguished,
            or a coverage outside (0, 1), or below 0.5 for a ridge.
    """
    check_coverage(coverage)
    features, target = checked_features(columns, gap, fit=fit)
    if np.abs(target).max() > 1:
        worst = int(np.abs(target).argmax())
        raise GapModelError(
            f"The gap of network {worst + 1} of {len(target)} is {target[worst]:g}: give gaps as "
            "fractions, from -1 to 1."
        )
    check_not_too_many(len(target), MOST_NETWORKS)
    plain = fit is least_squares
    if not plain:
        _check_networks(len(target), coverage)
        check_not_too_many(len(target), MOST_RIDGE_NETWORKS, "a ridge")
    line = fit(features, target)
    if plain:
        _check_rank(columns, line.rank, line.degrees)
    return GapModel(
        name=name,
        features=tuple(columns),
        coefficients=_floats(line.coefficients),
        intercept=line.intercept,
        fitted_on=FittedOn(len(target), data, architecture, dict(recipe or {}), rank, domain),
        feature_ranges=tuple(_range(column) for column in line.features.T),
        gap_range=_range(target),
        feature_means=_floats(line.center),
        feature_scales=_floats(line.features.std(axis=0)),
        inverse_scatter=tuple(_floats(row) for row in line.inverse_scatter),
        max_leverage=float(line.leverage.max()),
        residual_variance=line.residual_variance,
        correlation=correlation(line.predict(line.features), target),
        penalty=line.penalty,
        t_quantile=student_t_quantile(coverage, line.degrees) if plain else None,
        coverage=measure_coverage(features, target, coverage, fit=fit),
        left_out=None if plain else _left_out(features, target, fit),
    )


def fit_population(
    population: PopulationTable,
    *,
    name: str,
    data: str,
    architecture: str,
    coverage: float = 0.9,
    features: str = "paper",
) -> GapModel:
    """Fit the networks of a population whose gap is known.

    Their recipes, ranking and conditions are noted.

    Args:
        population: the networks.
        name, data, architecture, coverage: as of :func:`fit_gap_model`.
        features: the name of one of :data:`analyzer.estimation.FEATURE_SETS`.

    Raises:
        GapModelError: as :func:`fit_gap_model`, no gap is known, features of another name,
            features that the table lacks, the networks were ranked differently, or a condition is
            not one.
    """
    chosen = feature_set(features)
    known = population.with_gap()
    if not len(known):
        raise GapModelError(
            "No network of the population has a known gap: give the test accuracy of each, or its "
            "gap, or test data to measure it on."
        )
    return fit_gap_model(
        chosen.columns(known),
        known.gap,
        name=name,
        data=data,
        architecture=architecture,
        recipe=known.recipe(),
        rank=known.rank,
        domain=ApplicabilityDomain.of(map(known.conditions, range(len(known)))),
        coverage=coverage,
        fit=chosen.fit,
    )


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r; 0 where one side is constant, which tells nothing of the other."""
    if not np.ptp(first) or not np.ptp(second):
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _check_jackknife_plus(coverage: float) -> None:
    """Refuse a coverage that no jackknife+ interval has."""
    if coverage < LEAST_COVERAGE:
        raise GapModelError(
            f"{parameter('coverage', coverage)} is too little for an interval by jackknife+, which "
            f"a ridge has: give {LEAST_COVERAGE:g} or more."
        )


def _check_networks(networks: int, coverage: float) -> None:
    _check_jackknife_plus(coverage)
    if networks < fewest_points(coverage):
        raise GapModelError(
            f"A gap model by ridge with an interval of coverage {coverage:g} needs "
            f"{fewest_points(coverage)} networks with a known gap; there are {networks}. "
            f"Add networks, or ask for less coverage: {parameter('coverage')}."
        )


def _check_rank(columns: Mapping[str, np.ndarray], rank: float, degrees: float) -> None:
    """Refuse features of which ordinary least squares cannot tell the shares."""
    if rank < len(columns):
        named = " and ".join(SYMBOLS.get(name, name) for name in columns)
        raise GapModelError(
            f"{named} lie on one line in this population, so their shares cannot be separated: "
            "add networks trained by other recipes."
        )
    if degrees < 1:
        raise GapModelError(
            f"A line through {len(columns)} features needs at least {len(columns) + 2} networks "
            "with a known gap: add networks, or take fewer features."
        )


def _left_out(features: np.ndarray, target: np.ndarray, fit: Fit) -> LeftOut:
    coefficients, intercepts, residuals = lines_without_each(features, target, fit)
    return LeftOut(
        coefficients=tuple(_floats(row) for row in coefficients),
        intercepts=_floats(intercepts),
        residuals=_floats(residuals),
    )


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _range(values: np.ndarray) -> Range:
    return float(values.min()), float(values.max())


@dataclass(frozen=True, slots=True)
class LeftOutEstimates:
    """Estimates of the N networks of a population, by a gap model of all others."""

    name: tuple[str, ...]  # N
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
        found[left_out] = LeftOutEstimates(
            known.name, known.gap, estimate, low, high, inside.astype(bool)
        )
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Networks:
    """The N networks of several populations, one population after another, each with F features."""

    points: np.ndarray  # float64 (N, F)
    gap: np.ndarray  # float64 (N,)
    population: np.ndarray  # int64 (N,): number of each one's
    weight: np.ndarray  # float64 (N,): that of a population sums to 1
    conditions: tuple[AuditConditions | None, ...]  # N: of their audits

    @classmethod
    def of(cls, tables: Iterable[PopulationTable], names: Sequence[str]) -> "_Networks":
        """Those of all tables, which know gap and features ``names`` of each of their networks."""
        known = list(tables)
        parts = [checked_columns({**one.complete(names), "gap": one.gap}) for one in known]
        sizes = [len(part["gap"]) for part in parts]
        return cls(
            points=np.concatenate([np.column_stack([part[n] for n in names]) for part in parts]),
            gap=np.concatenate([part["gap"] for part in parts]),
            population=np.repeat(np.arange(len(parts)), sizes),
            weight=np.repeat([1 / size for size in sizes], sizes),
            conditions=tuple(one.conditions(row) for one in known for row in range(len(one))),
        )

    @property
    def populations(self) -> int:
        """How many there are."""
        return int(self.population[-1]) + 1

    def plane(self, some: np.ndarray | slice = slice(None)) -> tuple[np.ndarray, float]:
        """Coefficients (F,) and intercept of a plane through them all, or through some."""
        return weighted_plane(self.points[some], self.gap[some], self.weight[some])


def _fit(
    tables: Mapping[str, PopulationTable],
    name: str,
    data: str,
    architecture: str,
    coverage: float,
    features: str,
) -> GapModel:
    """The gap model of all tables, without how often its intervals hold."""
    check_coverage(coverage)
    _check_jackknife_plus(coverage)
    least = fewest_points(coverage)
    if len(tables) < least:
        raise GapModelError(
            f"An interval of coverage {coverage:g} over populations needs {least} of them; there "
            f"are {len(tables)}. Add populations, or ask for less coverage: "
            f"{parameter('coverage')}."
        )
    names = feature_set(features).needed
    networks = _Networks.of((_usable(table, key, names) for key, table in tables.items()), names)
    points, gap = networks.points, networks.gap
    coefficients, intercept = networks.plane()
    estimate = points @ coefficients + intercept
    share = networks.weight / networks.populations  # sums to 1
    center = share @ points
    inverse_scatter, leverage = _spread(points, share, center)
    domain = ApplicabilityDomain.of(networks.conditions)
    return GapModel(
        name=name,
        features=names,
        coefficients=_floats(coefficients),
        intercept=float(intercept),
        fitted_on=FittedOn(
            networks=len(gap),
            data=data,
            architecture=architecture,
            recipe={"population": list(tables)},
            domain=None if domain is None else domain.without_site(),
        ),
        feature_ranges=tuple(_range(column) for column in points.T),
        gap_range=_range(gap),
        feature_means=_floats(center),
        feature_scales=_floats(points.std(axis=0)),
        inverse_scatter=tuple(_floats(row) for row in inverse_scatter),
        max_leverage=float(leverage.max()),
        residual_variance=float(share @ (gap - estimate) ** 2),
        correlation=correlation(estimate, gap),
        t_quantile=None,
        coverage=MeasuredCoverage(coverage, None, None),
        left_out=_left_out_populations(networks),
    )


def _left_out_populations(networks: _Networks) -> LeftOut:
    """Each network by the plane through all populations but its own."""
    coefficients = np.empty_like(networks.points)
    intercepts = np.empty_like(networks.gap)
    for number in range(networks.populations):
        own = networks.population == number
        coefficients[own], intercepts[own] = networks.plane(~own)
    known = networks.conditions
    accuracy = np.array([1.0 if one is None else one.accuracy for one in known])
    each = np.array([np.inf if one is None else one.samples_per_class for one in known])
    estimates = np.clip((coefficients * networks.points).sum(axis=1) + intercepts, 0, accuracy)
    found = LeftOut(
        coefficients=tuple(_floats(row) for row in coefficients),
        intercepts=_floats(intercepts),
        residuals=(),
        weights=_floats(networks.weight / (networks.populations + 1)),
        floor=_FLOOR,
        few=_FEW,
    )
    errors = (networks.gap - estimates) / found.may_err(estimates, each)
    return replace(found, residuals=_floats(errors))


def _spread(
    points: np.ndarray, share: np.ndarray, center: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The inverse scatter (F, F) of points (N, F) around their center, and their leverage (N,).

    Args:
        points: float64 (N, F).
        share: float64 (N,), of each in the center, summing to 1.
        center: float64 (F,).
    """
    networks, offset = len(points), points - center
    inverse_scatter = np.linalg.inv((offset * share[:, None] * networks).T @ offset)
    leverage = 1 / networks + np.einsum("ni,ij,nj->n", offset, inverse_scatter, offset)
    return inverse_scatter, leverage


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
