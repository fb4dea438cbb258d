"""Putting the examples of a trained population on its shelf in the package."""

import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.errors import AnalyzerError
from analyzer.files import aside, sha256, write_json
from model_zoo.populations import Recipe, labels_key, level, recipes
from model_zoo.results import IMAGES, TRAIN_DATA, Result, read_result
from model_zoo.shelf import INDEX, SHELF
from model_zoo.training import find_population

__all__ = ["build_shelf"]


def build_shelf(
    name: str,
    population_folder: str | Path,
    *,
    corruptions: Collection[float] | None = None,
    half: bool = False,
    shelf: Path = SHELF,
) -> Path:
    """Copy a population's training data and its plain network of each corruption level.

    ``population.csv`` and the gap models are made later from audits, and left alone.

    Args:
        name: one of :data:`model_zoo.POPULATIONS`.
        population_folder: what :func:`model_zoo.train_population` filled.
        corruptions: the levels to take; by default all.
        half: store weights as float16, for networks that would be large in a package.
        shelf: folder of all shelves; by default the package's own.

    Returns:
        The folder of this population's shelf.

    Raises:
        AnalyzerError: no such population, or one of the networks is missing or was trained
            otherwise.
    """
    population, source = find_population(name), Path(population_folder)
    wanted = population.corruptions if corruptions is None else corruptions
    first = recipes(population)[: len(population.corruptions)]
    plain = [_plain(source, recipe) for recipe in first if recipe.corruption in wanted]
    folder = shelf / population.name
    folder.mkdir(parents=True, exist_ok=True)
    _copy(source / TRAIN_DATA, folder / TRAIN_DATA)
    write = _written_half if half else _copy
    networks = [_shelve(population.name, result, source, folder, write) for result in plain]
    with np.load(folder / TRAIN_DATA, allow_pickle=False) as stored:
        samples = len(stored[IMAGES])
    write_json(
        folder / INDEX,
        {
            "schema": 1,
            "population": population.name,
            "data_set": population.data_set.name,
            "data": {
                "file": TRAIN_DATA,
                "sha256": sha256(folder / TRAIN_DATA),
                "samples": samples,
                "images": IMAGES,
                "labels": labels_key(0.0),
            },
            "networks": networks,
        },
    )
    return folder


def _plain(source: Path, recipe: Recipe) -> Result:
    result = read_result(source, recipe.name)
    if result is None or result.recipe != recipe:
        raise AnalyzerError(
            f"{source} lacks the network {recipe.name} as its recipe now is; train it with "
            "onnx-gap zoo train"
        )
    return result


def _shelve(
    population: str,
    result: Result,
    source: Path,
    folder: Path,
    write: Callable[[Path, Path], None],
) -> dict[str, Any]:
    """Write one network; return its part of the index."""
    corruption = result.recipe.corruption
    name = f"{population}-{level(corruption)}"
    file = f"{name}.onnx"
    write(source / result.model, folder / file)
    return {
        "name": name,
        "file": file,
        "sha256": sha256(folder / file),
        "labels": labels_key(corruption),
        "corruption": corruption,
        "train_accuracy": round(result.train_accuracy, 6),
        "test_accuracy": round(result.test_accuracy, 6),
        "trained_as": result.recipe.name,
    }


def _written_half(source: Path, target: Path) -> None:
    from model_zoo.half_weights import write_half  # needs onnx

    write_half(source, target)


def _copy(source: Path, target: Path) -> None:
    with aside(target) as temporary:
        shutil.copyfile(source, temporary)
