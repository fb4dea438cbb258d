"""The regime study: in which settings do ζ and κ follow the gap, and what is estimated from them?

``python -m tools.regime_study DATA TABLE FOLDER`` trains and audits the cells that TABLE lacks, in
the order of :func:`cells`, and appends a row as each is done. Needs the extra ``zoo``.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.output_files import write_arrays
from model_zoo.datasets import DATA_SETS, DataSet, Split
from model_zoo.population_training import one_thread, population_data
from model_zoo.recipes import PopulationSpec, Recipe, recipes
from tools.study_rows import append_row, read_rows

__all__ = ["Cell", "cells", "of_classes", "study"]

_AUDITED = 50  # images a class, at most, that ζ, κ and margins are taken from
_OWN = ("zeta", "kappa")
_MARGIN_LAYERS = 4  # the images and three layers
_LONGER = {"cycle": 40, "most": 120}
_CONV6 = {"architecture": "conv6", "step": 0.6} | _LONGER  # the form of glyphs-vgg


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
    classes: int = 100  # of the data set's, see of_classes
    width: int = 256  # channels of the site
    seed: int = 1  # of the weights and batches, the images drawn and the wrong labels


def cells() -> Iterator[Cell]:
    """All cells: the settings tried with one seed each, then what glyphs-vgg is varied to."""
    yield from _settings()
    yield from _around_glyphs_vgg()


def _settings() -> Iterator[Cell]:
    """One seed each, in the order in which they are worth their time."""
    both = (0.0, 1.0)
    three = (0.0, 0.4, 1.0)
    some = (0.0, 0.4, 0.8, 1.0)
    plain = {"batch_norm": False, "step": 0.2}
    narrow = {"architecture": "narrow6-small"}
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
        (both, {"architecture": "conv13", "step": 0.5} | _LONGER),
        (both, {"architecture": "conv6-1024", "step": 0.3}),
        ((1.0,), {"architecture": "conv6-1024", "step": 0.8}),
        (three, _CONV6),
        (three, _CONV6 | {"batch_norm": False}),
        ((1.0,), _CONV6 | {"batch_norm": False, "step": 0.8}),
    )
    for levels, setting in settings:
        yield from (Cell(level, **setting) for level in levels)


def _around_glyphs_vgg() -> Iterator[Cell]:
    """Its form and step; one thing varied at a time, in the order in which it is worth its time.

    However few images there are, a cycle has as many steps. The cells of glyphs-vgg's own setting
    with the first seed are among the others already.
    """
    site = {"architecture": "conv6-16"}
    of_10, of_25, of_50 = ({"classes": k} | _epochs(25 * k) for k in (10, 25, 50))
    with_10, with_100 = ({"images_per_class": n} | _epochs(100 * n) for n in (10, 100))
    early, late, slow = {"enough": 0.9}, {"enough": 0.999}, {"step": 0.1}
    thin, wide = ({"width": width} | site for width in (64, 512))
    many = {"classes": 10, "images_per_class": 250}
    both, off, on = (False, True), (False,), (True,)  # batch norm
    rounds: tuple[tuple[int, tuple[bool, ...], tuple[dict[str, Any], ...]], ...] = (
        (1, both, (of_10, of_25, early)),
        (2, both, (of_10, of_25)),
        (1, off, (with_10,)),
        (1, on, (slow,)),
        (1, off, (thin, many, of_50, of_25 | thin, late, slow, wide)),
        (1, on, (thin, many, of_50, of_25 | thin, late, with_10, wide)),
        (2, both, ({}, early)),
        (1, both, (with_100,)),
        (3, both, (of_10, of_25)),
        (2, both, (with_10, of_25 | thin, thin, many, of_50, slow, late, wide)),
    )
    for seed, batch_norms, variations in rounds:
        for variation, batch_norm, level in product(variations, batch_norms, (0.0, 0.4, 1.0)):
            yield Cell(level, **_CONV6 | variation, batch_norm=batch_norm, seed=seed)


def _epochs(samples: int) -> dict[str, int]:
    """As many steps as glyphs-vgg's cycles have with its 2,500 images."""
    return {name: epochs * 2500 // samples for name, epochs in _LONGER.items()}


def study(data: Path, table: Path, folder: Path) -> None:
    """Train and audit what ``table`` lacks.

    Args:
        data: folder of ``glyphs.npz``.
        table: CSV file, made if needed.
        folder: takes the networks and their audits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = [{name: row[name] for name in Cell.__slots__} for row in read_rows(table)]
    for cell in cells():
        key = {name: str(value) for name, value in asdict(cell).items()}
        if key not in done:
            append_row(table, asdict(cell) | _measure(cell, data, folder))


def _measure(cell: Cell, data: Path, folder: Path) -> dict[str, Any]:
    """Train the cell's network, export it and audit the file."""
    from analyzer import data as images
    from analyzer.audit import run_audit
    from analyzer.audit_options import AuditRequest
    from analyzer.errors import ModelError
    from analyzer.estimation import conditions_of
    from analyzer.measures.margins.distances import MARGIN_FEATURES, margin_column
    from analyzer.measures.registry import feature_values
    from model_zoo import network_training, onnx_export

    name = "-".join(str(value) for value in asdict(cell).values())
    population, recipe = _declared(cell)
    prepared = population_data(population, data)
    train = prepared.train(recipe)
    begun = time.process_time()
    with one_thread():
        fit = network_training.train_network(population, recipe, train)
        seconds = time.process_time() - begun
        test_accuracy = network_training.accuracy(fit.network, prepared.test)
        model, stored = folder / f"{name}.onnx", folder / f"{name}.npz"
        onnx_export.export(fit.network, network_training.as_input(train.images[:64]), model)
    write_arrays(stored, {"images": train.images, "labels": train.labels.astype(np.uint8)})
    request = AuditRequest(
        anyway=True,
        model=model,
        data=str(stored),
        out=folder / name,
        preprocess=images.PreprocessOptions(**population.data_set.preprocessing),
        limit_per_class=_AUDITED,
        threads=1,
        seed=0,
        margins=True,
        interpolation_samples=0,
        neighbor_samples=0,
    )
    try:
        audit = run_audit(request)
    except ModelError:  # a layer died, is the same for every sample: no margins there
        audit = run_audit(replace(request, margins=False))
    further = {name: value for name, value in feature_values(audit).items() if name not in _OWN}
    margins = (margin_column(*of) for of in product(range(_MARGIN_LAYERS), MARGIN_FEATURES))
    return {
        "epochs": fit.epochs,
        "train_accuracy": round(fit.train_accuracy, 4),
        "test_accuracy": round(test_accuracy, 4),
        "gap": round(fit.train_accuracy - test_accuracy, 4),
        **{name: round(getattr(audit, name), 4) for name in _OWN},
        "processor_seconds": round(seconds),
        **conditions_of(audit).to_cells(),
        **dict.fromkeys(margins, ""),
        **{name: f"{value:.6g}" for name, value in further.items()},
    }


def _declared(cell: Cell) -> tuple[PopulationSpec, Recipe]:
    data_set = DATA_SETS["glyphs" if cell.size == 32 else "glyphs-16"]
    population = PopulationSpec(
        name="regime",
        data_set=of_classes(data_set, cell.classes, cell.seed - 1),
        train_samples=cell.classes * cell.images_per_class,
        architecture=cell.architecture,
        widths=(cell.width,),
        batch_sizes=(cell.batch_size,),
        networks=1,
        epochs=cell.most,
        step=cell.step,
        seed=cell.seed - 1,
        cycle=cell.cycle,
        enough=cell.enough,
        bfloat16=True,
    )
    recipe = replace(
        recipes(population)[0],
        name="cell",
        corruption=cell.corruption,
        batch_norm=cell.batch_norm,
        dropout=cell.dropout,
        augmentation=cell.augmentation,
        seed=cell.seed,
    )
    return population, recipe


def of_classes(data_set: DataSet, classes: int, first: int = 0) -> DataSet:
    """The data set with so many of its classes only, evenly spaced from the ``first``."""
    if classes == data_set.classes:
        return data_set
    spaced = first + np.arange(classes) * data_set.classes // classes
    kept = np.sort(spaced % data_set.classes)

    def read(folder: Path | None) -> tuple[Split, Split]:
        train, test = data_set.read(folder)
        return _only(train, kept), _only(test, kept)

    return replace(data_set, classes=classes, read=read)


def _only(split: Split, kept: np.ndarray) -> Split:
    """The samples of the classes ``kept`` (ascending), numbered from 0."""
    chosen = split.take(np.flatnonzero(np.isin(split.labels, kept)))
    return Split(chosen.images, np.searchsorted(kept, chosen.labels))


if __name__ == "__main__":
    study(*map(Path, sys.argv[1:4]))
