"""The regime study: in which settings do ζ and κ follow the gap? One network, one seed a cell.

``python -m model_zoo.regime DATA TABLE FOLDER`` trains and audits the cells that TABLE lacks, in
the order of :func:`cells`, and appends a row as each is done. Needs the extra ``zoo``.
"""

import csv
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from analyzer.writing import write_arrays
from model_zoo.datasets import DATA_SETS
from model_zoo.populations import Population, Recipe
from model_zoo.training import material, one_thread

__all__ = ["Cell", "cells", "study"]

_AUDITED = 50  # images a class, at most, that ζ and κ are taken from
_WIDTH = 256  # channels of the site
_CLASSES = 100


@dataclass(frozen=True, slots=True)
class Cell:
    """One network of the study; the default is the setting that the others are varied from."""

    corruption: float
    size: int = 16  # pixels, either way
    images_per_class: int = 25
    architecture: str = "vgg16-small"
    batch_norm: bool = True
    augmentation: bool = False
    dropout: float = 0.0
    enough: float = 0.97  # training accuracy at which training stops
    step: float = 0.1
    batch_size: int = 32
    cycle: int = 20  # epochs of the first cycle of the learning rate
    most: int = 140  # epochs


def cells() -> Iterator[Cell]:
    """All cells, in the order in which they are worth their time."""
    both = (0.0, 1.0)
    three = (0.0, 0.4, 1.0)
    some = (0.0, 0.4, 0.8, 1.0)
    plain = {"batch_norm": False, "step": 0.2}
    narrow = {"architecture": "narrow6-small"}
    longer = {"cycle": 40, "most": 120}
    conv6 = {"architecture": "conv6", "step": 0.6} | longer
    settings = (
        (some, narrow),
        (three, narrow | plain),
        (three, narrow | {"step": 0.6}),
        (both, narrow | {"step": 0.6, "batch_norm": False}),
        (both, {"architecture": "vgg16-narrow"} | plain),
        (both, {"architecture": "vgg16-narrow"}),
        (three, {"architecture": "narrower6-small"}),
        ((0.0,), narrow | {"augmentation": True}),
        ((0.0, 0.4), narrow | {"images_per_class": 50}),
        ((0.0,), narrow | {"images_per_class": 100}),
        ((0.0, 0.2, 0.4, 0.6), {}),
        (both, {"architecture": "vgg16-small-1024"}),
        (both, {"architecture": "vgg16-small-1024", "step": 0.6}),
        (both, {"architecture": "vgg16-open", "step": 0.3}),
        (both, {"architecture": "vgg16-open", "step": 0.3, "batch_norm": False}),
        (both, {"architecture": "conv13-1024", "step": 0.3}),
        (both, {"architecture": "conv13-256", "step": 0.3, "batch_norm": False}),
        (three, {"architecture": "conv13-256", "step": 0.8}),
        (both, {"architecture": "conv13", "step": 0.5} | longer),
        (both, {"architecture": "conv6-1024", "step": 0.3}),
        ((1.0,), {"architecture": "conv6-1024", "step": 0.8}),
        (three, conv6),
        (three, conv6 | {"batch_norm": False}),
        ((1.0,), conv6 | {"batch_norm": False, "step": 0.8}),
    )
    for levels, setting in settings:
        yield from (Cell(level, **setting) for level in levels)


def study(data: Path, table: Path, folder: Path) -> None:
    """Train and audit what ``table`` lacks.

    Args:
        data: folder of ``glyphs.npz``.
        table: CSV file, made if needed.
        folder: takes the networks and their audits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = _done(table)
    for cell in cells():
        key = {name: str(value) for name, value in asdict(cell).items()}
        if key not in done:
            _append(table, asdict(cell) | _measure(cell, data, folder))


def _done(table: Path) -> list[dict[str, str]]:
    if not table.exists():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        return [{name: row[name] for name in Cell.__slots__} for row in csv.DictReader(file)]


def _append(table: Path, row: dict) -> None:
    new = not table.exists()
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def _measure(cell: Cell, data: Path, folder: Path) -> dict[str, float]:
    """Train the cell's network, export it and audit the file."""
    from analyzer import data as images
    from analyzer.audit import AuditRequest, run_audit
    from model_zoo import export, fitting

    name = "-".join(str(value) for value in asdict(cell).values())
    population, recipe = _declared(cell)
    prepared = material(population, data)
    train = prepared.train(cell.corruption)
    begun = time.process_time()
    with one_thread():
        fit = fitting.fit(population, recipe, train)
        seconds = time.process_time() - begun
        test_accuracy = fitting.accuracy(fit.network, prepared.test)
        model, stored = folder / f"{name}.onnx", folder / f"{name}.npz"
        export.export(fit.network, fitting.as_input(train.images[:64]), model)
    write_arrays(stored, {"images": train.images, "labels": train.labels.astype(np.uint8)})
    audit = run_audit(
        AuditRequest(
            model=model,
            data=str(stored),
            out=folder / name,
            preprocess=images.PreprocessOptions(**population.data_set.preprocessing),
            limit_per_class=_AUDITED,
            threads=1,
            seed=0,
        )
    )
    return {
        "epochs": fit.epochs,
        "train_accuracy": round(fit.train_accuracy, 4),
        "test_accuracy": round(test_accuracy, 4),
        "gap": round(fit.train_accuracy - test_accuracy, 4),
        "zeta": round(audit.zeta, 4),
        "kappa": round(audit.kappa, 4),
        "processor_seconds": round(seconds),
    }


def _declared(cell: Cell) -> tuple[Population, Recipe]:
    population = Population(
        name="regime",
        data_set=DATA_SETS["glyphs" if cell.size == 32 else "glyphs-16"],
        train_samples=_CLASSES * cell.images_per_class,
        architecture=cell.architecture,
        widths=(_WIDTH,),
        batch_sizes=(cell.batch_size,),
        networks=1,
        epochs=cell.most,
        step=cell.step,
        seed=0,
        cycle=cell.cycle,
        enough=cell.enough,
        bfloat16=True,
    )
    recipe = Recipe(
        name="cell",
        corruption=cell.corruption,
        batch_norm=cell.batch_norm,
        dropout=cell.dropout,
        momentum=0.9,
        weight_decay=0.0,
        batch_size=cell.batch_size,
        augmentation=cell.augmentation,
        width=_WIDTH,
        seed=1,
    )
    return population, recipe


if __name__ == "__main__":
    study(*map(Path, sys.argv[1:4]))
