import csv
from collections import defaultdict

import numpy as np
import pytest

from analyzer.errors import DataError
from model_zoo import glyphs
from model_zoo.datasets import DATA_SETS
from model_zoo.glyphs import installed_fonts, shape

PACKAGES = glyphs.FONTS.with_name("glyph_packages.csv")


@pytest.fixture(scope="module")
def some_fonts():
    """Listed fonts with every character, enough of them to draw with, all that are installed."""
    try:
        installed = {font.path.name: font for font in installed_fonts()}
    except DataError as error:
        pytest.skip(f"drawing characters needs fontconfig: {error}")
    wanted = set(map(ord, glyphs.CHARACTERS))
    some = defaultdict(list)
    for font in glyphs.listed_fonts():
        if font.file in installed and installed[font.file].characters >= wanted:
            some[font.split].append(font)
    few = {split: fonts[:24] for split, fonts in some.items()}
    if len(few) < 2 or min(map(len, few.values())) < 24:
        pytest.skip("drawing characters needs more of the listed fonts than are installed")
    return (*few["train"], *few["test"])


def test_families_are_in_one_split_only():
    splits = defaultdict(set)
    for font in glyphs.listed_fonts():
        splits[font.family].add(font.split)
    assert {split for found in splits.values() for split in found} == {"train", "test"}
    assert all(len(found) == 1 for found in splits.values())


def test_every_font_has_a_package_with_version_and_license():
    with PACKAGES.open(newline="", encoding="utf-8") as file:
        packages = {row.pop("package"): row for row in csv.DictReader(file)}
    assert {font.package for font in glyphs.listed_fonts()} == set(packages)
    assert all(row["version"] and row["license"] for row in packages.values())


def test_characters_are_as_many_as_the_data_sets_classes():
    assert len(set(glyphs.CHARACTERS)) == len(glyphs.CHARACTERS)
    assert len(glyphs.CHARACTERS) == DATA_SETS["glyphs"].classes


def test_drawn_data_set_is_read_back(some_fonts, tmp_path):
    per_class = {"train": 3, "test": 2}
    glyphs.draw(tmp_path, fonts=some_fonts, per_class=per_class)
    train, test = DATA_SETS["glyphs"].read(tmp_path)
    assert train.images.shape == (300, 32, 32)
    assert test.images.shape == (200, 32, 32)
    assert np.bincount(train.labels).tolist() == [3] * 100
    assert (train.images.max(axis=(1, 2)) > 60).all()  # there is ink
    small, _ = DATA_SETS["glyphs-16"].read(tmp_path)
    assert small.images.shape == (300, 16, 16)
    assert small.images.mean() == pytest.approx(train.images.mean(), abs=0.5)
    first = (tmp_path / "glyphs.npz").read_bytes()
    glyphs.draw(tmp_path, fonts=some_fonts, per_class=per_class)
    assert (tmp_path / "glyphs.npz").read_bytes() == first


def test_missing_fonts_are_named_by_their_packages(some_fonts, tmp_path):
    strange = glyphs.ListedFont("no-such-font.ttf", "None", "train", "fonts-none")
    with pytest.raises(DataError, match="apt-get install fonts-none"):
        glyphs.draw(tmp_path, fonts=(strange, *some_fonts))


def test_too_few_fonts_are_refused(some_fonts, tmp_path):
    with pytest.raises(DataError, match="only 1 fonts of the train split"):
        glyphs.draw(tmp_path, fonts=some_fonts[:1])
    assert not list(tmp_path.iterdir())


def test_shape_is_cropped_to_the_ink(some_fonts):
    installed = {font.path.name: font for font in installed_fonts()}
    ink = shape(installed[some_fonts[0].file], "H")
    assert ink[0].any()
    assert ink[-1].any()
    assert ink[:, 0].any()
    assert ink[:, -1].any()
    assert shape(installed[some_fonts[0].file], " ").size == 0


def test_missing_fontconfig_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda command: None)
    with pytest.raises(DataError, match="apt-get install fontconfig"):
        installed_fonts()


def test_undrawn_data_set_says_how_to_draw_it(tmp_path):
    with pytest.raises(DataError, match=r"python -m model_zoo\.glyphs"):
        DATA_SETS["glyphs"].read(tmp_path)
