"""What a population's folder holds: networks, how each was trained, their labels, the manifest.

==================  =======================================================================
``NAME.onnx``       one network
``NAME.json``       its recipe and accuracies; written last, so that it marks the network done
``train.npz``       ``images``, ``labels_c0`` (clean) and the labels of every corruption level;
                    of training sets with N samples where others have more, ``images_nN``, …
``manifest.csv``    what ``onnx-gap population`` reads: a row a network
==================  =======================================================================
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.errors import AnalyzerError
from analyzer.files import sha256, write_arrays, write_json, write_text
from model_zoo.recipes import Recipe, images_key, labels_key

__all__ = [
    "IMAGES",
    "MANIFEST",
    "TRAIN_DATA",
    "Result",
    "keep_data",
    "read_result",
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
