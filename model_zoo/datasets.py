"""The data sets that populations are trained on, their splits, and the corruption of labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from analyzer.errors import DataError

__all__ = [
    "DATA_SETS",
    "EMOJI",
    "GLYPHS",
    "DataSet",
    "Split",
    "colored",
    "corrupt",
    "corrupt_alike",
    "likeness",
    "stratified",
]

_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # where Debian puts it
GLYPHS = "glyphs.npz"
EMOJI = "emoji.npz"
_CAPITALS = 25  # A to Z without I, which come first among the glyphs
_ALIKE = 2  # classes that a label is mistaken for
_ROWS = 500  # of the distances held at a time


@dataclass(frozen=True, slots=True)
class Split:
    """Images and labels of one split. S samples."""

    images: np.ndarray  # uint8 (S, H, W) or, in color, (S, H, W, 3); 0 to 255
    labels: np.ndarray  # int64 (S,)

    def take(self, indices: np.ndarray) -> "Split":
        """The samples at ``indices``, in that order."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set, declared. Images are fed to the networks as pixels / 255."""

    name: str
    classes: int  # K
    size: int  # of the images: size × size pixels
    read: Callable[[Path | None], tuple[Split, Split]]  # folder -> training and test split
    rotation: float  # of the augmentation: degrees, at most, either way
    shift: float  # pixels, at most, either way
    flip: bool  # left and right
    colors: int = 1  # channels of the images: 1 for gray, 3 for red, green and blue

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """What an audit has to declare, by timm's names."""
        mean, std = (0.0,) * self.colors, (1.0,) * self.colors
        return MappingProxyType({"scale": 1 / 255, "mean": mean, "std": std})


def corrupt(
    labels: np.ndarray, fraction: float, *, classes: int, generator: np.random.Generator
) -> np.ndarray:
    """The labels (int64 (S,)) with that fraction of them redrawn, uniformly from all classes.

    A redrawn label may stay what it was, so 1 − fraction · (1 − 1/K) of them are
    expected to stay the same.
    """
    chosen = generator.permutation(len(labels))[: round(fraction * len(labels))]
    corrupted = labels.copy()
    corrupted[chosen] = generator.integers(classes, size=len(chosen))
    return corrupted


def corrupt_alike(
    labels: np.ndarray, images: np.ndarray, fraction: float, *, generator: np.random.Generator
) -> np.ndarray:
    """The labels (int64 (S,)) with exactly that fraction of them wrong, as people err: each wrong
    one is of a class that looks like the true one, by :func:`likeness`.
    """
    chosen = generator.permutation(len(labels))[: round(fraction * len(labels))]
    alike = likeness(images, labels)
    corrupted = labels.copy()
    for label in np.unique(labels[chosen]):
        of_class = chosen[labels[chosen] == label]
        corrupted[of_class] = generator.choice(len(alike), size=len(of_class), p=alike[label])
    return corrupted


def likeness(images: np.ndarray, labels: np.ndarray, *, neighbors: int = 10) -> np.ndarray:
    """How often each class is mistaken for each other one: float64 (K, K), rows sum to 1.

    For each image of a class, the nearest images of other classes, pixel by pixel, are counted by
    their labels; the :data:`_ALIKE` classes met most often stay, in the shares in which they are
    met. No randomness, and distances between uint8 images are whole numbers, so that the result is
    the same on every machine.

    Args:
        images: uint8 (S, H, W) or (S, H, W, 3).
        labels: int64 (S,), 0 to K − 1, each met.
        neighbors: nearest images counted for each image.
    """
    pixels = images.reshape(len(images), -1).astype(np.float64)
    lengths = (pixels**2).sum(axis=1)
    met = np.zeros((labels.max() + 1, labels.max() + 1))
    for begin in range(0, len(pixels), _ROWS):
        rows = np.arange(begin, min(begin + _ROWS, len(pixels)))
        distances = lengths - 2 * pixels[rows] @ pixels.T  # but for the row's own length
        distances[labels[rows, None] == labels] = np.inf
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :neighbors]
        np.add.at(met, (labels[rows, None], labels[nearest]), 1)
    often = np.argsort(-met, axis=1, kind="stable")[:, :_ALIKE]
    kept = np.zeros_like(met)
    np.put_along_axis(kept, often, np.take_along_axis(met, often, axis=1), axis=1)
    return kept / kept.sum(axis=1, keepdims=True)


def stratified(labels: np.ndarray, samples: int, generator: np.random.Generator) -> np.ndarray:
    """Indices (ascending) of ``samples`` samples, the classes in the shares they have in all."""
    order = generator.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    # Evenly spaced picks from the samples sorted by class give each class its share.
    picks = np.arange(samples) * len(labels) // samples
    return np.sort(order[picks])


def _read_digits(folder: Path | None) -> tuple[Split, Split]:
    """scikit-learn's embedded digits, 1,300 to train and 497 to test."""
    if folder is not None:
        raise DataError("the digits come with scikit-learn; leave --data out")
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    everything = Split(images, digits.target.astype(np.int64))
    chosen = stratified(everything.labels, 1300, np.random.default_rng(0))
    others = np.setdiff1d(np.arange(len(images)), chosen)
    return everything.take(chosen), everything.take(others)


def _read_fashion_mnist(folder: Path | None) -> tuple[Split, Split]:
    """Fashion-MNIST from an IDX folder."""
    from analyzer.data import open_data

    folder = folder or _FASHION_MNIST
    if not folder.is_dir():
        raise DataError(
            f"Fashion-MNIST is not at {folder}: install Debian's package dataset-fashion-mnist, "
            "or name a folder that holds its four IDX files with --data"
        )
    return _idx_split(open_data(f"{folder}#train")), _idx_split(open_data(f"{folder}#test"))


def _idx_split(source) -> Split:
    images = np.stack([source.read(index).image for index in range(len(source))])
    return Split(images, source.labels)


def _read_glyphs(folder: Path | None) -> tuple[Split, Split]:
    """Characters in many fonts, 32 × 32, drawn by :mod:`model_zoo.glyphs`."""
    return _read_drawn(folder, GLYPHS, "python -m model_zoo.glyphs FOLDER")


def _read_emoji(folder: Path | None) -> tuple[Split, Split]:
    """Emoji of several sets by their category, 32 × 32, drawn by :mod:`model_zoo.emoji`."""
    return _read_drawn(folder, EMOJI, "python -m model_zoo.emoji FOLDER NODE_MODULES")


def _read_drawn(folder: Path | None, name: str, command: str) -> tuple[Split, Split]:
    """Both splits of a file that ``command`` draws."""
    path = (folder or Path()) / name
    try:
        with np.load(path, allow_pickle=False) as stored:
            train, test = (
                Split(stored[f"{split}_images"], stored[f"{split}_labels"].astype(np.int64))
                for split in ("train", "test")
            )
    except FileNotFoundError as error:
        raise DataError(
            f"{path} does not exist; draw it with `{command}`, and name the folder with --data"
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} cannot be read ({error}); draw it again") from error
    return train, test


def _read_small_glyphs(folder: Path | None) -> tuple[Split, Split]:
    """The same at 16 × 16: means of 2 × 2 pixels."""
    train, test = _read_glyphs(folder)
    return _at_half_size(train), _at_half_size(test)


def _at_half_size(split: Split) -> Split:
    count, height, width = split.images.shape
    blocks = split.images.reshape(count, height // 2, 2, width // 2, 2)
    return Split(np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8), split.labels)


def _read_color_glyphs(folder: Path | None) -> tuple[Split, Split]:
    """The capitals among the glyphs, in a random color on a random background of several."""
    train, test = (
        split.take(np.flatnonzero(split.labels < _CAPITALS)) for split in _read_glyphs(folder)
    )
    return _in_color(train, seed=0), _in_color(test, seed=1)


def _in_color(split: Split, *, seed: int) -> Split:
    images = np.empty((*split.images.shape, 3), np.uint8)
    for index, ink in enumerate(split.images):
        images[index] = colored(ink, np.random.default_rng((seed, index)))
    return Split(images, split.labels)


def colored(ink: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A drawing in a random color: uint8 (H, W, 3).

    The background runs from one color to others near it, with a little noise; the drawing has
    the one of four random colors that is farthest from the background's.

    Args:
        ink: uint8 (H, W), how much of each pixel the drawing covers.
        generator: of the colors.
    """
    height, width = ink.shape
    base = generator.uniform(0, 255, 3)
    corners = base + generator.uniform(-60, 60, (2, 2, 3))
    down, across = (np.linspace(0, 1, size) for size in (height, width))
    rows, columns = np.stack([1 - down, down]), np.stack([1 - across, across])
    background = np.einsum("ah,bw,abc->hwc", rows, columns, corners)
    candidates = generator.uniform(0, 255, (4, 3))
    front = candidates[np.linalg.norm(candidates - base, axis=1).argmax()]
    cover = ink[..., np.newaxis] / 255
    image = cover * front + (1 - cover) * background + generator.normal(0, 8, (height, width, 3))
    return np.rint(image.clip(0, 255)).astype(np.uint8)


DATA_SETS: Mapping[str, DataSet] = MappingProxyType(
    {
        data_set.name: data_set
        for data_set in (
            DataSet("digits", 10, 8, _read_digits, rotation=4.0, shift=0.25, flip=False),
            DataSet("fashion-mnist", 10, 28, _read_fashion_mnist, rotation=8.0, shift=2, flip=True),
            # No flip: И and N, ( and ), / and \\ are mirror images.
            DataSet("glyphs", 100, 32, _read_glyphs, rotation=8.0, shift=2, flip=False),
            DataSet("glyphs-16", 100, 16, _read_small_glyphs, rotation=8.0, shift=1, flip=False),
            DataSet(
                name="color-glyphs",
                classes=_CAPITALS,
                size=32,
                read=_read_color_glyphs,
                rotation=8.0,
                shift=2,
                flip=False,
                colors=3,
            ),
            DataSet(
                name="emoji",
                classes=8,
                size=32,
                read=_read_emoji,
                rotation=8.0,
                shift=2,
                flip=True,
                colors=3,
            ),
        )
    }
)
