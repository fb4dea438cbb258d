"""What ships in the package: trained networks, their training data, gap models.

A bundle is a folder ``bundled/POPULATION/``, made by ``tools/build_bundle.py``:

==================  ===================================================================
``bundle.json``     what is in it, with the sha256 of each file
``*.onnx``          one network for each of some corruption levels, all of the plain recipe
``train.npz``       the training images, and the labels of every corruption level
``population.csv``  recipes, accuracies, gap, ζ and κ of the whole population
``classes.txt``     names of the classes, a line each; missing where they are their numbers
``gap_model.json``  fitted on that population: Eq. 7, or more features where they do better
==================  ===================================================================

``bundled/any/gap_model.json`` is of many populations, for networks of none of them: made by
``tools/left_out_populations.py`` and named ``zoo:any``.
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analyzer.errors import AnalyzerError
from model_zoo.datasets import DATA_SETS

__all__ = ["BUNDLED", "CLASSES", "GAP_MODEL", "INDEX", "ZooEntry", "entries", "find"]

BUNDLED = Path(__file__).with_name("bundled")
INDEX = "bundle.json"
GAP_MODEL = "gap_model.json"
CLASSES = "classes.txt"


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """One thing of the zoo, to be named ``zoo:NAME``."""

    name: str
    kind: str  # "network" (with its data), "data", or "gap model"
    description: str
    population: str  # to which it belongs
    model: Path | None  # ONNX file; None for data
    data: Path | None  # training images and labels, .npz
    keys: tuple[str, str] | None  # names in the .npz of the images and of the labels
    preprocessing: Mapping[str, Any] | None  # options by timm's names; None: fed as stored
    gap_model: Path | None  # fitted on the population; None until there is one
    classes: Path | None = None  # names of the classes; None: their numbers


def entries() -> tuple[ZooEntry, ...]:
    """All that is bundled: of each population its data, then its networks; then zoo:any."""
    found: list[ZooEntry] = []
    for index in sorted(BUNDLED.glob(f"*/{INDEX}")):
        found += _read_bundle(index)
    any_network = BUNDLED / "any" / GAP_MODEL
    if any_network.is_file():
        found.append(
            ZooEntry(
                name="any",
                kind="gap model",
                description="for networks of any population",
                population="any",
                model=None,
                data=None,
                keys=None,
                preprocessing=None,
                gap_model=any_network,
            )
        )
    return tuple(found)


def find(name: str) -> ZooEntry:
    """The entry of that name, given without ``zoo:``.

    Raises:
        AnalyzerError: there is none; the sentence names those that are near.
    """
    by_name = {entry.name: entry for entry in entries()}
    if name in by_name:
        return by_name[name]
    near = difflib.get_close_matches(name, by_name, n=6) or list(by_name)
    raise AnalyzerError(
        f"the zoo has no {name!r}; near it: {', '.join(near)} (all: onnx-gap zoo list)"
    )


def _read_bundle(index: Path) -> list[ZooEntry]:
    bundle = json.loads(index.read_text(encoding="utf-8"))
    folder, population, data = index.parent, bundle["population"], bundle["data"]
    gap_model, classes = folder / GAP_MODEL, folder / CLASSES
    common = {
        "population": population,
        "data": folder / data["file"],
        "preprocessing": DATA_SETS[bundle["data_set"]].preprocessing,
        "gap_model": gap_model if gap_model.is_file() else None,
        "classes": classes if classes.is_file() else None,
    }
    clean = ZooEntry(
        name=population,
        kind="data",
        description=f"{data['samples']} training images with their true labels",
        model=None,
        keys=(data["images"], data["labels"]),
        **common,
    )
    networks = [
        ZooEntry(
            name=network["name"],
            kind="network",
            description=_describe(network),
            model=folder / network["file"],
            keys=(data["images"], network["labels"]),
            **common,
        )
        for network in bundle["networks"]
    ]
    return [clean, *networks]


def _describe(network: Mapping[str, Any]) -> str:
    return (
        f"{network['corruption']:.0%} random labels, "
        f"accuracy {network['train_accuracy']:.0%}, test {network['test_accuracy']:.0%}"
    )
