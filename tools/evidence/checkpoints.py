"""Checkpoints along the training runs of a population, as a population of their own.

    python -m tools.evidence.checkpoints NAME FOLDER [--data FOLDER] [--recipes RECIPE ...]

Trains networks of a population that the zoo declares and keeps checkpoints on the way: copies of
the network, evenly spaced over the epochs from the first training accuracy of :data:`START` on.
Training goes on to :data:`ENOUGH`, so that some checkpoints lie beyond the accuracy at which the
population's own networks stop. Each checkpoint is exported and audited with margins.

``FOLDER/RECIPE`` holds a run: its networks, ``train.npz``, ``manifest.csv`` (as
``onnx-gap population`` reads it; written last) and the audits. What is there already is not done
again. Needs the extra ``zoo``.
"""

import argparse
import copy
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analyzer.audit import audit_population, read_manifest
from analyzer.audit_options import AuditRequest
from analyzer.data import PreprocessOptions
from analyzer.errors import AnalyzerError
from analyzer.files import write_arrays
from model_zoo.datasets import Split
from model_zoo.population_folder import MANIFEST, TRAIN_DATA
from model_zoo.recipes import PopulationSpec, Recipe, recipes
from model_zoo.training import PopulationData, find_population, one_thread, population_data
from tools.evidence.collect import kept_cells
from tools.evidence.commands import ending_in_a_sentence
from tools.evidence.tables import EVIDENCE, read_table, table_path, write_table

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ENOUGH", "MOST", "START", "Kept", "chosen_recipes", "study"]

START = 0.3  # training accuracy from which on checkpoints are kept
ENOUGH = 0.999  # training accuracy that a run goes on to, where its epochs allow
MOST = 16  # checkpoints of a run, and the last
LEVELS = (0.0, 0.4, 1.0)  # corruption of the runs that are made unless others are asked for
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
        from model_zoo import optimization

        self._epoch += 1
        if not self._first and optimization.accuracy(network, self._train) >= self._start:
            self._first = self._epoch
        if not self._first or not self._due(self._epoch):
            return
        self.networks[self._epoch] = optimization.settled(copy.deepcopy(network))
        if len(self.networks) > self._most:
            self._every *= 2
            self.networks = {epoch: n for epoch, n in self.networks.items() if self._due(epoch)}

    def _due(self, epoch: int) -> bool:
        return (epoch - self._first) % self._every == 0


def chosen_recipes(population: PopulationSpec, names: Sequence[str] = ()) -> tuple[Recipe, ...]:
    """The recipes of those names; of none, the plain ones of the corruption :data:`LEVELS`.

    Raises:
        AnalyzerError: the population has no recipe of a name.
    """
    declared = {recipe.name: recipe for recipe in recipes(population)}
    if not names:
        plain = list(declared.values())[: len(population.corruptions)]
        return tuple(recipe for recipe in plain if recipe.corruption in LEVELS)
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
    from model_zoo import onnx_export, optimization  # torch

    train = prepared.train(recipe)
    write_arrays(
        run / TRAIN_DATA, {"images": train.images, "labels": train.labels.astype(np.uint8)}
    )
    kept, checked = Kept(train), optimization.as_input(train.images[:_CHECKED_IMAGES])
    with one_thread():
        memorising = replace(recipe, enough=ENOUGH)
        fit = optimization.train_network(population, memorising, train, watch=kept)
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
                "train_accuracy": round(optimization.accuracy(network, train), 6),
                "test_accuracy": round(optimization.accuracy(network, prepared.test), 6),
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


if __name__ == "__main__":
    sys.exit(main())
