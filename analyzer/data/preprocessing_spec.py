"""A preprocessing spec: what is declared of preprocessing, with its presets, sizes and boxes.

Sizes and boxes of resizing and cropping come out as timm, torchvision and Hugging Face compute
them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

__all__ = [
    "CHANNELS",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "INTERPOLATIONS",
    "LAYOUTS",
    "LONGEST_EDGE",
    "PRESETS",
    "Crop",
    "PreprocessingSpec",
    "Resize",
    "Size",
    "timm_geometry",
]

INTERPOLATIONS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Pillow's resampling filters by the code that Hugging Face's files give."""
CHANNELS = ("rgb", "bgr", "gray")
LAYOUTS = ("nchw", "nhwc", "auto")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

LONGEST_EDGE = 16384
"""Pixels that an edge of the network's images can have."""

_ENDLESS = 1 << 31  # pixels of an edge, which nobody has the memory for

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True, slots=True)
class Resize:
    """How large an image becomes before it is cropped."""

    how: str  # "shortest" edge to ``size``, "exact", "cover" or "inside" of ``size`` by one ratio
    size: Size

    def apply(self, height: int, width: int) -> Size:
        """The size of an image of this height and width after resizing."""
        target_height, target_width = self.size
        if self.how == "exact":
            return self.size
        if self.how == "shortest":
            # torchvision and Hugging Face: the long edge is truncated, not rounded.
            if height <= width:
                return target_height, max(1, int(target_height * width / height))
            return max(1, int(target_height * height / width)), target_height
        ratios = height / target_height, width / target_width
        ratio = min(ratios) if self.how == "cover" else max(ratios)
        return max(1, round(height / ratio)), max(1, round(width / ratio))


@dataclass(frozen=True, slots=True)
class Crop:
    """The middle of an image, padded where the image is smaller."""

    size: Size
    rounding: str = "half-even"  # of odd margins: "half-even" as torchvision, "down"
    fill: tuple[int, ...] = (0,)  # RGB of the padding, or one value for all channels

    def box(self, height: int, width: int) -> tuple[int, int]:
        """Top and left of the crop in an image of this size; negative where it is padded."""
        return self._start(height - self.size[0]), self._start(width - self.size[1])

    def _start(self, margin: int) -> int:
        if margin < 0:
            return -(-margin // 2)
        return round(margin / 2) if self.rounding == "half-even" else margin // 2


@dataclass(frozen=True, slots=True)
class PreprocessingSpec:
    """Preprocessing as declared, before it meets a network. None: not declared."""

    origin: str | None = None  # "preset imagenet", a file, "options"; None: nothing declared
    size: Size | None = None
    size_yields: bool = False  # to the size that the network fixes
    crop_pct: float = 1.0
    crop_mode: str = "center"
    resize: Resize | None = None  # with ``crop``: given outright instead of by size and crop_pct
    crop: Crop | None = None
    outright: bool = False
    interpolation: str = "bilinear"
    scale: float = 1 / 255
    offset: float = 0.0  # added after scaling
    mean: tuple[float, ...] | None = None  # in the order of ``channels``
    std: tuple[float, ...] | None = None
    channels: str | None = None


_IMAGENET = PreprocessingSpec(size=(224, 224), size_yields=True, crop_pct=0.875)

PRESETS: Mapping[str, PreprocessingSpec] = {
    # torchvision's reference evaluation.
    "imagenet": replace(_IMAGENET, mean=IMAGENET_MEAN, std=IMAGENET_STD),
    # keras.applications' mode "tf": x / 127.5 - 1.
    "imagenet-tf": replace(_IMAGENET, mean=(0.5,) * 3, std=(0.5,) * 3),
    # keras.applications' mode "caffe": BGR less its mean, not scaled.
    "imagenet-caffe": replace(
        _IMAGENET, scale=1.0, mean=(103.939, 116.779, 123.68), channels="bgr"
    ),
    "cifar": PreprocessingSpec(
        size=(32, 32), size_yields=True, mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)
    ),
    "mnist": PreprocessingSpec(
        size=(28, 28), size_yields=True, mean=(0.1307,), std=(0.3081,), channels="gray"
    ),
    # Pixels of 0 to 255 as they are.
    "none": PreprocessingSpec(scale=1.0),
}


def timm_geometry(
    size: Size, crop_pct: float, crop_mode: str, fill: tuple[int, ...] = (0,)
) -> tuple[Resize, Crop]:
    """timm's evaluation transform: resize to size / crop_pct, then take the middle.

    Args:
        size: of the images that the network gets.
        crop_pct: share of the resized image that is kept, in (0, 1].
        crop_mode: "center" resizes the shortest edge, "squash" both, "border" the longest (and
            pads).
        fill: of the padding in crop mode "border".
    """
    height, width = (math.floor(min(edge / crop_pct, _ENDLESS)) for edge in size)
    scaled = height, width
    if crop_mode == "squash":
        return Resize("exact", scaled), Crop(size)
    if crop_mode == "border":
        return Resize("inside", scaled), Crop(size, fill=fill)
    return Resize("shortest" if scaled[0] == scaled[1] else "cover", scaled), Crop(size)
