"""docs/RELIABILITY.md: its figures are replaced between marks, and its tables are read again."""

import re
from pathlib import Path

import pytest

from tools.attack_population import WAYS, rows_by_way
from tools.reliability_figures import PAGE, read_figures, write_figures


def test_figures_are_replaced_between_their_marks_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    before = "text\n<!-- one -->\nold\n<!-- end of one -->\n"
    after = "more\n<!-- two -->\nother\n<!-- end of two -->\n"
    page.write_text(before + after, encoding="utf-8")
    write_figures("one", r"new \1", page)
    assert read_figures("one", page) == "\nnew \\1\n"
    assert page.read_text(encoding="utf-8") == before.replace("old", r"new \1") + after


def test_a_page_without_the_marks_is_not_changed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- one -->\nold\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no marks <!-- one --> and <!-- end of one -->"):
        write_figures("one", "new", page)
    assert page.read_text(encoding="utf-8") == "<!-- one -->\nold\n"


def test_the_page_has_all_figures() -> None:
    names = re.findall("<!-- end of (.*) -->", PAGE.read_text(encoding="utf-8"))
    assert sorted(names) == ["figures", "forgeries", "hostile input", "populations"]
    for name in names:
        assert read_figures(name).startswith("\n| ")


def test_rows_of_ways_that_are_not_tried_again_are_kept() -> None:
    rows = rows_by_way(read_figures("populations"))
    assert list(rows) == list(WAYS)
    assert all(row[3].endswith("yes") for row in rows.values())
