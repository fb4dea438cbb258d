"""Options that several commands share, each group as one decorator."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = ["data_options", "json_option", "run_options", "site_options"]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class _Size(click.ParamType):
    """Bytes, as 500M, 2G or 2GB."""

    name = "SIZE"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", value.strip().upper())
        if found is None or float(found[1]) == 0:
            self.fail(f"{value!r} is not a size; write 500M, 2G or a number of bytes", param, ctx)
        return int(float(found[1]) * _UNITS[found[2]])


class _Numbers(click.ParamType):
    """Numbers separated by commas or blanks."""

    name = "NUMBERS"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in re.split(r"[,\s]+", value.strip()))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers like 0.485,0.456,0.406", param, ctx)


class _ImageSize(click.ParamType):
    """A height and width, or one number for both."""

    name = "N|HxW"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"(\d+)(?:[x×,](\d+))?", value)
        if found is None or 0 in (int(found[1]), int(found[2] or 1)):
            self.fail(f"{value!r} is not an image size; write 224 or 224x160", param, ctx)
        return int(found[1]), int(found[2] or found[1])


class _Keys(click.ParamType):
    """Two names separated by a comma."""

    name = "IMAGES,LABELS"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        parts = tuple(part.strip() for part in value.split(","))
        if len(parts) != 2 or not all(parts):
            self.fail(f"{value!r} does not name images and labels, as images,labels", param, ctx)
        return parts


_FILE = click.Path(path_type=Path)


def _together(*options: Callable) -> Callable:
    def decorate(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


site_options = _together(
    click.option(
        "--site",
        metavar="NODE|TENSOR",
        help="What to mask: a convolution's name means its activated output, a tensor's name that "
        "tensor. [default: the last activation that `onnx-gap inspect` marks]",
    ),
    click.option(
        "--at",
        type=click.Choice(["activation", "conv"]),
        default="activation",
        show_default=True,
        help="With a convolution as --site: its activated output, or its raw output.",
    ),
    click.option("--axis", type=int, help="Channel axis, with a tensor as --site."),
    click.option("--output", metavar="NAME", help="Output with the scores, if there are several."),
)

data_options = _together(
    click.option("--keys", type=_Keys(), help="Names of the arrays in an .npz file."),
    click.option("--classes", type=_FILE, help="List of the network's classes, in its order."),
    click.option(
        "--preprocess",
        metavar="FILE|PRESET",
        help="timm config.json, Hugging Face preprocessor_config.json, or imagenet, imagenet-tf, "
        "imagenet-caffe, cifar, mnist, none.",
    ),
    click.option("--img-size", type=_ImageSize(), help="Size of the images the network gets."),
    click.option("--crop-pct", type=float, help="Share of the resized image that is kept."),
    click.option(
        "--interpolation",
        type=click.Choice(["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]),
        help="Pillow's filter for resizing.",
    ),
    click.option("--mean", type=_Numbers(), help="Subtracted after scaling, a number a channel."),
    click.option("--std", type=_Numbers(), help="Divided by after that, a number a channel."),
    click.option("--scale", type=float, help="Pixels of 0 to 255 are multiplied by it first."),
    click.option("--channels", type=click.Choice(["rgb", "bgr", "gray"]), help="Order of colours."),
    click.option(
        "--layout", type=click.Choice(["nchw", "nhwc", "auto"]), help="Axes of the network's input."
    ),
    click.option("--exif/--no-exif", default=None, help="Rotate images by their EXIF tag."),
    click.option("--limit-per-class", type=click.IntRange(1), help="Samples used of each class."),
    click.option("--seed", type=int, default=0, show_default=True, help="Of that choice."),
    click.option("--skip-bad", is_flag=True, help="Leave out unreadable samples and count them."),
)

run_options = _together(
    click.option(
        "--device",
        default="auto",
        show_default=True,
        metavar="auto|cpu|cuda[:N]",
        help="Where the network runs.",
    ),
    click.option(
        "--memory",
        type=_Size(),
        default="2G",
        show_default=True,
        help="What features may take; more data is worked off class by class.",
    ),
)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON on standard output."
)
