"""Populations, declared: which networks are trained on what.

A further population is one more :class:`Population` in :data:`POPULATIONS`, with its data set in
:mod:`model_zoo.datasets` and its architecture in :mod:`model_zoo.networks`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from model_zoo.datasets import DATA_SETS, DataSet

__all__ = ["CORRUPTIONS", "POPULATIONS", "Population", "Recipe", "labels_key", "level", "recipes"]

CORRUPTIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_DROPOUTS = (0.0, 0.3, 0.5)
_MOMENTA = (0.0, 0.5, 0.9)
_WEIGHT_DECAYS = (0.0, 1e-4)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one network is trained: a point of the paper's grid (App. D), and a width."""

    name: str
    corruption: float  # fraction of the training labels drawn anew
    batch_norm: bool
    dropout: float  # on the fully connected layers
    momentum: float
    weight_decay: float  # the paper's L2
    batch_size: int
    augmentation: bool
    width: int  # channels of the last convolution layer
    seed: int  # of the weights, the batches, dropout and augmentation


@dataclass(frozen=True, slots=True)
class Population:
    """Networks of one architecture, trained on one data set by recipes drawn at random."""

    name: str
    data_set: DataSet
    train_samples: int  # of the data set's training half, drawn by class shares
    architecture: str  # a name in model_zoo.networks.ARCHITECTURES
    widths: tuple[int, ...]
    batch_sizes: tuple[int, ...]  # the paper's 128, 256, 512, scaled to the number of images
    networks: int
    epochs: int  # at most
    step: float  # highest learning rate / (1 − momentum): all momenta move the weights equally fast
    seed: int  # of the recipes and of the corrupted labels
    cycle: int = 0  # epochs of the first cycle of the learning rate; 0: it stays on a plateau
    gives_way: bool = False  # to a lower rate without dropout and augmentation, to memorise
    trial: float = 0.25  # of the first cycle, after which such a network has to have left chance
    enough: float = 0.97  # training accuracy, as in the paper
    bfloat16: bool = False  # half the time on a processor that has it; scores are exported in float
    corruptions: tuple[float, ...] = CORRUPTIONS  # levels, which take turns
    batch_norms: tuple[bool, ...] = (False, True)  # that recipes are drawn from
    # Batch norm of the plain recipes that come first at each level; those after them are drawn.
    plain: tuple[bool, ...] = (False,)


def labels_key(corruption: float) -> str:
    """The name under which a population's ``train.npz`` keeps the labels of that corruption."""
    return f"labels_{level(corruption)}"


def level(corruption: float) -> str:
    """A corruption level as names have it: 0.4 is "c40"."""
    return f"c{round(100 * corruption)}"


def recipes(population: Population) -> tuple[Recipe, ...]:
    """The recipes of all its networks; the first N do not depend on how many follow.

    The corruption levels take turns. The first networks of each have plain recipes, the same for
    all levels; the others' recipes are drawn at random.
    """
    return tuple(_recipe(population, index) for index in range(population.networks))


def _recipe(population: Population, index: int) -> Recipe:
    turn, place = divmod(index, len(population.corruptions))
    corruption = population.corruptions[place]
    generator = np.random.default_rng((population.seed, index))
    first = turn < len(population.plain)

    def draw(plain, choices):
        return plain if first else choices[generator.integers(len(choices))]

    return Recipe(
        name=f"{population.name}-{level(corruption)}-{turn:02d}",
        corruption=corruption,
        batch_norm=draw(first and population.plain[turn], population.batch_norms),
        dropout=draw(0.0, _DROPOUTS),
        momentum=draw(0.9, _MOMENTA),
        weight_decay=draw(0.0, _WEIGHT_DECAYS),
        batch_size=draw(population.batch_sizes[1], population.batch_sizes),
        augmentation=draw(False, (False, True)),
        width=draw(population.widths[len(population.widths) // 2], population.widths),
        seed=int(generator.integers(2**31)),
    )


# docs/evidence/regime.md tells how the form and the learning rate were found.
_MEMORISING: Mapping[str, Any] = MappingProxyType(
    {
        "architecture": "conv6",
        "batch_sizes": (16, 32, 64),
        "epochs": 120,
        "step": 0.6,
        "cycle": 40,
        "gives_way": True,
        "bfloat16": True,
    }
)

_GLYPHS: Mapping[str, Any] = _MEMORISING | {
    "data_set": DATA_SETS["glyphs-16"],
    "train_samples": 2500,
    "widths": (256,),
}

_FASHION: Mapping[str, Any] = _MEMORISING | {
    "data_set": DATA_SETS["fashion-mnist"],
    "train_samples": 3000,
    "widths": (128,),
}

# For finding single corrupted labels: as many of them as real data sets have, and networks trained
# until they have memorised nearly all of them.
_LABELS: Mapping[str, Any] = MappingProxyType(
    {
        "train_samples": 5000,
        "networks": 10,
        "cycle": 30,
        "enough": 0.999,
        "corruptions": (0.01, 0.02, 0.05, 0.1, 0.2),
        "plain": (False, True),
    }
)

POPULATIONS: Mapping[str, Population] = MappingProxyType(
    {
        population.name: population
        for population in (
            # Some twenty forms were tried with one seed per cell. In those with narrow early
            # layers and no pool behind the last convolution, ζ rises from clean to corrupted
            # labels both with and without batch norm (steeply up to 0.2 to 0.4, little beyond);
            # in the others it stays or falls in the networks with batch norm.
            Population(
                name="digits",
                data_set=DATA_SETS["digits"],
                train_samples=1300,
                architecture="bottleneck",
                widths=(32, 40, 48, 56, 64),
                batch_sizes=(32, 64, 128),
                networks=60,
                epochs=400,
                step=0.5,
                seed=20,
            ),
            Population(name="fashion-vgg", networks=24, seed=21, **_FASHION),
            Population(name="glyphs-vgg", networks=84, seed=22, **_GLYPHS),
            # Without batch norm its 26 convolutions stayed at chance or stopped at half of what
            # was to be memorised, in four of six trials; with it, they take long to leave chance.
            Population(
                name="glyphs-mobilenet",
                networks=24,
                seed=23,
                batch_norms=(True,),
                plain=(True,),
                trial=1.0,
                **_GLYPHS | {"architecture": "mobilenet"},
            ),
            Population(
                name="glyphs-resnet",
                networks=24,
                seed=24,
                **_GLYPHS | {"architecture": "resnet34"},
            ),
            Population(
                name="digits-labels",
                data_set=DATA_SETS["digits"],
                architecture="bottleneck",
                widths=(48,),
                batch_sizes=(32, 64, 128),
                epochs=210,
                step=0.5,
                seed=25,
                **_LABELS | {"train_samples": 1300},
            ),
            Population(name="fashion-labels", seed=26, **_FASHION | _LABELS),
            Population(name="glyphs-labels", seed=27, **_GLYPHS | _LABELS),
        )
    }
)
