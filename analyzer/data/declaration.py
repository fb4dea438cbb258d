"""What a declaration of preprocessing says, whoever makes it."""

from dataclasses import dataclass

from analyzer.data.geometry import Crop, Resize, Size

__all__ = ["INTERPOLATIONS", "Declaration"]

INTERPOLATIONS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Pillow's resampling filters by the code that Hugging Face's files give."""


@dataclass(frozen=True, slots=True)
class Declaration:
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
