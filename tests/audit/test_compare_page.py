"""The page of a comparison: what stands in it, and that strangers' names stay in their place."""

import re

import pytest

from analyzer.audit import compare_audits, write_comparison
from analyzer.audit.folder import read_record
from analyzer.errors import AuditFolderError


@pytest.fixture
def page_of(make_audit, tmp_path):
    """page_of(options, options, …): the page that compares audits made up with these."""

    def make(*audits):
        folders = [make_audit(f"audit-{n}", **options) for n, options in enumerate(audits)]
        found = [compare_audits(folders[0], other, resamples=300) for other in folders[1:]]
        file = tmp_path / "comparison.html"
        write_comparison(folders, found, file)
        return file.read_text(encoding="utf-8"), folders, found

    return make


def test_each_audit_has_its_curve_in_both_figures(page_of):
    page, _, _ = page_of({}, {"seed": 1}, {"seed": 2})
    curves = page.split('id="curves"')[1].split('id="moved"')[0]
    for figure in curves.split('<svg viewBox="0 0 480')[1:]:
        assert [name in figure for name in ("line a0", "line a1", "line a2")] == [True] * 3


def test_classes_that_moved_are_marked_in_the_table(page_of):
    page, _, (found,) = page_of({}, {"seed": 1})
    moved = [item for item in found.classes if item.moved]
    assert moved
    rows = re.findall(r"<tr class=\"flag\">", page)
    assert len(rows) == len(moved)
    assert f"{len(moved)} of 10 classes differ by more than sampling noise" in page


def test_the_same_network_twice_moves_nothing(page_of):
    page, _, _ = page_of({}, {})
    assert "None: no class differs by more than sampling noise." in page
    assert 'class="flag"' not in page


def test_numbers_of_the_page_are_those_of_the_records(page_of):
    page, folders, _ = page_of({}, {"seed": 1})
    for folder in folders:
        record = read_record(folder)
        assert f"{record.zeta:.3f}, {record.kappa:.3f}" in page


def test_strangers_names_stay_in_their_place(page_of):
    names = "<script>alert({})</script>\x1b[31m".format
    page, _, _ = page_of({"names": names}, {"seed": 1, "names": names})
    assert page.count("<script>") == 1  # the one that sorts
    assert "\x1b" not in page
    assert "&lt;script&gt;alert(3)" in page


def test_an_audit_that_was_replaced_meanwhile_is_refused(make_audit, tmp_path):
    folders = [make_audit("one"), make_audit("two", seed=1), make_audit("three", seed=2)]
    found = compare_audits(folders[0], folders[1])
    with pytest.raises(AuditFolderError, match="was replaced meanwhile"):
        write_comparison([folders[0], folders[2]], [found], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_thousand_classes_make_a_page_of_bearable_size(page_of):
    page, _, _ = page_of({"classes": 1000, "per_class": 3}, {"classes": 1000, "per_class": 3})
    assert len(page) < 1_000_000
    assert page.count("<tr") >= 1000
