"""The data set "glyphs": characters drawn with many fonts, families split into train and test.

``python -m model_zoo.glyphs FOLDER`` draws it into ``FOLDER/glyphs.npz`` with the fonts that
:data:`FONTS` lists, from the Debian packages named there. Drawing needs those and fontconfig's
``fc-list``; reading needs neither.
"""

import csv
import functools
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyzer.errors import AnalyzerError, DataError
from analyzer.output_files import write_arrays
from model_zoo.datasets import GLYPHS

__all__ = [
    "CHARACTERS",
    "CORE",
    "FONTS",
    "SIZE",
    "InstalledFont",
    "ListedFont",
    "draw",
    "installed_fonts",
    "listed_fonts",
    "shape",
]

# Of letters that look alike in both cases, and of I, l, 1, | and O, 0, one stands for all.
CORE = "ABCDEFGHJKLMNOPQRSTUVWXYZabdefghijmnqrt123456789&%$#@?!*+=()[]{}<>/\\"
CHARACTERS = CORE + "ÆÄÇÑßæ£¥€§¶©®ΓΔΘΛΞΠΣΨΩλДЖИФЧШЭЮЯ"
FONTS = Path(__file__).with_name("glyph_fonts.csv")

SIZE = 32  # pixels of an image, either way
PER_CLASS = {"train": 500, "test": 100}  # images
_FINER = 3  # drawn so many times finer, then averaged
_ROTATION = 8.0  # degrees, at most, either way
_SHIFT = 1.5  # pixels, at most, either way
_EXTENT = (20.0, 27.0)  # pixels of a character's longer side
_FEWEST = 20  # fonts of either split that must have a character

_FC_LIST = r"%{file}\t%{family[0]}\t%{index}\t%{charset}\n"
_SUFFIXES = {".ttf", ".otf"}
_EM = 96  # pixels; the size at which fonts are asked for shapes


@dataclass(frozen=True, slots=True)
class ListedFont:
    """One font that the data set is drawn with."""

    file: str  # name without folders
    family: str
    split: str  # "train" or "test", the same for a family and for families that look the same
    package: str  # of Debian


@dataclass(frozen=True, slots=True)
class InstalledFont:
    """One font file."""

    path: Path
    family: str
    characters: frozenset[int]  # code points that it has a glyph for


def listed_fonts() -> tuple[ListedFont, ...]:
    """The fonts of the committed list, in its order."""
    with FONTS.open(newline="", encoding="utf-8") as file:
        return tuple(ListedFont(**row) for row in csv.DictReader(file))


def draw(
    folder: str | Path,
    *,
    fonts: tuple[ListedFont, ...] | None = None,
    per_class: Mapping[str, int] = PER_CLASS,
    seed: int = 0,
) -> Path:
    """Draw the data set.

    Args:
        folder: made if needed; takes ``glyphs.npz``: ``train_images`` and ``test_images``, uint8
            (S, 32, 32), ink white; ``train_labels`` and ``test_labels``, uint8 (S,), places in
            :data:`CHARACTERS`.
        fonts: instead of the committed list.
        per_class: images of each class in the training and in the test split.
        seed: of every choice; the same fonts give the same images.

    Returns:
        Path of the file.

    Raises:
        DataError: listed fonts are not installed (the sentence names their packages), or a split
            has too few for a character.
    """
    found = _find(listed_fonts() if fonts is None else fonts)
    arrays: dict[str, np.ndarray] = {}
    for number, (split, count) in enumerate(per_class.items()):
        having = [font for listed, font in found if listed.split == split]
        images, labels = _draw_split(split, having, count, (seed, number))
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    path = Path(folder) / GLYPHS
    path.parent.mkdir(parents=True, exist_ok=True)
    write_arrays(path, arrays)
    return path


def _find(fonts: tuple[ListedFont, ...]) -> list[tuple[ListedFont, InstalledFont]]:
    installed = {font.path.name: font for font in installed_fonts()}
    missing = sorted({font.package for font in fonts if font.file not in installed})
    if missing:
        raise DataError(
            f"fonts of the data set are not installed; run: apt-get install {' '.join(missing)}"
        )
    return [(font, installed[font.file]) for font in fonts]


def _draw_split(
    split: str, fonts: list[InstalledFont], per_class: int, seed: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (S, 32, 32) and labels uint8 (S,), class by class."""
    drawable = {font: _drawable(font) for font in fonts}
    wanted: dict[InstalledFont, list[tuple[int, int]]] = defaultdict(list)  # label, number
    for label, character in enumerate(CHARACTERS):
        having = [font for font in fonts if character in drawable[font]]
        if len(having) < _FEWEST:
            raise DataError(
                f"only {len(having)} fonts of the {split} split have the character {character!r}; "
                f"list at least {_FEWEST}"
            )
        order = np.random.default_rng((*seed, label)).permutation(len(having))
        for number in range(per_class):
            wanted[having[order[number % len(having)]]].append((label, number))
    images = np.zeros((len(CHARACTERS), per_class, SIZE, SIZE), np.uint8)
    for font, tasks in wanted.items():
        for label, number in tasks:
            generator = np.random.default_rng((*seed, label, number))
            images[label, number] = _place(shape(font, CHARACTERS[label]), generator)
    labels = np.repeat(np.arange(len(CHARACTERS), dtype=np.uint8), per_class)
    return images.reshape(-1, SIZE, SIZE), labels


def _drawable(font: InstalledFont) -> frozenset[str]:
    """The characters that the font has a glyph for, with ink."""
    having = (character for character in CHARACTERS if ord(character) in font.characters)
    return frozenset(character for character in having if shape(font, character).any())


def _place(ink: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The character turned, shifted and sized by random amounts: uint8 (32, 32)."""
    from PIL import Image

    angle = np.radians(generator.uniform(-_ROTATION, _ROTATION))
    middle = (SIZE / 2 + generator.uniform(-_SHIFT, _SHIFT, size=2)) * _FINER  # (x, y)
    height, width = ink.shape
    scale = max(height, width) / (generator.uniform(*_EXTENT) * _FINER)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    # PIL asks for the way back: from a pixel of the picture to one of the ink.
    back = (
        *(cos, sin, width / 2 - cos * middle[0] - sin * middle[1]),
        *(-sin, cos, height / 2 + sin * middle[0] - cos * middle[1]),
    )
    fine = Image.fromarray(ink).transform(
        (SIZE * _FINER, SIZE * _FINER), Image.Transform.AFFINE, back, Image.Resampling.BILINEAR
    )
    return np.asarray(fine.reduce(_FINER))


def installed_fonts() -> tuple[InstalledFont, ...]:
    """All TrueType and OpenType fonts that fontconfig finds, one a file name, by file name.

    Raises:
        DataError: ``fc-list`` is not installed.
    """
    command = shutil.which("fc-list")
    if command is None:
        raise DataError("fc-list is not installed; run: apt-get install fontconfig")
    listing = subprocess.run([command, "--format", _FC_LIST], check=True, capture_output=True)
    found: dict[str, InstalledFont] = {}
    for line in sorted(listing.stdout.decode(errors="replace").splitlines()):
        path, family, index, characters = line.split("\t")
        file = Path(path)
        if index == "0" and file.suffix in _SUFFIXES and file.name not in found:
            found[file.name] = InstalledFont(file, family, frozenset(_code_points(characters)))
    return tuple(found[name] for name in sorted(found))


def _code_points(ranges: str) -> Iterator[int]:
    """From fontconfig's form, "20-7e a0" in hexadecimal."""
    for part in ranges.split():
        first, _, last = part.partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1)


def shape(font: InstalledFont, character: str) -> np.ndarray:
    """A character as the font draws it: uint8 (h, w), cropped to the ink; (0, 0) without ink.

    Raises:
        OSError: the font file is damaged.
    """
    bitmap = _opened(font.path).getmask(character, mode="L")
    width, height = bitmap.size
    drawn = np.array(bitmap, np.uint8).reshape(height, width)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    if not len(rows):
        return np.zeros((0, 0), np.uint8)
    return drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@functools.lru_cache(maxsize=4)
def _opened(path: Path):
    from PIL import ImageFont

    return ImageFont.truetype(path, _EM)


if __name__ == "__main__":
    try:
        print(draw(*sys.argv[1:2] or ["."]))
    except AnalyzerError as error:
        sys.exit(f"error: {error}")
