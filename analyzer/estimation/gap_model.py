"""The gap model: ĝ = a·ζ + b·κ + c with its interval and its limits (Eq. 7).

Applying one needs numpy alone, because every audit does it; what Student's t asks of scipy is
stored when the model is fitted.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from analyzer.errors import GapModelError
from analyzer.estimation.columns import SYMBOLS
from analyzer.estimation.intervals import MeasuredCoverage
from analyzer.records import GapEstimate

__all__ = ["FEATURES", "FittedOn", "GapModel", "Range"]

FEATURES = ("zeta", "kappa")

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class FittedOn:
    """The population behind a gap model."""

    networks: int
    data: str  # e.g. "digits, 10 classes"
    architecture: str  # e.g. "small convolutional networks"
    recipe: Mapping[str, Sequence[float] | Sequence[str]] = field(default_factory=dict)
    # hyperparameter -> [least, greatest], or the texts in use
    rank: str = "l1"  # what the units were ranked by in its audits

    def __str__(self) -> str:
        ranked = "" if self.rank == "l1" else f"; units ranked by {self.rank}"
        return f"{self.networks} networks ({self.architecture}; {self.data}{ranked})"


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
    inverse_scatter: tuple[tuple[float, ...], ...]  # (P, P): inverse of Σ (x − x̄)(x − x̄)ᵀ
    max_leverage: float  # greatest in the population
    residual_variance: float
    correlation: float  # Pearson r of estimated and true gap, on the population itself
    t_quantile: float  # half-width of the interval in standard errors
    coverage: MeasuredCoverage
    sha256: str = field(default="", compare=False)  # of the file; "" before it is one

    @property
    def caution(self) -> str:
        """The sentence that belongs to every estimate."""
        return (
            f"The gap model {self.name!r} was fitted on {self.fitted_on}; nothing shows that it "
            "holds for other data, architectures or training recipes."
        )

    def estimate(self, zeta: float, kappa: float, *, rank: str = "l1") -> GapEstimate:
        """The estimated generalization gap, with its Student t prediction interval.

        The estimate is not clipped. ``inside_range`` is False when a feature lies outside its
        range in the population, or their combination is further from the population's centre
        (by leverage) than any of its networks. The first warning is always the caution.

        Args:
            zeta: of the network (Eq. 6).
            kappa: likewise.
            rank: what the units were ranked by for them.

        Raises:
            GapModelError: ζ or κ is not a finite number.
        """
        values = {"zeta": float(zeta), "kappa": float(kappa)}
        for name, value in values.items():
            if not math.isfinite(value):
                raise GapModelError(
                    f"{SYMBOLS[name]} is {value}, so no gap can be estimated: "
                    "audit a network with samples in at least one class."
                )
        point = np.array([values[name] for name in self.features])
        offset = point - self.feature_means
        # 1/N + (x − x̄)ᵀ S⁻¹ (x − x̄)
        leverage = 1 / self.fitted_on.networks + offset @ np.array(self.inverse_scatter) @ offset
        estimate = float(point @ self.coefficients + self.intercept)
        half = self.t_quantile * math.sqrt(self.residual_variance * (1 + leverage))
        outside = self._outside(values, leverage)
        return GapEstimate(
            estimate=estimate,
            low=estimate - half,
            high=estimate + half,
            coverage=self.coverage.nominal,
            inside_range=not outside,
            warnings=(self.caution, *self._other(rank), *outside, *self._beyond(estimate)),
        )

    def _other(self, rank: str) -> list[str]:
        if rank == self.fitted_on.rank:
            return []
        return [
            f"Units were ranked by {rank} here, by {self.fitted_on.rank} where the gap model "
            f"{self.name!r} was fitted: ζ and κ are other quantities then, and the estimate means "
            "nothing."
        ]

    def _outside(self, values: Mapping[str, float], leverage: float) -> list[str]:
        outside = [
            f"{SYMBOLS[name]} = {values[name]:.4g} is outside the range that the gap model was "
            f"fitted on ({low:.4g} to {high:.4g}): the estimate is an extrapolation."
            for name, (low, high) in zip(self.features, self.feature_ranges, strict=True)
            if not low <= values[name] <= high
        ]
        if not outside and leverage > self.max_leverage * (1 + 1e-9):
            both = " and ".join(f"{SYMBOLS[name]} = {values[name]:.4g}" for name in self.features)
            outside.append(
                f"{both} are within their ranges, but no network that the gap model was fitted on "
                f"combines such values (leverage {leverage:.2g}, there at most "
                f"{self.max_leverage:.2g}): the estimate is an extrapolation."
            )
        return outside

    def _beyond(self, estimate: float) -> list[str]:
        low, high = self.gap_range
        if low <= estimate <= high:
            return []
        further = "" if 0 <= estimate <= 1 else ", and outside 0 to 1"
        return [
            f"The estimate {estimate:.3g} is outside the gaps that the gap model was fitted on "
            f"({low:.3g} to {high:.3g}){further}."
        ]
