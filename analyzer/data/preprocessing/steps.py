"""Preprocessing as it is applied to images."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from analyzer.audit_record import AS_STORED, UNDECLARED
from analyzer.data.preprocessing.spec import (
    Crop,
    Pad,
    Resize,
    Size,
)
from analyzer.errors import DataError, parameter
from analyzer.input_budgets import DEFAULT_BUDGETS, Budgets

__all__ = ["Preprocessing", "numpy_dtype"]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resolved preprocessing: complete, checked against the network's input, plain data.

    The steps, in order: gray or RGB, invert, pad, resize, crop, scale, offset, mean, std, layout,
    type. Arithmetic is float32 (float64 for float64 inputs) in the order of trainers' pipelines, so
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
            return {"origin": AS_STORED, "shape": list(self.shape), "dtype": self.dtype}
        rare: dict[str, object] = {}  # steps that few have, left out where they are not done
        if self.invert:
            rare["invert"] = True
        if self.pad is not None:
            rare["pad"] = {**asdict(self.pad), "fill": list(self.pad.fill)}
        if not self.antialias:
            rare["antialias"] = False
        return {
            "origin": self.origin or UNDECLARED,
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
