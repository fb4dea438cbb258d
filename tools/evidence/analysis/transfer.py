"""Does a gap model hold for a population that it was not fitted on, and does it say when not?

Estimates for other data or another architecture may be off by the same amount throughout, and then
a few networks of one's own whose gap is known correct them: the mean of their errors is the offset.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.common_types import GapEstimate
from analyzer.errors import GapModelError
from analyzer.estimation.gap_model import GapModel
from analyzer.estimation.gap_model_fitting import fit_population
from analyzer.estimation.population_table import PopulationTable
from tools.evidence.analysis.agreement import Agreement, agreement

__all__ = ["Flags", "OffsetPoint", "Transfer", "transfer", "transfer_matrix"]

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24)
FEWEST_TESTED = 4


@dataclass(frozen=True, slots=True)
class Flags:
    """Does the warning "outside the range" go along with a wrong estimate? Counts of networks.

    An estimate is wrong when its interval does not hold the true gap.
    """

    outside_wrong: int
    outside_right: int
    inside_wrong: int
    inside_right: int

    @property
    def flagged(self) -> float:
        """Share of the networks that are outside."""
        return (self.outside_wrong + self.outside_right) / self._networks

    @property
    def covered(self) -> float:
        """Share of the networks whose interval holds the gap: the measured coverage."""
        return (self.outside_right + self.inside_right) / self._networks

    @property
    def caught(self) -> float | None:
        """Share of the wrong estimates that were flagged; None where none is wrong."""
        return _share(self.outside_wrong, self.inside_wrong)

    @property
    def covered_inside(self) -> float | None:
        """Measured coverage among the networks that are inside; None where none is."""
        return _share(self.inside_right, self.inside_wrong)

    @property
    def covered_outside(self) -> float | None:
        """Measured coverage among the networks that are outside; None where none is."""
        return _share(self.outside_right, self.outside_wrong)

    @property
    def _networks(self) -> int:
        return self.outside_wrong + self.outside_right + self.inside_wrong + self.inside_right


@dataclass(frozen=True, slots=True)
class OffsetPoint:
    """Errors with an offset from so many networks of one's own; a value per repetition."""

    networks: int  # whose gap is known
    rmse: tuple[float, ...]  # root of the mean squared error on the others

    def quantile(self, share: float) -> float:
        """The error that so large a share of the repetitions stays within."""
        return float(np.quantile(self.rmse, share))


@dataclass(frozen=True, slots=True)
class Transfer:
    """How a gap model fares on a population of N networks."""

    source: str  # what it was fitted on
    target: str  # what it is tried on; the same: each network by a fit to all the others
    estimate: tuple[float, ...]  # (N,), in the order of the table
    inside: tuple[bool, ...]  # (N,): inside the range of the population it was fitted on,
    # in features, and in the conditions of the audit where both tables say them
    plain: Agreement
    offset: float  # mean error, gap − estimate; taking it out leaves r and τ as they are
    shifted_rmse: float  # once the mean error of all the others is taken out of each estimate
    shifted_r2: float | None  # likewise; None where ``plain`` has none
    offsets: tuple[OffsetPoint, ...]  # what an offset from few networks does
    flags: Flags


def transfer(
    gap_model: GapModel,
    target: PopulationTable,
    *,
    name: str = "",
    sizes: Sequence[int] = SIZES,
    repetitions: int = 200,
    seed: int = 0,
) -> Transfer:
    """Try a gap model on another population than it was fitted on.

    Args:
        gap_model: any; ``source`` is its name.
        target: the networks of it whose gap is known are estimated.
        name: of the target, for readers.
        sizes: numbers of networks to make an offset from; those that leave fewer than four to
            test on are left out.
        repetitions: random draws of each.
        seed: of the draws.

    Raises:
        GapModelError: the table lacks a feature of the gap model, or a known gap.
    """
    known = _known(target, name)
    estimates = [
        gap_model.estimate(known.values(row), rank=known.rank, conditions=known.conditions(row))
        for row in range(len(known))
    ]
    return _transfer(gap_model.name, name, estimates, known.gap, sizes, repetitions, seed)


def transfer_matrix(
    populations: Mapping[str, PopulationTable],
    *,
    features: str = "paper",
    coverage: float = 0.9,
    sizes: Sequence[int] = SIZES,
    repetitions: int = 200,
    seed: int = 0,
) -> tuple[Transfer, ...]:
    """Fit on each population, try on each: all of the matrix, row by row.

    On the diagonal every network is estimated by a fit to all the others of its population.

    Args:
        populations: name -> networks.
        features: as of :func:`analyzer.estimation.fit_population`.
        coverage: nominal coverage of the intervals.
        sizes, repetitions, seed: as of :func:`transfer`.

    Raises:
        GapModelError: a population cannot be fitted or estimated.
    """
    known = {name: _known(population, name) for name, population in populations.items()}

    def fitted(population: PopulationTable, name: str) -> GapModel:
        return fit_population(
            population, name=name, data=name, architecture="", coverage=coverage, features=features
        )

    def left_out(name: str) -> list[GapEstimate]:
        networks = known[name]
        rows = np.arange(len(networks))
        return [
            fitted(networks.take(rows[rows != row]), name).estimate(
                networks.values(row),
                rank=networks.rank,
                conditions=networks.conditions(row),
            )
            for row in rows.tolist()
        ]

    found = []
    for source in populations:
        gap_model = fitted(known[source], source)
        for target, networks in known.items():
            if target == source:
                own = left_out(source)
                found.append(_transfer(source, source, own, networks.gap, sizes, repetitions, seed))
            else:
                found.append(
                    transfer(
                        gap_model,
                        networks,
                        name=target,
                        sizes=sizes,
                        repetitions=repetitions,
                        seed=seed,
                    )
                )
    return tuple(found)


def _known(population: PopulationTable, name: str) -> PopulationTable:
    known = population.with_gap()
    if not len(known):
        raise GapModelError(
            f"The population {name!r} has no network whose gap is known, so that no estimate can "
            "be held against it: add test data or test accuracies."
        )
    return known


def _transfer(
    source: str,
    target: str,
    estimates: Sequence[GapEstimate],
    gap: np.ndarray,
    sizes: Sequence[int],
    repetitions: int,
    seed: int,
) -> Transfer:
    estimate = np.array([one.estimate for one in estimates])
    inside = np.array([one.inside_range for one in estimates])
    low, high = np.array([(one.low, one.high) for one in estimates]).T
    right = (low <= gap) & (gap <= high)
    error = gap - estimate
    networks = len(gap)
    others = (error.sum() - error) / max(networks - 1, 1)  # mean error of all but each
    shifted = agreement(estimate + others, gap)
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(networks) for _ in range(repetitions)]
    return Transfer(
        source=source,
        target=target,
        estimate=tuple(estimate.tolist()),
        inside=tuple(inside.tolist()),
        plain=agreement(estimate, gap),
        offset=float(error.mean()),
        shifted_rmse=shifted.rmse,
        shifted_r2=shifted.r2,
        offsets=tuple(
            OffsetPoint(size, tuple(_remaining(error, order, size) for order in orders))
            for size in sorted(set(sizes))
            if 1 <= size <= networks - FEWEST_TESTED
        ),
        flags=Flags(
            outside_wrong=int((~inside & ~right).sum()),
            outside_right=int((~inside & right).sum()),
            inside_wrong=int((inside & ~right).sum()),
            inside_right=int((inside & right).sum()),
        ),
    )


def _remaining(error: np.ndarray, order: np.ndarray, size: int) -> float:
    """Error of the others, with the mean error of the first ``size`` in ``order`` taken out."""
    rest = error[order[size:]] - error[order[:size]].mean()
    return float(np.sqrt(np.mean(rest**2)))


def _share(part: int, rest: int) -> float | None:
    return part / (part + rest) if part + rest else None
