"""Fitting a gap model to a population of networks (Eq. 7)."""

from collections.abc import Mapping, Sequence

import numpy as np

from analyzer.errors import GapModelError
from analyzer.estimation.columns import SYMBOLS, checked_columns
from analyzer.estimation.gap_model import FEATURES, FittedOn, GapModel, Range
from analyzer.estimation.intervals import measure_coverage, student_t_quantile
from analyzer.estimation.least_squares import least_squares
from analyzer.estimation.population import Population

__all__ = ["checked_features", "correlation", "fit_gap_model", "fit_population"]

MIN_NETWORKS = 4  # three coefficients, and one network to tell how well they fit


def fit_gap_model(
    zeta: np.ndarray,
    kappa: np.ndarray,
    gap: np.ndarray,
    *,
    name: str,
    data: str,
    architecture: str,
    recipe: Mapping[str, Sequence[float] | Sequence[str]] | None = None,
    rank: str = "l1",
    coverage: float = 0.9,
) -> GapModel:
    """Fit Eq. 7 by ordinary least squares.

    Args:
        zeta: float ndarray of shape (N,).
        kappa: float ndarray of shape (N,).
        gap: float ndarray of shape (N,), training − test accuracy.
        name: what results call the gap model.
        data: the data set of the population, for readers.
        architecture: the architecture of its networks, for readers.
        recipe: per hyperparameter its range or its values, as :meth:`Population.recipe` gives.
        rank: what the units were ranked by, as :attr:`Population.rank` gives.
        coverage: nominal coverage of the prediction interval, in (0, 1).

    Raises:
        GapModelError: fewer than four networks, values that are not finite, a quantity that is
            the same for all networks, ζ and κ on one line, or a coverage outside (0, 1).
    """
    if not 0 < coverage < 1:
        raise GapModelError(
            f"The coverage of the interval is {coverage}: give a number between 0 and 1, "
            "for example 0.9."
        )
    features, target = checked_features({"zeta": zeta, "kappa": kappa}, gap)
    fit = least_squares(features, target)
    if fit.rank < features.shape[1]:
        raise GapModelError(
            "ζ and κ lie on one line in this population, so their shares cannot be told apart: "
            "add networks trained by other recipes."
        )
    return GapModel(
        name=name,
        features=FEATURES,
        coefficients=_floats(fit.coefficients),
        intercept=fit.intercept,
        fitted_on=FittedOn(len(target), data, architecture, dict(recipe or {}), rank),
        feature_ranges=tuple(_range(column) for column in features.T),
        gap_range=_range(target),
        feature_means=_floats(fit.centre),
        inverse_scatter=tuple(_floats(row) for row in fit.inverse_scatter),
        max_leverage=float(fit.leverage.max()),
        residual_variance=fit.residual_variance,
        correlation=correlation(fit.predict(features), target),
        t_quantile=student_t_quantile(coverage, fit.degrees),
        coverage=measure_coverage(features, target, coverage),
    )


def fit_population(
    population: Population, *, name: str, data: str, architecture: str, coverage: float = 0.9
) -> GapModel:
    """Fit the networks of a population whose gap is known; recipes and ranking are noted.

    Raises:
        GapModelError: as :func:`fit_gap_model`, or the networks were ranked differently.
    """
    known = population.with_gap()
    return fit_gap_model(
        known.zeta,
        known.kappa,
        known.gap,
        name=name,
        data=data,
        architecture=architecture,
        recipe=known.recipe(),
        rank=known.rank,
        coverage=coverage,
    )


def checked_features(
    columns: Mapping[str, np.ndarray], gap: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, P) and targets (N,) in float64, once they are fit to be fitted.

    Raises:
        GapModelError: shapes that differ, fewer than four networks, values that are not finite,
            or a column that is the same for all networks.
    """
    arrays = checked_columns({**columns, "gap": gap})
    networks = len(arrays["gap"])
    if networks < MIN_NETWORKS:
        raise GapModelError(
            f"A gap model needs at least {MIN_NETWORKS} networks with a known gap, "
            f"there are {networks}: add networks, or test data for those that have none."
        )
    for key, values in arrays.items():
        if np.ptp(values) <= 1e-12:
            raise GapModelError(
                f"The {SYMBOLS.get(key, key)} of all {networks} networks is {values[0]:.4g}, so "
                "nothing can be fitted: add networks trained by other recipes."
            )
    return np.column_stack([arrays[key] for key in columns]), arrays["gap"]


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r; 0 where one side is constant, which tells nothing of the other."""
    if not np.ptp(first) or not np.ptp(second):
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _range(values: np.ndarray) -> Range:
    return float(values.min()), float(values.max())
