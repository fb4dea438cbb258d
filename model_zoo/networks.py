"""The architectures that populations are made of. Needs torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from model_zoo.recipes import PopulationSpec, Recipe

__all__ = ["ARCHITECTURES", "Architecture", "build"]

_POOL = 0  # among channel numbers: max pooling by 2
_RESNET34 = (3, 4, 6, 3)  # blocks of each stage
_RESNET10 = (1, 1, 1, 1)
# MobileNet's separable convolutions: channels as shares of the last one's, and strides.
_MOBILENET = (
    *((16, 1), (8, 2), (8, 1), (4, 2), (4, 1)),
    *((2, 2), (2, 1), (2, 1), (2, 1), (2, 1), (2, 1)),
    *((1, 1), (1, 1)),
)
_MOBILENET_SMALL = ((8, 1), (4, 2), (4, 1), (2, 2), (2, 1), (1, 1), (1, 1))


@dataclass(frozen=True, slots=True)
class Architecture:
    """Convolutions, then fully connected layers."""

    # (channels of the images, those of the last convolution, batch norm) -> modules from
    # (N, colors, H, W) to (N, C, h, w)
    features: Callable[[int, int, bool], list[nn.Module]]
    hidden: tuple[int, ...]  # features of each fully connected layer but the last


def _chain(convolutions: Callable[[int], tuple[int, ...]]) -> Callable[[int, int, bool], list]:
    """3 × 3 convolutions with ReLU; ``convolutions``: width -> channels of each, or _POOL."""

    def features(colors: int, width: int, batch_norm: bool) -> list[nn.Module]:
        layers: list[nn.Module] = []
        channels = colors
        for outputs in convolutions(width):
            if outputs == _POOL:
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [*_convolution(channels, outputs, batch_norm), nn.ReLU()]
                channels = outputs
        return layers

    return features


def _vgg16(first: int, last: int, *fourth_pool: int) -> tuple[int, ...]:
    """VGG16's thirteen convolutions, ``first`` channels in the first and ``last`` in the last."""
    return (
        *(first, first, _POOL),
        *(2 * first, 2 * first, _POOL),
        *(4 * first, 4 * first, 4 * first, _POOL),
        *(8 * first, 8 * first, 8 * first, *fourth_pool),
        *(last // 2, last // 2, last, _POOL),
    )


def _narrow(width: int, middle: int) -> tuple[int, ...]:
    """``middle`` thin convolutions between the second pool and the last one, which is the site."""
    first, thin = width // 16, width // 8
    return (first, first, _POOL, thin, thin, _POOL, *(middle * (thin,)), width)


def _mobilenet(separable: tuple[tuple[int, int], ...], *stem: nn.Module) -> Callable:
    """Depthwise and pointwise convolutions in turn behind one 3 × 3 convolution (and the stem's
    further modules), then the mean over the image.
    """

    def features(colors: int, width: int, batch_norm: bool) -> list[nn.Module]:
        channels = width // 16
        layers = [*_convolution(colors, channels, batch_norm), nn.ReLU(), *stem]
        for share, stride in separable:
            outputs = width // share
            depthwise = {"stride": stride, "groups": channels}
            layers += [*_convolution(channels, channels, batch_norm, **depthwise), nn.ReLU()]
            layers += [*_convolution(channels, outputs, batch_norm, kernel=1), nn.ReLU()]
            channels = outputs
        return [*layers, nn.AdaptiveAvgPool2d(1)]

    return features


def _resnet(stages: tuple[int, ...], *stem: nn.Module) -> Callable[[int, int, bool], list]:
    """ResNet's stages, so many blocks in each, behind one 3 × 3 convolution (and the stem's
    further modules), then the mean over the image.
    """

    def features(colors: int, width: int, batch_norm: bool) -> list[nn.Module]:
        channels = width // 8
        layers = [*_convolution(colors, channels, batch_norm), nn.ReLU(), *stem]
        for stage, blocks in enumerate(stages):
            for block in range(blocks):
                outputs, stride = width // 8 * 2**stage, 2 if stage and not block else 1
                layers.append(_Residual(channels, outputs, stride, batch_norm))
                channels = outputs
        return [*layers, nn.AdaptiveAvgPool2d(1)]

    return features


def _blocks(width: int, count: int) -> tuple[int, ...]:
    """Thin convolutions and two pools, ``count`` blocks of two convolutions, the last of them with
    ``width`` channels, and a pool.
    """
    return (16, _POOL, 32, _POOL, *((2 * count - 1) * (32,)), width, _POOL)


class _Residual(nn.Module):
    """Two convolutions added to what they were given, then ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int, batch_norm: bool) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *_convolution(inputs, outputs, batch_norm, stride=stride),
            nn.ReLU(),
            *_convolution(outputs, outputs, batch_norm),
        )
        self.past = nn.Sequential()
        if (inputs, stride) != (outputs, 1):
            self.past.extend(_convolution(inputs, outputs, batch_norm, kernel=1, stride=stride))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.branch(images) + self.past(images))

    @torch.no_grad()
    def begin_as_identity(self) -> None:
        """Without batch norm, sixteen sums of random maps would grow beyond all bounds."""
        last = self.branch[-1]
        if isinstance(last, nn.Conv2d):
            nn.init.zeros_(last.weight)


def _convolution(
    inputs: int,
    outputs: int,
    batch_norm: bool,
    *,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
) -> list[nn.Module]:
    convolution = nn.Conv2d(
        inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=not batch_norm
    )
    return [convolution, nn.BatchNorm2d(outputs)] if batch_norm else [convolution]


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "bottleneck": Architecture(
            _chain(lambda width: (width // 4, width // 4, _POOL, width // 4, width)), hidden=(128,)
        ),
        # VGG16 in form: blocks of convolutions behind pools, three fully connected layers.
        "vgg": Architecture(
            _chain(
                lambda width: (
                    *(width // 4, _POOL),
                    *(width // 2, width // 2, _POOL),
                    *(width, width, _POOL),
                )
            ),
            hidden=(128, 128),
        ),
        # VGG16 itself in form, for images of 32 × 32 and of 16 × 16 pixels.
        "vgg16": Architecture(
            _chain(lambda width: _vgg16(width // 16, width, _POOL)), hidden=(256, 256)
        ),
        "vgg16-small": Architecture(
            _chain(lambda width: _vgg16(width // 16, width)), hidden=(256, 256)
        ),
        "vgg16-small-wide": Architecture(
            _chain(lambda width: _vgg16(width // 8, width)), hidden=(256, 256)
        ),
        "vgg6-small": Architecture(
            _chain(
                lambda width: (
                    *(width // 16, _POOL, width // 8, _POOL),
                    *(width // 4, width // 4, _POOL, width // 2, width, _POOL),
                )
            ),
            hidden=(256, 256),
        ),
        # Narrow up to the last convolution, no pool behind it, as in the population "digits".
        "narrow6-small": Architecture(_chain(lambda width: _narrow(width, 1)), hidden=(256,)),
        "narrower6-small": Architecture(
            _chain(
                lambda width: (
                    *(width // 32, width // 32, _POOL),
                    *(width // 16, width // 16, _POOL, width // 16, width),
                )
            ),
            hidden=(256,),
        ),
        # The same with VGG16's thirteen convolutions and three fully connected layers.
        "vgg16-narrow": Architecture(
            _chain(
                lambda width: (
                    *(width // 16, width // 16, _POOL),
                    *(width // 8, width // 8, _POOL),
                    *(*(3 * (width // 8,)), _POOL),
                    *(5 * (width // 8,)),
                    width,
                )
            ),
            hidden=(256, 256),
        ),
        # The same with three wide fully connected layers, as in VGG16: what is memorized finds
        # room behind the site instead of in it.
        "conv6": Architecture(_chain(lambda width: _narrow(width, 1)), hidden=(512, 512)),
        # Its first convolutions as at a width of 256, whatever the site's.
        "conv6-16": Architecture(
            _chain(lambda width: (16, 16, _POOL, 32, 32, _POOL, 32, width)), hidden=(512, 512)
        ),
        "conv6-1024": Architecture(_chain(lambda width: _narrow(width, 1)), hidden=(1024, 1024)),
        # And with VGG16's thirteen convolutions.
        "conv13": Architecture(_chain(lambda width: _narrow(width, 8)), hidden=(512, 512)),
        "conv13-256": Architecture(_chain(lambda width: _narrow(width, 8)), hidden=(256, 256)),
        "conv13-1024": Architecture(_chain(lambda width: _narrow(width, 8)), hidden=(1024, 1024)),
        # VGG16 with two pools only, all before the site.
        "vgg16-open": Architecture(
            _chain(
                lambda width: (
                    *(width // 16, width // 16, _POOL),
                    *(width // 8, width // 8, _POOL),
                    *(width // 4, width // 4, width // 4),
                    *(5 * (width // 2,)),
                    width,
                )
            ),
            hidden=(1024, 1024),
        ),
        "vgg16-small-1024": Architecture(
            _chain(lambda width: _vgg16(width // 16, width)), hidden=(1024, 1024)
        ),
        "mobilenet": Architecture(_mobilenet(_MOBILENET), hidden=()),
        # Fewer blocks, and a pool in front of them, to train in half a minute.
        "mobilenet-small": Architecture(_mobilenet(_MOBILENET_SMALL, nn.MaxPool2d(2)), hidden=()),
        "resnet34": Architecture(_resnet(_RESNET34), hidden=()),
        "resnet10-small": Architecture(_resnet(_RESNET10, nn.MaxPool2d(2)), hidden=()),
        # VGG in form, shallower and deeper than "vgg".
        "vgg3": Architecture(
            _chain(lambda width: (width // 4, _POOL, width // 2, _POOL, width, _POOL)),
            hidden=(128,),
        ),
        "vgg8": Architecture(
            _chain(
                lambda width: (
                    *(width // 4, width // 4, _POOL),
                    *(width // 2, width // 2, width // 2, _POOL),
                    *(width, width, width, _POOL),
                )
            ),
            hidden=(128, 128),
        ),
        # "bottleneck" with one convolution less, and with two more.
        "bottleneck2": Architecture(
            _chain(lambda width: (width // 4, _POOL, width)), hidden=(128,)
        ),
        "bottleneck5": Architecture(
            _chain(lambda width: (*(2 * (width // 4,)), _POOL, *(3 * (width // 4,)), width)),
            hidden=(128, 128),
        ),
        "blocks1": Architecture(_chain(lambda width: _blocks(width, 1)), hidden=(128,)),
        "blocks3": Architecture(_chain(lambda width: _blocks(width, 3)), hidden=(128,)),
    }
)


def build(population: PopulationSpec, recipe: Recipe) -> nn.Sequential:
    """The untrained network; its weights are drawn from torch's own generator, seeded before.

    It maps images, float32 (N, colors, H, W), to one score per class, (N, K).
    """
    architecture, data_set = ARCHITECTURES[recipe.architecture], population.data_set
    layers = [
        *architecture.features(data_set.colors, recipe.width, recipe.batch_norm),
        nn.Flatten(),
    ]
    features = _outputs(layers, (data_set.colors, data_set.size, data_set.size))
    for outputs in architecture.hidden:
        layers += [nn.Dropout(recipe.dropout), nn.Linear(features, outputs), nn.ReLU()]
        features = outputs
    layers += [nn.Dropout(recipe.dropout), nn.Linear(features, data_set.classes)]
    network = nn.Sequential(*layers)
    network.apply(_initialize)
    return network


@torch.inference_mode()
def _outputs(layers: list[nn.Module], shape: tuple[int, int, int]) -> int:
    """How many numbers an image of that shape becomes."""
    return nn.Sequential(*layers).eval()(torch.zeros(1, *shape)).shape[1]


@torch.no_grad()
def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, _Residual):  # comes after the convolutions in it
        module.begin_as_identity()
