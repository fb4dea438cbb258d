"""Which preprocessing brings images to a network: from a spec, the network's input and the data."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analyzer.audit_record import AS_STORED, UNDECLARED
from analyzer.common_types import TensorInfo
from analyzer.data.preprocessing.preprocess_options import PreprocessOptions, make_spec
from analyzer.data.preprocessing.spec import (
    CHANNELS,
    INTERPOLATIONS,
    LONGEST_EDGE,
    Crop,
    Pad,
    PreprocessingSpec,
    Resize,
    Size,
    timm_geometry,
)
from analyzer.data.preprocessing.steps import Preprocessing, numpy_dtype
from analyzer.data.source import Source, reason_of
from analyzer.errors import DataError, parameter
from analyzer.json_codec import JsonSource, decode

__all__ = [
    "preprocessing_of_record",
    "preprocessing_of_test_data",
    "recorded_preprocessing",
    "resolve_preprocessing",
]

_AXES: dict[str, tuple[int, int, int]] = {"nchw": (1, 2, 3), "nhwc": (3, 1, 2)}
"""Of channels, height and width."""

_FED_AT_ONCE = 24  # samples: three batches of the smallest size
_PEEKS = 100  # samples tried before a source counts as unreadable


@dataclass(frozen=True, slots=True)
class _Plane:
    """What the network's input says of images. None: left open."""

    layout: str
    channels: int | None
    height: int | None
    width: int | None
    warnings: tuple[str, ...] = ()


def resolve_preprocessing(
    source: Source,
    input_info: TensorInfo,
    options: PreprocessOptions | None = None,
    spec: PreprocessingSpec | None = None,
) -> Preprocessing:
    """The preprocessing that brings samples of the source to the network's input.

    Nothing declared means: gray or RGB as the network wants, brought to the size that it
    fixes, scaled by 1/255, with a warning. An image size comes from, in this order: the option
    ``img_size``, a file, the network, a preset, the first image.

    Args:
        source: the samples.
        input_info: the network's input.
        options: what the caller declares.
        spec: what :func:`make_spec` made of the options, where their file was read before.

    Raises:
        DataError: an option is out of range, or does not fit the network or the samples.
    """
    options = options or PreprocessOptions()
    spec = spec or make_spec(options)
    array = source.array
    if array is not None and array.dtype != np.uint8:
        if spec.origin is not None:
            raise DataError(
                f"{source.source} holds {array.dtype} arrays, which are fed as they are. Drop "
                "the preprocessing options, or store 8-bit images as uint8."
            )
        stored = _as_stored(array, source.source, input_info)
        _check_fed(stored, source, input_info)
        return stored
    dtype = numpy_dtype(input_info.dtype)
    takes_integers = np.issubdtype(dtype, np.integer)
    if dtype.kind in "bOUSc" or (takes_integers and np.iinfo(dtype).max < 255):
        raise DataError(
            f"The network's input {input_info.name!r} is {dtype.name}, which cannot hold pixels "
            "of 0 to 255. Store what it takes as an array in a .npz file."
        )
    plane = _plane(input_info, options.layout or "auto")
    if options.layout not in (None, "auto") and plane.layout not in _AXES:
        raise DataError(
            f"{parameter('layout', options.layout)} does nothing: the network's input "
            f"{input_info.name!r} takes {_text(input_info.shape)}, without an axis of channels. "
            "Leave it out."
        )
    spec, warnings = _settle_values(spec, options, input_info, takes_integers)
    channels = _channels(source, spec, plane, input_info, options.channels)
    _check_depth(spec, channels, input_info)
    result = Preprocessing(
        shape=(),
        dtype=dtype.name,
        origin=spec.origin,
        invert=spec.invert,
        pad=spec.pad,
        interpolation=spec.interpolation,
        antialias=spec.antialias,
        channels=channels,
        scale=1.0 if takes_integers else spec.scale,
        offset=spec.offset,
        mean=spec.mean,
        std=spec.std,
        layout=plane.layout,
        exif=source.exif,
        budgets=source.budgets,
        warnings=(*warnings, *plane.warnings),
    )
    result = _settle_size(result, source, spec, plane, input_info)
    if result.resize is None:
        _refuse_resizing(options)
    _check_fed(result, source, input_info)
    values = (options.preset, options.scale, options.mean, options.std)
    if spec.origin is None or (not takes_integers and all(one is None for one in values)):
        result = replace(result, warnings=(_undeclared(result), *result.warnings))
    return result


def _refuse_resizing(options: PreprocessOptions) -> None:
    """Refuse options that say how images are resized, where they are not."""
    for name, usual in (
        ("crop_pct", 1),
        ("crop_mode", "center"),
        ("interpolation", "bilinear"),
        ("antialias", True),
    ):
        if getattr(options, name) not in (None, usual):
            raise DataError(
                f"{parameter(name, getattr(options, name))} does nothing, as images are not "
                f"resized: the network leaves their size open, and no {parameter('img_size')} is "
                "given."
                if options.resize is None
                else f"{parameter(name, getattr(options, name))} does nothing with "
                f"{parameter('resize', 'none')}. Leave one of them out."
            )


def _check_depth(spec: PreprocessingSpec, channels: str, input_info: TensorInfo) -> None:
    """Refuse values for gray images where they are in color, and the reverse."""
    for name, values in (("mean", spec.mean), ("std", spec.std)):
        if values is not None and len(values) not in (1, 1 if channels == "gray" else 3):
            kind, wanted = ("gray", "1 value") if channels == "gray" else ("color", "3 values")
            raise DataError(
                f"The {name} has {len(values)} values (by {spec.origin}) but the network's input "
                f"{input_info.name!r} takes {kind} images. Pass {parameter(name)} with {wanted}."
            )
    if channels == "gray" and spec.pad is not None and len(spec.pad.fill) == 3:
        raise DataError(
            f"The network's input {input_info.name!r} takes gray images; give {parameter('pad')} "
            "one pixel value."
        )


def recorded_preprocessing(
    said: Mapping[str, Any], source: Source, input_info: TensorInfo, where: str
) -> Preprocessing:
    """The preprocessing that :meth:`Preprocessing.to_dict` told of, for samples of the source.

    Args:
        said: what it told.
        source: the samples.
        input_info: the network's input.
        where: the file that says so, for messages.

    Raises:
        DataError: it is not complete, or does not bring these samples to the network's input.
    """
    json = _record(where)
    result = replace(preprocessing_of_record(said, where), budgets=source.budgets)
    array = source.array
    stored = array is not None and array.dtype != np.uint8
    if stored != result.as_stored:
        kind = "float arrays, which are fed as they are" if stored else "images"
        raise DataError(f"{source.source} holds {kind}, and {where} says otherwise.")
    if result.dtype != numpy_dtype(input_info.dtype).name:
        raise json.wrong("data.preprocessing.dtype", input_info.dtype, result.dtype)
    if array is not None and stored:
        found = _as_stored(array, source.source, input_info)
        if found.shape != result.shape:
            raise json.wrong("data.preprocessing.shape", _text(found.shape), list(result.shape))
        return found
    _check_recorded(result, json)
    depth = 1 if result.channels == "gray" else 3
    size = _output_size(source, result.pad, result.resize, result.crop)
    if _shape_of(result.layout, depth, size) != result.shape:
        wanted = _text(_shape_of(result.layout, depth, size))
        raise json.wrong("data.preprocessing.shape", wanted, list(result.shape))
    result = replace(result, size=size)
    _check_fed(result, source, input_info)
    return replace(result, warnings=(_undeclared(result),)) if result.origin is None else result


def preprocessing_of_record(said: Mapping[str, Any], where: str) -> Preprocessing:
    """What :meth:`Preprocessing.to_dict` told of, but for what only the samples tell.

    Args:
        said: what it told.
        where: the file that says so, for messages.

    Raises:
        DataError: it is not complete.
    """
    found: Preprocessing = decode(Preprocessing, dict(said), _record(where), "data.preprocessing")
    origin = None if found.origin == UNDECLARED else found.origin
    return replace(found, origin=origin, as_stored=origin == AS_STORED, warnings=())


def _record(where: str) -> JsonSource:
    return JsonSource(where, DataError, "Audit the same data again.")


def preprocessing_of_test_data(
    source: Source,
    input_info: TensorInfo,
    trained: Preprocessing,
    train_data: str,
) -> Preprocessing:
    """The preprocessing of the training data, for test data.

    Args:
        source: the test data.
        input_info: the network's input.
        trained: the preprocessing of the training data.
        train_data: what to call these.

    Raises:
        DataError: the test data are of another kind, or of another size that nothing brings to
            that of the training data.
    """
    array = source.array
    stored = array is not None and array.dtype != np.uint8
    if stored != trained.as_stored:
        floats, images = (source.source, train_data) if stored else (train_data, source.source)
        raise DataError(
            f"{floats} holds float arrays, which are fed as they are, and {images} holds images, "
            "which are preprocessed. Store training and test data in the same way."
        )
    if array is not None and stored:
        result = _as_stored(array, source.source, input_info)
    else:
        size = _output_size(source, trained.pad, trained.resize, trained.crop)
        depth = 1 if trained.channels == "gray" else 3
        if _shape_of(trained.layout, depth, size) != trained.shape:
            raise DataError(
                f"Images of {source.source} come out at {size[0]}×{size[1]}, and the network got "
                f"{_text(trained.shape)} of {train_data}. Bring all to one size with "
                f"{parameter('img_size')}."
            )
        result = replace(trained, size=size, exif=source.exif, budgets=source.budgets, warnings=())
    _check_fed(result, source, input_info)
    return result


def _check_recorded(said: Preprocessing, json: JsonSource) -> None:
    """Refuse recorded steps that no audit takes.

    Raises:
        DataError: one of them is out of range.
    """
    for name, choices in (
        ("interpolation", INTERPOLATIONS),
        ("channels", CHANNELS),
        ("layout", ("nchw", "nhwc", "nhw", "flat")),
    ):
        if getattr(said, name) not in choices:
            wanted = f"one of {', '.join(choices)}"
            raise json.wrong(f"data.preprocessing.{name}", wanted, getattr(said, name))
    depth = 1 if said.channels == "gray" else 3
    if depth != 1 and said.layout in ("nhw", "flat"):
        raise json.wrong("data.preprocessing.channels", "gray", said.channels)
    edges = [
        *(said.resize.size if said.resize else ()),
        *(said.crop.size if said.crop else ()),
    ]
    if not all(0 < edge <= LONGEST_EDGE for edge in edges):
        raise json.wrong("data.preprocessing", "sizes of images", edges)
    for name, step in (("crop", said.crop), ("pad", said.pad)):
        if step and not (
            len(step.fill) in (1, 3) and all(0 <= value <= 255 for value in step.fill)
        ):
            raise json.wrong(f"data.preprocessing.{name}.fill", "one pixel", list(step.fill))
    if said.pad and not 0 <= said.pad.pixels <= LONGEST_EDGE:
        raise json.wrong("data.preprocessing.pad", "sizes of images", said.pad.pixels)
    if not 0 < said.scale < math.inf:
        raise json.wrong("data.preprocessing.scale", "a factor above 0", said.scale)
    for name in ("mean", "std"):
        values = getattr(said, name)
        if values is not None and (
            len(values) not in (1, depth) or (name == "std" and 0 in values)
        ):
            raise json.wrong(f"data.preprocessing.{name}", f"1 or {depth} numbers", values)


def _shape_of(layout: str, depth: int, size: Size) -> tuple[int, ...]:
    """The shape of one sample as it is fed."""
    shapes: dict[str, tuple[int, ...]] = {
        "nchw": (depth, *size),
        "nhwc": (*size, depth),
        "nhw": size,
        "flat": (size[0] * size[1],),
    }
    return shapes[layout]


def _check_fed(result: Preprocessing, source: Source, input_info: TensorInfo) -> None:
    """Refuse samples of which a few do not fit into the budget."""
    held = _FED_AT_ONCE * math.prod(result.shape) * numpy_dtype(result.dtype).itemsize
    if excess := source.budgets.excess("bytes", held):
        raise DataError(
            f"Samples of {_text(result.shape)} for the input {input_info.name!r} take {held:,} "
            f"bytes, {_FED_AT_ONCE} at a time, {excess}."
        )


def _as_stored(array: np.ndarray, where: str, input_info: TensorInfo) -> Preprocessing:
    """Preprocessing of float arrays: none, but shape and type must fit."""
    dtype = numpy_dtype(input_info.dtype)
    if np.issubdtype(dtype, np.integer) or dtype.kind in "bOUSc":
        raise DataError(
            f"{where} holds {array.dtype} arrays but the network's input {input_info.name!r} is "
            f"{dtype.name}. Store 8-bit images as uint8."
        )
    stored = array.shape[1:]
    wanted = input_info.shape[1:]
    shapes: list[tuple[int, ...]] = [stored]
    if len(stored) == 2:
        shapes += [(1, *stored), (*stored, 1), (stored[0] * stored[1],)]
    for shape in shapes:
        if len(shape) == len(wanted) and all(
            not isinstance(want, int) or want == have
            for have, want in zip(shape, wanted, strict=True)
        ):
            return Preprocessing(shape=shape, dtype=dtype.name, as_stored=True)
    raise DataError(
        f"The arrays in {where} have shape {_text(stored)} but the network's input "
        f"{input_info.name!r} takes {_text(wanted)}. Float arrays are fed as they are, so store "
        "them in that shape."
    )


def _plane(input_info: TensorInfo, layout: str) -> _Plane:
    """Where the network's input has channels, height and width."""
    dims = [dim if isinstance(dim, int) and dim > 0 else None for dim in input_info.shape]
    takes = f"The network's input {input_info.name!r} takes {_text(input_info.shape)}"
    if len(dims) == 3:
        return _Plane("nhw", 1, dims[1], dims[2])
    if len(dims) == 2:
        return _Plane("flat", 1, None, None)
    if len(dims) != 4:
        raise DataError(
            f"{takes}, which is no image. Store what it takes as a float array in a .npz file."
        )
    first, last = dims[1], dims[3]
    warnings: tuple[str, ...] = ()
    if layout == "auto":
        layout = "nhwc" if last in (1, 3) and first not in (1, 3) else "nchw"
        if (first in (1, 3)) == (last in (1, 3)):
            warnings = (f"{takes}. The layout was taken as nchw; declare it if it is not.",)
    axis, row, column = _AXES[layout]
    if dims[axis] not in (None, 1, 3):
        other = "nchw" if layout == "nhwc" else "nhwc"
        fits = dims[_AXES[other][0]] in (None, 1, 3)
        way_out = f"Pass {parameter('layout', other)}, or store" if fits else "Store"
        raise DataError(
            f"{takes}, which in layout {layout} is {dims[axis]} channels; images have 1 or 3. "
            f"{way_out} what it takes as a float array in a .npz file."
        )
    return _Plane(layout, dims[axis], dims[row], dims[column], warnings)


def _settle_values(
    spec: PreprocessingSpec,
    options: PreprocessOptions,
    input_info: TensorInfo,
    takes_integers: bool,
) -> tuple[PreprocessingSpec, tuple[str, ...]]:
    """The spec without scaling where the network takes pixels as they are."""
    if not takes_integers:
        return spec, ()
    if options.mean is not None or options.std is not None or options.scale not in (None, 1):
        raise DataError(
            f"The network's input {input_info.name!r} is {input_info.dtype}: it gets pixels as "
            f"they are. Drop {parameter('mean')}, {parameter('std')} and {parameter('scale')}."
        )
    warnings: tuple[str, ...] = ()
    if spec.mean is not None or spec.std is not None:
        warnings = (
            f"The network's input {input_info.name!r} is {input_info.dtype}: it gets pixels as "
            f"they are, and the mean and std of {spec.origin} are not used.",
        )
    return replace(spec, scale=1.0, offset=0.0, mean=None, std=None), warnings


def _channels(
    source: Source,
    spec: PreprocessingSpec,
    plane: _Plane,
    input_info: TensorInfo,
    given: str | None,
) -> str:
    """ "rgb", "bgr" or "gray": what the network wants, else declared, else as the images are.

    Args:
        source: the samples.
        spec: what is declared.
        plane: what the network's input says of images.
        input_info: the network's input.
        given: what the option says, over a preset or file.

    Raises:
        DataError: gray images are declared where the network takes colors, or the reverse.
    """
    if plane.channels is None:
        return spec.channels or ("gray" if _first_image(source).ndim == 2 else "rgb")
    if spec.channels is None:
        return "gray" if plane.channels == 1 else "rgb"
    if (plane.channels == 1) != (spec.channels == "gray"):
        wanted = ("gray",) if plane.channels == 1 else ("rgb", "bgr")
        named = spec.origin if given is None else parameter("channels", given)
        raise DataError(
            f"{named} declares {spec.channels} images but the network's input "
            f"{input_info.name!r} takes {_text(input_info.shape)}. Pass "
            f"{' or '.join(parameter('channels', one) for one in wanted)}."
        )
    return spec.channels


def _settle_size(
    result: Preprocessing,
    source: Source,
    spec: PreprocessingSpec,
    plane: _Plane,
    input_info: TensorInfo,
) -> Preprocessing:
    """The preprocessing with resize, crop and shape."""
    fixed = (plane.height, plane.width) if plane.height and plane.width else None
    resize, crop = spec.resize, spec.crop
    if not spec.outright:
        size = fixed or spec.size if spec.size_yields else spec.size or fixed
        if size is not None:
            resize, crop = (
                (spec.resize, Crop(size))
                if spec.resize_outright
                else timm_geometry(size, spec.crop_pct, spec.crop_mode, spec.mean_pixel)
            )
    if resize and (excess := source.budgets.excess("pixels", math.prod(resize.size))):
        raise DataError(
            f"Images would be resized to {resize.size[0]}×{resize.size[1]} (by {spec.origin}), "
            f"{excess}."
        )
    size = _output_size(source, spec.pad, resize, crop)
    for have, want in zip(size, (plane.height, plane.width), strict=True):
        if want is not None and have != want:
            raise DataError(
                f"Images come out at {size[0]}×{size[1]} (by {spec.origin or 'the data'}) "
                f"but the network's input {input_info.name!r} takes {_text(input_info.shape)}. "
                f"Pass {parameter('img_size', plane.height or want)}."
            )
    depth = 1 if result.channels == "gray" else 3
    shape = _shape_of(result.layout, depth, size)
    width = input_info.shape[-1]
    if result.layout == "flat" and isinstance(width, int) and shape != (width,):
        raise DataError(
            f"Images of {size[0]}×{size[1]} have {shape[0]} pixels but the network's input "
            f"{input_info.name!r} takes {width} values. Pass {parameter('img_size')}, or store "
            "what it takes as a float array in a .npz file."
        )
    return replace(result, resize=resize, crop=crop, size=size, shape=shape)


def _output_size(source: Source, pad: Pad | None, resize: Resize | None, crop: Crop | None) -> Size:
    """The size after resize and crop; that of the first image where neither fixes it."""
    if crop is not None:
        return crop.size
    if resize is not None and resize.how == "exact":
        return resize.size
    height, width = _first_image(source).shape[:2]
    if pad is not None:
        height, width = pad.apply(height, width)
    return resize.apply(height, width) if resize is not None else (height, width)


def _first_image(source: Source) -> np.ndarray:
    """The first sample that can be read."""
    tried = range(min(len(source), _PEEKS))
    for index in tried:
        try:
            return source.read(index).image
        except DataError as error:
            failure = error.__cause__
    reason = reason_of(failure) if isinstance(failure, Exception) else "damaged"
    raise DataError(
        f"None of the first {len(tried)} samples of {source.source} can be read, "
        f"{source.names[index]} for one ({reason}). Fix or remove them."
    )


def _undeclared(result: Preprocessing) -> str:
    steps = []
    if result.crop is not None:
        steps.append(f"{_how_sized(result.resize, result.crop)} where they differ")
    if result.scale != 1:
        steps.append(f"scaled by 1/{1 / result.scale:g}, without mean and std")
    what = "No preprocessing" if result.origin is None else "No scale, mean or std"
    return (
        f"{what} was declared: images are {' and '.join(steps) or 'fed as they are'}. "
        "Declare what the network was trained with: a preset or a file (--preprocess), or single "
        "options (--scale, --mean, --std)."
    )


def _how_sized(resize: Resize | None, crop: Crop) -> str:
    """How images become as large as the network takes them."""
    height, width = crop.size
    if resize is None:
        return f"cut to {height}×{width}"
    if resize.size == crop.size:
        return f"resized to {height}×{width}"
    first, second = resize.size
    before = f"a shorter edge of {first}" if resize.how == "shortest" else f"{first}×{second}"
    return f"resized to {before} and cut to {height}×{width}"


def _text(shape: tuple[int | str | None, ...]) -> str:
    return f"({', '.join('?' if dim is None else str(dim) for dim in shape)})"
