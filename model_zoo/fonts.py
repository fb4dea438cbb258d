"""Installed fonts, as fontconfig tells them, and the shapes that they draw.

Needs fontconfig's command ``fc-list``; Pillow draws.
"""

import functools
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyzer.errors import DataError

__all__ = ["InstalledFont", "installed_fonts", "shape"]

_FORMAT = r"%{file}\t%{family[0]}\t%{index}\t%{charset}\n"
_SUFFIXES = {".ttf", ".otf"}
_EM = 96  # pixels; the size at which fonts are asked for shapes


@dataclass(frozen=True, slots=True)
class InstalledFont:
    """One font file."""

    path: Path
    family: str
    characters: frozenset[int]  # code points that it has a glyph for


def installed_fonts() -> tuple[InstalledFont, ...]:
    """All TrueType and OpenType fonts that fontconfig finds, one a file name, by file name.

    Raises:
        DataError: ``fc-list`` is not there.
    """
    command = shutil.which("fc-list")
    if command is None:
        raise DataError("fc-list is not installed; run: apt-get install fontconfig")
    listing = subprocess.run([command, "--format", _FORMAT], check=True, capture_output=True)
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
