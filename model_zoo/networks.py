"""The architectures that populations are made of. Needs torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from model_zoo.populations import Population, Recipe

__all__ = ["ARCHITECTURES", "Architecture", "build"]

_POOL = 0  # among channel numbers: max pooling by 2


@dataclass(frozen=True, slots=True)
class Architecture:
    """A chain of 3 × 3 convolutions with ReLU, then fully connected layers."""

    convolutions: Callable[[int], tuple[int, ...]]  # width -> channels of each layer, or _POOL
    hidden: tuple[int, ...]  # features of each fully connected layer but the last


def _vgg16(first: int, last: int, *fourth_pool: int) -> tuple[int, ...]:
    """Thirteen convolutions, ``first`` channels in the first and ``last`` in the last."""
    return (
        *(first, first, _POOL),
        *(2 * first, 2 * first, _POOL),
        *(4 * first, 4 * first, 4 * first, _POOL),
        *(8 * first, 8 * first, 8 * first, *fourth_pool),
        *(last // 2, last // 2, last, _POOL),
    )


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "bottleneck": Architecture(
            lambda width: (width // 4, width // 4, _POOL, width // 4, width), hidden=(128,)
        ),
        # VGG16 in form: blocks of convolutions behind pools, three fully connected layers.
        "vgg": Architecture(
            lambda width: (
                *(width // 4, _POOL),
                *(width // 2, width // 2, _POOL),
                *(width, width, _POOL),
            ),
            hidden=(128, 128),
        ),
        # VGG16 itself in form, for images of 32 × 32 and of 16 × 16 pixels.
        "vgg16": Architecture(lambda width: _vgg16(width // 16, width, _POOL), (256, 256)),
        "vgg16-small": Architecture(lambda width: _vgg16(width // 16, width), (256, 256)),
        "vgg16-small-wide": Architecture(lambda width: _vgg16(width // 8, width), (256, 256)),
        "vgg6-small": Architecture(
            lambda width: (
                *(width // 16, _POOL, width // 8, _POOL),
                *(width // 4, width // 4, _POOL, width // 2, width, _POOL),
            ),
            (256, 256),
        ),
    }
)


def build(population: Population, recipe: Recipe) -> nn.Sequential:
    """The untrained network; its weights are drawn from torch's own generator, seeded before.

    It maps images, float32 (N, 1, H, W), to one score per class, (N, K).
    """
    architecture = ARCHITECTURES[population.architecture]
    layers: list[nn.Module] = []
    channels, size = 1, population.data_set.size
    for outputs in architecture.convolutions(recipe.width):
        if outputs == _POOL:
            layers.append(nn.MaxPool2d(2))
            size //= 2
            continue
        layers.append(nn.Conv2d(channels, outputs, 3, padding=1, bias=not recipe.batch_norm))
        if recipe.batch_norm:
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(nn.ReLU())
        channels = outputs
    layers.append(nn.Flatten())
    features = channels * size * size
    for outputs in architecture.hidden:
        layers += [nn.Dropout(recipe.dropout), nn.Linear(features, outputs), nn.ReLU()]
        features = outputs
    layers += [nn.Dropout(recipe.dropout), nn.Linear(features, population.data_set.classes)]
    network = nn.Sequential(*layers)
    network.apply(_initialize)
    return network


@torch.no_grad()
def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
