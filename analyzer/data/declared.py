"""Declarations of preprocessing: presets, timm's and Hugging Face's files, single options."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from analyzer.data.geometry import Crop, Resize, Size
from analyzer.errors import DataError

__all__ = [
    "INTERPOLATIONS",
    "PRESETS",
    "Declaration",
    "PreprocessOptions",
    "declare",
]

INTERPOLATIONS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Pillow's resampling filters by the code that Hugging Face's files give."""


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
        size = changes.get("size") or (base.crop.size if base.crop else None)
        changes.update(outright=False, resize=None, crop=None, size=size)
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
    if path.is_dir():
        found = [path / name for name in ("preprocessor_config.json", "config.json")]
        path = next((file for file in found if file.exists()), path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"the preprocessing file {path} cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"the preprocessing file {path} holds no JSON object")
    try:
        if {"image_mean", "do_normalize", "do_resize", "do_rescale"} & content.keys():
            declaration = from_hugging_face(content)
        else:
            declaration = from_timm(content)
    except DataError as error:
        raise DataError(f"the preprocessing file {path}: {error}") from error
    return replace(declaration, origin=path.name)


def from_timm(content: Mapping[str, object]) -> Declaration:
    """The declaration in timm's ``config.json``, nested in ``pretrained_cfg`` or flat.

    Raises:
        DataError: it is not timm's, or a value has the wrong form.
    """
    config = content.get("pretrained_cfg", content)
    if not isinstance(config, Mapping) or not {"input_size", "mean", "std"} & config.keys():
        raise DataError("neither timm's (input_size, mean, std) nor Hugging Face's (image_mean)")
    size = None
    channels = None
    if "input_size" in config:
        depth, *plane = _numbers(config, "input_size", 3)
        size = int(plane[0]), int(plane[1])
        channels = {1: "gray", 3: "rgb"}.get(int(depth))
        if channels is None:
            raise DataError(f"input_size has {int(depth)} channels; images have 1 or 3")
    crop_mode = config.get("crop_mode") or "center"
    if crop_mode not in ("center", "squash", "border"):
        raise DataError(f"crop_mode {crop_mode!r} is none of center, squash and border")
    return Declaration(
        size=size,
        crop_pct=float(config.get("crop_pct") or 1.0),
        crop_mode=crop_mode,
        interpolation=str(config.get("interpolation") or "bicubic"),
        mean=_numbers(config, "mean") if "mean" in config else None,
        std=_numbers(config, "std") if "std" in config else None,
        channels=channels,
    )


def from_hugging_face(content: Mapping[str, object]) -> Declaration:
    """The declaration in Hugging Face's ``preprocessor_config.json``.

    A step that is not mentioned is not done, but for the resampling (bilinear) and the factor
    (1/255), which have defaults.

    Raises:
        DataError: a value has the wrong form, or asks for a step that is not known here.
    """
    for key in ("do_pad", "do_thumbnail", "do_align_long_axis", "do_reduce_labels", "include_top"):
        if content.get(key):
            raise DataError(f"{key} is a step that is not known; declare single options instead")
    resize, crop = None, None
    if content.get("do_resize"):
        resize = _hugging_face_resize(content)
        if "crop_pct" in content and content["crop_pct"] and resize.how == "shortest":
            # ConvNeXt: below 384 pixels resize and crop, from there on squash.
            edge = resize.size[0]
            if edge < 384:
                scaled = int(edge / float(content["crop_pct"]))
                resize, crop = Resize("shortest", (scaled, scaled)), Crop((edge, edge))
            else:
                resize = Resize("exact", (edge, edge))
    if content.get("do_center_crop"):
        crop = Crop(_height_width(content.get("crop_size", content.get("size")), "crop_size"))
    code = content.get("resample", INTERPOLATIONS.index("bilinear"))
    if code not in range(len(INTERPOLATIONS)):
        raise DataError(f"resample {code!r} is no code of a Pillow filter (0 to 5)")
    mean = std = None
    if content.get("do_normalize"):
        mean, std = _numbers(content, "image_mean"), _numbers(content, "image_std")
    channels = "bgr" if content.get("do_flip_channel_order") else None
    rescale = content.get("do_rescale", "rescale_factor" in content or content.get("do_normalize"))
    return Declaration(
        resize=resize,
        crop=crop,
        outright=True,
        interpolation=INTERPOLATIONS[code],
        scale=float(content.get("rescale_factor", 1 / 255)) if rescale else 1.0,
        offset=-1.0 if rescale and content.get("rescale_offset") else 0.0,
        mean=mean,
        std=std,
        channels=channels,
    )


def _hugging_face_resize(content: Mapping[str, object]) -> Resize:
    size = content.get("size")
    if isinstance(size, Mapping) and "shortest_edge" in size:
        if size.get("longest_edge"):
            raise DataError("a size of both shortest_edge and longest_edge is not known")
        edge = _pixels(size["shortest_edge"], "shortest_edge")
        return Resize("shortest", (edge, edge))
    if isinstance(size, int) and "crop_pct" in content:
        return Resize("shortest", (size, size))
    return Resize("exact", _height_width(size, "size"))


def _height_width(size: object, key: str) -> Size:
    if isinstance(size, Mapping) and {"height", "width"} <= size.keys():
        return _pixels(size["height"], key), _pixels(size["width"], key)
    if isinstance(size, Mapping) and "shortest_edge" in size:
        size = size["shortest_edge"]
    edge = _pixels(size, key)
    return edge, edge


def _pixels(value: object, key: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise DataError(f"{key} is {value!r}; a number of pixels is wanted")
    return value


def _numbers(content: Mapping[str, object], key: str, count: int | None = None) -> tuple:
    value = content.get(key)
    values = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values) or (
        count is not None and len(values) != count
    ):
        raise DataError(f"{key} is {value!r}; {count or 'a list of'} numbers are wanted")
    return tuple(map(float, values))


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
    if declaration.std is not None and not all(value > 0 for value in declaration.std):
        raise DataError(f"--std {declaration.std} has values that are not above 0")
    if not declaration.scale > 0:
        raise DataError(f"--scale {declaration.scale} is not above 0")
