"""What the tables of one population say, as plain numbers for the page and its figures.

Scores are made on the networks that reached the training accuracy that the method asks for; how
they change with the others is stated too. Every choice of features meets the same splits.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyzer.estimation import (
    FeatureScores,
    LinearFit,
    PopulationTable,
    draw_splits,
    least_squares,
    out_of_fold_estimates,
    read_population,
    ridge,
    score_features,
)
from analyzer.measures.ablation.curve_features import AREA, CURVE_FEATURES
from analyzer.measures.margins.distances import MARGIN_PREFIX, margin_obstacle
from tools.evidence.analysis import (
    Agreement,
    ConditionalInformation,
    CoveragePoint,
    CurvePoint,
    agreement,
    agreement_by_level,
    agreement_within_levels,
    conditional_information,
    coverage_curve,
    learning_curve,
    mean_agreement,
)
from tools.evidence.notation import level_name
from tools.evidence.tables import Table, read_table, table_path

__all__ = ["BOTH", "UNDER", "Findings", "Slice", "population_findings", "slices"]


@dataclass(frozen=True, slots=True)
class Slice:
    """Part of the networks, and how ζ, κ and estimates follow the gap in it."""

    name: str
    zeta: Agreement  # of ζ itself; r and τ alone mean something
    kappa: Agreement
    estimates: Mapping[str, Agreement]  # by choice of features, out of fold; over repetitions
    pooled: bool = False  # several levels at once, each without its mean


def slices(networks: Table, estimates: Mapping[str, np.ndarray]) -> tuple[Slice, ...]:
    """All networks; each corruption level; batch norm, augmentation on and off; levels pooled.

    Args:
        networks: N.
        estimates: by choice of features, out of fold, float64 (R, N).
    """
    gap = networks.numbers("gap")
    quantities = {name: networks.numbers(name)[np.newaxis] for name in ("zeta", "kappa")}
    measures = quantities | dict(estimates)

    def sliced(name: str, found: Mapping[str, Agreement], pooled: bool = False) -> Slice:
        own = {label: found[label] for label in estimates}
        return Slice(name, found["zeta"], found["kappa"], own, pooled)

    def over_repetitions(of: Callable[[np.ndarray], Agreement]) -> dict[str, Agreement]:
        return {key: mean_agreement([of(row) for row in rows]) for key, rows in measures.items()}

    parts = [sliced("all", over_repetitions(lambda row: agreement(row, gap)))]
    named = {
        "corruption": lambda level: f"corruption {level_name(float(level))}",
        "batch_norm": lambda level: f"{'with' if level == 'True' else 'without'} batch norm",
        "augmentation": lambda level: f"{'with' if level == 'True' else 'without'} augmentation",
    }
    for column, call in named.items():
        cells = networks.texts(column)
        if len(set(cells.tolist())) > 1:  # else they are all networks once more
            found = {key: _by_level(rows, gap, cells.tolist()) for key, rows in measures.items()}
            parts += [
                sliced(call(level), {key: levels[level] for key, levels in found.items()})
                for level in found["zeta"]
            ]
    corruption = networks.texts("corruption").tolist()
    within = over_repetitions(lambda row: agreement_within_levels(row, gap, corruption))
    return (*parts, sliced("within corruption levels, pooled", within, pooled=True))


def _by_level(rows: np.ndarray, gap: np.ndarray, levels: Sequence[str]) -> dict[str, Agreement]:
    """Agreement of each row of (R, N) with the gap within each level, then the mean of the rows."""
    found = [agreement_by_level(row, gap, levels) for row in rows]
    return {level: mean_agreement([one[level] for one in found]) for level in found[0]}


BOTH = "ζ and κ"
"""The paper's choice of features, by the name it has on the page."""

UNDER = "area under E_r"
"""The choice of one feature that `onnx-gap fit --features area` makes."""

_PAPER = ("zeta", "kappa")
_EXTENDED = ("curves and margins", "more of the curves")
_SHUFFLES = 30

Fit = Callable[[np.ndarray, np.ndarray], LinearFit]
_RECIPE = (
    "corruption",
    "batch_norm",
    "dropout",
    "momentum",
    "weight_decay",
    "batch_size",
    "augmentation",
    "width",
)


@dataclass(frozen=True, slots=True)
class _Choice:
    """Features to estimate the gap from, and how a line is fitted through them."""

    columns: Mapping[str, np.ndarray]  # feature -> float64 (N,)
    fit: Fit

    def measure(self, scores: FeatureScores) -> np.ndarray:
        """What the PGDL competition would score: a feature, or the estimate made of several."""
        if len(self.columns) == 1:
            return next(iter(self.columns.values()))
        return np.array(scores.out_of_fold)


@dataclass(frozen=True, slots=True)
class Findings:
    """One population; N networks that reached the training accuracy."""

    name: str
    about: Mapping[str, str]  # its row of populations.csv
    everything: Table  # all networks
    networks: Table  # N
    population: PopulationTable  # the same N
    classes: Table  # of those N
    curves: Table
    example: Table
    scores: Mapping[str, FeatureScores]  # by choice of features
    obstacle: str  # why margins were measured but cannot be scored as the paper does; "" if not so
    with_all: FeatureScores  # ζ and κ, over all networks whether they reached it or not
    held_out: int  # networks in each random split
    first_estimate: np.ndarray  # float64 (N,), by a line through the first split's networks
    first_tested: np.ndarray  # bool (N,), True where that split held out
    coverage: Mapping[str, tuple[CoveragePoint, ...]]  # of ζ and κ, and what ``extended`` names
    learning: tuple[CurvePoint, ...]  # of ζ and κ: error against the number of networks
    slices: tuple[Slice, ...]
    information: Mapping[str, ConditionalInformation]  # by choice of features

    @property
    def left_out(self) -> Table:
        """The networks that did not reach it."""
        return self.everything.where(self.everything.texts("reached") != "True")

    @property
    def plain(self) -> dict[str, float]:
        """The networks of the recipe that all corruption levels share, and their corruption."""
        named = zip(self.networks.texts("name").tolist(), self.column("corruption"), strict=True)
        return {name: float(level) for name, level in named if name.endswith("-00")}

    @property
    def lines(self) -> list[str]:
        """The choices of more than one feature."""
        return [label for label, found in self.scores.items() if len(found.features) > 1]

    @property
    def extended(self) -> str | None:
        """The choice that ``onnx-gap fit --features extended`` makes; None if not measured."""
        return _extended(self.scores)

    @property
    def spread(self) -> float:
        """The error of taking the mean gap as the estimate of every network: what to beat."""
        return float(self.column("gap").std())

    def learned(self, networks: int) -> CurvePoint | None:
        """The point of the learning curve at that number of networks, where there is one."""
        return next((point for point in self.learning if point.networks == networks), None)

    def column(self, name: str) -> np.ndarray:
        """A column of the N networks, float64 (N,)."""
        return self.networks.numbers(name)

    def r(self, name: str) -> float:
        """Pearson's r of a column and the gap."""
        return agreement(self.column(name), self.column("gap")).r


def population_findings(folder: Path, about: Mapping[str, str]) -> Findings:
    """Read the tables of a population and work out what they say.

    Args:
        folder: of the tables.
        about: the population's row of ``populations.csv``.

    Raises:
        AnalyzerError: a table is missing or is not what it should be.
    """
    name = about["name"]
    networks, classes, curves, example = (
        read_table(table_path(folder, kind, name))
        for kind in ("networks", "classes", "curves", "example")
    )
    population = read_population(networks.path)
    reached = networks.where(networks.texts("reached") == "True")
    gap = reached.numbers("gap")
    splits = draw_splits(len(gap))
    choices, obstacle = _choices(reached, len(splits.random[0][0]))
    scores = {
        label: score_features(choice.columns, gap, splits, fit=choice.fit)
        for label, choice in choices.items()
    }
    estimates = {
        label: out_of_fold_estimates(choice.columns, gap, splits, fit=choice.fit)
        for label, choice in choices.items()
    }
    estimate, tested = _first_split(reached, splits.random[0])
    known = np.isin(classes.texts("network"), reached.texts("name"))
    shown = np.isin(curves.texts("network"), reached.texts("name"))
    recipe = {column: reached.texts(column).tolist() for column in _RECIPE}
    return Findings(
        name=name,
        about=about,
        everything=networks,
        networks=reached,
        population=population.take(np.flatnonzero(networks.texts("reached") == "True")),
        classes=classes.where(known),
        curves=curves.where(shown),
        example=example,
        scores=scores,
        obstacle=obstacle,
        with_all=score_features(
            {column: networks.numbers(column) for column in _PAPER},
            networks.numbers("gap"),
            draw_splits(len(networks)),
        ),
        held_out=len(splits.random[0][1]),
        first_estimate=estimate,
        first_tested=tested,
        coverage={
            label: coverage_curve(choice.columns, gap, fit=choice.fit)
            for label, choice in choices.items()
            if label in (BOTH, _extended(choices))
        },
        learning=learning_curve(choices[BOTH].columns, gap),
        slices=slices(reached, estimates),
        information={
            label: conditional_information(
                choice.measure(scores[label]), gap, recipe, shuffles=_SHUFFLES
            )
            for label, choice in choices.items()
        },
    )


def _choices(networks: Table, fewest: int) -> tuple[dict[str, _Choice], str]:
    """What there is to estimate the gap from, by the name it has on the page.

    Args:
        networks: to estimate.
        fewest: networks that the smallest fit has.

    Returns:
        The choices, and a sentence: why margins were measured but cannot be scored.
    """

    def choice(names: Sequence[str], fit: Fit = least_squares) -> _Choice:
        return _Choice({name: networks.numbers(name) for name in names}, fit)

    found = {BOTH: choice(_PAPER), "ζ alone": choice(["zeta"]), "κ alone": choice(["kappa"])}
    curves = [name for name in CURVE_FEATURES if name in networks]
    margins = [name for name in networks.columns if name.startswith(MARGIN_PREFIX)]
    obstacle = margin_obstacle(choice(margins).columns, fewest) if margins else ""
    measured = bool(margins) and np.isfinite([networks.numbers(name) for name in margins]).all()
    if margins and not obstacle:
        found["margins"] = choice(margins)
    if measured:
        found["margins, by ridge"] = choice(margins, ridge)
    if AREA in networks:
        found[UNDER] = choice([AREA])
    if curves:
        found["more of the curves"] = choice(curves, ridge)
    if curves and measured:
        found["curves and margins"] = choice([*curves, *margins], ridge)
    return found, obstacle


def _extended(labels: Container[str]) -> str | None:
    return next((label for label in _EXTENDED if label in labels), None)


def _first_split(
    networks: Table, split: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Estimates (N,) by a line through ζ and κ of a split's networks; True (N,) where held out."""
    features = np.column_stack([networks.numbers(column) for column in _PAPER])
    gap = networks.numbers("gap")
    fitted_on, held_out = split
    tested = np.zeros(len(gap), dtype=bool)
    tested[held_out] = True
    return least_squares(features[fitted_on], gap[fitted_on]).predict(features), tested
