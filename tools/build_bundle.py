"""Puts the examples of a trained population into the package.

    onnx-gap zoo train NAME --out POPULATION
    python -m tools.build_bundle NAME POPULATION [--corruption LEVEL ...] [--float16]

Copies the training data and the plain network of each corruption level, or of those asked for.
``population.csv`` and the gap models are made later from audits, and left alone.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from analyzer.errors import AnalyzerError
from analyzer.files import sha256
from analyzer.output_files import aside, write_json
from model_zoo.bundled import BUNDLED, INDEX
from model_zoo.population_training import IMAGES, TRAIN_DATA, Result, find_population, read_result
from model_zoo.recipes import Recipe, labels_key, level, recipes
from tools.evidence.commands import ending_in_a_sentence

__all__ = ["build_bundle", "write_float16"]

_SMALL = 1024  # numbers: smaller tensors, such as biases, stay as they are


def build_bundle(
    name: str,
    population_folder: str | Path,
    *,
    corruptions: Collection[float] | None = None,
    float16: bool = False,
    bundled: Path = BUNDLED,
) -> Path:
    """Copy a population's training data and its plain network of each corruption level.

    Args:
        name: one of :data:`model_zoo.POPULATIONS`.
        population_folder: what :func:`model_zoo.train_population` filled.
        corruptions: the levels to take; by default all.
        float16: store weights as float16, for networks that would be large in a package.
        bundled: folder of all bundles; by default the package's own.

    Returns:
        The folder of this population's bundle.

    Raises:
        AnalyzerError: no such population, or one of the networks is missing or was trained
            otherwise.
    """
    population, source = find_population(name), Path(population_folder)
    wanted = population.corruptions if corruptions is None else corruptions
    first = recipes(population)[: len(population.corruptions)]
    plain = [_plain(source, recipe) for recipe in first if recipe.corruption in wanted]
    folder = bundled / population.name
    folder.mkdir(parents=True, exist_ok=True)
    _copy(source / TRAIN_DATA, folder / TRAIN_DATA)
    write = write_float16 if float16 else _copy
    networks = [_bundle(population.name, result, source, folder, write) for result in plain]
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


def _bundle(
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


def _copy(source: Path, target: Path) -> None:
    with aside(target) as temporary:
        shutil.copyfile(source, temporary)


def write_float16(source: Path, target: Path) -> None:
    """Write the network of ``source`` with its large weights rounded to float16, each cast back
    to float32 where it is read. ``target`` is written whole or not at all.
    """
    model = onnx.load(source)
    graph = model.graph
    stored, casts = [], []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= _SMALL:
            name = f"{tensor.name}_float16"
            casts.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
            tensor = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), name)
        stored.append(tensor)
    nodes = [*casts, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(stored)
    graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    with aside(target) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


@ending_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the population")
    parser.add_argument("population", type=Path, help="folder that `onnx-gap zoo train` wrote")
    parser.add_argument(
        "--corruption", type=float, action="append", help="a level to take; by default all"
    )
    parser.add_argument("--float16", action="store_true", help="store weights as float16")
    given = parser.parse_args(arguments)
    print(
        build_bundle(
            given.name, given.population, corruptions=given.corruption, float16=given.float16
        )
    )


if __name__ == "__main__":
    sys.exit(main())
