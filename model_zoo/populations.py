"""Populations, declared: which networks are trained on what.

To add a population, add a :class:`model_zoo.recipes.PopulationSpec` to :data:`POPULATIONS`, its
data set to :mod:`model_zoo.datasets` and its architecture to :mod:`model_zoo.networks`.
"""

import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from model_zoo.datasets import DATA_SETS
from model_zoo.recipes import DROPOUTS, PopulationSpec

__all__ = ["POPULATIONS"]


def _scarce(
    sizes: tuple[int, ...],
    networks: int,
    seed: int,
    *,
    shown: int,
    epochs: tuple[int, int] = (4, 60),
    **choices: tuple,
) -> tuple[Mapping[str, Any], ...]:
    """The design of a clean population: the numbers of training images take turns, the rest of
    each recipe is drawn at random.

    Args:
        sizes: numbers of training images.
        networks: how many.
        seed: of what is drawn.
        shown: images that a cycle shows, whatever the number of images.
        epochs: of a cycle, at least and at most.
        choices: by field of the recipe, beside those that all clean populations vary.
    """
    fields: dict[str, tuple] = {
        "batch_norm": (False, True),
        "dropout": DROPOUTS,
        "weight_decay": (0.0, 1e-4, 3e-3),
        "augmentation": (False, True),
        "stop": tuple(_STOPS),
    } | choices
    designed = []
    for index in range(networks):
        turn, place = divmod(index, len(sizes))
        generator = np.random.default_rng((seed, index))
        drawn = {field: of[generator.integers(len(of))] for field, of in fields.items()}
        cycle = min(max(shown // sizes[place], epochs[0]), epochs[1])
        designed.append(
            {
                "name": f"n{sizes[place]}-{turn:02d}",
                "train_samples": sizes[place],
                "cycle": cycle,
                "most_epochs": cycle,
            }
            | dict(_STOPS[drawn.pop("stop")])
            | drawn
        )
    return tuple(designed)


_STOPS: MappingProxyType[str, Mapping[str, Any]] = MappingProxyType(
    {
        "early": {"enough": 0.85},
        "usual": {},
        "late": {"late": True},
    }
)


def _task8() -> tuple[Mapping[str, Any], ...]:
    """The design of task 8 of the competition Predicting Generalization in Deep Learning (2020):
    all combinations of five hyperparameters.
    """
    return tuple(
        {
            "name": f"w{width}-d{round(100 * dropout)}-b{blocks}-lr{rate:g}-s{batch_size}",
            "width": width,
            "dropout": dropout,
            "architecture": f"blocks{blocks}",
            "step": rate / (1 - 0.9),
            "batch_size": batch_size,
            "optimizer": "adam",
        }
        for batch_size, rate, blocks, dropout, width in itertools.product(
            (32, 512), (0.001, 0.01), (1, 3), (0.0, 0.5), (256, 512)
        )
    )


# docs/evidence/regime.md tells how the form and the learning rate were found.
_MEMORIZING: Any = MappingProxyType(
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

_GLYPHS: Any = _MEMORIZING | {
    "data_set": DATA_SETS["glyphs-16"],
    "train_samples": 2500,
    "widths": (256,),
}

_FASHION: Any = _MEMORIZING | {
    "data_set": DATA_SETS["fashion-mnist"],
    "train_samples": 3000,
    "widths": (128,),
}

# For finding single corrupted labels: as many of them as real data sets have, and networks trained
# until they have memorized nearly all of them.
_LABELS: Any = MappingProxyType(
    {
        "train_samples": 5000,
        "networks": 10,
        "cycle": 30,
        "enough": 0.999,
        "corruptions": (0.01, 0.02, 0.05, 0.1, 0.2),
        "plain": (False, True),
    }
)

# The gap comes from few images and from the recipe; all labels are true. Float, so that networks
# train as fast on a processor without bfloat16.
_CLEAN: Any = MappingProxyType({"step": 0.3, "epochs": 120, "cycle": 40, "corruptions": (0.0,)})

# Small ones, trained on few images, so that a network takes half a minute.
_FASHION_SMALL: Any = MappingProxyType(
    {
        "data_set": DATA_SETS["fashion-mnist"],
        "train_samples": 600,
        "batch_sizes": (16, 32, 64),
        "networks": 24,
        "epochs": 120,
        "cycle": 40,
        "gives_way": True,
        "corruptions": (0.0, 0.2, 0.4, 0.6),
    }
)

# As people err: a label is mistaken for one of a class that looks alike.
_CONFUSABLE: Any = MappingProxyType(
    {
        "networks": 10,
        "cycle": 30,
        "gives_way": True,
        "enough": 0.999,
        "corruptions": (0.01, 0.02, 0.05, 0.1, 0.2),
        "confusable": True,
        "plain": (False, True),
    }
)

POPULATIONS: Mapping[str, PopulationSpec] = MappingProxyType(
    {
        population.name: population
        for population in (
            # Some twenty forms were tried with one seed per cell. In those with narrow early
            # layers and no pool behind the last convolution, ζ rises from clean to corrupted
            # labels both with and without batch norm (steeply up to 0.2 to 0.4, little beyond);
            # in the others it stays or falls in the networks with batch norm.
            PopulationSpec(
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
            PopulationSpec(name="fashion-vgg", networks=24, seed=21, **_FASHION),
            PopulationSpec(name="glyphs-vgg", networks=84, seed=22, **_GLYPHS),
            # Without batch norm its 26 convolutions stayed at chance or stopped at half of what
            # was to be memorized, in four of six trials; with it, they take long to leave chance.
            PopulationSpec(
                name="glyphs-mobilenet",
                networks=24,
                seed=23,
                batch_norms=(True,),
                plain=(True,),
                trial=1.0,
                **_GLYPHS | {"architecture": "mobilenet"},
            ),
            PopulationSpec(
                name="glyphs-resnet",
                networks=24,
                seed=24,
                **_GLYPHS | {"architecture": "resnet34"},
            ),
            PopulationSpec(
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
            PopulationSpec(name="fashion-labels", seed=26, **_FASHION | _LABELS),
            PopulationSpec(name="glyphs-labels", seed=27, **_GLYPHS | _LABELS),
            PopulationSpec(
                name="digits-clean",
                data_set=DATA_SETS["digits"],
                train_samples=1300,
                architecture="bottleneck",
                widths=(48,),
                batch_sizes=(16, 32, 64),
                networks=40,
                seed=28,
                designed=_scarce(
                    (30, 60, 150, 400, 1300),
                    40,
                    28,
                    shown=20_000,
                    architecture=("bottleneck2", "bottleneck", "bottleneck5"),
                    width=(24, 48, 96),
                    batch_size=(16, 32, 64),
                ),
                **_CLEAN,
            ),
            PopulationSpec(
                name="fashion-clean",
                data_set=DATA_SETS["fashion-mnist"],
                train_samples=10_000,
                architecture="vgg",
                widths=(32,),
                batch_sizes=(16, 32, 64),
                networks=42,
                seed=29,
                designed=_scarce(
                    (30, 100, 300, 1000, 3000, 10_000),
                    42,
                    29,
                    shown=20_000,
                    architecture=("vgg3", "vgg", "vgg8"),
                    width=(16, 32, 48),
                    batch_size=(16, 32, 64),
                ),
                **_CLEAN,
            ),
            PopulationSpec(
                name="glyphs-clean",
                data_set=DATA_SETS["glyphs-16"],
                train_samples=5000,
                architecture="vgg",
                widths=(48,),
                batch_sizes=(16, 32, 64),
                networks=35,
                seed=30,
                designed=_scarce(
                    (300, 600, 1200, 2500, 5000),
                    35,
                    30,
                    shown=40_000,
                    epochs=(8, 80),
                    architecture=("vgg3", "vgg", "vgg8"),
                    width=(32, 48, 64),
                    batch_size=(16, 32, 64),
                    # A hundred classes: with more of either, many learn nothing.
                    dropout=(0.0, 0.1, 0.2),
                    weight_decay=(0.0, 1e-4, 1e-3),
                ),
                **_CLEAN,
            ),
            PopulationSpec(
                name="fashion-resnet",
                architecture="resnet10-small",
                widths=(48, 64),
                step=0.6,
                seed=31,
                **_FASHION_SMALL,
            ),
            # With batch norm only, as glyphs-mobilenet.
            PopulationSpec(
                name="fashion-mobilenet",
                architecture="mobilenet-small",
                widths=(96, 128),
                step=0.6,
                seed=32,
                batch_norms=(True,),
                plain=(True,),
                trial=1.0,
                **_FASHION_SMALL,
            ),
            PopulationSpec(
                name="digits-confusable",
                data_set=DATA_SETS["digits"],
                train_samples=1300,
                architecture="bottleneck",
                widths=(48,),
                batch_sizes=(32, 64, 128),
                epochs=210,
                step=0.5,
                seed=33,
                **_CONFUSABLE | {"gives_way": False},
            ),
            PopulationSpec(
                name="fashion-confusable",
                data_set=DATA_SETS["fashion-mnist"],
                train_samples=1500,
                architecture="vgg",
                widths=(32,),
                batch_sizes=(16, 32, 64),
                epochs=120,
                step=0.6,
                seed=34,
                **_CONFUSABLE,
            ),
            PopulationSpec(
                name="glyphs-confusable",
                data_set=DATA_SETS["glyphs-16"],
                train_samples=1500,
                architecture="vgg",
                widths=(64,),
                batch_sizes=(16, 32, 64),
                epochs=120,
                step=0.6,
                seed=35,
                **_CONFUSABLE,
            ),
            PopulationSpec(
                name="color-clean",
                data_set=DATA_SETS["color-glyphs"],
                train_samples=4000,
                architecture="vgg",
                widths=(48,),
                batch_sizes=(16, 32, 64),
                networks=12,
                seed=37,
                designed=_scarce(
                    (75, 250, 1000, 4000),
                    12,
                    37,
                    shown=40_000,
                    epochs=(8, 80),
                    architecture=("vgg3", "vgg", "resnet10-small"),
                    width=(32, 48, 64),
                    batch_size=(16, 32),
                    dropout=(0.0, 0.1, 0.2),
                    weight_decay=(0.0, 1e-4, 1e-3),
                ),
                **_CLEAN,
            ),
            # With batch norm only, as glyphs-mobilenet.
            PopulationSpec(
                name="color-mobilenet",
                architecture="mobilenet-small",
                widths=(96, 128),
                step=0.6,
                seed=38,
                batch_norms=(True,),
                plain=(True,),
                trial=1.0,
                **_FASHION_SMALL
                | {"data_set": DATA_SETS["color-glyphs"], "train_samples": 1000, "networks": 8},
            ),
            PopulationSpec(
                name="emoji-clean",
                data_set=DATA_SETS["emoji"],
                train_samples=1000,
                architecture="vgg",
                widths=(48,),
                batch_sizes=(16, 32, 64),
                networks=12,
                seed=39,
                designed=_scarce(
                    (80, 300, 1000),
                    12,
                    39,
                    shown=30_000,
                    architecture=("vgg3", "vgg", "resnet10-small"),
                    width=(32, 48, 64),
                    batch_size=(16, 32),
                    dropout=(0.0, 0.1, 0.3),
                ),
                **_CLEAN,
            ),
            PopulationSpec(
                name="emoji-confusable",
                data_set=DATA_SETS["emoji"],
                train_samples=1000,
                architecture="vgg",
                widths=(48,),
                batch_sizes=(16, 32),
                epochs=120,
                step=0.6,
                seed=40,
                **_CONFUSABLE | {"networks": 6, "corruptions": (0.05, 0.1, 0.2)},
            ),
            # The hyperparameters of that task, not its networks: fewer images, narrower early
            # convolutions, and a learning rate that rises and falls.
            PopulationSpec(
                name="fashion-task8",
                data_set=DATA_SETS["fashion-mnist"],
                train_samples=500,
                architecture="blocks1",
                widths=(256, 512),
                batch_sizes=(32, 512),
                networks=32,
                epochs=90,
                step=0.01,
                seed=36,
                cycle=30,
                enough=0.99,
                corruptions=(0.0,),
                designed=_task8(),
            ),
        )
    }
)
