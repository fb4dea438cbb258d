"""Training a population: seeded, resumable, by several processes.

This module itself needs no torch; the workers do (extra ``zoo``).

A population's folder holds:

==================  =======================================================================
``NAME.onnx``       one network
``NAME.json``       its recipe and accuracies; written last, so that it marks the network done
``train.npz``       ``images``, ``labels_c0`` (clean) and the labels of every corruption level;
                    of training sets with N samples where others have more, ``images_nN``, …
``manifest.csv``    what ``onnx-gap population`` reads: a row a network
==================  =======================================================================
"""

import csv
import difflib
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.common_types import Progress
from analyzer.errors import AnalyzerError
from analyzer.files import sha256
from analyzer.output_files import prepare_folder, write_arrays, write_json, write_text
from model_zoo.datasets import Split, corrupt, corrupt_alike, stratified
from model_zoo.populations import POPULATIONS
from model_zoo.recipes import PopulationSpec, Recipe, images_key, labels_key, recipes

__all__ = [
    "IMAGES",
    "MANIFEST",
    "TRAIN_DATA",
    "PopulationData",
    "Result",
    "find_population",
    "keep_data",
    "one_thread",
    "population_data",
    "read_result",
    "train_population",
    "write_manifest",
    "write_result",
]

TRAIN_DATA = "train.npz"
MANIFEST = "manifest.csv"
IMAGES = "images"
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Result:
    """One trained network."""

    recipe: Recipe
    conditions: Mapping[str, Any]  # what else decided it: population, data, epochs, …
    sha256: str  # of its ONNX file
    train_accuracy: float  # on the labels it was trained on
    test_accuracy: float  # on clean labels
    epochs: int
    reached: bool  # the training accuracy that its recipe asks for
    seconds: float
    versions: Mapping[str, str]

    @property
    def model(self) -> str:
        """File name of the network."""
        return f"{self.recipe.name}.onnx"

    @property
    def keys(self) -> tuple[str, str]:
        """The names in ``train.npz`` of its images and of the labels that it was trained on."""
        samples, most = self.recipe.train_samples, self.conditions["train_samples"]
        corruption = self.recipe.corruption
        return images_key(samples, most), labels_key(corruption, samples, most)

    @property
    def true_labels(self) -> str:
        """The name there of the clean labels of its images."""
        return labels_key(0.0, self.recipe.train_samples, self.conditions["train_samples"])

    @property
    def row(self) -> dict[str, Any]:
        """Its row of the manifest."""
        columns = {
            "name": self.recipe.name,
            "model": self.model,
            "train_data": TRAIN_DATA,
            "keys": ",".join(self.keys),
            "train_accuracy": round(self.train_accuracy, 6),
            "test_accuracy": round(self.test_accuracy, 6),
        }
        recipe = {key: value for key, value in asdict(self.recipe).items() if key != "seed"}
        return columns | recipe | {"epochs": self.epochs, "reached": self.reached}


def write_result(folder: Path, result: Result) -> None:
    """Mark the network as done."""
    write_json(folder / f"{result.recipe.name}.json", {"schema": _SCHEMA} | asdict(result))


def read_result(folder: Path, name: str) -> Result | None:
    """The finished network of that name; None where it is missing, partly written or damaged.

    Raises:
        AnalyzerError: its record is not one of ours.
    """
    path = folder / f"{name}.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        stored.pop("schema")
        result = Result(**stored | {"recipe": Recipe(**stored["recipe"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AnalyzerError(
            f"{path} is not the record of a trained network ({error}); remove it to train that "
            "network again"
        ) from error
    model = folder / result.model
    return result if model.is_file() and sha256(model) == result.sha256 else None


def keep_data(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write ``train.npz``, or check that the one that exists holds the same.

    Raises:
        AnalyzerError: it holds something else.
    """
    path = folder / TRAIN_DATA
    if not path.exists():
        write_arrays(path, arrays)
        return
    try:
        with np.load(path, allow_pickle=False) as stored:
            same = set(stored.files) == set(arrays) and all(
                np.array_equal(stored[name], array) for name, array in arrays.items()
            )
    except (OSError, ValueError) as error:
        raise AnalyzerError(f"{path} cannot be read ({error}); remove it") from error
    if not same:
        raise AnalyzerError(
            f"{path} holds other training data than this population's; name another folder with "
            "--out, or empty this one"
        )


def write_manifest(folder: Path, results: Iterable[Result]) -> Path:
    """Write the manifest of the finished networks, in the order given; return its path."""
    rows = [result.row for result in results]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / MANIFEST, text.getvalue())
    return folder / MANIFEST


_NEEDED = ("torch", "onnxscript")
_CHECKED_IMAGES = 64  # on which an exported network must agree with torch


@dataclass(frozen=True, slots=True)
class PopulationData:
    """What a population is trained and tested on: training sets of one size or of several."""

    images: Mapping[int, np.ndarray]  # by number of samples: uint8, to train
    labels: Mapping[int, Mapping[float, np.ndarray]]  # and by corruption: int64 (S,)
    test: Split  # clean

    def train(self, recipe: Recipe) -> Split:
        """The training set of that recipe."""
        samples = recipe.train_samples
        return Split(self.images[samples], self.labels[samples][recipe.corruption])

    def arrays(self) -> dict[str, np.ndarray]:
        """As ``train.npz`` keeps them; labels as uint8, so at most 256 classes."""
        most, arrays = max(self.images), {}
        for samples in sorted(self.images, reverse=True):
            arrays[images_key(samples, most)] = self.images[samples]
            for level, given in self.labels[samples].items():
                arrays[labels_key(level, samples, most)] = given.astype(np.uint8)
        return arrays


def train_population(
    name: str,
    out: str | Path,
    *,
    processes: int = 1,
    limit: int | None = None,
    samples: int | None = None,
    data: str | Path | None = None,
    float32: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Train, test and export the networks of a population that ``out`` does not hold yet.

    Every network is kept as soon as it is done, so an interrupted run loses at most the networks
    in progress; the same call resumes. The results do not depend on ``processes``.

    Args:
        name: one of :data:`model_zoo.POPULATIONS`.
        out: folder of the networks, made if needed; :mod:`model_zoo.population_training` says what
            is in it.
        processes: networks trained at a time, one thread each.
        limit: train the first ``limit`` networks only; they are the same with every limit.
        samples: training images, instead of the population's own number.
        data: folder of the data set, where no package holds it.
        float32: train in float32 what is declared in bfloat16: a tenth of the time on a processor
            without instructions for it. The networks are other ones then.
        progress: told ("train", networks done, networks asked for).

    Returns:
        Path of the manifest of all networks in ``out``, for ``onnx-gap population``.

    Raises:
        AnalyzerError: no such population; the extra ``zoo`` is not installed; ``samples`` for a
            population of several sizes; the data cannot be read; ``out`` cannot be written or
            holds something else.
    """
    population = find_population(name)
    _check_installed()
    for option, value in (("processes", processes), ("limit", limit), ("samples", samples)):
        if value is not None and value < 1:
            raise AnalyzerError(f"--{option} is {value}; pass at least 1")
    if samples is not None and population.designed:
        raise AnalyzerError(
            f"--samples is {samples}, but the networks of {name} have the numbers of training "
            "images that its design says; leave it out"
        )
    if samples is not None:
        population = replace(population, train_samples=samples)
    if float32:
        population = replace(population, bfloat16=False)
    prepared = population_data(population, None if data is None else Path(data))
    folder = Path(out)
    try:
        prepare_folder(folder)
        keep_data(folder, prepared.arrays())
        return _train(population, prepared, folder, processes, limit, progress)
    except OSError as error:
        raise AnalyzerError(
            f"{folder} cannot be written ({error.strerror or error}); name another folder with "
            "--out"
        ) from error


def find_population(name: str) -> PopulationSpec:
    """The declared population of that name.

    Raises:
        AnalyzerError: there is none; the sentence names those that are near.
    """
    if name in POPULATIONS:
        return POPULATIONS[name]
    near = difflib.get_close_matches(name, POPULATIONS) or POPULATIONS
    raise AnalyzerError(f"there is no population {name!r}; did you mean {' or '.join(near)}?")


def population_data(population: PopulationSpec, folder: Path | None = None) -> PopulationData:
    """The images and labels that a population's seed decides.

    Args:
        population: what to prepare.
        folder: of the data set, where no package holds it.

    Raises:
        DataError: the data set cannot be read.
        AnalyzerError: it has fewer images than asked for.
    """
    data_set = population.data_set
    train, test = data_set.read(folder)
    if population.train_samples > len(train.labels):
        raise AnalyzerError(
            f"{data_set.name} has {len(train.labels)} training images, fewer than the "
            f"{population.train_samples} asked for; pass a smaller --samples"
        )
    images, labels = {}, {}
    for samples in population.train_sizes:
        draw = np.random.default_rng((population.seed, 0))
        part = train.take(stratified(train.labels, samples, draw))
        images[samples], labels[samples] = part.images, _all_labels(population, part)
    return PopulationData(images, labels, test)


def _all_labels(population: PopulationSpec, clean: Split) -> dict[float, np.ndarray]:
    """The labels of every corruption level."""
    # The clean ones are kept whatever the levels: they tell which samples of the others are wrong.
    labels = {0.0: clean.labels}
    for index, level in enumerate(population.corruptions):
        generator = np.random.default_rng((population.seed, 1, index))
        if population.confusable:
            labels[level] = corrupt_alike(clean.labels, clean.images, level, generator=generator)
        else:
            classes = population.data_set.classes
            labels[level] = corrupt(clean.labels, level, classes=classes, generator=generator)
    return labels


def _train(
    population: PopulationSpec,
    prepared: PopulationData,
    folder: Path,
    processes: int,
    limit: int | None,
    progress: Progress | None,
) -> Path:
    from joblib import Parallel, delayed

    conditions = _conditions(population, prepared)
    results = {recipe: _finished(folder, recipe, conditions) for recipe in recipes(population)}
    wanted = list(results)[:limit]
    missing = [recipe for recipe in wanted if results[recipe] is None]
    done = len(wanted) - len(missing)
    if progress:
        progress("train", done, len(wanted))
    parallel = Parallel(n_jobs=min(processes, len(missing)) or 1, return_as="generator_unordered")
    tasks = (
        delayed(_train_one)(
            population, recipe, conditions, prepared.train(recipe), prepared.test, folder
        )
        for recipe in missing
    )
    for result in parallel(tasks):
        results[result.recipe] = result
        done += 1
        if progress:
            progress("train", done, len(wanted))
    return write_manifest(folder, filter(None, results.values()))


def _train_one(
    population: PopulationSpec,
    recipe: Recipe,
    conditions: Mapping[str, Any],
    train: Split,
    test: Split,
    folder: Path,
) -> Result:
    """Train one network and keep it. Runs in a worker."""
    from model_zoo import network_training, onnx_export

    begun = time.perf_counter()
    with one_thread():
        fit = network_training.train_network(population, recipe, train)
        path = folder / f"{recipe.name}.onnx"
        onnx_export.export(
            fit.network, network_training.as_input(train.images[:_CHECKED_IMAGES]), path
        )
        result = Result(
            recipe=recipe,
            conditions=conditions,
            sha256=sha256(path),
            train_accuracy=fit.train_accuracy,
            test_accuracy=network_training.accuracy(fit.network, test),
            epochs=fit.epochs,
            reached=fit.reached,
            seconds=round(time.perf_counter() - begun, 1),
            versions={package: importlib.metadata.version(package) for package in _NEEDED},
        )
    write_result(folder, result)
    return result


def _finished(folder: Path, recipe: Recipe, conditions: Mapping[str, Any]) -> Result | None:
    """The network of that recipe if an earlier run finished it."""
    result = read_result(folder, recipe.name)
    if result and (result.recipe, result.conditions) != (recipe, conditions):
        raise AnalyzerError(
            f"{folder / result.model} was trained otherwise (other recipe, data or settings); "
            "name another folder with --out, or empty this one"
        )
    return result


def _conditions(population: PopulationSpec, prepared: PopulationData) -> dict[str, Any]:
    """What decides a network besides its recipe."""
    content = hashlib.sha256()
    for array in prepared.arrays().values():
        content.update(array.tobytes())
    return {
        "population": population.name,
        "train_samples": population.train_samples,
        "train_data_sha256": content.hexdigest(),
        "rotation": population.data_set.rotation,
        "shift": population.data_set.shift,
        "flip": population.data_set.flip,
        "bfloat16": population.bfloat16,
        "gives_way": population.gives_way,
        "trial": population.trial,
    }


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch: results that do not depend on the machine's load or cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check_installed() -> None:
    for package in _NEEDED:
        if importlib.util.find_spec(package) is None:
            raise AnalyzerError(
                f"training needs {package}, which is not installed; "
                "run: pip install 'onnx-gap[zoo]'"
            )
