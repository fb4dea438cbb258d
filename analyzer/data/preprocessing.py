"""Preprocessing as it is applied: from a decoded image to the values that the network gets."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from analyzer.data.geometry import Crop, Resize, Size
from analyzer.errors import DataError

__all__ = ["Preprocessing", "numpy_dtype"]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resolved preprocessing: complete, checked against the network's input, plain data.

    The steps, in order: gray or RGB, resize, crop, scale, offset, mean, std, layout, type.
    Arithmetic is float32 (float64 for float64 inputs) in the order of trainers' pipelines, so
    that images of the right size give the same bits as torchvision's ToTensor and Normalize.
    """

    shape: tuple[int, ...]  # of one sample as it is fed
    dtype: str  # numpy name of the input's type
    as_stored: bool = False  # float arrays: no step but the type is done, all below is unused
    origin: str | None = None  # who declared it; None: nobody
    size: Size = (0, 0)  # of the image after resize and crop
    resize: Resize | None = None
    crop: Crop | None = None
    interpolation: str = "bilinear"
    channels: str = "rgb"  # "rgb", "bgr" or "gray"
    scale: float = 1.0
    offset: float = 0.0
    mean: tuple[float, ...] | None = None  # in the order of ``channels``
    std: tuple[float, ...] | None = None
    layout: str = "nchw"  # or "nhwc", "nhw" (gray without a channel axis), "flat" (gray pixels)
    exif: bool = False
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """What a record says of it: JSON values only."""
        if self.as_stored:
            return {"origin": "as stored", "shape": list(self.shape), "dtype": self.dtype}
        return {
            "origin": self.origin or "not declared",
            "resize": self.resize and {"how": self.resize.how, "size": list(self.resize.size)},
            "crop": self.crop
            and {
                "size": list(self.crop.size),
                "rounding": self.crop.rounding,
                "fill": list(self.crop.fill),
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
        """Whether images of this size are neither resized nor cropped."""
        resized = self.resize.apply(height, width) if self.resize else (height, width)
        return resized == (height, width) and (self.crop is None or self.crop.size == resized)

    def picture(self, image: Image.Image | np.ndarray) -> np.ndarray:
        """Resize and crop one image.

        Args:
            image: of mode "L" or "RGB"; or uint8 (H, W) or (H, W, C).

        Returns:
            uint8 (height, width) where the network wants gray, else (height, width, 3) in RGB.

        Raises:
            DataError: the image does not come out at the one size that the network gets; the
                sentence wants the image's name before it.
        """
        if isinstance(image, np.ndarray):
            image = Image.fromarray(np.ascontiguousarray(image))
        mode = "L" if self.channels == "gray" else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        width, height = image.size
        if self.resize is not None:
            target = self.resize.apply(height, width)
            if target != (height, width):
                filter_code = Image.Resampling[self.interpolation.upper()]
                image = image.resize((target[1], target[0]), filter_code)
        if self.crop is not None:
            image = _crop(image, self.crop)
        if (image.height, image.width) != self.size:
            raise DataError(
                f"is {height}×{width}, which gives {image.height}×{image.width} and not "
                f"{self.size[0]}×{self.size[1]} as the images before; bring all to one size with "
                "--img-size N"
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
        dtype = np.float64 if self.dtype == "float64" else np.float32
        values = pictures.astype(dtype)
        divisor = round(1 / self.scale)
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
