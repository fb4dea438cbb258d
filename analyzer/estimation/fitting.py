"""Fitting a gap model to a population of networks (Eq. 7)."""

from collections.abc import Mapping, Sequence

import numpy as np

from analyzer.errors import GapModelError
from analyzer.estimation.applicability_domain import ApplicabilityDomain, Range
from analyzer.estimation.feature_sets import checked_features, feature_set
from analyzer.estimation.gap_model import FittedOn, GapModel, LeftOut
from analyzer.estimation.intervals import (
    check_coverage,
    fewest_points,
    lines_without_each,
    measure_coverage,
    student_t_quantile,
)
from analyzer.estimation.linear_fits import Fit, least_squares
from analyzer.estimation.population_table import PopulationTable
from analyzer.measures.registry import SYMBOLS

__all__ = ["correlation", "fit_gap_model", "fit_population"]


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
        GapModelError: too few networks for the features or for an interval of this coverage, values
            that are not finite, a quantity that is the same for all networks, features that cannot
            be told apart, or a coverage outside (0, 1).
    """
    check_coverage(coverage)
    features, target = checked_features(columns, gap, fit=fit)
    plain = fit is least_squares
    if not plain:
        _check_networks(len(target), coverage)
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
        feature_means=_floats(line.centre),
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
        GapModelError: as :func:`fit_gap_model`, features of another name, features that the table
            lacks, the networks were ranked differently, or a condition is not one.
    """
    chosen = feature_set(features)
    known = population.with_gap()
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


def _check_networks(networks: int, coverage: float) -> None:
    if networks < fewest_points(coverage):
        raise GapModelError(
            f"A gap model by ridge with an interval of coverage {coverage:g} needs "
            f"{fewest_points(coverage)} networks with a known gap, there are {networks}: "
            "add networks, or ask for less coverage."
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
