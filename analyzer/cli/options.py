"""Options that several commands share, each group as one decorator; and how values are read."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = [
    "PATH",
    "Number",
    "data_options",
    "json_option",
    "out_file",
    "out_folder",
    "run_options",
    "site_options",
]

PATH = click.Path(path_type=Path)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Number(click.FloatRange):
    """A finite number within bounds; click alone lets "nan" pass any of them."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class _Size(click.ParamType):
    """Bytes, as 500M, 2G or 2GB."""

    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", value.strip().upper())
        if found is None or float(found[1]) == 0:
            self.fail(f"{value!r} is not a size; write 500M, 2G or a number of bytes.", param, ctx)
        return int(float(found[1]) * _UNITS[found[2]])


class _Numbers(click.ParamType):
    """Numbers separated by commas or blanks."""

    name = "numbers"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in re.split(r"[,\s]+", value.strip()))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers like 0.485,0.456,0.406.", param, ctx)


class _ImageSize(click.ParamType):
    """A height and width, or one number for both."""

    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"(\d+)(?:[x×,](\d+))?", value)
        if found is None or 0 in (int(found[1]), int(found[2] or 1)):
            self.fail(f"{value!r} is not an image size; write 224 or 224x160.", param, ctx)
        return int(found[1]), int(found[2] or found[1])


class _Keys(click.ParamType):
    """Two names separated by a comma."""

    name = "keys"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        parts = tuple(part.strip() for part in value.split(","))
        if len(parts) != 2 or not all(parts):
            self.fail(f"{value!r} is not two names, as in images,labels.", param, ctx)
        return parts


class _Assignment(click.ParamType):
    """A name and what it is given."""

    name = "assignment"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, _, given = value.partition("=")
        if not name or not given:
            self.fail(f"{value!r} does not give a name a value, as NAME=FILE.npy.", param, ctx)
        return name, given


def _together(*options: Callable) -> Callable:
    def decorate(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def out_folder(what: str) -> Callable:
    """``--out DIR``, required."""
    return click.option("--out", type=PATH, required=True, metavar="DIR", help=what)


def out_file(what: str) -> Callable:
    """``-o FILE``, required; a folder is refused."""
    return click.option(
        "-o",
        "--out",
        type=click.Path(path_type=Path, dir_okay=False),
        required=True,
        metavar="FILE",
        help=what,
    )


site_options = _together(
    click.option(
        "--site",
        metavar="NODE|TENSOR",
        help="What to mask: a convolution's name means its activated output, a tensor's name that "
        "tensor.  [default: the activation that `onnx-gap inspect` marks]",
    ),
    click.option(
        "--at",
        type=click.Choice(["activation", "conv"]),
        default="activation",
        show_default=True,
        metavar="activation|conv",
        help="With a convolution as --site: its activated output, or its raw output.",
    ),
    click.option("--axis", type=int, metavar="N", help="Channel axis, with a tensor as --site."),
    click.option("--output", metavar="NAME", help="Output with the scores, if there are several."),
    click.option(
        "--custom-ops",
        type=PATH,
        metavar="LIB",
        help="Library of custom operators that the network uses, as onnxruntime loads it.",
    ),
)

data_options = _together(
    click.option(
        "--input",
        "inputs",
        type=_Assignment(),
        multiple=True,
        metavar="NAME=FILE|VALUE",
        help="What a further input of the network is fed: a number or a .npy file, the same for "
        "every image. May be repeated.",
    ),
    click.option(
        "--keys", type=_Keys(), metavar="IMAGES,LABELS", help="Names of the arrays in an .npz file."
    ),
    click.option(
        "--classes",
        type=PATH,
        metavar="FILE",
        help="The network's classes in its order: a name a line, JSON, or CSV.",
    ),
    click.option(
        "--preprocess",
        metavar="FILE|PRESET",
        help="timm's config.json, Hugging Face's preprocessor_config.json, or one of imagenet, "
        "imagenet-tf, imagenet-caffe, cifar, mnist, none. The options below go over it.",
    ),
    click.option(
        "--img-size", type=_ImageSize(), metavar="N|HxW", help="Size of the network's images."
    ),
    click.option(
        "--crop-pct",
        type=Number(0, 1, min_open=True),
        metavar="X",
        help="Share of the resized image that is kept, above 0 and at most 1.",
    ),
    click.option(
        "--interpolation",
        type=click.Choice(["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]),
        metavar="FILTER",
        help="For resizing: nearest, bilinear, bicubic, lanczos, box or hamming.",
    ),
    click.option(
        "--scale", type=Number(0, min_open=True), metavar="X", help="Factor on pixels of 0 to 255."
    ),
    click.option(
        "--mean", type=_Numbers(), metavar="X,…", help="Subtracted after that, one per channel."
    ),
    click.option(
        "--std", type=_Numbers(), metavar="X,…", help="Divided by after that, one per channel."
    ),
    click.option(
        "--channels",
        type=click.Choice(["rgb", "bgr", "gray"]),
        metavar="rgb|bgr|gray",
        help="Order of the colours that the network takes.",
    ),
    click.option(
        "--layout",
        type=click.Choice(["nchw", "nhwc", "auto"]),
        metavar="nchw|nhwc|auto",
        help="Order of the axes that the network takes.",
    ),
    click.option("--exif/--no-exif", default=None, help="Rotate images by their EXIF tag, or not."),
    click.option(
        "--limit-per-class",
        type=click.IntRange(1),
        metavar="N",
        help="Use at most so many samples of each class, drawn at random.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        metavar="N",
        help="Of that draw, and of --rank random.",
    ),
    click.option("--skip-bad", is_flag=True, help="Leave out unreadable samples and count them."),
)

run_options = _together(
    click.option(
        "--chance",
        type=Number(0, 1, max_open=True),
        metavar="X",
        help="Accuracy of guessing.  [default: 1 / number of classes]",
    ),
    click.option(
        "--device",
        default="auto",
        show_default=True,
        metavar="auto|cpu|cuda[:N],…",
        help="Where the network runs. Several GPUs, as cuda:0,cuda:1, share out the classes.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["float32", "tf32", "fp16"]),
        default="float32",
        show_default=True,
        metavar="float32|tf32|fp16",
        help="What the network runs in. tf32 (GPUs alone) and fp16 are faster on a GPU and decide "
        "near ties otherwise.",
    ),
    click.option(
        "--memory",
        type=_Size(),
        default="2G",
        show_default=True,
        metavar="SIZE",
        help="What features may take; more data is worked off class by class.",
    ),
    click.option(
        "--tolerance",
        type=Number(0, 1, max_open=True),
        default=0.0,
        metavar="T",
        help="Run only the rows that are needed to know ζ and κ to within T; the result bounds "
        "the error.  [default: 0, exact]",
    ),
    click.option(
        "--rank",
        type=click.Choice(["l1", "selectivity", "random"]),
        default="l1",
        show_default=True,
        metavar="l1|selectivity|random",
        help="What units are ranked by: activity (the method's own), class selectivity, or an "
        "order drawn from --seed, as a control.",
    ),
    click.option(
        "--margins",
        is_flag=True,
        help="Also measure how far samples are from another class, at the images and three layers: "
        "the features of the margin-based estimate. Takes some forward passes more.",
    ),
    click.option(
        "--suspects",
        type=click.IntRange(0),
        metavar="N",
        help="Training samples to list as suspicious, by name; 0 for none.  [default: 1 % of them, "
        "and 20 at least]",
    ),
)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON on standard output."
)
