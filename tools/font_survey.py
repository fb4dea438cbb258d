"""Choosing the fonts of the data set "glyphs": ``python -m tools.font_survey``.

Writes :data:`model_zoo.glyphs.FONTS` and :data:`PACKAGES` from the fonts that are installed. Run
once, on a machine with many of Debian's ``fonts-*`` packages; the lists are committed. A font is
taken when it has the letters, figures and signs of every class that all fonts should have, and
draws most of them as other fonts do: that leaves out symbols, small capitals and monsters.
"""

import csv
import io
import re
import subprocess
from collections import defaultdict
from pathlib import Path

import numpy as np

from analyzer.output_files import write_text
from model_zoo.glyphs import CORE, FONTS, InstalledFont, installed_fonts, shape

__all__ = ["PACKAGES", "survey"]

PACKAGES = FONTS.with_name("glyph_packages.csv")
_SIDE = 16  # pixels of the pictures that are compared
_AGREEMENT = 0.6  # of a font's characters that must look most like the mean of that character
_SAME = 0.96  # mean cosine of two fonts' pictures from which on they count as one design
_PER_FAMILY = 6
_TEST_SHARE = 0.25
_LICENSES = (  # what to look for in a copyright file without a machine-readable license
    ("OFL", "Open Font License"),
    ("LPPL", "LaTeX Project Public License"),
    ("Apache-2.0", "Apache License"),
    ("GPL", "General Public License"),
    ("GUST", "GUST Font License"),
    ("public-domain", "public domain"),
)


def survey(*, seed: int = 0) -> None:
    """Write both lists."""
    fonts, pictures = _usable(installed_fonts())
    design = _designs(fonts, pictures)
    chosen = _few_of_each_family(fonts)
    split = _splits([design[index] for index in chosen], np.random.default_rng(seed))
    packages = _packages([fonts[index] for index in chosen])
    rows = [
        {
            "file": fonts[index].path.name,
            "family": fonts[index].family,
            "split": split[design[index]],
            "package": packages[fonts[index].path],
        }
        for index in chosen
        if fonts[index].path in packages
    ]
    _write(FONTS, rows)
    _write(PACKAGES, [_describe(package) for package in sorted({row["package"] for row in rows})])


def _usable(fonts: tuple[InstalledFont, ...]) -> tuple[list[InstalledFont], np.ndarray]:
    """Fonts that draw :data:`CORE` as others do, and how: float32 (F, C, pixels), norm 1."""
    having, drawn = [], []
    for font in fonts:
        if font.characters.issuperset(map(ord, CORE)):
            pictures = _pictures(font)
            if pictures is not None:
                having.append(font)
                drawn.append(pictures)
    pictures = np.stack(drawn)
    mean = pictures.mean(axis=0)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    nearest = np.einsum("fcp,dp->fcd", pictures, mean).argmax(axis=2)
    right = nearest == np.arange(len(CORE))
    letters = np.array([character.islower() for character in CORE])
    agree = (right.mean(axis=1) >= _AGREEMENT) & (right[:, letters].mean(axis=1) >= _AGREEMENT)
    return [font for font, good in zip(having, agree, strict=True) if good], pictures[agree]


def _pictures(font: InstalledFont) -> np.ndarray | None:
    """Float32 (C, pixels), norm 1; None where a character has no ink or cannot be drawn."""
    from PIL import Image

    drawn = np.zeros((len(CORE), _SIDE, _SIDE), np.float32)
    for index, character in enumerate(CORE):
        try:
            ink = shape(font, character)
        except OSError:
            return None
        if not ink.any():
            return None
        scale = _SIDE / max(ink.shape)
        height, width = (max(1, round(side * scale)) for side in ink.shape)
        small = Image.fromarray(ink).resize((width, height), Image.Resampling.BOX)
        top, left = (_SIDE - height) // 2, (_SIDE - width) // 2
        drawn[index, top : top + height, left : left + width] = small
    flat = drawn.reshape(len(CORE), -1)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def _designs(fonts: list[InstalledFont], pictures: np.ndarray) -> list[int]:
    """For each font the number of its design: families that share a look are one design."""
    flat = pictures.reshape(len(fonts), -1) / np.sqrt(len(CORE))
    family = {name: number for number, name in enumerate({font.family for font in fonts})}
    parent = list(range(len(family)))

    def root(number: int) -> int:
        while parent[number] != number:
            number = parent[number]
        return number

    of_font = [family[font.family] for font in fonts]
    for one, other in np.argwhere(np.triu(flat @ flat.T > _SAME, k=1)):
        parent[root(of_font[other])] = root(of_font[one])
    return [root(number) for number in of_font]


def _few_of_each_family(fonts: list[InstalledFont]) -> list[int]:
    """Places of at most :data:`_PER_FAMILY` fonts of each family, those with most characters."""
    members = defaultdict(list)
    for index, font in enumerate(fonts):
        members[font.family].append(index)
    few = []
    for indices in members.values():
        few += sorted(indices, key=lambda index: -len(fonts[index].characters))[:_PER_FAMILY]
    return sorted(few)


def _splits(designs: list[int], generator: np.random.Generator) -> dict[int, str]:
    """Each design's split. Designs are drawn until the test split has its share of the fonts."""
    order = generator.permutation(sorted(set(designs)))
    split, fonts = {}, 0
    for design in order.tolist():
        size = designs.count(design)
        test = fonts + size <= _TEST_SHARE * len(designs)
        split[design] = "test" if test else "train"
        fonts += size * test
    return split


def _packages(fonts: list[InstalledFont]) -> dict[Path, str]:
    """The Debian package of each font; fonts of no package are left out."""
    paths = [str(font.path) for font in fonts]
    told = subprocess.run(["dpkg", "--search", *paths], capture_output=True, text=True)
    owners = (line.partition(": ") for line in told.stdout.splitlines())
    return {Path(path): package.split(",")[0] for package, _, path in owners}


def _describe(package: str) -> dict[str, str]:
    """Its row of the list of packages."""
    query = ["dpkg-query", "--show", "--showformat", "${Version}", package]
    version = subprocess.run(query, check=True, capture_output=True, text=True).stdout
    copyright_file = Path("/usr/share/doc", package, "copyright")
    license = _license(copyright_file.read_text(encoding="utf-8", errors="replace"))
    return {"package": package, "version": version, "license": license}


def _license(text: str) -> str:
    """Short names of what a Debian copyright file grants, packaging (debian/*) left aside."""
    names = []
    for stanza in text.split("\n\n"):
        files = re.search(r"^Files:\s*(.*)", stanza, re.MULTILINE)
        name = re.search(r"^License:[ \t]*(\S.*)", stanza, re.MULTILINE)
        if files and name and not files[1].startswith("debian"):
            names.append(name[1].strip())
    if not names:
        flat = " ".join(text.split()).lower()
        names = [short for short, phrase in _LICENSES if phrase.lower() in flat]
    return "; ".join(dict.fromkeys(names)) or "see the package's copyright file"


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


if __name__ == "__main__":
    survey()
