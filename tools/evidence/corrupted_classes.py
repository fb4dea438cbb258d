"""Do ζ_j and κ_j find the classes whose labels are wrong, when only some classes' are?

    python -m tools.evidence.corrupted_classes POPULATION FOLDER [--data FOLDER] [--networks 12]

Trains networks of a population's plain recipe, with and without batch norm in turn. In each, three
classes in ten are chosen at random, and a share of their training samples gets a label drawn from
the chosen classes: those end up with wrong samples among their own, all others stay clean. Needs
the extra ``zoo``; networks that FOLDER holds already are not trained again.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.audit import run_audit
from analyzer.audit_options import AuditRequest
from analyzer.data import PreprocessOptions
from analyzer.output_files import write_arrays
from model_zoo.datasets import Split
from model_zoo.population_training import (
    PopulationData,
    find_population,
    one_thread,
    population_data,
)
from model_zoo.recipes import PopulationSpec, Recipe, recipes
from tools.evidence.collect import right_by_class
from tools.evidence.commands import ending_in_a_sentence
from tools.evidence.tables import EVIDENCE, Table, table_path, write_table

__all__ = ["Detection", "confused", "detections", "study"]

FRACTION = 0.4  # of the samples of the chosen classes
SHARE = 0.3  # of the classes


def confused(
    labels: np.ndarray, chosen: np.ndarray, fraction: float, generator: np.random.Generator
) -> np.ndarray:
    """The labels (int64 (S,)) with a share of those of the ``chosen`` classes drawn among them."""
    candidates = generator.permutation(np.flatnonzero(np.isin(labels, chosen)))
    drawn = candidates[: round(fraction * len(candidates))]
    given = labels.copy()
    given[drawn] = generator.choice(chosen, len(drawn))
    return given


def study(
    population: PopulationSpec, folder: Path, out: Path, *, data: Path | None, networks: int
) -> None:
    """Train and audit the networks that ``folder`` lacks, and write the table."""
    folder.mkdir(parents=True, exist_ok=True)
    prepared = population_data(population, data)
    rows: list[dict[str, Any]] = []
    for number in range(networks):
        rows += _network(population, prepared, folder, number)
        print(f"{number + 1} of {networks} networks", file=sys.stderr, flush=True)
    write_table(table_path(out, "corrupted-classes", population.name), rows)


def _network(
    population: PopulationSpec, prepared: PopulationData, folder: Path, number: int
) -> Iterator[dict[str, Any]]:
    """The classes of one network, trained if it has to be."""
    classes = population.data_set.classes
    generator = np.random.default_rng((population.seed, 2, number))
    chosen = generator.choice(classes, round(SHARE * classes), replace=False)
    plain = recipes(population)[0]
    clean = prepared.train(replace(plain, corruption=0.0))
    true = clean.labels
    given = confused(true, chosen, FRACTION, generator)
    recipe = replace(
        plain,
        name=f"{population.name}-some-{number:02d}",
        batch_norm=bool(number % 2),
        seed=int(generator.integers(2**31)),
    )
    model, stored = folder / f"{recipe.name}.onnx", folder / f"{recipe.name}.npz"
    if not model.exists():
        write_arrays(stored, {"images": clean.images, "labels": given.astype(np.uint8)})
        _train(population, recipe, Split(clean.images, given), model)
    audit = run_audit(
        AuditRequest(
            anyway=True,
            model=model,
            data=str(stored),
            out=folder / recipe.name,
            preprocess=PreprocessOptions(**population.data_set.preprocessing),
            threads=1,
        )
    )
    tested, right = right_by_class(model, prepared.test, classes)
    for record in audit.classes:
        mine = given == record.index
        test_accuracy = right[record.index] / tested[record.index]
        yield {
            "network": recipe.name,
            "batch_norm": recipe.batch_norm,
            "train_accuracy": round(audit.accuracy, 4),
            "class": record.index,
            "corrupted": record.index in chosen,
            "wrong_labels": round(float((true[mine] != record.index).mean()), 4),
            "gap": round(float(record.accuracy - test_accuracy), 4),
            "zeta": round(record.zeta, 4),
            "kappa": round(record.kappa, 4),
        }


def _train(population: PopulationSpec, recipe: Recipe, train: Split, path: Path) -> None:
    from model_zoo import network_training, onnx_export  # torch

    with one_thread():
        fit = network_training.train_network(population, recipe, train)
        onnx_export.export(fit.network, network_training.as_input(train.images[:64]), path)


@dataclass(frozen=True, slots=True)
class Detection:
    """How well a quantity finds the corrupted classes within each network; N networks."""

    quantity: str
    networks: int  # N
    auc: float  # mean over the networks; 0.5 is chance
    found: float  # share of the corrupted classes among as many that look worst, likewise
    chance: float  # the share that guessing finds


def detections(table: Table, batch_norm: bool | None = None) -> tuple[Detection, ...]:
    """Of ζ_j, −κ_j and, for comparison, the class's own true gap; all networks or some."""
    if batch_norm is not None:
        table = table.where(table.texts("batch_norm") == str(batch_norm))
    networks = table.texts("network")
    corrupted = table.texts("corrupted") == "True"
    suspicion = {
        "ζ": table.numbers("zeta"),
        "−κ": -table.numbers("kappa"),
        "true gap": table.numbers("gap"),
    }
    names = dict.fromkeys(networks.tolist())
    return tuple(
        Detection(
            quantity=quantity,
            networks=len(names),
            auc=float(np.mean([_auc(v[networks == n], corrupted[networks == n]) for n in names])),
            found=float(
                np.mean([_found(v[networks == n], corrupted[networks == n]) for n in names])
            ),
            chance=float(corrupted.mean()),
        )
        for quantity, v in suspicion.items()
    )


def _auc(values: np.ndarray, wrong: np.ndarray) -> float:
    """How often a corrupted class has the higher value than a clean one; ties count half."""
    difference = values[wrong][:, None] - values[~wrong]
    return float((np.sign(difference) / 2 + 0.5).mean())


def _found(values: np.ndarray, wrong: np.ndarray) -> float:
    return float(wrong[np.argsort(-values, kind="stable")[: wrong.sum()]].mean())


@ending_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("population", help="a population that the zoo declares")
    parser.add_argument("folder", type=Path, help="takes the networks")
    parser.add_argument("--data", type=Path, help="folder of the data set")
    parser.add_argument("--networks", type=int, default=12)
    parser.add_argument("--out", type=Path, default=EVIDENCE, help="takes the table")
    given = parser.parse_args(arguments)
    population = find_population(given.population)
    study(population, given.folder, given.out, data=given.data, networks=given.networks)


if __name__ == "__main__":
    sys.exit(main())
