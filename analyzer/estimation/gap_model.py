"""The gap model: ĝ = a·ζ + b·κ + c with its interval and its limits (Eq. 7).

An extended one has more features, and what its jackknife+ interval needs of the population.
Applying either needs numpy alone, because every audit does it; what Student's t asks of scipy is
stored when the model is fitted. Its file is in :mod:`analyzer.estimation.gap_model_file`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from analyzer.common_types import GapEstimate
from analyzer.control_characters import printable
from analyzer.errors import GapModelError
from analyzer.estimation.applicability_domain import ApplicabilityDomain, AuditConditions, Range
from analyzer.estimation.changed_features import outside_settings
from analyzer.estimation.class_gaps import ClassLine
from analyzer.estimation.regression import (
    MeasuredCoverage,
    jackknife_plus_ends,
    weighted_ends,
)
from analyzer.json_codec import JSON_NAME
from analyzer.measures.ablation.measure import Ablation
from analyzer.measures.margins.distances import MARGIN_PREFIX
from analyzer.measures.registry import SYMBOLS

__all__ = [
    "FittedOn",
    "GapModel",
    "LeftOut",
]

_NAMED_SINGLY = 3  # features outside their ranges: with more, one sentence names them all


@dataclass(frozen=True, slots=True)
class FittedOn:
    """The population behind a gap model."""

    networks: int
    data: str  # e.g. "digits, 10 classes"
    architecture: str  # e.g. "small convolutional networks"
    recipe: Mapping[str, Sequence[float] | Sequence[str]]
    # hyperparameter -> [least, greatest], or the texts in use
    rank: str = "l1"  # what the units were ranked by in its audits; older files do not say
    domain: ApplicabilityDomain | None = field(default=None, metadata={JSON_NAME: "circumstances"})
    # None: the conditions of the audits are not known of all networks

    def __str__(self) -> str:
        ranked = "" if self.rank == "l1" else f"; units ranked by {self.rank}"
        return printable(f"{self.networks} networks ({self.architecture}; {self.data}{ranked})")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What a jackknife+ interval needs of the N networks that a gap model was fitted on."""

    coefficients: tuple[tuple[float, ...], ...]  # (N, P): of the fit to all but each
    intercepts: tuple[float, ...]  # (N,): of the same fits
    residuals: tuple[float, ...]  # (N,): gap − estimate of each by the fit without it, in units of
    # what it may err by where there is a floor
    weights: tuple[float, ...] = ()
    # (N,): of a gap model of several populations, where each fit leaves the network's whole
    # population out; what they lack to 1 is that of a population to come
    floor: float = 0.0
    # Errors grow with the gap: an estimate may err by units of itself plus this; 0: by equal ones.
    few: float = 0.0
    # And where samples are few: the units grow by the root of 1 + this / samples of a class.

    def may_err(
        self, estimates: np.ndarray, samples_per_class: np.ndarray | float = math.inf
    ) -> np.ndarray:
        """What an error is measured in at each estimate, float64 of the same shape.

        Args:
            estimates: any shape.
            samples_per_class: of the networks' audits, of the same shape or for all of them.
        """
        if not self.floor:
            return np.ones_like(estimates)
        return (np.maximum(estimates, 0.0) + self.floor) * np.sqrt(1 + self.few / samples_per_class)


@dataclass(frozen=True, slots=True)
class GapModel:
    """A line through a population of networks; P features in the order of ``features``."""

    name: str
    features: tuple[str, ...]
    coefficients: tuple[float, ...]  # (P,): a, b of Eq. 7
    intercept: float  # c of Eq. 7
    fitted_on: FittedOn
    feature_ranges: tuple[Range, ...]  # (P,): least and greatest in the population
    gap_range: Range
    feature_means: tuple[float, ...]  # (P,)
    inverse_scatter: tuple[tuple[float, ...], ...]
    # (P, P): inverse of Σ (x − x̄)(x − x̄)ᵀ, with the penalty added to it
    max_leverage: float  # greatest in the population
    residual_variance: float
    correlation: float  # Pearson r of estimated and true gap, on the population itself
    t_quantile: float | None  # half-width in standard errors; None: the interval is jackknife+
    coverage: MeasuredCoverage
    left_out: LeftOut | None = None  # None: the interval is Student's t
    feature_scales: tuple[float, ...] = ()  # (P,): standard deviations; not in older files
    penalty: float = 0.0  # of the ridge; 0: ordinary least squares
    class_line: ClassLine | None = None  # None: single classes are not estimated
    sha256: str = field(default="", compare=False)  # of the file; "" before it is one

    @property
    def of_several_populations(self) -> bool:
        """Whether it was fitted for networks of populations that it has not seen."""
        return self.left_out is not None and bool(self.left_out.weights)

    @property
    def caution(self) -> str:
        """The sentence that belongs to every estimate."""
        if self.of_several_populations:
            return (
                f"The gap model {self.name!r} was fitted on {self.fitted_on}. It was tried on "
                "populations left out whole; for a network less like them than they are like each "
                "other, the estimate may be off by more than the interval says."
            )
        return (
            f"The gap model {self.name!r} was fitted on {self.fitted_on}; nothing shows that it "
            "holds for other data, architectures or training recipes."
        )

    def estimate(
        self,
        values: Mapping[str, float],
        *,
        rank: str = "l1",
        conditions: AuditConditions | None = None,
        unusual: Mapping[str, float] | None = None,
    ) -> GapEstimate:
        """The estimated generalization gap, with its prediction interval.

        The estimate is clipped where the gap model is of several populations: it and its interval
        then lie from 0 to the accuracy on the training data. ``inside_range`` is False when a
        feature lies outside its range in the population, their combination is further from its
        center (by leverage) than any of its networks, a condition of its audit is unlike all of
        theirs, or its units were ranked otherwise. The first warning is always the caution.

        Args:
            values: of the network, at least those in ``features``: "zeta" and "kappa" (Eq. 6),
                or what ``compute_curve_features`` of the ablation gives.
            rank: what the units were ranked by for them.
            conditions: of the network's audit; None where they are not known. They are held
                against the population's where the gap model says those.
            unusual: options of that audit, as
                :func:`analyzer.estimation.unusual_settings` gives them.

        Raises:
            GapModelError: a feature is missing, or not a finite number.
        """
        point = np.array([self._value(name, values) for name in self.features])
        offset = point - np.array(self.feature_means)
        scatter = np.array(self.inverse_scatter)
        # 1/N + (x − x̄)ᵀ S⁻¹ (x − x̄)
        leverage = float(1 / self.fitted_on.networks + offset @ scatter @ offset)
        estimate = float(point @ np.array(self.coefficients) + self.intercept)
        domain = self.fitted_on.domain
        recipe = self.fitted_on.recipe
        outside = [
            *self._other(rank),
            *outside_settings(unusual or {}, self.features, recipe, self.name),
            *self._outside(point.tolist(), leverage),
        ]
        if domain is not None and conditions is not None:
            outside = [*domain.outside(conditions, self.name), *outside]
        low, high = self._interval(point, estimate, leverage, conditions, inside=not outside)
        before = estimate
        if self.of_several_populations:
            most = 1.0 if conditions is None else conditions.accuracy
            estimate, low, high = (min(max(end, 0.0), most) for end in (estimate, low, high))
        beyond = self._beyond(before, is_clipped=before != estimate)
        return GapEstimate(
            estimate=estimate,
            low=low,
            high=high,
            coverage=self.coverage.nominal,
            inside_range=not outside,
            warnings=(self.caution, *outside, *beyond),
        )

    def _not_measured(self, name: str) -> GapModelError:
        way_out = "audit with margins" if name.startswith(MARGIN_PREFIX) else "audit it again"
        return GapModelError(
            f"The gap model {self.name!r} needs {SYMBOLS.get(name, name)}, which is not measured: "
            f"{way_out}, or take a gap model without it."
        )

    def _value(self, name: str, values: Mapping[str, float]) -> float:
        if name not in values:
            raise self._not_measured(name)
        value = float(values[name])
        if not math.isfinite(value):
            raise GapModelError(
                f"{SYMBOLS.get(name, name)} is {value}, so no gap can be estimated: "
                "audit a network with samples in at least one class."
            )
        return value

    def _interval(
        self,
        point: np.ndarray,
        estimate: float,
        leverage: float,
        conditions: AuditConditions | None,
        *,
        inside: bool,
    ) -> tuple[float, float]:
        if self.left_out is None:
            assert self.t_quantile is not None  # one of the two always is
            half = self.t_quantile * math.sqrt(self.residual_variance * (1 + leverage))
            return estimate - half, estimate + half
        predictions = np.array(self.left_out.coefficients) @ point
        predictions += np.array(self.left_out.intercepts)
        residuals = np.array(self.left_out.residuals)
        if self.left_out.weights:
            # Around what a gap can be, as the estimate is.
            predictions = np.clip(predictions, 0, 1 if conditions is None else conditions.accuracy)
            # Outside the domain no share is promised: the interval takes the worst that was seen.
            weights = np.array(self.left_out.weights) if inside else None
            each = math.inf if conditions is None else conditions.samples_per_class
            errors = residuals * self.left_out.may_err(predictions, each)
            return weighted_ends(predictions, errors, weights, self.coverage.nominal)
        ends = jackknife_plus_ends(predictions[np.newaxis], residuals, self.coverage.nominal)
        low, high = (float(end[0]) for end in ends)
        return low, high

    def _other(self, rank: str) -> list[str]:
        if rank == self.fitted_on.rank or not set(self.features) & set(Ablation.features):
            return []
        return [
            f"Units were ranked by {rank} here, by {self.fitted_on.rank} where the gap model "
            f"{self.name!r} was fitted: ζ and κ are other quantities then, and the estimate means "
            "nothing."
        ]

    def _outside(self, point: Sequence[float], leverage: float) -> list[str]:
        names = [SYMBOLS.get(name, name) for name in self.features]
        said = [f"{name} = {value:.4g}" for name, value in zip(names, point, strict=True)]
        beyond = [
            number
            for number, (low, high) in enumerate(self.feature_ranges)
            if not low <= point[number] <= high
        ]
        if len(beyond) > _NAMED_SINGLY:
            return [
                f"{len(beyond)} of {len(point)} features are outside the ranges that the gap "
                f"model was fitted on ({', '.join(names[number] for number in beyond)}): the "
                "estimate is an extrapolation."
            ]
        outside = []
        for number in beyond:
            low, high = self.feature_ranges[number]
            called = "" if self.features[number] in SYMBOLS else "The feature "
            outside.append(
                f"{called}{said[number]} is outside the range that the gap model was fitted on "
                f"({low:.4g} to {high:.4g}): the estimate is an extrapolation."
            )
        if not outside and leverage > self.max_leverage * (1 + 1e-9):
            together = " and ".join(said) if len(said) <= 2 else "All features"
            outside.append(
                f"{together} are within their ranges, but no network that the gap model was fitted "
                f"on combines such values (leverage {leverage:.2g}, there at most "
                f"{self.max_leverage:.2g}): the estimate is an extrapolation."
            )
        return outside

    def _beyond(self, estimate: float, *, is_clipped: bool) -> list[str]:
        low, high = self.gap_range
        if low <= estimate <= high:
            return []
        further = "" if 0 <= estimate <= 1 else ", and outside 0 to 1"
        said = "Before it was clipped, the estimate was" if is_clipped else "The estimate is"
        return [
            f"{said} {estimate:.3g}, outside the gaps that the gap model was fitted on "
            f"({low:.3g} to {high:.3g}){further}."
        ]
