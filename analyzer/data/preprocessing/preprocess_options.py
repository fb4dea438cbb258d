"""Options of preprocessing, declared once; and the spec that a preset or file and they make."""

import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from operator import index
from pathlib import Path
from typing import Any

from analyzer.data.preprocessing.spec import (
    CHANNELS,
    CROP_MODES,
    INTERPOLATIONS,
    LAYOUTS,
    LONGEST_EDGE,
    PRESETS,
    Pad,
    PreprocessingSpec,
    Resize,
    Size,
    read_spec,
)
from analyzer.errors import DataError, parameter
from analyzer.option_mechanism import (
    option,
    options_of,
    parse_factor,
    parse_image_size,
    parse_number,
    parse_numbers,
    parse_resize,
)

__all__ = ["PreprocessOptions", "make_spec", "preprocess_options"]

_NO_SIZE = f"is not a height and width of 1 to {LONGEST_EDGE:,} pixels."


@dataclass(frozen=True, slots=True)
class PreprocessOptions:
    """What the caller declares; None: not declared."""

    preset: str | Path | None = option(
        None,
        "timm's config.json, Hugging Face's preprocessor_config.json, or one of "
        f"{', '.join(PRESETS)}. The options below override it.",
        metavar="FILE|PRESET",
        flag="--preprocess",
    )
    img_size: Size | int | None = option(
        None, "Size of the network's images.", metavar="N|HxW", parse=parse_image_size
    )
    crop_pct: float | None = option(
        None,
        "Share of the resized image that is kept, above 0 and at most 1.",
        metavar="X",
        least=0,
        most=1,
        open_least=True,
    )
    crop_mode: str | None = option(
        None,
        "What is kept of an image of another shape: its middle, all of it squashed, or all of it "
        "with a border of the mean.",
        metavar="|".join(CROP_MODES),
        choices=CROP_MODES,
    )
    resize: Size | int | str | None = option(
        None,
        "Resize the shorter edge to N, or to H by W, or not at all; the middle of --img-size is "
        "taken then. Instead of --crop-pct and --crop-mode.",
        metavar="N|HxW|none",
        parse=parse_resize,
    )
    pad: str | int | None = option(
        None,
        "First add a border of N pixels on every side, or make the image a square, with pixels of "
        "VALUE (0, or one value a color).",
        metavar="N|square[,VALUE]",
    )
    invert: bool = option(False, "First turn black into white, and white into black.")
    interpolation: str | None = option(
        None,
        "For resizing: nearest, bilinear, bicubic, lanczos, box or hamming.",
        metavar="FILTER",
        choices=INTERPOLATIONS,
    )
    antialias: bool | None = option(
        None,
        "Resize with a filter as wide as the reduction, as Pillow does, or without, as OpenCV and "
        "TensorFlow do (bilinear alone).",
    )
    scale: float | None = option(
        None,
        "Factor on pixels of 0 to 255, such as 1/255.",
        metavar="X",
        parse=parse_factor,
        least=0,
        open_least=True,
    )
    mean: tuple[float, ...] | None = option(  # in the order of the channels fed
        None, "Subtracted after that, one per channel.", metavar="X,…", parse=parse_numbers
    )
    std: tuple[float, ...] | None = option(
        None, "Divided by after that, one per channel.", metavar="X,…", parse=parse_numbers
    )
    channels: str | None = option(
        None,
        "Order of the colors that the network takes.",
        metavar="|".join(CHANNELS),
        choices=CHANNELS,
    )
    layout: str | None = option(
        None,
        "Order of the axes that the network takes.",
        metavar="|".join(LAYOUTS),
        choices=LAYOUTS,
    )
    exif: bool | None = option(None, "Rotate images by their EXIF tag, or not.")


def preprocess_options(value: object = None) -> PreprocessOptions:
    """The options that a caller means.

    Args:
        value: None for nothing declared; the name of a preset, or the path of a timm or Hugging
            Face file; a mapping of single options, as ``{"preset": "imagenet", "crop_pct": 0.95}``;
            or options themselves.

    Raises:
        DataError: it is not one of these, or names an option that does not exist.
    """
    if isinstance(value, PreprocessOptions):
        given = {field.name: getattr(value, field.name) for field in fields(value)}
        return preprocess_options({name: one for name, one in given.items() if one is not None})
    if value is None or isinstance(value, str | Path):
        return PreprocessOptions(preset=value)
    if not isinstance(value, Mapping):
        raise DataError(
            f"{parameter('preprocess')} is of type {type(value).__name__}. Give the name of a "
            "preset, the path of a file, or a mapping of single options."
        )
    known = [field.name for field in fields(PreprocessOptions)]
    unknown = [name for name in value if name not in known]
    if unknown:
        raise DataError(
            f"There is no preprocessing option {unknown[0]!r}. The options are {', '.join(known)}."
        )
    declared = options_of(PreprocessOptions)
    return PreprocessOptions(**{k: _read(k, v, declared[k].parse) for k, v in value.items()})


def _read(name: str, value: Any, parse: Callable[[str], Any] | None) -> Any:
    """A value of an option; an array as a list, and a text as the command line reads it."""
    if parse is None or not isinstance(value, str):
        return value.tolist() if hasattr(value, "tolist") else value
    try:
        return parse(value)
    except ValueError as error:
        raise DataError(f"{parameter(name)}: {error}") from None


def make_spec(options: PreprocessOptions) -> PreprocessingSpec:
    """The spec in a preset or file, with the single options put over it.

    Raises:
        DataError: an unknown preset, an unusable file, or an option out of its range.
    """
    for name in ("invert", "antialias", "exif"):
        value = getattr(options, name)
        if value is not None and not (isinstance(value, Integral) and value in (0, 1)):
            raise DataError(f"{parameter(name)} cannot be {value!r}; give True or False.")
    base = PreprocessingSpec() if options.preset is None else _from_preset(options.preset)
    changes: dict[str, Any] = {}
    if options.img_size is not None:
        changes.update(size=_size(options.img_size), size_yields=False)
    if options.crop_pct is not None:
        changes.update(crop_pct=_number("crop_pct", options.crop_pct))
    if options.crop_mode is not None:
        _check_choice("crop_mode", options.crop_mode, CROP_MODES)
        changes.update(crop_mode=options.crop_mode)
    if options.resize is not None:
        changes.update(resize_outright=True)
    if base.outright and changes:
        changes.setdefault("size", _size_after(base))
        changes.update(outright=False, resize=None, crop=None)
    if options.resize is not None:
        changes.update(resize=_resize(options))
    if options.pad is not None:
        changes.update(pad=_pad(options.pad))
    if options.invert:
        changes.update(invert=True)
    if options.interpolation is not None:
        _check_choice("interpolation", options.interpolation, INTERPOLATIONS)
        changes.update(interpolation=options.interpolation)
    if options.antialias is not None:
        changes.update(antialias=options.antialias)
    if options.scale is not None:
        changes.update(scale=_number("scale", options.scale))
    if options.channels is not None:
        _check_choice("channels", options.channels, CHANNELS)
        changes.update(channels=options.channels)
        if {base.channels or "rgb", options.channels} == {"rgb", "bgr"}:
            changes.update(mean=base.mean and base.mean[::-1], std=base.std and base.std[::-1])
    if options.mean is not None:
        changes.update(mean=_numbers("mean", options.mean), offset=0.0)
    if options.std is not None:
        changes.update(std=_numbers("std", options.std))
    if options.layout is not None:
        _check_choice("layout", options.layout, LAYOUTS)
    if changes or options.layout not in (None, "auto") or options.exif is not None:
        changes.update(origin=f"{base.origin} and options" if base.origin else "options")
    spec = replace(base, **changes)
    _check(spec, options)
    return spec


def _from_preset(preset: str | Path) -> PreprocessingSpec:
    from analyzer.files import check_paths  # needs numpy, which declaring options does not

    if not isinstance(preset, str | Path):
        raise DataError(
            f"{parameter('preset')} is of type {type(preset).__name__}; give the name of a preset, "
            "or the path of a file."
        )
    if str(preset) in PRESETS:
        return replace(PRESETS[str(preset)], origin=f"preset {preset}")
    check_paths(DataError, preset=preset)
    path = Path(preset)
    if not path.exists():
        raise DataError(
            f"There is no preprocessing preset or file {str(preset)!r}. The presets are "
            f"{', '.join(PRESETS)}."
        )
    return read_spec(path)


def _size_after(spec: PreprocessingSpec) -> Size | None:
    """The size that a resize and crop given outright fix, if they do."""
    if spec.crop is not None:
        return spec.crop.size
    if spec.resize is not None and spec.resize.how == "exact":
        return spec.resize.size
    return None


def _check(spec: PreprocessingSpec, options: PreprocessOptions) -> None:
    def named(name: str, value: object) -> str:
        """The value by the option that gave it, or as one of the file."""
        if options.preset is None or getattr(options, name) is not None:
            return parameter(name, value)
        return f"{name} {value} in {parameter('preprocess', options.preset)}"

    if spec.size is not None and not all(0 < edge <= LONGEST_EDGE for edge in spec.size):
        raise DataError(f"{named('img_size', _text(spec.size))} {_NO_SIZE}")
    if not 0 < spec.crop_pct <= 1:
        raise DataError(f"{named('crop_pct', spec.crop_pct)} is not above 0 and at most 1.")
    if spec.interpolation not in INTERPOLATIONS:  # of a file
        raise DataError(
            f"{named('interpolation', repr(spec.interpolation))} is not one of "
            f"{', '.join(INTERPOLATIONS)}."
        )
    if spec.mean is not None and not all(map(math.isfinite, spec.mean)):
        raise DataError(f"{named('mean', _listed(spec.mean))} has values that are not finite.")
    if spec.std is not None and not all(0 < value < math.inf for value in spec.std):
        raise DataError(
            f"{named('std', _listed(spec.std))} has values that are not finite numbers above 0."
        )
    if not spec.antialias and spec.interpolation != "bilinear":
        raise DataError(
            f"{parameter('antialias', False)} is for bilinear resizing, not for "
            f"{spec.interpolation}; pass {parameter('interpolation', 'bilinear')} with it."
        )
    if not 0 < spec.scale < math.inf:
        raise DataError(f"{named('scale', spec.scale)} is not a finite number above 0.")


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise DataError(f"{parameter(name, repr(value))} is not one of {', '.join(choices)}.")


def _size(value: Size | int) -> Size:
    try:
        height, width = (value, value) if isinstance(value, Integral | int) else _in_order(value)
        return index(height), index(width)
    except (TypeError, ValueError):
        raise _not_a_size(value) from None


def _not_a_size(value: object, name: str = "img_size") -> DataError:
    return DataError(f"{parameter(name, value)} {_NO_SIZE}")


def _resize(options: PreprocessOptions) -> Resize | None:
    """What is resized to before the crop; None: nothing is."""
    value = options.resize
    for name in ("crop_pct", "crop_mode"):
        if (other := getattr(options, name)) is not None:
            raise DataError(
                f"{parameter('resize', _text(value))} and {parameter(name, other)} both say how an "
                "image is resized; leave one of them out."
            )
    if isinstance(value, str) and value == "none":
        return None
    one = isinstance(value, Integral | int)
    try:
        edges: Any = (value, value) if one else _in_order(value)
        height, width = map(index, edges)
    except (TypeError, ValueError):
        raise _not_a_size(_text(value), "resize") from None
    if not (0 < height <= LONGEST_EDGE and 0 < width <= LONGEST_EDGE):
        raise _not_a_size(_text(value), "resize")
    return Resize("shortest" if one else "exact", (height, width))


def _pad(value: object) -> Pad:
    """The border that a text like "2", "2,255" or "square,124,116,104" means, or a number."""
    wrong = DataError(
        f"{parameter('pad', value)} is not a number of 1 to {LONGEST_EDGE:,} pixels or the word "
        "square, with a pixel value of 0 to 255 or three of them after it, as in 2,255."
    )
    what, *fill = str(value).split(",")
    try:
        if not str(value).isascii() or "_" in str(value):
            raise wrong
        square = what.strip() == "square"
        pad = Pad(0 if square else int(what), square, tuple(map(int, fill)) or (0,))
    except ValueError:
        raise wrong from None
    if len(pad.fill) not in (1, 3) or not all(0 <= one <= 255 for one in pad.fill):
        raise wrong
    if not square and not 0 < pad.pixels <= LONGEST_EDGE:
        raise wrong
    return pad


def _text(value: object) -> str:
    """A value of ``resize`` as it is written on the command line."""
    return "x".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _number(name: str, value: Any) -> float:
    try:
        return parse_number(value) if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{parameter(name, repr(value))} is not a number.") from None


def _numbers(name: str, values: Any) -> tuple[float, ...]:
    """The numbers of each channel; one number counts for all of them."""
    try:
        if isinstance(values, Real):
            return (float(values),)
        return tuple(map(float, _in_order(values)))
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{parameter(name, repr(values))} is not one or several numbers.") from None


def _in_order(values: Any) -> Any:
    """Several values as they are.

    Raises:
        TypeError: they are of a type that has no order, or that holds something else than values.
    """
    if isinstance(values, Set | Mapping | bytes | bytearray):
        raise TypeError(f"{type(values).__name__} is no list")
    return values


def _listed(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)
