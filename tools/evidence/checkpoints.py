"""Checkpoints along the training runs of a population, as a population of their own.

    python -m tools.evidence.checkpoints NAME FOLDER [--data FOLDER] [--recipes RECIPE ...]

Trains networks of a population that the zoo declares and keeps checkpoints on the way: copies of
the network, evenly spaced over the epochs from the first training accuracy of :data:`START` on.
Training goes on to :data:`ENOUGH`, so that some checkpoints lie beyond the accuracy at which the
population's own networks stop. Each checkpoint is exported and audited with margins.

``FOLDER/RECIPE`` holds a run: its networks, ``train.npz``, ``manifest.csv`` (as
``onnx-gap population`` reads it; written last) and the audits. What is there already is not done
again. Needs the extra ``zoo``.

A gap model is fitted on the checkpoints of one run or of several, and tried on the networks of the
whole population, trained to the end by other recipes, and on the checkpoints of the other runs. The
runs' own networks are left out of those tried on: their last epochs were fitted on.
"""

import argparse
import copy
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from analyzer.audit import audit_population, plots, read_manifest
from analyzer.audit.html_pages import LIGHT
from analyzer.audit_options import AuditRequest
from analyzer.data import PreprocessOptions
from analyzer.errors import AnalyzerError
from analyzer.estimation import (
    FEATURE_SETS,
    GapModel,
    PopulationTable,
    fit_population,
    read_population,
)
from analyzer.estimation.feature_sets import checked_features
from analyzer.estimation.regression import lines_without_each
from analyzer.output_files import write_arrays
from model_zoo.datasets import Split
from model_zoo.population_training import (
    MANIFEST,
    TRAIN_DATA,
    PopulationData,
    find_population,
    one_thread,
    population_data,
)
from model_zoo.recipes import PopulationSpec, Recipe, recipes
from tools.evidence.analysis import Agreement, Transfer, agreement, transfer
from tools.evidence.collect import kept_cells
from tools.evidence.commands import ending_in_a_sentence
from tools.evidence.findings import BOTH, UNDER, Findings
from tools.evidence.notation import LEVELS, MARKERS, level_legend, level_name
from tools.evidence.tables import EVIDENCE, Table, read_table, table_path, write_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import nn

__all__ = [
    "ENOUGH",
    "FEATURES",
    "MOST",
    "START",
    "CheckpointFindings",
    "Kept",
    "Trial",
    "checkpoint_findings",
    "checkpoints_figure",
    "chosen_recipes",
    "study",
]

START = 0.3  # training accuracy from which on checkpoints are kept
ENOUGH = 0.999  # training accuracy that a run goes on to, where its epochs allow
MOST = 16  # checkpoints of a run, and the last
RUNS = (0.0, 0.4, 1.0)  # corruption of the runs that are made unless others are asked for
_CHECKED_IMAGES = 64  # on which an exported network must agree with torch


class Kept:
    """Copies of a network in training, at most ``most``, evenly spaced over the epochs.

    At first every epoch is kept; each time that these are too many, every second one of them is
    dropped, and from then on half as many are kept.
    """

    def __init__(self, train: Split, *, start: float = START, most: int = MOST) -> None:
        self.networks: dict[int, nn.Module] = {}  # by the number of epochs trained
        self._train, self._start, self._most = train, start, most
        self._epoch, self._first, self._every = 0, 0, 1

    def __call__(self, network: "nn.Module") -> None:
        """Told of the network after every epoch."""
        from model_zoo import network_training

        self._epoch += 1
        if not self._first and network_training.accuracy(network, self._train) >= self._start:
            self._first = self._epoch
        if not self._first or not self._due(self._epoch):
            return
        self.networks[self._epoch] = network_training.settled(copy.deepcopy(network))
        if len(self.networks) > self._most:
            self._every *= 2
            self.networks = {epoch: n for epoch, n in self.networks.items() if self._due(epoch)}

    def _due(self, epoch: int) -> bool:
        return (epoch - self._first) % self._every == 0


def chosen_recipes(population: PopulationSpec, names: Sequence[str] = ()) -> tuple[Recipe, ...]:
    """The recipes of those names; of none, the plain ones of the corruption :data:`RUNS`.

    Raises:
        AnalyzerError: the population has no recipe of a name.
    """
    declared = {recipe.name: recipe for recipe in recipes(population)}
    if not names:
        plain = list(declared.values())[: len(population.corruptions)]
        return tuple(recipe for recipe in plain if recipe.corruption in RUNS)
    for name in names:
        if name not in declared:
            raise AnalyzerError(
                f"{population.name} has no recipe {name!r}; its recipes are called like "
                f"{next(iter(declared))}"
            )
    return tuple(declared[name] for name in names)


def study(
    population: PopulationSpec,
    chosen: Sequence[Recipe],
    folder: Path,
    table: Path,
    *,
    data: Path | None = None,
) -> None:
    """Train and audit the runs that ``folder`` lacks, and write ``table``.

    Args:
        population: the networks' own.
        chosen: recipes of it, a run each.
        folder: takes a folder a run.
        table: CSV file to write, a row a checkpoint.
        data: folder of the data set, where it does not come with a package.

    Raises:
        AnalyzerError: the data cannot be read, or a checkpoint cannot be audited.
    """
    prepared = population_data(population, data)
    rows: list[dict[str, str]] = []
    for recipe in chosen:
        run = folder / recipe.name
        if not (run / MANIFEST).exists():
            run.mkdir(parents=True, exist_ok=True)
            write_table(run / MANIFEST, list(_trained(population, recipe, prepared, run)))
        rows += _audited(population, run)
        print(f"{recipe.name}: {len(read_table(run / MANIFEST))} checkpoints", file=sys.stderr)
    write_table(table, rows)


def _trained(
    population: PopulationSpec, recipe: Recipe, prepared: PopulationData, run: Path
) -> Iterator[dict[str, object]]:
    """Train one run and export its checkpoints; a row of the manifest each."""
    from model_zoo import network_training, onnx_export  # torch

    train = prepared.train(recipe)
    write_arrays(
        run / TRAIN_DATA, {"images": train.images, "labels": train.labels.astype(np.uint8)}
    )
    kept, checked = Kept(train), network_training.as_input(train.images[:_CHECKED_IMAGES])
    with one_thread():
        memorizing = replace(recipe, enough=ENOUGH)
        fit = network_training.train_network(population, memorizing, train, watch=kept)
        for epoch, network in (kept.networks | {fit.epochs: fit.network}).items():
            model = run / f"{recipe.name}-e{epoch:03d}.onnx"
            onnx_export.export(network, checked, model)
            facts = {key: value for key, value in asdict(recipe).items() if key != "seed"}
            yield {
                **facts,
                "name": model.stem,
                "model": model.name,
                "train_data": TRAIN_DATA,
                "run": recipe.name,
                "epoch": epoch,
                "train_accuracy": round(network_training.accuracy(network, train), 6),
                "test_accuracy": round(network_training.accuracy(network, prepared.test), 6),
            }


def _audited(population: PopulationSpec, run: Path) -> Iterator[dict[str, str]]:
    """Audit the checkpoints of a run where that is not done yet; a row of the table each."""
    out = run / "audited"
    template = AuditRequest(
        anyway=True,
        model=run,
        data="",
        out=out,
        preprocess=PreprocessOptions(**population.data_set.preprocessing),
        margins=True,
        threads=1,
    )
    audit_population(read_manifest(run / MANIFEST), template, out)
    yield from map(kept_cells, read_table(out / "population.csv").rows())


@ending_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("population", help="a population that the zoo declares")
    parser.add_argument("folder", type=Path, help="takes the runs")
    parser.add_argument("--data", type=Path, help="folder of the data set")
    parser.add_argument(
        "--recipes", nargs="+", default=(), metavar="RECIPE", help="by default the plain ones"
    )
    parser.add_argument("--out", type=Path, default=EVIDENCE, help="takes the table")
    given = parser.parse_args(arguments)
    population = find_population(given.population)
    study(
        population,
        chosen_recipes(population, given.recipes),
        given.folder,
        table_path(given.out, "checkpoints", population.name),
        data=given.data,
    )


FEATURES: Mapping[str, str] = MappingProxyType(
    {BOTH: "paper", UNDER: "area", "curves and margins": "extended"}
)
"""Choices of features, by the name they have on the page, as :func:`fit_population` takes them."""

_AT_RANDOM = 1.0  # corruption of labels that are all drawn at random: anyone can make such a run


@dataclass(frozen=True, slots=True)
class Trial:
    """A gap model fitted on the checkpoints of some runs; by choice of features."""

    levels: tuple[float, ...]  # corruption of the labels of those runs
    checkpoints: int  # fitted on
    final: Mapping[str, Transfer]  # on the networks of the population
    others: Mapping[str, Transfer]  # on the checkpoints of the other runs; none: empty
    others_spread: float  # error of guessing those checkpoints' mean gap; NaN without any

    @property
    def name(self) -> str:
        """The runs in words."""
        return " + ".join(map(level_name, self.levels))


@dataclass(frozen=True, slots=True)
class CheckpointFindings:
    """Runs of one population; N networks of it that none of the runs leads to."""

    population: str
    runs: Mapping[float, PopulationTable]  # corruption -> checkpoints, in the order of the epochs
    final: PopulationTable  # N
    corruption: np.ndarray  # float64 (N,), of theirs
    trials: tuple[Trial, ...]  # each run alone, each with the one at random, all
    own: Mapping[str, Agreement]  # of the N networks, each by a fit to all the others
    onto: Mapping[str, Transfer]  # a gap model fitted on the N networks, tried on all checkpoints
    spread: float  # error of guessing the mean gap of the N networks
    checkpoints_spread: float  # and of all checkpoints

    def trial(self, *levels: float) -> Trial:
        """That of the runs with labels of these levels of corruption."""
        return next(trial for trial in self.trials if trial.levels == levels)

    @property
    def alone(self) -> tuple[Trial, ...]:
        """Those of a single run."""
        return tuple(trial for trial in self.trials if len(trial.levels) == 1)

    @property
    def together(self) -> Trial:
        """That of all runs."""
        return self.trial(*self.runs)

    @property
    def count(self) -> int:
        """Checkpoints of all runs."""
        return sum(map(len, self.runs.values()))


def checkpoint_findings(table: Table, findings: Findings) -> CheckpointFindings:
    """What the checkpoints of a population say, held against its networks.

    Args:
        table: as :mod:`tools.evidence.checkpoints` writes it, margins included.
        findings: of the population, whose networks have margins too.

    Raises:
        AnalyzerError: a column is missing, or there are too few checkpoints to fit.
    """
    checkpoints = read_population(table.path)
    corruption, run = table.numbers("corruption"), table.texts("run")
    runs = {
        float(level): checkpoints.take(np.flatnonzero(corruption == level))
        for level in np.unique(corruption)
    }
    rest = np.flatnonzero(~np.isin(findings.population.name, run))
    final = findings.population.take(rest)
    return CheckpointFindings(
        population=findings.name,
        runs=runs,
        final=final,
        corruption=findings.column("corruption")[rest],
        trials=tuple(
            _trial(checkpoints, corruption, levels, final) for levels in _choices(list(runs))
        ),
        own={label: _left_out(final, label) for label in FEATURES},
        onto={label: transfer(_fitted(final, label), checkpoints, sizes=()) for label in FEATURES},
        spread=float(final.gap.std()),
        checkpoints_spread=float(checkpoints.gap.std()),
    )


def _choices(levels: Sequence[float]) -> list[tuple[float, ...]]:
    """Which runs are fitted on together: each, each with the one at random, all."""
    pairs = [(level, _AT_RANDOM) for level in levels if level < _AT_RANDOM in levels]
    return list(dict.fromkeys([*((level,) for level in levels), *pairs, tuple(levels)]))


def _trial(
    checkpoints: PopulationTable,
    corruption: np.ndarray,
    levels: tuple[float, ...],
    final: PopulationTable,
) -> Trial:
    fitted_on = np.isin(corruption, levels)
    source = checkpoints.take(np.flatnonzero(fitted_on))
    others = checkpoints.take(np.flatnonzero(~fitted_on))
    gap_models = {label: _fitted(source, label) for label in FEATURES}

    def tried(target: PopulationTable) -> dict[str, Transfer]:
        return {label: transfer(model, target, sizes=()) for label, model in gap_models.items()}

    return Trial(
        levels=levels,
        checkpoints=len(source),
        final=tried(final),
        others=tried(others) if len(others) else {},
        others_spread=float(others.gap.std()) if len(others) else float("nan"),
    )


def _left_out(population: PopulationTable, label: str) -> Agreement:
    chosen = FEATURE_SETS[FEATURES[label]]
    features, gap = checked_features(chosen.columns(population), population.gap, fit=chosen.fit)
    *_, residuals = lines_without_each(features, gap, chosen.fit)
    return agreement(gap - residuals, gap)


def _fitted(population: PopulationTable, label: str) -> GapModel:
    return fit_population(population, name="", data="", architecture="", features=FEATURES[label])


def checkpoints_figure(found: Sequence[CheckpointFindings]) -> "Figure":
    """A row a population: the paths of its runs among its networks; estimates from all runs."""
    figure, axes = plots.new_figure(len(found), 3, size=(3.6, 3.4))
    for row, one in zip(axes, found, strict=True):
        for axis, name, symbol in ((row[0], "zeta", "ζ"), (row[1], "kappa", "κ")):
            _draw_networks(axis, one, getattr(one.final, name), one.final.gap, alpha=0.35)
            for level, run in one.runs.items():
                _draw_run(axis, getattr(run, name), run.gap, LEVELS[level])
            axis.set(xlabel=symbol, ylabel="gap")
        row[0].set_title(f"{one.population}: runs among networks", loc="left", fontsize=10)
        told = one.together.final[BOTH]
        _draw_networks(row[2], one, one.final.gap, np.array(told.estimate), alpha=0.8)
        row[2].axline((0, 0), slope=1, color=LIGHT["muted"], linestyle="--", linewidth=1.2)
        row[2].set(xlabel="true gap of the networks", ylabel="estimated gap")
        row[2].set_title(f"from the runs, ζ and κ: r = {told.plain.r:.2f}", loc="left", fontsize=10)
        level_legend(row[2])
    return figure


def _draw_networks(
    axis: "Axes", found: CheckpointFindings, across: np.ndarray, up: np.ndarray, *, alpha: float
) -> None:
    for level, color in LEVELS.items():
        chosen = found.corruption == level
        axis.scatter(
            across[chosen], up[chosen], s=22, color=color, marker=MARKERS[level], alpha=alpha,
            linewidths=0, label=level_name(level),
        )  # fmt: skip


def _draw_run(axis: "Axes", across: np.ndarray, up: np.ndarray, color: str) -> None:
    """A path from the first checkpoint to the last, which is ringed."""
    axis.plot(across, up, color=color, marker=".", markersize=5, linewidth=1.4, zorder=3)
    axis.scatter(
        across[-1:], up[-1:], s=90, facecolors="none", edgecolors=LIGHT["ink"], linewidths=1.4,
        zorder=4,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
