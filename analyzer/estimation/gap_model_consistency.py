"""Whether the numbers of a gap model can come from one fit.

A file whose fields are all well formed may still hold numbers that do not belong together: edited
by hand, or put together from two. What follows here holds for every fit, whatever the population.
"""

import math
from collections.abc import Iterator

import numpy as np

from analyzer.estimation.class_gaps import ClassLine
from analyzer.estimation.gap_model import GapModel
from analyzer.estimation.regression import LEAST_COVERAGE, fewest_points

__all__ = ["contradictions"]

_ROUNDING = 1e-6
_WELL_CONDITIONED = 1e10
_ANGLES = 20_001  # steps of an integral
_MOST_DEGREES = 5000  # from there on Student's t is the normal distribution
_APART_AT_MEANS, _APART_AT_ENDS = 0.1, 0.5  # of the range of gaps, that the fit to all lies beyond
# those that leave something out: of small populations with many features far less at the means
_MANY = 5  # networks for each feature, from which fits agree at the ends of a range, too

Contradiction = tuple[str, str, object]
"""A field, what it would have to be, and what it is."""


def contradictions(gap_model: GapModel) -> Iterator[Contradiction]:
    """The fields that no fit can have beside the others."""
    yield from _of_features(gap_model)
    yield from _of_leverage(gap_model)
    if gap_model.left_out is None:
        yield from _of_student_t(gap_model)
    else:
        yield from _of_left_out(gap_model)
    if gap_model.class_line is not None:
        yield from _of_classes(gap_model, gap_model.class_line)


def _of_features(model: GapModel) -> Iterator[Contradiction]:
    """A line by least squares, with weights or a ridge or neither, passes through the means."""
    for name, mean, (low, high) in zip(
        model.features, model.feature_means, model.feature_ranges, strict=True
    ):
        slack = _ROUNDING * max(abs(low), abs(high))
        if not low - slack <= mean <= high + slack:
            yield f"means.{name}", f"a number from {low:g} to {high:g}, its range", mean
    low, high = model.gap_range
    if low < -1 or high > 1:
        yield "ranges.gap", "from -1 to 1", model.gap_range
    terms = np.multiply(model.coefficients, model.feature_means)
    mean, slack = terms.sum() + model.intercept, _ROUNDING * (1 + 1e-3 * np.abs(terms).sum())
    if not low - slack <= mean <= high + slack:
        wanted = f"such that the estimate at the means is a gap from {low:g} to {high:g}"
        yield "intercept", wanted, model.intercept


def _of_leverage(model: GapModel) -> Iterator[Contradiction]:
    networks = model.fitted_on.networks
    weights = model.left_out.weights if model.left_out is not None else ()
    share = min(weights) if weights else 1 / networks  # the least that a network counts
    most = 1 / networks + 1 / (share * networks) if weights and share else 1.0
    if not (1 - _ROUNDING) / networks <= model.max_leverage <= most * (1 + _ROUNDING):
        yield "max_leverage", f"a number from {1 / networks:.4g} to {most:.4g}", model.max_leverage
    inverse = np.array(model.inverse_scatter)
    root = np.sqrt(np.diag(inverse))
    scaled = inverse / np.outer(root, root)
    if np.linalg.cond(scaled) > _WELL_CONDITIONED:
        return
    with np.errstate(over="ignore"):
        scatter = np.diag(np.linalg.inv(scaled)) / root / root / (1 + model.penalty)
    for name, squares, (low, high) in zip(
        model.features, scatter, model.feature_ranges, strict=True
    ):
        width = high - low
        if width <= _ROUNDING * max(abs(low), abs(high)):
            continue  # all alike: a ridge takes it as it is
        # Both ends are networks, and no spread is wider than half of them at either.
        least, widest = share * networks * width**2 / 2, networks * width**2 / 4
        if not least * (1 - 1e-3) <= squares <= widest * (1 + 1e-3):
            yield "inverse_scatter", f"that of networks with ranges.{name}", model.inverse_scatter


def _of_student_t(model: GapModel) -> Iterator[Contradiction]:
    networks, features = model.fitted_on.networks, len(model.features)
    degrees = networks - features - 1
    if degrees < 1:
        yield "fitted_on.networks", f"an integer of at least {features + 2}", networks
        return
    coverage = model.coverage.nominal
    assert model.t_quantile is not None  # where there is no jackknife+
    if abs(_within(model.t_quantile, degrees) - coverage) > 1e-4:
        wanted = f"that of Student's t with {degrees} degrees of freedom for {coverage:g}"
        yield "interval.t_quantile", wanted, model.t_quantile
    low, high = model.gap_range
    unexplained = (1 - model.correlation**2) * (high - low) ** 2
    least, most = unexplained / 2, unexplained * networks / 4
    squares = model.residual_variance * degrees
    if not least * (1 - _ROUNDING) - 1e-12 <= squares <= most * (1 + _ROUNDING) + 1e-12:
        wanted = f"what {networks} networks with this correlation and these gaps can have"
        yield "residual_variance", wanted, model.residual_variance


def _within(t: float, degrees: float) -> float:
    """P(|T| <= t) of Student's t, by its integral over the angle; for this no scipy is needed."""
    degrees = min(degrees, _MOST_DEGREES)
    angles = np.linspace(0, math.pi / 2, _ANGLES)
    density = np.cos(angles) ** (degrees - 1)
    reached = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    return float(np.interp(math.atan(t / math.sqrt(degrees)), angles, reached / reached[-1]))


def _of_classes(model: GapModel, line: ClassLine) -> Iterator[Contradiction]:
    """The line for classes is learned on several populations, and its widths on the same errors."""
    if not model.of_several_populations:
        yield "class_line", "null without 'interval.left_out.weights'", line
    if not 0 < line.coverage < 1:
        yield "class_line.coverage", "a number above 0 and below 1", line.coverage
    elif line.populations < (least := fewest_points(line.coverage)):
        wanted = f"an integer of at least {least}, which this coverage needs"
        yield "class_line.populations", wanted, line.populations
    if line.classes < line.populations:
        yield "class_line.classes", "no fewer than there are populations", line.classes
    if line.half_width > line.widest:
        wanted = "a number of at most 'class_line.widest', the greatest error"
        yield "class_line.half_width", wanted, line.half_width


def _of_left_out(model: GapModel) -> Iterator[Contradiction]:
    """The fits that leave something out lie around the fit to all."""
    left_out = model.left_out
    assert left_out is not None
    if model.coverage.nominal < LEAST_COVERAGE:
        yield (
            "interval.coverage",
            f"a number of at least {LEAST_COVERAGE:g}",
            model.coverage.nominal,
        )
    networks = model.fitted_on.networks
    share = np.full(networks, 1 / networks)
    if left_out.weights:
        share = np.array(left_out.weights) / sum(left_out.weights)
        # A network of n in its population has 1 / n of what a population to come has.
        sizes = (1 - sum(left_out.weights)) / np.maximum(left_out.weights, 1e-300)
        if (np.abs(sizes - np.round(sizes)) > 1e-3).any() or sizes.max() > networks:
            wanted = "those of populations that count alike, networks alike in each"
            yield "interval.left_out.weights", wanted, left_out.weights
    elif left_out.floor:
        yield "interval.left_out.floor", "0 without 'weights'", left_out.floor
    unit = float(left_out.may_err(np.ones(1), 1.0)[0])  # the greatest
    errors = float(share @ (unit * np.array(left_out.residuals)) ** 2)
    if errors < model.residual_variance * (1 - (len(model.features) + 1) / networks) / 2:
        wanted = "no smaller than 'residual_variance' says of the fit to all"
        yield "interval.left_out.residuals", wanted, left_out.residuals
    low, high = model.gap_range
    center, ranges = np.array(model.feature_means), np.array(model.feature_ranges)
    at, allowed = [center], [_APART_AT_MEANS]
    if model.fitted_on.networks >= _MANY * len(center):
        for place, ends in enumerate(ranges):
            at += [np.where(np.arange(len(center)) == place, end, center) for end in ends]
            allowed += [_APART_AT_ENDS] * 2
    whole = np.array(at) @ np.array(model.coefficients) + model.intercept
    parts = np.array(at) @ np.array(left_out.coefficients).T + np.array(left_out.intercepts)
    apart = np.maximum(parts.min(axis=1) - whole, whole - parts.max(axis=1))
    if (apart > np.array(allowed) * (high - low) + _ROUNDING).any():
        wanted = "fits to all but some of the networks of 'coefficients' and 'intercept'"
        yield "interval.left_out", wanted, left_out.coefficients
