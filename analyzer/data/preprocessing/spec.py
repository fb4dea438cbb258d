"""A preprocessing spec: what is declared of preprocessing, in a preset or in a file.

Files are timm's ``config.json`` and Hugging Face's ``preprocessor_config.json``. Sizes and boxes of
resizing and cropping come out as timm, torchvision and Hugging Face compute them.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from analyzer.data.preprocessing.processors import with_class_defaults
from analyzer.errors import DataError
from analyzer.input_budgets import DEFAULT_BUDGETS
from analyzer.json_codec import parse_json

__all__ = [
    "CHANNELS",
    "CROP_MODES",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "INTERPOLATIONS",
    "LAYOUTS",
    "LONGEST_EDGE",
    "PRESETS",
    "Crop",
    "Pad",
    "PreprocessingSpec",
    "Resize",
    "Size",
    "from_hugging_face",
    "from_timm",
    "read_spec",
    "timm_geometry",
]

INTERPOLATIONS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Pillow's resampling filters by the code that Hugging Face's files give."""
CHANNELS = ("rgb", "bgr", "gray")
CROP_MODES = ("center", "squash", "border")
LAYOUTS = ("nchw", "nhwc", "auto")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

LONGEST_EDGE = 16384
"""Pixels that an edge of the network's images can have."""

_ENDLESS = 1 << 31  # pixels of an edge, which nobody has the memory for

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True, slots=True)
class Pad:
    """A border around an image, before it is resized."""

    pixels: int = 0  # on every side
    square: bool = False  # as many instead as make it a square
    fill: tuple[int, ...] = (0,)  # RGB, or one value for all channels

    def apply(self, height: int, width: int) -> Size:
        """The size of an image of this height and width with its border."""
        if self.square:
            return max(height, width), max(height, width)
        return height + 2 * self.pixels, width + 2 * self.pixels


@dataclass(frozen=True, slots=True)
class Resize:
    """How large an image becomes before it is cropped."""

    # The shortest edge to ``size``, exactly ``size``, or covering it or inside of it by one ratio.
    how: Literal["shortest", "exact", "cover", "inside"]
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
    """A part of an image, padded where the image is smaller."""

    size: Size
    # Of odd margins: as torchvision, which pads less above and left, or as Hugging Face, more.
    rounding: Literal["half-even", "down"] = "half-even"
    fill: tuple[int, ...] = (0,)  # RGB of the padding, or one value for all channels
    place: Literal["middle", "corner"] = "middle"  # of the image; the corner is its top left

    def takes(self, height: int, width: int) -> bool:
        """Whether an image of this size gives one of ``size``: from a corner nothing is cut off."""
        return self.place == "middle" or (height <= self.size[0] and width <= self.size[1])

    def box(self, height: int, width: int) -> tuple[int, int]:
        """Top and left of the crop in an image of this size; negative where it is padded."""
        if self.place == "corner":
            return 0, 0
        return self._start(height - self.size[0]), self._start(width - self.size[1])

    def _start(self, margin: int) -> int:
        if self.rounding == "down":
            return margin // 2
        return round(margin / 2) if margin >= 0 else -(-margin // 2)


@dataclass(frozen=True, slots=True)
class PreprocessingSpec:
    """Preprocessing as declared, before it meets a network. None: not declared."""

    origin: str | None = None  # "preset imagenet", a file, "options"; None: nothing declared
    size: Size | None = None
    size_yields: bool = False  # to the size that the network fixes
    crop_pct: float = 1.0
    crop_mode: str = "center"
    invert: bool = False
    pad: Pad | None = None
    resize: Resize | None = None
    crop: Crop | None = None
    outright: bool = False  # ``resize`` and ``crop`` hold instead of what size and crop_pct give
    resize_outright: bool = False  # ``resize`` holds, and ``size`` is cropped to
    interpolation: str = "bilinear"
    antialias: bool = True
    scale: float = 1 / 255
    offset: float = 0.0  # added after scaling
    mean: tuple[float, ...] | None = None  # in the order of ``channels``
    std: tuple[float, ...] | None = None
    channels: str | None = None

    @property
    def mean_pixel(self) -> tuple[int, ...]:
        """The pixel that becomes 0, as RGB or one value for all channels."""
        if self.mean is None:
            return (0,)
        pixels = ((value - self.offset) / self.scale for value in self.mean)
        found = tuple(round(min(max(pixel, 0.0), 255.0)) for pixel in pixels)
        return found[::-1] if self.channels == "bgr" else found


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


# timm's own defaults for what its files leave out.
_TIMM_CROP_PCT, _TIMM_INTERPOLATION = 0.875, "bicubic"

# What Hugging Face's files say besides steps and their values: nothing of it changes pixels here.
_HARMLESS = {
    "auto_map", "data_format", "device", "disable_grouping", "do_convert_rgb", "do_reduce_labels",
    "feature_extractor_type", "image_processor_type", "image_seq_length", "input_data_format",
    "input_size_patches", "model_input_names", "model_type", "num_channels", "patch_size",
    "processor_class", "reduce_labels", "return_codebook_pixels", "return_image_mask",
    "return_tensors", "total_mask_patches", "transformers_version",
}  # fmt: skip
_HARMLESS_BEGINNINGS = ("_", "codebook_", "mask_group_")  # the last two: other outputs of FLAVA
_CROPPED_BY_SHARE = ("ConvNext", "PoolFormer")  # processors that use ``crop_pct``
# Processors whose files can carry a mean and std that they never use.
_NOT_NORMALIZED = ("MobileViT", "SuperPoint")
# What tells a file of Hugging Face's from timm's, besides switches.
_HUGGING_FACE = {"feature_extractor_type", "image_mean", "image_processor_type"}
_SWITCHES = {
    "do_center_crop", "do_flip_channel_order", "do_normalize", "do_pad", "do_rescale", "do_resize",
    "include_top", "rescale_offset",
}  # fmt: skip
_VALUES = {
    "crop_pct", "crop_size", "default_to_square", "image_mean", "image_std", "pad_size", "resample",
    "rescale_factor", "size",
}  # fmt: skip
# The same of timm's; in older files its arguments of the network stand among them.
_TIMM = {
    "architecture", "architectures", "classifier", "crop_border_pixels", "crop_mode", "crop_pct",
    "custom_load", "description", "dtype", "dynamic_img_size", "file", "first_conv",
    "fixed_input_size", "global_pool", "hf_hub", "hf_hub_filename", "hf_hub_id", "id2label",
    "in_chans", "init_values", "input_size", "interpolation", "label2id", "label_descriptions",
    "label_names", "label_offset", "license", "mean", "min_input_size", "model_args", "model_type",
    "notes", "num_classes", "num_features", "num_labels", "origin_url", "paper_ids", "paper_name",
    "patch_size", "pool_size", "problem_type", "source", "state_dict", "std", "tag",
    "test_crop_pct", "test_input_size", "test_pool_size", "torch_dtype", "transformers_version",
    "url",
}  # fmt: skip


def read_spec(path: Path) -> PreprocessingSpec:
    """The spec in a file, or in the one that a model's folder holds.

    Raises:
        DataError: unreadable, of neither kind, or asking for something that is not known here.
    """
    from analyzer.files import read_text  # needs numpy, which declaring options does not

    if path.is_dir():
        names = ("preprocessor_config.json", "config.json")
        found = [path / name for name in names if (path / name).exists()]
        if not found:
            raise DataError(f"{path} holds neither {' nor '.join(names)}.")
        path = found[0]

    text = read_text(path, DEFAULT_BUDGETS, "The preprocessing file")
    try:
        content = parse_json(text)
    except ValueError as error:
        raise DataError(f"The preprocessing file {path} cannot be read ({error}).") from error
    try:
        if not isinstance(content, dict):
            raise DataError("holds no JSON object.")
        hugging_face = any(key.startswith("do_") or key in _HUGGING_FACE for key in content)
        spec = from_hugging_face(content) if hugging_face else from_timm(content)
    except DataError as error:
        raise DataError(f"The preprocessing file {path} {error}") from error
    except (ValueError, TypeError, ArithmeticError) as error:
        raise DataError(
            f"The preprocessing file {path} has a value that cannot be used ({error}). Give single "
            "options instead."
        ) from error
    return replace(spec, origin=str(path))


def from_timm(content: Mapping[str, object]) -> PreprocessingSpec:
    """The spec in timm's ``config.json``, nested in ``pretrained_cfg`` or flat.

    Raises:
        DataError: it is not timm's, or a value has the wrong form; the message wants the file's
            name before it.
    """
    config = content.get("pretrained_cfg", content)
    if not isinstance(config, Mapping) or not {"input_size", "mean", "std"} & config.keys():
        raise DataError(
            "declares neither timm's input_size, mean and std nor Hugging Face's image_mean and "
            "steps."
        )
    if config.get("crop_border_pixels"):
        raise DataError(
            "asks for crop_border_pixels, which is not known. Give single options instead."
        )
    _refuse_unknown(config, _TIMM)
    size = channels = None
    if "input_size" in config:
        depth, *plane = _numbers(config, "input_size", 3)
        size = int(plane[0]), int(plane[1])
        channels = {1: "gray", 3: "rgb"}.get(int(depth))
        if channels is None:
            raise DataError(f"has an input_size of {int(depth)} channels; images have 1 or 3.")
    crop_mode = config.get("crop_mode") or "center"
    if crop_mode not in CROP_MODES:
        raise DataError(
            f"has crop_mode {crop_mode!r}, which is not one of center, squash and border."
        )
    crop_pct = _numbers(config, "crop_pct", 1)[0] if config.get("crop_pct") else _TIMM_CROP_PCT
    return PreprocessingSpec(
        size=size,
        crop_pct=crop_pct,
        crop_mode=crop_mode,
        interpolation=str(config.get("interpolation") or _TIMM_INTERPOLATION),
        mean=_numbers(config, "mean") if config.get("mean") else IMAGENET_MEAN,
        std=_numbers(config, "std") if config.get("std") else IMAGENET_STD,
        channels=channels,
    )


def from_hugging_face(content: Mapping[str, object]) -> PreprocessingSpec:
    """The spec in Hugging Face's ``preprocessor_config.json``.

    Where a file (older ones do) does not say what is done, its class decides. A file without a
    class does a step if its values are there, and rescales pixels unless it says no.

    Raises:
        DataError: a value has the wrong form, or asks for a step or a class that is not known
            here; the message wants the file's name before it.
    """
    kind = str(content.get("image_processor_type") or content.get("feature_extractor_type") or "")
    for ending in ("Pil", "Fast", "ImageProcessor", "FeatureExtractor"):
        kind = kind.removesuffix(ending)
    for key, value in content.items():
        if (key in _SWITCHES or key.startswith("do_")) and not (
            value is None or isinstance(value, bool)
        ):
            raise DataError(f"has {key} {value!r}; a switch is true or false.")
    content = with_class_defaults(kind, content)
    _refuse_unknown(content, _SWITCHES | _VALUES | _HARMLESS)
    if content.get("crop_pct") and kind not in _CROPPED_BY_SHARE:
        raise DataError(
            f"asks for crop_pct, which is not known of {kind or 'a file without a class'}. Give "
            "single options instead; or remove crop_pct from a copy of the file, if it changes no "
            "pixel."
        )
    resize = crop = None
    if content.get("do_resize", "size" in content):
        resize, crop = _resize_and_crop(content, kind)
    if content.get("do_center_crop"):
        size = content.get("crop_size", content.get("size"))
        crop = Crop(_height_width(size, "crop_size"), rounding="down")
    code = content.get("resample", None if resize else INTERPOLATIONS.index("bilinear"))
    if not isinstance(code, int) or code not in range(len(INTERPOLATIONS)):
        raise DataError(f"has resample {code!r}, which is no code of a Pillow filter (0 to 5).")
    rescale = content.get("do_rescale", True)
    mean = std = None
    if kind not in _NOT_NORMALIZED and content.get("do_normalize", "image_mean" in content):
        mean, std = _numbers(content, "image_mean"), _numbers(content, "image_std")
    if kind == "EfficientNet" and content.get("include_top"):  # it divides by std once more
        again = _numbers(content, "image_std")
        mean = mean or (0.0,) * len(again)
        std = tuple(value * value for value in again) if std else again
    scale = 1 / 255 if rescale else 1.0
    if rescale and "rescale_factor" in content:
        (scale,) = _numbers(content, "rescale_factor", 1)
    found = PreprocessingSpec(
        resize=resize,
        crop=crop,
        outright=True,
        interpolation=INTERPOLATIONS[code],
        scale=scale,
        offset=-1.0 if rescale and content.get("rescale_offset") else 0.0,
        mean=mean,
        std=std,
        channels="bgr" if content.get("do_flip_channel_order") else None,
    )
    return _padded(found, content) if content.get("do_pad") else found


def _refuse_unknown(content: Mapping[str, object], known: Collection[str]) -> None:
    """Refuse what is not known: it can be a step. What is null or false is none.

    Raises:
        DataError: names the key; the message wants the file's name before it.
    """
    for key, value in content.items():
        if value is None or value is False or key.startswith(_HARMLESS_BEGINNINGS):
            continue
        if key not in known:
            raise DataError(
                f"asks for {key}, which is not known. Give single options instead; or remove "
                f"{key} from a copy of the file, if it changes no pixel."
            )


def _padded(found: PreprocessingSpec, content: Mapping[str, object]) -> PreprocessingSpec:
    """``found`` with a border at the right and below, of what is 0 after normalizing."""
    size = content.get("pad_size")
    if not isinstance(size, Mapping) or found.crop is not None:
        why = "beside a crop" if isinstance(size, Mapping) else f"with pad_size {size!r}"
        raise DataError(f"asks for do_pad {why}, which is not known. Give single options instead.")
    crop = Crop(_height_width(size, "pad_size"), fill=found.mean_pixel, place="corner")
    return replace(found, crop=crop)


def _resize_and_crop(content: Mapping[str, object], kind: str) -> tuple[Resize, Crop | None]:
    """The resize of a Hugging Face file, with the crop that is part of it in some processors."""
    size = content.get("size")
    square = content.get("default_to_square")
    if isinstance(size, int) and square is not None and not square:
        size = {"shortest_edge": size}
    if isinstance(size, Mapping) and size.get("longest_edge"):
        raise DataError(
            "bounds size by longest_edge, which is not known. Give single options instead."
        )
    shortest = isinstance(size, Mapping) and size.get("shortest_edge")
    if kind == "ConvNext":
        if not shortest:
            raise DataError(f"has size {size!r}; ConvNext's has a shortest_edge.")
        edge = _pixels(shortest, "shortest_edge")
        if edge >= 384:  # squashed, nothing cropped
            return Resize("exact", (edge, edge)), None
        scaled = int(edge / _numbers(content, "crop_pct", 1)[0])
        return Resize("shortest", (scaled, scaled)), Crop((edge, edge), rounding="down")
    if kind == "PoolFormer" and content.get("crop_pct"):
        height, width = _height_width(size, "size")
        if height != width:
            raise DataError(f"has size {size!r}; PoolFormer's must be square.")
        scaled = int(height / _numbers(content, "crop_pct", 1)[0])
        return Resize("shortest", (scaled, scaled)), None
    if not shortest:
        return Resize("exact", _height_width(size, "size")), None
    edge = _pixels(shortest, "shortest_edge")
    if kind == "Levit":
        edge = int(256 / 224 * edge)
    return Resize("shortest", (edge, edge)), None


def _height_width(size: object, key: str) -> Size:
    if isinstance(size, Mapping) and {"height", "width"} <= size.keys():
        return _pixels(size["height"], key), _pixels(size["width"], key)
    if isinstance(size, Mapping) and "shortest_edge" in size:
        size = size["shortest_edge"]
    edge = _pixels(size, key)
    return edge, edge


def _pixels(value: object, key: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= LONGEST_EDGE:
        raise DataError(f"has {key} {value!r}; a number of 1 to {LONGEST_EDGE:,} pixels is wanted.")
    return value


def _numbers(
    content: Mapping[str, object], key: str, count: int | None = None
) -> tuple[float, ...]:
    """The numbers under a key: a list of ``count`` (any number if None), or one number."""
    value = content.get(key)
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values) or (
        len(values) != count if count else not values
    ):
        raise DataError(f"has {key} {value!r}; {count or 'a list of'} numbers are wanted.")
    return tuple(map(float, values))
