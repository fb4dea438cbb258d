"""The benchmark's networks: well-known topologies at full width, their last layer fitted.

Random weights would send every image to one class. So the last layer is solved by ridge
regression for the labels that the images are given; then the curves have something to lose.
"""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

__all__ = ["export", "fit_last_layer", "mobilenetv2", "resnet34", "set_activity", "vgg16"]

_VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def vgg16(classes: int, size: int) -> nn.Sequential:
    """VGG16 for images of ``size`` × ``size``; its pools leave (size / 32)² positions."""
    layers: list[nn.Module] = []
    before = 3
    for stage in _VGG16:
        for after in stage:
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
            before = after
        layers.append(nn.MaxPool2d(2))
    positions = (size // 32) ** 2
    classifier = [
        nn.Linear(512 * positions, 4096), nn.ReLU(), nn.Dropout(),
        nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, classes),
    ]  # fmt: skip
    return _initialized(nn.Sequential(*layers, nn.Flatten(), *classifier))


class _Residual(nn.Module):
    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1), nn.ReLU(), nn.Conv2d(after, after, 3, 1, 1)
        )
        same = before == after and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(before, after, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(0.5 * self.body(x) + self.shortcut(x))


def resnet34(classes: int) -> nn.Sequential:
    """ResNet34, its batch norms folded into the convolutions as an exporter leaves them."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    before = 64
    for after, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            layers.append(_Residual(before, after, 2 if block == 0 and after > 64 else 1))
            before = after
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes)]
    return _initialized(nn.Sequential(*layers))


class _Inverted(nn.Module):
    def __init__(self, before: int, after: int, stride: int, expansion: int):
        super().__init__()
        inner = before * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [nn.Conv2d(before, inner, 1), nn.ReLU6()]
        layers += [nn.Conv2d(inner, inner, 3, stride, 1, groups=inner), nn.ReLU6()]
        self.body = nn.Sequential(*layers, nn.Conv2d(inner, after, 1))
        self.residual = before == after and stride == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.5 * self.body(x) if self.residual else self.body(x)


def mobilenetv2(classes: int) -> nn.Sequential:
    """MobileNetV2, its batch norms folded likewise."""
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU6()]
    before = 32
    settings = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip
    for expansion, after, blocks, stride in settings:
        for block in range(blocks):
            layers.append(_Inverted(before, after, stride if block == 0 else 1, expansion))
            before = after
    layers += [nn.Conv2d(320, 1280, 1), nn.ReLU6()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, classes)]
    return _initialized(nn.Sequential(*layers))


def _initialized(network: nn.Sequential) -> nn.Sequential:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return network.eval()


@torch.no_grad()
def set_activity(network: nn.Sequential, images: torch.Tensor, share: float) -> None:
    """Shift the last convolution's biases so that a unit is active for ``share`` of the images."""
    place = max(i for i, layer in enumerate(network) if isinstance(layer, nn.Conv2d))
    before = torch.cat([network[:place](part) for part in images.split(100)])
    peaks = torch.cat([network[place](part).amax((2, 3)) for part in before.split(100)])  # (S, M)
    network[place].bias -= peaks.quantile(1 - share, dim=0)


@torch.no_grad()
def fit_last_layer(network: nn.Sequential, images: torch.Tensor, labels: np.ndarray) -> None:
    """Solve the last layer for the labels by ridge regression on what comes before it."""
    before = torch.cat([network[:-1](part) for part in images.split(100)]).double()  # (S, F)
    targets = torch.nn.functional.one_hot(torch.from_numpy(labels), network[-1].out_features)
    mean = before.mean(0)
    kernel = (before - mean) @ (before - mean).T
    kernel += 1e-3 * kernel.diagonal().mean() * torch.eye(len(before), dtype=torch.float64)
    share = targets.double().mean(0)
    weights = (before - mean).T @ torch.linalg.solve(kernel, targets.double() - share)
    network[-1].weight.copy_(weights.T)
    network[-1].bias.copy_(share - mean @ weights)


def export(network: nn.Module, images: torch.Tensor, path: Path) -> None:
    """Write the network as ONNX with a free batch axis."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (images[:2],),
            str(path),
            dynamo=False,
            input_names=["images"],
            output_names=["scores"],
            dynamic_axes={"images": {0: "N"}, "scores": {0: "N"}},
        )
