"""Sizes and boxes of resizing and cropping, as timm, torchvision and Hugging Face compute them."""

import math
from dataclasses import dataclass

__all__ = ["Crop", "Resize", "Size", "timm_geometry"]

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
    scaled = math.floor(size[0] / crop_pct), math.floor(size[1] / crop_pct)
    if crop_mode == "squash":
        return Resize("exact", scaled), Crop(size)
    if crop_mode == "border":
        return Resize("inside", scaled), Crop(size, fill=fill)
    return Resize("shortest" if scaled[0] == scaled[1] else "cover", scaled), Crop(size)
