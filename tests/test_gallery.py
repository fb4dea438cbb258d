"""docs/GALLERY.md against the audits that it shows."""

import re

import pytest

from tools.make_gallery import EXHIBITS, GALLERY, PAGE, copy_sources, page_of, run_exhibit

_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_SMALL = 80_000  # bytes of a picture


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    copy_sources(folder)
    return {exhibit.name: run_exhibit(exhibit, folder) for exhibit in EXHIBITS}


def test_each_audit_ends_as_its_title_says(shown):
    outcomes = {name: (one.record["verdict"]["outcome"], one.code) for name, one in shown.items()}
    assert outcomes == {
        "clean": ("pass", 0),
        "wrong-labels": ("fail", 1),
        "confusable-labels": ("fail", 1),
        "few-images": ("fail", 1),
        "wrong-order": ("not judgeable", 4),
    }
    assert [name for name, one in shown.items() if one.stopped] == ["wrong-order"]


def test_the_page_says_what_the_audits_say(shown):
    """The same words; numbers may differ by what another processor rounds otherwise."""
    made, kept = (_split(text) for text in (page_of(shown), PAGE.read_text(encoding="utf-8")))
    assert made[0] == kept[0]
    for one, other in zip(made[1], kept[1], strict=True):
        assert one == pytest.approx(other, rel=0.03, abs=0.02)


def test_the_pictures_are_there_and_small():
    page = PAGE.read_text(encoding="utf-8")
    for exhibit in EXHIBITS:
        assert f"(gallery/{exhibit.name}.png)" in page
        picture = (GALLERY / f"{exhibit.name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < _SMALL


def _split(text):
    """The words of a page, and its numbers; where lines break does not matter."""
    numbers = [float(one.replace(",", "")) for one in _NUMBER.findall(text)]
    return _NUMBER.sub("#", text).split(), numbers
