"""What a population varies, and the recipe by which each of its networks is trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_zoo.datasets import DataSet

__all__ = [
    "CORRUPTIONS",
    "DROPOUTS",
    "PopulationSpec",
    "Recipe",
    "images_key",
    "labels_key",
    "level",
    "recipes",
]

CORRUPTIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
DROPOUTS = (0.0, 0.3, 0.5)
_MOMENTA = (0.0, 0.5, 0.9)
_WEIGHT_DECAYS = (0.0, 1e-4)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one network is trained: a point of the paper's grid (App. D), and a width."""

    name: str
    train_samples: int
    corruption: float  # fraction of the training labels that are redrawn, or mistaken
    architecture: str  # a name in model_zoo.networks.ARCHITECTURES
    width: int  # channels of the last convolution layer
    batch_norm: bool
    dropout: float  # on the fully connected layers
    optimizer: str  # "sgd" or "adam"
    momentum: float
    weight_decay: float  # the paper's L2
    batch_size: int
    augmentation: bool
    step: float  # highest learning rate / (1 − momentum)
    cycle: int  # epochs of the first cycle of the learning rate; 0: it stays on a plateau
    most_epochs: int
    enough: float  # training accuracy at which training stops
    late: bool  # it does not stop there, but at the end of the cycle
    seed: int  # of the weights, the batches, dropout and augmentation


@dataclass(frozen=True, slots=True)
class PopulationSpec:
    """A population to be trained, not one that was: which networks on which data. (Networks whose
    features and gaps are known are an ``analyzer.estimation.PopulationTable``.)

    Recipes are drawn at random around one architecture, or, in a designed population, listed in
    ``designed``.
    """

    name: str
    data_set: DataSet
    train_samples: int  # of the data set's training split, drawn by class shares; the most of any
    architecture: str  # a name in model_zoo.networks.ARCHITECTURES
    widths: tuple[int, ...]
    batch_sizes: tuple[int, ...]  # the paper's 128, 256, 512, scaled to the number of images
    networks: int
    epochs: int  # at most
    step: float  # highest learning rate / (1 − momentum): all momenta move the weights equally fast
    seed: int  # of the recipes and of the corrupted labels
    cycle: int = 0  # epochs of the first cycle of the learning rate; 0: it stays on a plateau
    gives_way: bool = False  # to a lower rate without dropout and augmentation, to memorize
    trial: float = 0.25  # of the first cycle, after which such a network has to have left chance
    enough: float = 0.97  # training accuracy, as in the paper
    bfloat16: bool = False  # half the time on a processor that has it; scores are exported in float
    corruptions: tuple[float, ...] = CORRUPTIONS  # levels, which take turns
    confusable: bool = False  # wrong labels are of classes that look alike, not of any
    batch_norms: tuple[bool, ...] = (False, True)  # that recipes are drawn from
    # Batch norm of the plain recipes that come first at each level; those after them are drawn.
    plain: tuple[bool, ...] = (False,)
    # Of each network of a designed population, where its recipe differs from the plain one; "name"
    # is the end of its name.
    designed: tuple[Mapping[str, Any], ...] = ()

    @property
    def train_sizes(self) -> tuple[int, ...]:
        """Numbers of training images that its networks have, ascending."""
        return tuple(sorted({recipe.train_samples for recipe in recipes(self)}))

    @property
    def architectures(self) -> tuple[str, ...]:
        """Of its networks, each once."""
        return tuple(dict.fromkeys(recipe.architecture for recipe in recipes(self)))


def images_key(samples: int, most: int) -> str:
    """The name under which a population's ``train.npz`` keeps so many images; ``most`` is the
    number of the largest training set.
    """
    return "images" if samples == most else f"images_n{samples}"


def labels_key(corruption: float, samples: int = 0, most: int = 0) -> str:
    """The name under which it keeps the labels of that corruption, by default those of the most
    images.
    """
    key = f"labels_{level(corruption)}"
    return key if samples == most else f"{key}_n{samples}"


def level(corruption: float) -> str:
    """A corruption level as names have it: 0.4 is "c40"."""
    return f"c{round(100 * corruption)}"


def recipes(population: PopulationSpec) -> tuple[Recipe, ...]:
    """The recipes of all its networks; the first N do not depend on how many follow.

    The corruption levels take turns. The first networks of each have plain recipes, the same for
    all levels; the others' recipes are drawn at random. A designed population has the plain
    recipe, but for what the design says.
    """
    make = _designed_recipe if population.designed else _recipe
    return tuple(make(population, index) for index in range(population.networks))


def _recipe(population: PopulationSpec, index: int) -> Recipe:
    turn, place = divmod(index, len(population.corruptions))
    corruption = population.corruptions[place]
    generator = np.random.default_rng((population.seed, index))
    first = turn < len(population.plain)
    plain = _plain(population, population.plain[turn] if first else False)
    drawn = {}
    if not first:
        # In this order: the numbers of the generator are handed out one by one.
        for field, choices in (
            ("batch_norm", population.batch_norms),
            ("dropout", DROPOUTS),
            ("momentum", _MOMENTA),
            ("weight_decay", _WEIGHT_DECAYS),
            ("batch_size", population.batch_sizes),
            ("augmentation", (False, True)),
            ("width", population.widths),
        ):
            drawn[field] = choices[generator.integers(len(choices))]
    return Recipe(
        **plain
        | drawn
        | {
            "name": f"{population.name}-{level(corruption)}-{turn:02d}",
            "corruption": corruption,
            "seed": int(generator.integers(2**31)),
        }
    )


def _designed_recipe(population: PopulationSpec, index: int) -> Recipe:
    own = dict(population.designed[index])
    generator = np.random.default_rng((population.seed, index))
    return Recipe(
        **_plain(population, population.plain[0])
        | {"corruption": 0.0}
        | own
        | {
            "name": f"{population.name}-{own['name']}",
            "seed": int(generator.integers(2**31)),
        }
    )


def _plain(population: PopulationSpec, batch_norm: bool) -> dict[str, Any]:
    """A plain recipe, but for name, corruption and seed."""
    return {
        "train_samples": population.train_samples,
        "architecture": population.architecture,
        "width": population.widths[len(population.widths) // 2],
        "batch_norm": batch_norm,
        "dropout": 0.0,
        "optimizer": "sgd",
        "momentum": 0.9,
        "weight_decay": 0.0,
        "batch_size": population.batch_sizes[len(population.batch_sizes) // 2],
        "augmentation": False,
        "step": population.step,
        "cycle": population.cycle,
        "most_epochs": population.epochs,
        "enough": population.enough,
        "late": False,
    }
