"""Declared preprocessing meets the network's input: one resolved, checked preprocessing."""

from dataclasses import dataclass, replace

import numpy as np

from analyzer.data.declaration import Declaration
from analyzer.data.geometry import Size, timm_geometry
from analyzer.data.options import PreprocessOptions, declare
from analyzer.data.preprocessing import Preprocessing, numpy_dtype
from analyzer.data.source import Source
from analyzer.errors import DataError
from analyzer.records import TensorInfo

__all__ = ["resolve_preprocessing"]

_LAYOUTS = {"nchw": (1, 2, 3), "nhwc": (3, 1, 2), "nhw": (None, 1, 2), "flat": (None, None, None)}
"""Axes of channels, height and width."""
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
    source: Source, input_info: TensorInfo, options: PreprocessOptions | None = None
) -> Preprocessing:
    """The preprocessing that brings samples of the source to the network's input.

    Nothing declared means: gray or RGB as the network wants, brought to the size that it
    fixes, scaled by 1/255, with a warning. An image size comes from, in this order: --img-size,
    a file, the network, a preset, the first image.

    Raises:
        DataError: the declaration is out of range or does not fit the network or the samples.
    """
    options = options or PreprocessOptions()
    declaration = declare(options)
    if source.array is not None and source.array.dtype != np.uint8:
        return _as_stored(source, input_info, declaration, options)
    dtype = numpy_dtype(input_info.dtype)
    takes_integers = np.issubdtype(dtype, np.integer)
    if dtype.kind in "bOUSc" or (takes_integers and np.iinfo(dtype).max < 255):
        raise DataError(
            f"the network's input {input_info.name!r} is {dtype.name}, which cannot hold pixels "
            "of 0 to 255; store what it takes as an array in a .npz file"
        )
    plane = _plane(input_info, options.layout or "auto")
    declaration, warnings = _settle_values(declaration, options, input_info, takes_integers)
    channels = _channels(source, declaration, plane, input_info)
    for name, values in (("mean", declaration.mean), ("std", declaration.std)):
        if values is not None and len(values) not in (1, 1 if channels == "gray" else 3):
            kind, wanted = ("gray", "1 value") if channels == "gray" else ("colour", "3 values")
            raise DataError(
                f"{name} has {len(values)} values (by {declaration.origin}) but the network's "
                f"input {input_info.name!r} takes {kind} images; pass --{name} with {wanted}"
            )
    exif = source.exif if options.exif is None else options.exif
    result = Preprocessing(
        shape=(),
        dtype=dtype.name,
        origin=declaration.origin,
        interpolation=declaration.interpolation,
        channels=channels,
        scale=1.0 if takes_integers else declaration.scale,
        offset=declaration.offset,
        mean=declaration.mean,
        std=declaration.std,
        layout=plane.layout,
        exif=exif,
        warnings=(*warnings, *plane.warnings),
    )
    result = _settle_size(result, source, declaration, plane, input_info)
    if declaration.origin is None:
        result = replace(result, warnings=(_undeclared(result), *result.warnings))
    return result


def _as_stored(
    source: Source, input_info: TensorInfo, declaration: Declaration, options: PreprocessOptions
) -> Preprocessing:
    """Preprocessing of float arrays: none, but shape and type must fit."""
    if declaration.origin is not None or options.layout not in (None, "auto"):
        raise DataError(
            f"{source.source} holds {source.array.dtype} arrays, which are fed as they are; drop "
            "the preprocessing options, or store 8-bit images as uint8"
        )
    dtype = numpy_dtype(input_info.dtype)
    if np.issubdtype(dtype, np.integer) or dtype.kind in "bOUSc":
        raise DataError(
            f"{source.source} holds {source.array.dtype} arrays but the network's input "
            f"{input_info.name!r} is {dtype.name}; store 8-bit images as uint8"
        )
    stored = source.array.shape[1:]
    wanted = input_info.shape[1:]
    shapes = [stored]
    if len(stored) == 2:
        shapes += [(1, *stored), (*stored, 1), (stored[0] * stored[1],)]
    for shape in shapes:
        if len(shape) == len(wanted) and all(
            not isinstance(want, int) or want == have
            for have, want in zip(shape, wanted, strict=True)
        ):
            return Preprocessing(shape=shape, dtype=dtype.name, as_stored=True)
    raise DataError(
        f"the arrays in {source.source} have shape {_text(stored)} but the network's input "
        f"{input_info.name!r} takes {_text(wanted)}; float arrays are fed as they are, so store "
        "them in that shape"
    )


def _plane(input_info: TensorInfo, layout: str) -> _Plane:
    """Where the network's input has channels, height and width."""
    dims = [dim if isinstance(dim, int) and dim > 0 else None for dim in input_info.shape]
    takes = f"the network's input {input_info.name!r} takes {_text(input_info.shape)}"
    if layout not in ("auto", "nchw", "nhwc"):
        raise DataError(f"--layout {layout!r} is none of nchw, nhwc and auto")
    if len(dims) == 3:
        return _Plane("nhw", 1, dims[1], dims[2])
    if len(dims) == 2:
        return _Plane("flat", 1, None, None)
    if len(dims) != 4:
        raise DataError(
            f"{takes}, which is no image; store what it takes as a float array in a .npz file"
        )
    first, last = dims[1], dims[3]
    warnings = ()
    if layout == "auto":
        layout = "nhwc" if last in (1, 3) and first not in (1, 3) else "nchw"
        if (first in (1, 3)) == (last in (1, 3)):
            warnings = (f"{takes}: the layout was taken as nchw; say so with --layout",)
    axis, row, column = _LAYOUTS[layout]
    if dims[axis] not in (None, 1, 3):
        raise DataError(
            f"{takes}, which in layout {layout} is {dims[axis]} channels; images have 1 or 3 "
            "(pass --layout, or store what it takes as a float array in a .npz file)"
        )
    return _Plane(layout, dims[axis], dims[row], dims[column], warnings)


def _settle_values(
    declaration: Declaration,
    options: PreprocessOptions,
    input_info: TensorInfo,
    takes_integers: bool,
) -> tuple[Declaration, tuple[str, ...]]:
    """The declaration without scaling where the network takes pixels as they are."""
    if not takes_integers:
        return declaration, ()
    if options.mean is not None or options.std is not None or options.scale not in (None, 1):
        raise DataError(
            f"the network's input {input_info.name!r} is {input_info.dtype}: it gets pixels as "
            "they are; drop --mean, --std and --scale"
        )
    warnings = ()
    if declaration.mean is not None or declaration.std is not None:
        warnings = (
            f"the network's input {input_info.name!r} is {input_info.dtype}: it gets pixels as "
            f"they are, and the mean and std of {declaration.origin} are not used",
        )
    return replace(declaration, scale=1.0, offset=0.0, mean=None, std=None), warnings


def _channels(
    source: Source, declaration: Declaration, plane: _Plane, input_info: TensorInfo
) -> str:
    """ "rgb", "bgr" or "gray": what the network wants, else declared, else as the images are."""
    if plane.channels is None:
        return declaration.channels or ("gray" if _first_image(source).ndim == 2 else "rgb")
    if declaration.channels is None:
        return "gray" if plane.channels == 1 else "rgb"
    if (plane.channels == 1) != (declaration.channels == "gray"):
        raise DataError(
            f"{declaration.origin} declares {declaration.channels} images but the network's input "
            f"{input_info.name!r} takes {_text(input_info.shape)}; pass --channels"
        )
    return declaration.channels


def _settle_size(
    result: Preprocessing,
    source: Source,
    declaration: Declaration,
    plane: _Plane,
    input_info: TensorInfo,
) -> Preprocessing:
    """The preprocessing with resize, crop and shape."""
    fixed = (plane.height, plane.width) if plane.height and plane.width else None
    resize, crop = declaration.resize, declaration.crop
    if not declaration.outright:
        size = fixed or declaration.size if declaration.size_yields else declaration.size or fixed
        if size is not None:
            fill = (0,)
            if declaration.mean is not None:
                pixels = [(m - declaration.offset) / declaration.scale for m in declaration.mean]
                fill = tuple(min(max(round(pixel), 0), 255) for pixel in pixels)
            resize, crop = timm_geometry(size, declaration.crop_pct, declaration.crop_mode, fill)
    size = _output_size(source, resize, crop)
    for have, want in zip(size, (plane.height, plane.width), strict=True):
        if want is not None and have != want:
            raise DataError(
                f"images come out at {size[0]}×{size[1]} (by {declaration.origin or 'the data'}) "
                f"but the network's input {input_info.name!r} takes {_text(input_info.shape)}; "
                f"pass --img-size {plane.height or want}"
            )
    depth = 1 if result.channels == "gray" else 3
    shape = {
        "nchw": (depth, *size),
        "nhwc": (*size, depth),
        "nhw": size,
        "flat": (size[0] * size[1],),
    }[result.layout]
    width = input_info.shape[-1]
    if result.layout == "flat" and isinstance(width, int) and shape != (width,):
        raise DataError(
            f"images of {size[0]}×{size[1]} have {shape[0]} pixels but the network's input "
            f"{input_info.name!r} takes {width} values; pass --img-size, or store what it takes "
            "as a float array in a .npz file"
        )
    return replace(result, resize=resize, crop=crop, size=size, shape=shape)


def _output_size(source: Source, resize, crop) -> Size:
    """The size after resize and crop; that of the first image where neither fixes it."""
    if crop is not None:
        return crop.size
    if resize is not None and resize.how == "exact":
        return resize.size
    height, width = _first_image(source).shape[:2]
    return resize.apply(height, width) if resize is not None else (height, width)


def _first_image(source: Source) -> np.ndarray:
    """The first sample that can be read."""
    for index in range(min(len(source), _PEEKS)):
        try:
            return source.read(index).image
        except DataError as error:
            failure = error
    raise failure


def _undeclared(result: Preprocessing) -> str:
    steps = []
    if result.crop is not None:
        steps.append(f"brought to {result.size[0]}×{result.size[1]} where they are not")
    if result.scale != 1:
        steps.append(f"scaled by 1/{1 / result.scale:g}, without mean and std")
    return (
        f"No preprocessing was declared: images are {' and '.join(steps) or 'fed as they are'}; "
        "declare what the network was trained with (--preprocess, --mean, --std, …)"
    )


def _text(shape: tuple[int | str | None, ...]) -> str:
    return f"({', '.join('?' if dim is None else str(dim) for dim in shape)})"
