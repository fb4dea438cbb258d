"""Training one network by gradient descent, on one core. Needs torch."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from model_zoo.datasets import DataSet, Split
from model_zoo.recipes import PopulationSpec, Recipe

__all__ = ["TrainedNetwork", "Watch", "accuracy", "as_input", "settled", "train_network"]

Watch = Callable[[nn.Module], object]
"""Shown the network after every epoch; leaves its weights and torch's random numbers alone."""

ENOUGH = 0.97  # training accuracy, as in the paper
_WARM_UP = 5  # epochs at a rising learning rate
_TAIL = 8  # epochs at a falling one: they end the last stretch from about 0.97 to 1
_LONG_TAIL = 4  # where the accuracy is not enough by then: the last epochs, one in so many
_RISE = 0.15  # of a cycle, at a rising rate
_HINT = 0.8
_LEARNS = 2.0  # times chance: then it has
_LARGEST_GRADIENT = 1.0
_BATCH = 500  # of evaluation


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """A trained network and how far it got."""

    network: nn.Module  # in evaluation mode
    train_accuracy: float  # on the labels it was trained on, without dropout and augmentation
    epochs: int
    reached: bool  # the training accuracy that its recipe asks for


def train_network(
    population: PopulationSpec,
    recipe: Recipe,
    train: Split,
    *,
    watch: Watch = lambda network: None,
) -> TrainedNetwork:
    """Train a network on ``train`` by stochastic gradient descent; the seed decides everything.

    Args:
        population: how networks are trained that share its form.
        recipe: what is this network's own.
        train: images and the labels to learn.
        watch: called once an epoch, those of abandoned starts included.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(recipe.seed)
        train_by = _in_cycles if recipe.cycle else _on_a_plateau
        network, epochs = train_by(population, recipe, train, watch)
    network = settled(network)
    found = accuracy(network, train)
    return TrainedNetwork(network, found, epochs, reached=found >= recipe.enough)


def settled(network: nn.Module) -> nn.Module:
    """The network itself, in evaluation mode and in the order of memory that is exported."""
    # The stubs of torch lack this form of `to`.
    return network.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]


def _built(population: PopulationSpec, recipe: Recipe) -> nn.Module:
    from model_zoo.networks import build

    network = build(population, recipe)
    if not population.bfloat16:
        return network
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _on_a_plateau(
    population: PopulationSpec, recipe: Recipe, train: Split, watch: Watch
) -> tuple[nn.Module, int]:
    """The learning rate rises, stays until the training accuracy is enough or a quarter of the
    epochs is left, and falls to zero. Returns the network and the number of epochs.
    """
    network = _built(population, recipe)
    descent = _Descent(network, population, recipe, train, watch)
    tail = recipe.most_epochs // _LONG_TAIL
    end = recipe.most_epochs
    for epoch in range(recipe.most_epochs):
        falling = (end - epoch) / max(tail, 1)
        rate = min((epoch + 1) / _WARM_UP, 1.0, falling)
        descent.epoch(partial(_constant, rate))
        if epoch + 1 < end - tail and accuracy(network, train) >= ENOUGH:
            tail = min(_TAIL, tail)
            end = epoch + 1 + tail
        if epoch + 1 == end:
            break
    return network, end


def _in_cycles(
    population: PopulationSpec, recipe: Recipe, train: Split, watch: Watch
) -> tuple[nn.Module, int]:
    """The learning rate rises and falls to zero, again and again over twice as many epochs, until
    the recipe's training accuracy is reached, a cycle ends with :data:`ENOUGH`, or too few epochs
    are left for another. A recipe that stops late ends with a cycle in any case.

    Falling rates are what makes networks memorize: at a constant one they take several times the
    epochs. In a population that gives way, every cycle after the first has half the rate of the
    one before and neither dropout nor augmentation, and a network that is still at chance after
    part of its first cycle starts again under these terms. Returns the network and the number of
    epochs, those of such starts included.
    """
    highest, epochs = 1.0, 0
    while True:
        network = _built(population, recipe)
        left = recipe.most_epochs - epochs
        descent = _Descent(network, population, recipe, train, watch)
        if highest < 1:
            descent.ease()
        gone, learns = _cycles(descent, left, highest)
        epochs += gone
        if learns or recipe.most_epochs - epochs < recipe.cycle:
            return network, epochs
        highest /= 2


def _cycles(descent: "_Descent", epochs: int, highest: float) -> tuple[int, bool]:
    """Cycles of at most so many epochs in all, the first up to ``highest`` as a share of the rate.

    Returns the number of epochs, and False where the network has to start again.
    """
    population, recipe = descent.population, descent.recipe
    done, cycle = 0, recipe.cycle
    while done == 0 or done + cycle <= epochs:
        for epoch in range(cycle):
            seen = descent.epoch(partial(_in_cycle, highest, epoch, cycle))
            done += 1
            # What is right while weights and images change is a cheap hint: look only then.
            near = seen >= _HINT * recipe.enough and not recipe.late
            if near and descent.accuracy() >= recipe.enough:
                return done, True
            at_chance = seen < _LEARNS / population.data_set.classes
            if population.gives_way and done == round(population.trial * cycle) and at_chance:
                return done, False
        if descent.accuracy() >= ENOUGH:
            break
        cycle *= 2
        if population.gives_way:
            highest /= 2
            descent.ease()
    return done, True


def _constant(rate: float, _: float) -> float:
    """The same rate in every part of an epoch."""
    return rate


def _in_cycle(highest: float, epoch: int, cycle: int, part: float) -> float:
    """The rate when ``part`` of the epoch has gone by."""
    return highest * _rate((epoch + part) / cycle)


def _rate(done: float) -> float:
    """Learning rate, as a share of the highest, when ``done`` of a cycle has passed."""
    if done < _RISE:
        return (done + 0.01) / (_RISE + 0.01)
    return 0.5 * (1 + math.cos(math.pi * (done - _RISE) / (1 - _RISE)))


class _Descent:
    """Stochastic gradient descent, epoch by epoch."""

    def __init__(
        self,
        network: nn.Module,
        population: PopulationSpec,
        recipe: Recipe,
        train: Split,
        watch: Watch,
    ) -> None:
        self._network, self.population, self.recipe = network, population, recipe
        self._train, self._augments, self._watch = train, recipe.augmentation, watch
        self._images, self._labels = as_input(train.images), torch.from_numpy(train.labels)
        self._highest = recipe.step * (1 - recipe.momentum)
        self._optimizer = _optimizer(network, recipe, self._highest)

    def epoch(self, rate: Callable[[float], float]) -> float:
        """Show every image once; ``rate``: part of the epoch -> share of the highest rate.

        Returns the share of images that were classified correctly when they were shown.
        """
        right = 0
        self._network.train()
        batches = torch.randperm(len(self._images)).split(self.recipe.batch_size)
        for number, batch in enumerate(batches):
            for group in self._optimizer.param_groups:
                group["lr"] = self._highest * rate(number / len(batches))
            shown = self._images[batch]
            if self._augments:
                shown = _augment(shown, self.population.data_set)
            self._optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.population.bfloat16):
                scores = self._network(shown)
            right += int((scores.argmax(1) == self._labels[batch]).sum())
            functional.cross_entropy(scores.float(), self._labels[batch]).backward()
            nn.utils.clip_grad_norm_(self._network.parameters(), _LARGEST_GRADIENT)
            self._optimizer.step()
        self._watch(self._network)
        return right / len(self._images)

    def ease(self) -> None:
        """Continue without dropout and augmentation, so that wrong labels can be memorized."""
        self._augments = False
        for module in self._network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0

    def accuracy(self) -> float:
        """On the training split, without dropout and augmentation."""
        return accuracy(self._network, self._train)


def _optimizer(network: nn.Module, recipe: Recipe, rate: float) -> torch.optim.Optimizer:
    options: Any = {"lr": rate, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), betas=(recipe.momentum, 0.999), **options)
    return torch.optim.SGD(network.parameters(), momentum=recipe.momentum, **options)


def _augment(images: torch.Tensor, data_set: DataSet) -> torch.Tensor:
    """Images (N, colors, H, W), each turned, shifted, perhaps mirrored by its own random amount."""
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
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def _uniform(count: int) -> torch.Tensor:
    """Random numbers in [−1, 1)."""
    return 2 * torch.rand(count) - 1


def as_input(images: np.ndarray) -> torch.Tensor:
    """Pixels, uint8 (N, H, W) or (N, H, W, 3), as networks get them: float32 (N, 1, H, W) or
    (N, 3, H, W), from 0 to 1.
    """
    pixels = torch.from_numpy(images)
    return (pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.movedim(3, 1).contiguous()) / 255


@torch.inference_mode()
def accuracy(network: nn.Module, split: Split) -> float:
    """The fraction of the samples that the network, in evaluation mode, classifies correctly."""
    network.eval()
    images, labels = as_input(split.images), torch.from_numpy(split.labels)
    correct = sum(
        int((network(shown).argmax(1) == wanted).sum())
        for shown, wanted in zip(images.split(_BATCH), labels.split(_BATCH), strict=True)
    )
    return correct / len(labels)
