"""The data set "emoji": small color pictures of several emoji sets, to be told apart by category.

    npm install --prefix FOLDER @iconify-json/twemoji@1.2.5 …     # all of SETS
    python -m model_zoo.emoji OUT FOLDER/node_modules

draws it into ``OUT/emoji.npz``. Drawing needs those packages and resvg (``pip install resvg-py``);
reading needs neither. A thing that is drawn for the training split, say a dog, is not in the test
split in any set's drawing; the training split has one drawing of each thing, so that no two of its
images are of the same.
"""

import io
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from analyzer.errors import AnalyzerError, DataError
from analyzer.output_files import write_arrays
from model_zoo.datasets import EMOJI

__all__ = ["CATEGORIES", "SETS", "draw", "things"]

CATEGORIES = (
    "Activities", "Animals & Nature", "Food & Drink", "Objects", "People & Body",
    "Smileys & Emotion", "Symbols", "Travel & Places",
)  # fmt: skip
"""The classes: Unicode's categories of emoji, but for flags, which few of the sets have."""

SETS: Mapping[str, str] = MappingProxyType(
    {
        "emojione": "1.2.3",
        "emojione-v1": "1.2.3",
        "fluent-emoji": "1.2.7",
        "fluent-emoji-flat": "1.2.6",
        "noto": "1.2.9",
        "noto-v1": "1.2.5",
        "openmoji": "1.2.29",
        "twemoji": "1.2.5",
    }
)
"""npm's packages @iconify-json/NAME with their versions: all of free licenses."""

SIZE = 32  # pixels of an image, either way
_FINER = 3  # drawn so many times finer, then averaged
_TEST_SHARE = 0.25  # of the things
_CATEGORIZED_BY = "noto"
_SOMEONE = re.compile(
    r"\b(man|men|woman|women|person|people|boy|boys|girl|girls|male|female|mr|mrs|mx)\b"
)


def things(names: Mapping[str, list[str]]) -> dict[str, dict[str, list[str]]]:
    """Category -> thing -> the emoji that show it, in alphabetical order: those that differ in who
    is shown are one thing, and those of a skin tone are left out.

    Args:
        names: of the emoji of each category.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for category in CATEGORIES:
        same = defaultdict(list)
        for name in sorted(names[category]):
            if "skin-tone" not in name:
                same[" ".join(_SOMEONE.sub(" ", name.replace("-", " ")).split())].append(name)
        found[category] = dict(same)
    return found


def draw(folder: str | Path, packages: str | Path, *, seed: int = 0) -> Path:
    """Draw the data set.

    Args:
        folder: made if needed; takes ``emoji.npz``: ``train_images`` and ``test_images``, uint8
            (S, 32, 32, 3), on white; ``train_labels`` and ``test_labels``, uint8 (S,), places in
            :data:`CATEGORIES`.
        packages: the folder ``node_modules`` that holds ``@iconify-json``.
        seed: of the split, and of the drawings in the training split.

    Returns:
        Path of the file.

    Raises:
        DataError: a package is missing, or of another version; resvg is not installed.
    """
    root = Path(packages) / "@iconify-json"
    icons = {name: _icons(root / name, version) for name, version in SETS.items()}
    names = json.loads((root / _CATEGORIZED_BY / "metadata.json").read_text(encoding="utf-8"))
    images: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    labels: dict[str, list[int]] = {"train": [], "test": []}
    for label, found in enumerate(things(names["categories"]).values()):
        for thing, split in _split(list(found), np.random.default_rng((seed, label))).items():
            drawings = list(_drawings(found[thing], icons))
            if split == "train":
                generator = np.random.default_rng((seed, label, *thing.encode()))
                drawings = [drawings[generator.integers(len(drawings))]]
            images[split] += [_picture(svg) for svg in drawings]
            labels[split] += [label] * len(drawings)
    path = Path(folder) / EMOJI
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    for split, pictures in images.items():
        arrays[f"{split}_images"] = np.stack(pictures)
        arrays[f"{split}_labels"] = np.array(labels[split], np.uint8)
    write_arrays(path, arrays)
    return path


def _icons(package: Path, version: str) -> dict[str, Any]:
    wanted = f"@iconify-json/{package.name}@{version}"
    try:
        found = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
        icons = json.loads((package / "icons.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{package} cannot be read; run: npm install {wanted}") from error
    if found != version:
        raise DataError(f"{package} is version {found}; run: npm install {wanted}")
    return icons


def _split(names: list[str], generator: np.random.Generator) -> dict[str, str]:
    """Each thing's split."""
    test = set(generator.permutation(names)[: round(_TEST_SHARE * len(names))].tolist())
    return {name: "test" if name in test else "train" for name in names}


def _drawings(names: list[str], icons: Mapping[str, Any]) -> Iterator[str]:
    """The SVG of a thing in every set that has it: of the first of its emoji that the set has."""
    for of_set in icons.values():
        for name in names:
            own = of_set["aliases"].get(name, {}).get("parent", name)
            if own in of_set["icons"]:
                icon = of_set["icons"][own]
                width = icon.get("width", of_set.get("width"))
                height = icon.get("height", of_set.get("height"))
                yield (
                    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
                    f'xmlns:xlink="http://www.w3.org/1999/xlink">{icon["body"]}</svg>'
                )
                break


def _picture(svg: str) -> np.ndarray:
    """uint8 (32, 32, 3), on white."""
    try:
        import resvg_py
    except ImportError as error:
        raise DataError("drawing emoji needs resvg; run: pip install resvg-py") from error
    from PIL import Image

    side = SIZE * _FINER
    drawn = resvg_py.svg_to_bytes(svg, width=side, height=side, skip_system_fonts=True)
    with Image.open(io.BytesIO(bytes(drawn))) as picture:
        on_white = Image.new("RGBA", picture.size, "white")
        on_white.alpha_composite(picture.convert("RGBA"))
    return np.asarray(on_white.convert("RGB").reduce(_FINER))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m model_zoo.emoji FOLDER NODE_MODULES")
    try:
        print(draw(*sys.argv[1:]))
    except AnalyzerError as error:
        sys.exit(f"error: {error}")
