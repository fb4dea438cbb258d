"""Training one network, on one core. Needs torch."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from model_zoo.datasets import DataSet, Split
from model_zoo.populations import Population, Recipe

__all__ = ["Fit", "accuracy", "as_input", "fit"]

ENOUGH = 0.97  # training accuracy, as in the paper
_WARM_UP = 5  # epochs at a rising learning rate
_TAIL = 8  # epochs at a falling one: they end the last stretch from about 0.97 to 1
_LONG_TAIL = 4  # where the accuracy is not enough by then: the last epochs, one in so many
_LARGEST_GRADIENT = 1.0
_BATCH = 500  # of evaluation


@dataclass(frozen=True, slots=True)
class Fit:
    """A trained network and how far it got."""

    network: nn.Module  # in evaluation mode
    train_accuracy: float  # on the labels it was trained on, without dropout and augmentation
    epochs: int

    @property
    def reached(self) -> bool:
        """Whether it got as far as the method asks for."""
        return self.train_accuracy >= ENOUGH


def fit(population: Population, recipe: Recipe, train: Split) -> Fit:
    """Train a network on ``train`` by stochastic gradient descent; the seed decides everything.

    The learning rate rises, stays until the training accuracy is :data:`ENOUGH` or a quarter of
    the epochs is left, and falls to zero.
    """
    from model_zoo.networks import build

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(recipe.seed)
        network = build(population, recipe)
        epochs = _descend(network, population, recipe, train)
    network.eval()
    return Fit(network, accuracy(network, train), epochs)


def _descend(network: nn.Module, population: Population, recipe: Recipe, train: Split) -> int:
    images, labels = as_input(train.images), torch.from_numpy(train.labels)
    rate = population.step * (1 - recipe.momentum)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    tail = population.epochs // _LONG_TAIL
    end = population.epochs
    for epoch in range(population.epochs):
        falling = (end - epoch) / max(tail, 1)
        for group in optimizer.param_groups:
            group["lr"] = rate * min((epoch + 1) / _WARM_UP, 1.0, falling)
        network.train()
        for batch in torch.randperm(len(images)).split(recipe.batch_size):
            shown = images[batch]
            if recipe.augmentation:
                shown = _augment(shown, population.data_set)
            optimizer.zero_grad()
            functional.cross_entropy(network(shown), labels[batch]).backward()
            nn.utils.clip_grad_norm_(network.parameters(), _LARGEST_GRADIENT)
            optimizer.step()
        if epoch + 1 < end - tail and accuracy(network, train) >= ENOUGH:
            tail = min(_TAIL, tail)
            end = epoch + 1 + tail
        if epoch + 1 == end:
            break
    return end


def _augment(images: torch.Tensor, data_set: DataSet) -> torch.Tensor:
    """Images (N, 1, H, W), each turned, shifted and perhaps mirrored by its own random amount."""
    count = len(images)
    angle = _uniform(count) * np.radians(data_set.rotation)
    # affine_grid's coordinates run from −1 to 1 over the image.
    shift = [_uniform(count) * data_set.shift * 2 / data_set.size for _ in range(2)]
    mirror = torch.ones(count)
    if data_set.flip:
        mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    rows = [
        torch.stack([angle.cos() * mirror, -angle.sin(), shift[0]], dim=1),
        torch.stack([angle.sin() * mirror, angle.cos(), shift[1]], dim=1),
    ]
    grid = functional.affine_grid(torch.stack(rows, dim=1), images.shape, align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def _uniform(count: int) -> torch.Tensor:
    """Random numbers in [−1, 1)."""
    return 2 * torch.rand(count) - 1


def as_input(images: np.ndarray) -> torch.Tensor:
    """Pixels, uint8 (N, H, W), as networks get them: float32 (N, 1, H, W) from 0 to 1."""
    return torch.from_numpy(images).unsqueeze(1) / 255


@torch.inference_mode()
def accuracy(network: nn.Module, split: Split) -> float:
    """The fraction of the samples that the network, in evaluation mode, names rightly."""
    network.eval()
    images, labels = as_input(split.images), torch.from_numpy(split.labels)
    correct = sum(
        int((network(shown).argmax(1) == wanted).sum())
        for shown, wanted in zip(images.split(_BATCH), labels.split(_BATCH), strict=True)
    )
    return correct / len(labels)
