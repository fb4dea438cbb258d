"""Preprocessing as it is applied, and how it comes from a spec, a network's input and the data."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from analyzer.budgets import DEFAULT_BUDGETS, Budgets
from analyzer.data.preprocessing_options import PreprocessOptions, make_spec
from analyzer.data.preprocessing_spec import (
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
from analyzer.data.source import Source
from analyzer.errors import DataError, parameter
from analyzer.json_codec import JsonSource, decode
from analyzer.records import TensorInfo

__all__ = [
    "Preprocessing",
    "numpy_dtype",
    "recorded_preprocessing",
    "resolve_preprocessing",
]

_AXES: dict[str, tuple[int, int, int]] = {"nchw": (1, 2, 3), "nhwc": (3, 1, 2)}
"""Of channels, height and width."""
_FED_AT_ONCE = 24  # samples: three batches of the smallest size
_PEEKS = 100  # samples tried before a source counts as unreadable


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resolved preprocessing: complete, checked against the network's input, plain data.

    The steps, in order: gray or RGB, invert, pad, resize, crop, scale, offset, mean, std, layout,
    type.
    Arithmetic is float32 (float64 for float64 inputs) in the order of trainers' pipelines, so
    that images of the right size give the same bits as torchvision's ToTensor and Normalize.
    """

    shape: tuple[int, ...]  # of one sample as it is fed
    dtype: str  # numpy name of the input's type
    as_stored: bool = False  # float arrays: no step but the type is done, all below is unused
    origin: str | None = None  # who declared it; None: nobody
    size: Size = (0, 0)  # of the image after resize and crop
    invert: bool = False
    pad: Pad | None = None
    resize: Resize | None = None
    crop: Crop | None = None
    interpolation: str = "bilinear"
    antialias: bool = True
    channels: str = "rgb"  # "rgb", "bgr" or "gray"
    scale: float = 1.0
    offset: float = 0.0
    mean: tuple[float, ...] | None = None  # in the order of ``channels``
    std: tuple[float, ...] | None = None
    layout: str = "nchw"  # or "nhwc", "nhw" (gray without a channel axis), "flat" (gray pixels)
    exif: bool = False
    warnings: tuple[str, ...] = ()
    budgets: Budgets = DEFAULT_BUDGETS  # what an image may become before it is cropped

    def to_dict(self) -> dict[str, object]:
        """What a record says of it: JSON values only."""
        if self.as_stored:
            return {"origin": "as stored", "shape": list(self.shape), "dtype": self.dtype}
        rare: dict[str, object] = {}  # steps that few have, left out where they are not done
        if self.invert:
            rare["invert"] = True
        if self.pad is not None:
            rare["pad"] = {**asdict(self.pad), "fill": list(self.pad.fill)}
        if not self.antialias:
            rare["antialias"] = False
        return {
            "origin": self.origin or "not declared",
            **rare,
            "resize": self.resize and {"how": self.resize.how, "size": list(self.resize.size)},
            "crop": self.crop
            and {
                "size": list(self.crop.size),
                "rounding": self.crop.rounding,
                "fill": list(self.crop.fill),
                **({} if self.crop.place == "middle" else {"place": self.crop.place}),
            },
            "interpolation": self.interpolation,
            "exif": self.exif,
            "channels": self.channels,
            "scale": self.scale,
            "offset": self.offset,
            "mean": self.mean and list(self.mean),
            "std": self.std and list(self.std),
            "layout": self.layout,
            "shape": list(self.shape),
            "dtype": self.dtype,
        }

    def keeps(self, height: int, width: int) -> bool:
        """Whether images of this size need no step that is done to each by itself."""
        if self.invert or self.pad is not None:
            return False
        resized = self.resize.apply(height, width) if self.resize else (height, width)
        return resized == (height, width) and (self.crop is None or self.crop.size == resized)

    def picture(self, image: Image.Image | np.ndarray) -> np.ndarray:
        """Invert, pad, resize and crop one image.

        Args:
            image: of mode "L" or "RGB"; or uint8 (H, W) or (H, W, C).

        Returns:
            uint8 (height, width) where the network wants gray, else (height, width, 3) in RGB.

        Raises:
            DataError: the image does not come out at the one size that the network gets; the
                message wants the image's name before it.
        """
        if isinstance(image, np.ndarray):
            image = Image.fromarray(np.ascontiguousarray(image))
        mode = "L" if self.channels == "gray" else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        width, height = image.size
        if self.invert:
            image = ImageOps.invert(image)
        if self.pad is not None:
            target = self.pad.apply(height, width)
            if excess := self.budgets.excess("pixels", target[0] * target[1]):
                raise DataError(
                    f"is {height}×{width} and would be padded to {target[0]}×{target[1]}, {excess}."
                )
            image = _crop(image, Crop(target, fill=self.pad.fill))
        if self.resize is not None:
            target = self.resize.apply(image.height, image.width)
            if excess := self.budgets.excess("pixels", target[0] * target[1]):
                raise DataError(
                    f"is {height}×{width} and would be resized to {target[0]}×{target[1]}, "
                    f"{excess}."
                )
            if target != (image.height, image.width):
                image = _resize(image, target, self.interpolation, self.antialias)
        if self.crop is not None and self.crop.takes(image.height, image.width):
            image = _crop(image, self.crop)
        if (image.height, image.width) != self.size:
            raise DataError(
                f"is {height}×{width}, which gives {image.height}×{image.width} and not "
                f"{self.size[0]}×{self.size[1]} as the images before. Bring all to one size with "
                f"{parameter('img_size')}."
            )
        return np.asarray(image)

    def finish(self, pictures: np.ndarray, out: np.ndarray) -> None:
        """Turn pictures of the right size into network input.

        Args:
            pictures: uint8 (B, H, W) or (B, H, W, C); or the stored floats (B, …).
            out: (B, *shape) of the input's type, written to.
        """
        if self.as_stored:
            out[...] = pictures.reshape(out.shape)
            return
        pictures = self._arrange(pictures)  # (B, H, W, C)
        out = np.moveaxis(out, 1, -1) if self.layout == "nchw" else out.reshape(pictures.shape)
        if not np.issubdtype(out.dtype, np.integer):
            pictures = self._normalize(pictures)
        out[...] = pictures

    def _arrange(self, pictures: np.ndarray) -> np.ndarray:
        """Pictures (B, H, W, C) with the channels that the network wants, in its order."""
        if pictures.ndim == 3:
            pictures = pictures[..., None]
        if self.channels == "gray":
            return pictures if pictures.shape[3] == 1 else _luma(pictures)
        if pictures.shape[3] == 1:
            return np.broadcast_to(pictures, (*pictures.shape[:3], 3))
        pictures = pictures[..., :3]
        return pictures[..., ::-1] if self.channels == "bgr" else pictures

    def _normalize(self, pictures: np.ndarray) -> np.ndarray:
        dtype: Any = np.float64 if self.dtype == "float64" else np.float32
        values: Any = pictures.astype(dtype)
        divisor = round(1 / max(self.scale, 1e-9))
        if divisor > 1 and abs(self.scale * divisor - 1) < 1e-9:
            values /= dtype(divisor)  # exact, where the product with 1/255 is off by an ulp
        elif self.scale != 1:
            values *= dtype(self.scale)
        if self.offset:
            values += dtype(self.offset)
        if self.mean is not None:
            values -= np.asarray(self.mean, dtype)
        if self.std is not None:
            values /= np.asarray(self.std, dtype)
        return values


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
    fixes, scaled by 1/255, with a warning. An image size comes from, in this order: the option
    ``img_size``, a file, the network, a preset, the first image.

    Raises:
        DataError: an option is out of range, or does not fit the network or the samples.
    """
    options = options or PreprocessOptions()
    spec = make_spec(options)
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
    spec, warnings = _settle_values(spec, options, input_info, takes_integers)
    channels = _channels(source, spec, plane, input_info)
    for name, values in (("mean", spec.mean), ("std", spec.std)):
        if values is not None and len(values) not in (1, 1 if channels == "gray" else 3):
            kind, wanted = ("gray", "1 value") if channels == "gray" else ("colour", "3 values")
            raise DataError(
                f"The {name} has {len(values)} values (by {spec.origin}) but the network's input "
                f"{input_info.name!r} takes {kind} images. Pass {parameter(name)} with {wanted}."
            )
    if channels == "gray" and spec.pad is not None and len(spec.pad.fill) == 3:
        raise DataError(
            f"The network's input {input_info.name!r} takes gray images; give {parameter('pad')} "
            "one pixel value."
        )
    exif = source.exif if options.exif is None else options.exif
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
        exif=exif,
        budgets=source.budgets,
        warnings=(*warnings, *plane.warnings),
    )
    result = _settle_size(result, source, spec, plane, input_info)
    _check_fed(result, source, input_info)
    if spec.origin is None:
        result = replace(result, warnings=(_undeclared(result), *result.warnings))
    return result


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
    json = JsonSource(where, DataError, "Audit the same data again.")
    result: Preprocessing = decode(Preprocessing, dict(said), json, "data.preprocessing")
    result = replace(result, budgets=source.budgets, warnings=())
    array = source.array
    stored = array is not None and array.dtype != np.uint8
    if stored != (result.origin == "as stored"):
        kind = "float arrays, which are fed as they are" if stored else "images"
        raise DataError(f"{source.source} holds {kind}, and {where} says otherwise.")
    if result.dtype != numpy_dtype(input_info.dtype).name:
        raise json.wrong("data.preprocessing.dtype", input_info.dtype, result.dtype)
    if array is not None and stored:
        found = _as_stored(array, source.source, input_info)
        if found.shape != result.shape:
            raise json.wrong("data.preprocessing.shape", _text(found.shape), list(result.shape))
        return found
    for name, choices in (
        ("interpolation", INTERPOLATIONS),
        ("channels", CHANNELS),
        ("layout", ("nchw", "nhwc", "nhw", "flat")),
    ):
        if getattr(result, name) not in choices:
            wanted = f"one of {', '.join(choices)}"
            raise json.wrong(f"data.preprocessing.{name}", wanted, getattr(result, name))
    depth = 1 if result.channels == "gray" else 3
    if depth != 1 and result.layout in ("nhw", "flat"):
        raise json.wrong("data.preprocessing.channels", "gray", result.channels)
    edges = [
        *(result.resize.size if result.resize else ()),
        *(result.crop.size if result.crop else ()),
    ]
    if not all(0 < edge <= LONGEST_EDGE for edge in edges):
        raise json.wrong("data.preprocessing", "sizes of images", edges)
    for name, step in (("crop", result.crop), ("pad", result.pad)):
        if step and not (
            len(step.fill) in (1, 3) and all(0 <= value <= 255 for value in step.fill)
        ):
            raise json.wrong(f"data.preprocessing.{name}.fill", "one pixel", list(step.fill))
    if result.pad and not 0 <= result.pad.pixels <= LONGEST_EDGE:
        raise json.wrong("data.preprocessing.pad", "sizes of images", result.pad.pixels)
    for name in ("mean", "std"):
        values = getattr(result, name)
        if values is not None and (
            len(values) not in (1, depth) or (name == "std" and 0 in values)
        ):
            raise json.wrong(f"data.preprocessing.{name}", f"1 or {depth} numbers", values)
    size = _output_size(source, result.pad, result.resize, result.crop)
    if _shape_of(result.layout, depth, size) != result.shape:
        wanted = _text(_shape_of(result.layout, depth, size))
        raise json.wrong("data.preprocessing.shape", wanted, list(result.shape))
    result = replace(result, size=size)
    _check_fed(result, source, input_info)
    return result


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
        raise DataError(
            f"{takes}, which in layout {layout} is {dims[axis]} channels; images have 1 or 3. "
            f"Pass {parameter('layout')}, or store what it takes as a float array in a .npz file."
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
    source: Source, spec: PreprocessingSpec, plane: _Plane, input_info: TensorInfo
) -> str:
    """ "rgb", "bgr" or "gray": what the network wants, else declared, else as the images are."""
    if plane.channels is None:
        return spec.channels or ("gray" if _first_image(source).ndim == 2 else "rgb")
    if spec.channels is None:
        return "gray" if plane.channels == 1 else "rgb"
    if (plane.channels == 1) != (spec.channels == "gray"):
        raise DataError(
            f"{spec.origin} declares {spec.channels} images but the network's input "
            f"{input_info.name!r} takes {_text(input_info.shape)}. Pass {parameter('channels')}."
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
        f"No preprocessing was declared: images are {' and '.join(steps) or 'fed as they are'}. "
        "Declare what the network was trained with: a preset, a file, or single options."
    )


def _text(shape: tuple[int | str | None, ...]) -> str:
    return f"({', '.join('?' if dim is None else str(dim) for dim in shape)})"


def numpy_dtype(name: str) -> np.dtype:
    """The numpy type of this name; bfloat16 and other types that numpy lacks are ml_dtypes'."""
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes  # comes with onnx; needed by few networks

        return np.dtype(getattr(ml_dtypes, name))


def _resize(image: Image.Image, size: Size, interpolation: str, antialias: bool) -> Image.Image:
    """An image of this size: as Pillow resizes, or from the four pixels around each place."""
    if antialias:
        return image.resize(size[::-1], Image.Resampling[interpolation.upper()])
    pixels = np.asarray(image, np.float32)
    for axis, edge in enumerate(size):
        first, weight = _between(pixels.shape[axis], edge)
        weight = weight.reshape((-1,) + (1,) * (pixels.ndim - 1 - axis))
        second = np.minimum(first + 1, pixels.shape[axis] - 1)
        pixels = (1 - weight) * pixels.take(first, axis) + weight * pixels.take(second, axis)
    return Image.fromarray(np.floor(pixels + np.float32(0.5)).astype(np.uint8))


def _between(size: int, edge: int) -> tuple[np.ndarray, np.ndarray]:
    """Where ``edge`` pixels lie among ``size``: the one before each, and how far to the next."""
    places = ((np.arange(edge) + 0.5) * (size / edge) - 0.5).clip(0, size - 1)
    first = places.astype(np.int64)
    return first, (places - first).astype(np.float32)


def _crop(image: Image.Image, crop: Crop) -> Image.Image:
    top, left = crop.box(image.height, image.width)
    height, width = crop.size
    if top >= 0 and left >= 0 and top + height <= image.height and left + width <= image.width:
        return image.crop((left, top, left + width, top + height))
    fill = tuple(crop.fill) * (3 // len(crop.fill))
    canvas = Image.new(image.mode, (width, height), fill if image.mode == "RGB" else fill[0])
    canvas.paste(image, (-left, -top))
    return canvas


def _luma(pictures: np.ndarray) -> np.ndarray:
    """Gray (B, H, W, 1) of RGB pictures by Pillow's own integer weights."""
    red, green, blue = (pictures[..., i, None].astype(np.uint32) for i in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)
