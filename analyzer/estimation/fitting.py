"""Fitting a gap model to a population of networks (Eq. 7)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analyzer.errors import GapModelError
from analyzer.estimation.circumstances import CircumstanceRanges
from analyzer.estimation.columns import Range, checked_columns
from analyzer.estimation.gap_model import FEATURES, FittedOn, GapModel, LeftOut
from analyzer.estimation.intervals import (
    check_coverage,
    fewest_points,
    lines_without_each,
    measure_coverage,
    student_t_quantile,
)
from analyzer.estimation.least_squares import Fit, LinearFit, least_squares, ridge
from analyzer.estimation.population import Population
from analyzer.measures.registry import SYMBOLS

__all__ = [
    "FEATURE_SETS",
    "checked_features",
    "correlation",
    "fit_extended",
    "fit_gap_model",
    "fit_population",
]

FEATURE_SETS = ("paper", "area", "extended")
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
    circumstances: CircumstanceRanges | None = None,
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
        circumstances: of the networks' audits, where they are known.
        coverage: nominal coverage of the prediction interval, in (0, 1).

    Raises:
        GapModelError: fewer than four networks, values that are not finite, a quantity that is
            the same for all networks, ζ and κ on one line, or a coverage outside (0, 1).
    """
    check_coverage(coverage)
    features, target = checked_features({"zeta": zeta, "kappa": kappa}, gap)
    line = least_squares(features, target)
    if line.rank < features.shape[1]:
        raise GapModelError(
            "ζ and κ lie on one line in this population, so their shares cannot be told apart: "
            "add networks trained by other recipes."
        )
    return GapModel(
        name=name,
        fitted_on=FittedOn(
            len(target), data, architecture, dict(recipe or {}), rank, circumstances
        ),
        t_quantile=student_t_quantile(coverage, line.degrees),
        coverage=measure_coverage(features, target, coverage),
        **_described(FEATURES, line, target),
    )


def fit_extended(
    columns: Mapping[str, np.ndarray],
    gap: np.ndarray,
    *,
    name: str,
    data: str,
    architecture: str,
    recipe: Mapping[str, Sequence[float] | Sequence[str]] | None = None,
    rank: str = "l1",
    circumstances: CircumstanceRanges | None = None,
    coverage: float = 0.9,
) -> GapModel:
    """Fit a gap model on other features than Eq. 7 has, by a ridge on standardised features.

    Its penalty is that which predicts each network best from all the others. The interval is a
    jackknife+ one.

    Args:
        columns: feature -> float ndarray of shape (N,), as :meth:`Population.area` and
            :meth:`Population.extended` give.
        gap: float ndarray of shape (N,), training − test accuracy.
        name, data, architecture, recipe, rank, circumstances, coverage: as of
            :func:`fit_gap_model`.

    Raises:
        GapModelError: too few networks for an interval of this coverage, values that are not
            finite, gaps that are all the same, or a coverage outside (0, 1).
    """
    check_coverage(coverage)
    features, target = checked_features(columns, gap, fit=ridge)
    if len(target) < fewest_points(coverage):
        raise GapModelError(
            f"A gap model by ridge with an interval of coverage {coverage:g} needs "
            f"{fewest_points(coverage)} networks with a known gap, there are {len(target)}: "
            "add networks, or ask for less coverage."
        )
    line = ridge(features, target)
    coefficients, intercepts, residuals = lines_without_each(features, target, ridge)
    return GapModel(
        name=name,
        fitted_on=FittedOn(
            len(target), data, architecture, dict(recipe or {}), rank, circumstances
        ),
        t_quantile=None,
        coverage=measure_coverage(features, target, coverage, fit=ridge),
        left_out=LeftOut(
            coefficients=tuple(_floats(row) for row in coefficients),
            intercepts=_floats(intercepts),
            residuals=_floats(residuals),
        ),
        **_described(tuple(columns), line, target),
    )


def fit_population(
    population: Population,
    *,
    name: str,
    data: str,
    architecture: str,
    coverage: float = 0.9,
    features: str = "paper",
) -> GapModel:
    """Fit the networks of a population whose gap is known.

    Their recipes, ranking and circumstances are noted.

    Args:
        population: the networks.
        name, data, architecture, coverage: as of :func:`fit_gap_model`.
        features: "paper" for ζ and κ, "area" for the area under E_r alone, "extended" for all
            columns that :meth:`Population.extended` gives.

    Raises:
        GapModelError: as :func:`fit_gap_model` and :func:`fit_extended`, features of another
            name, the networks were ranked differently, or a circumstance is not one.
    """
    if features not in FEATURE_SETS:
        raise GapModelError(f"The features are {features!r}: give {', '.join(FEATURE_SETS)}.")
    known = population.with_gap()
    words = {
        "name": name,
        "data": data,
        "architecture": architecture,
        "recipe": known.recipe(),
        "rank": known.rank,
        "circumstances": CircumstanceRanges.of(map(known.circumstances, range(len(known)))),
        "coverage": coverage,
    }
    if features == "paper":
        return fit_gap_model(known.zeta, known.kappa, known.gap, **words)
    return fit_extended(known.columns(features), known.gap, **words)


def checked_features(
    columns: Mapping[str, np.ndarray], gap: np.ndarray, *, fit: Fit = least_squares
) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, P) and targets (N,) in float64, once they are fit to be fitted.

    Args:
        columns: feature -> float ndarray of shape (N,).
        gap: float ndarray of shape (N,).
        fit: what they are for; a feature that is the same for all networks is no harm to a ridge.

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
    for key in arrays if fit is least_squares else ("gap",):
        values = arrays[key]
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


def _described(features: tuple[str, ...], line: LinearFit, target: np.ndarray) -> dict[str, Any]:
    """The fields of a gap model that any line has."""
    return {
        "features": features,
        "coefficients": _floats(line.coefficients),
        "intercept": line.intercept,
        "feature_ranges": tuple(_range(column) for column in line.features.T),
        "gap_range": _range(target),
        "feature_means": _floats(line.centre),
        "feature_scales": _floats(line.features.std(axis=0)),
        "inverse_scatter": tuple(_floats(row) for row in line.inverse_scatter),
        "max_leverage": float(line.leverage.max()),
        "residual_variance": line.residual_variance,
        "correlation": correlation(line.predict(line.features), target),
        "penalty": line.penalty,
    }


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _range(values: np.ndarray) -> Range:
    return float(values.min()), float(values.max())
