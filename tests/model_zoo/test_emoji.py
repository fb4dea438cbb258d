"""Which emoji show the same thing; drawing them from made-up packages."""

import json

import numpy as np
import pytest

from analyzer.errors import DataError
from model_zoo import emoji
from model_zoo.datasets import DATA_SETS


@pytest.fixture
def packages(tmp_path):
    """A folder node_modules: eight things a category, whose drawing is a square of one color for
    the category, paler from set to set.
    """
    categories = {
        category: [f"thing-{place}-{number}" for number in range(8)]
        for place, category in enumerate(emoji.CATEGORIES)
    }
    names = [name for found in categories.values() for name in found]
    for shade, (name, version) in enumerate(emoji.SETS.items()):
        folder = tmp_path / "node_modules" / "@iconify-json" / name
        folder.mkdir(parents=True)
        bodies = {
            one: {
                "body": f'<path fill="#{30 * int(one[6]):02x}00{10 * shade:02x}" d="M0 0h9v9H0z"/>'
            }
            for one in names
        }
        icons = {"icons": bodies, "aliases": {}, "width": 9, "height": 9}
        for file, content in {
            "package.json": {"version": version},
            "icons.json": icons,
            "metadata.json": {"categories": categories},
        }.items():
            (folder / file).write_text(json.dumps(content), encoding="utf-8")
    return tmp_path / "node_modules"


def test_emoji_that_differ_in_who_is_shown_are_one_thing():
    names = {category: [] for category in emoji.CATEGORIES}
    names["People & Body"] = [
        "woman-artist", "man-artist", "artist", "ear", "ear-dark-skin-tone", "woman", "man",
    ]  # fmt: skip
    found = emoji.things(names)["People & Body"]
    assert found == {
        "artist": ["artist", "man-artist", "woman-artist"],
        "ear": ["ear"],
        "": ["man", "woman"],
    }


def test_things_of_the_training_split_are_drawn_once_the_others_in_every_set(packages, tmp_path):
    pytest.importorskip("resvg_py", reason="drawing emoji needs resvg-py")
    emoji.draw(tmp_path / "data", packages)
    train, test = DATA_SETS["emoji"].read(tmp_path / "data")
    classes, sets = len(emoji.CATEGORIES), len(emoji.SETS)
    assert train.images.shape == (classes * 6, 32, 32, 3)
    assert np.bincount(test.labels).tolist() == [2 * sets] * classes
    np.testing.assert_array_equal(train.images[:, 16, 16, 0], 30 * train.labels)
    assert len(np.unique(train.images[:, 16, 16, 2])) > sets // 2  # drawings of many sets
    first = (tmp_path / "data" / "emoji.npz").read_bytes()
    emoji.draw(tmp_path / "data", packages)
    assert (tmp_path / "data" / "emoji.npz").read_bytes() == first


def test_a_missing_package_and_another_version_say_what_to_install(packages, tmp_path):
    with pytest.raises(DataError, match="npm install @iconify-json/emojione@1"):
        emoji.draw(tmp_path, tmp_path / "elsewhere")
    package = packages / "@iconify-json" / "twemoji" / "package.json"
    package.write_text('{"version": "0.9"}', encoding="utf-8")
    with pytest.raises(
        DataError, match=r"is version 0\.9; run: npm install @iconify-json/twemoji@"
    ):
        emoji.draw(tmp_path, packages)


def test_undrawn_data_set_says_how_to_draw_it(tmp_path):
    with pytest.raises(DataError, match=r"python -m model_zoo\.emoji"):
        DATA_SETS["emoji"].read(tmp_path)
