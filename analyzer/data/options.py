"""Declarations of preprocessing: presets, files, and single options over them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from analyzer.data.declaration import INTERPOLATIONS, Declaration
from analyzer.data.declaration_files import read_declaration
from analyzer.data.geometry import Size
from analyzer.errors import DataError

__all__ = [
    "PRESETS",
    "PreprocessOptions",
    "declare",
]


@dataclass(frozen=True, slots=True)
class PreprocessOptions:
    """What the caller declares; None: not declared."""

    preset: str | Path | None = None  # name of a preset, or path of a timm or Hugging Face file
    img_size: Size | int | None = None  # of the images that the network gets
    crop_pct: float | None = None  # share kept of the resized image
    interpolation: str | None = None  # one of INTERPOLATIONS
    mean: tuple[float, ...] | None = None  # after scaling, in the order of the channels fed
    std: tuple[float, ...] | None = None
    scale: float | None = None  # pixels (0 to 255) are multiplied by it
    channels: str | None = None  # "rgb", "bgr" or "gray"
    layout: str | None = None  # "nchw", "nhwc" or "auto"
    exif: bool | None = None  # rotate by the EXIF tag


_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_IMAGENET = Declaration(size=(224, 224), size_yields=True, crop_pct=0.875)

PRESETS: Mapping[str, Declaration] = {
    # torchvision's reference evaluation.
    "imagenet": replace(_IMAGENET, mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
    # keras.applications' mode "tf": x / 127.5 - 1.
    "imagenet-tf": replace(_IMAGENET, mean=(0.5,) * 3, std=(0.5,) * 3),
    # keras.applications' mode "caffe": BGR less its mean, not scaled.
    "imagenet-caffe": replace(
        _IMAGENET, scale=1.0, mean=(103.939, 116.779, 123.68), channels="bgr"
    ),
    "cifar": Declaration(
        size=(32, 32), size_yields=True, mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)
    ),
    "mnist": Declaration(
        size=(28, 28), size_yields=True, mean=(0.1307,), std=(0.3081,), channels="gray"
    ),
    # Pixels of 0 to 255 as they are.
    "none": Declaration(scale=1.0),
}


def declare(options: PreprocessOptions) -> Declaration:
    """The declaration that a preset or file makes, with the single options put over it.

    Raises:
        DataError: an unknown preset, an unusable file, or an option out of its range.
    """
    base = Declaration() if options.preset is None else _from_preset(options.preset)
    changes: dict[str, object] = {}
    if options.img_size is not None:
        size = options.img_size
        changes.update(size=(size, size) if isinstance(size, int) else tuple(size))
        changes.update(size_yields=False)
    if options.crop_pct is not None:
        changes.update(crop_pct=float(options.crop_pct))
    if base.outright and changes:
        changes.setdefault("size", _size_after(base))
        changes.update(outright=False, resize=None, crop=None)
    if options.interpolation is not None:
        changes.update(interpolation=options.interpolation)
    if options.scale is not None:
        changes.update(scale=float(options.scale))
    if options.channels is not None:
        changes.update(channels=options.channels)
        if {base.channels or "rgb", options.channels} == {"rgb", "bgr"}:
            changes.update(mean=base.mean and base.mean[::-1], std=base.std and base.std[::-1])
    if options.mean is not None:
        changes.update(mean=tuple(map(float, options.mean)), offset=0.0)
    if options.std is not None:
        changes.update(std=tuple(map(float, options.std)))
    if changes or options.layout not in (None, "auto") or options.exif is not None:
        changes.update(origin=f"{base.origin} and options" if base.origin else "options")
    result = replace(base, **changes)
    _check(result)
    return result


def _from_preset(preset: str | Path) -> Declaration:
    if str(preset) in PRESETS:
        return replace(PRESETS[str(preset)], origin=f"preset {preset}")
    path = Path(preset)
    if not path.exists():
        raise DataError(
            f"there is no preprocessing preset or file {str(preset)!r}; presets: "
            f"{', '.join(PRESETS)}"
        )
    return read_declaration(path)


def _size_after(declaration: Declaration) -> Size | None:
    """The size that a resize and crop given outright fix, if they do."""
    if declaration.crop is not None:
        return declaration.crop.size
    if declaration.resize is not None and declaration.resize.how == "exact":
        return declaration.resize.size
    return None


def _check(declaration: Declaration) -> None:
    if declaration.size is not None and not (
        len(declaration.size) == 2
        and all(isinstance(edge, int) and 0 < edge <= 16384 for edge in declaration.size)
    ):
        raise DataError(f"--img-size {declaration.size} is not a height and width in pixels")
    if not 0 < declaration.crop_pct <= 1:
        raise DataError(f"--crop-pct {declaration.crop_pct} is not above 0 and at most 1")
    if declaration.interpolation not in INTERPOLATIONS:
        raise DataError(
            f"--interpolation {declaration.interpolation!r} is none of {', '.join(INTERPOLATIONS)}"
        )
    if declaration.channels not in (None, "rgb", "bgr", "gray"):
        raise DataError(f"--channels {declaration.channels!r} is none of rgb, bgr and gray")
    if declaration.mean is not None and not all(map(math.isfinite, declaration.mean)):
        raise DataError(f"--mean {_listed(declaration.mean)} has values that are no numbers")
    if declaration.std is not None and not all(0 < value < math.inf for value in declaration.std):
        raise DataError(f"--std {_listed(declaration.std)} has values that are not above 0")
    if not 0 < declaration.scale < math.inf:
        raise DataError(f"--scale {declaration.scale} is not above 0")


def _listed(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)
