import dataclasses
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from analyzer.audit.folder import AUDIT, REPORT, read_record
from analyzer.audit.report import render_report
from analyzer.audit_record import EmptyClass, GapRecord
from analyzer.errors import AuditFolderError
from analyzer.files import read_arrays, read_json
from analyzer.measures.ablation.class_curves import CURVES
from tools.forged_folders import rewrite_arrays, rewrite_record

VOID = {"meta", "br", "path", "circle", "rect"}  # no end tag: HTML's own, or closed with "/>"


class Balance(HTMLParser):
    """Follows the open tags and collects the text and the attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text.append(data)


def parsed(folder) -> Balance:
    page = Balance()
    page.feed(render_report(folder).read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    return page


def words(page: Balance) -> str:
    return re.sub(r"\s+", " ", " ".join(page.text))


def test_report_stands_alone(audit):
    page = parsed(audit)
    assert "script" not in page.tags
    assert not {"link", "img", "iframe", "object"} & set(page.tags)
    assert not {"src", "onclick", "onload"} & {name for name, _ in page.attributes}
    targets = [value for name, value in page.attributes if name == "href"]
    ids = {value for name, value in page.attributes if name == "id"}
    assert targets
    assert all(target[0] == "#" and target[1:] in ids for target in targets)
    text = (audit / REPORT).read_text(encoding="utf-8")
    assert "url(" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_report_shows_the_result(audit):
    text = words(parsed(audit))
    record = read_record(audit)
    assert "57% 90% interval 50 to 64%" in text
    assert "estimated generalization gap is 0.41 ( 0.34 to 0.48)" in text.replace("(0", "( 0")
    assert "expected on unseen data 57% (50 to 64%)" in text
    assert f"{record.zeta:.3f}" in text
    assert f"{record.kappa:.3f}" in text
    assert record.model.sha256 in text
    assert text.count(record.gap.warnings[0]) == 1
    assert "warning" not in text  # the caution stands beside the estimate instead
    assert "and of no others" in text
    assert "2025-11-23 15:20 UTC" in text
    for entry in record.classes:
        assert entry.name in text
        assert all(flag in text for flag in entry.flags)


def test_report_without_a_gap_model_says_so(make_audit):
    text = words(parsed(make_audit()))
    assert "Not estimated No gap model was asked for" in text
    assert "only a gap model turns them into a gap" in text


def test_report_names_a_network_outside_the_range(make_audit, gap_record):
    outside = GapRecord(
        estimate=1.02, low=0.8, high=1.24, coverage=0.8, gap_model="0" * 64, inside_range=False
    )
    text = words(parsed(make_audit(gap=outside)))
    assert "No dependable estimate The network is unlike those" in text
    assert "a gap of 1.02 (80% interval 0.80 to 1.24) all the same" in text
    assert "expected on unseen data" not in text  # of no use, so never the number to take away


def test_warnings_of_the_estimate_are_warnings(make_audit, gap_record):
    warnings = ("The caution.", "ζ = 0.9 is outside.")
    text = words(parsed(make_audit(gap=dataclasses.replace(gap_record, warnings=warnings))))
    assert "1 warning ζ = 0.9 is outside." in text
    assert text.count("The caution.") == 1  # stands where the result's grounds are named


def test_a_negative_bound_keeps_its_sign(make_audit):
    gap = GapRecord(0.02, -0.04, 0.08, coverage=0.9, gap_model="0" * 64, inside_range=True)
    assert "0.02 (−0.04 to 0.08)" in words(parsed(make_audit(gap=gap)))


def test_warnings_are_shown_once_each(make_audit):
    warnings = ("At chance.", "At chance.", "Not an activation.")
    text = words(parsed(make_audit(warnings=warnings)))
    assert "2 warnings" in text
    assert text.count("At chance.") == 1


def test_every_string_is_escaped(make_audit):
    bad = "<script>alert(1)</script>\"'&"
    folder = make_audit(
        classes=14,
        names=lambda index: f"{bad}{index}",
        warnings=(bad,),
        empty_classes=(EmptyClass(14, bad),),
        skipped=(bad,),
    )
    page = parsed(folder)
    assert "script" not in page.tags
    assert f"{bad}3" in words(page)


def test_few_classes_are_all_drawn(make_audit):
    page = parsed(make_audit(classes=12))
    assert page.tags.count("h3") == 2 + 12 + 5  # two wide figures, classes, five groups of facts
    assert "Worth a look" not in words(page)


def test_of_many_classes_a_chosen_set_is_drawn_and_every_one_is_listed(make_audit):
    folder = make_audit(classes=1000, channels=512, per_class=4)
    page = parsed(folder)
    text = words(page)
    record = read_record(folder)
    notable = page.tags.count("h3") - 2 - 5
    assert 8 <= notable <= 16
    assert page.tags.count("tr") == 1 + 2 + notable + 1000
    highest = max(record.classes, key=lambda entry: entry.zeta)
    assert text.index("Worth a look") < text.index("All, by index")
    assert highest.name in text[text.index("Worth a look") : text.index("All, by index")]
    assert (folder / REPORT).stat().st_size < 3e6


def test_the_same_audit_gives_the_same_report(audit):
    first = render_report(audit).read_bytes()
    assert render_report(audit).read_bytes() == first


def test_rendering_imports_neither_matplotlib_nor_onnx(audit):
    code = (
        "import sys; from analyzer.audit import render_report; render_report(sys.argv[1]);"
        "heavy = {'matplotlib', 'onnx', 'onnxruntime', 'sklearn', 'scipy', 'PIL'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(audit)], check=True)


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        (lambda a: {name: value[1:] for name, value in a.items()}, "name different classes"),
        (
            lambda a: (
                a
                | {
                    "order": np.tile(np.arange(3), (10, 1)),
                    "descending": a["descending"][:, :4],
                    "ascending": a["ascending"][:, :4],
                }
            ),
            "has 3 channels, audit.json 64",
        ),
    ],
)
def test_curves_of_another_audit_are_refused(audit, keep, said):
    rewrite_arrays(audit / CURVES, keep(read_arrays(audit / CURVES)))
    with pytest.raises(AuditFolderError, match=said):
        render_report(audit)
    assert (audit / REPORT).read_text() == "no report"


def test_settings_and_preprocessing_are_shown_in_words(audit):
    text = words(parsed(audit))
    assert read_json(audit / AUDIT)["settings"]["limit_per_class"] is None
    assert "limit per class not set" in text
    assert "img size 8, 8" in text


@pytest.mark.parametrize(
    ("rank", "said"),
    [
        ("selectivity", ("most selective removed first", "class selectivity, (a − b) / (a + b)")),
        ("random", ("last drawn removed first", "drawn at random, as a control")),
        ("of tomorrow", ("highest ranked removed first", "by of tomorrow.")),
    ],
)
def test_another_ranking_than_the_methods_goes_by_its_own_words(audit, rank, said):
    record = read_record(audit)
    settings = {**record.settings, "rank": rank}
    rewrite_record(audit, dataclasses.replace(record, settings=settings))
    text = words(parsed(audit))
    assert f"64 units ranked by {rank}" in text
    assert "most active" not in text
    assert "least active" not in text
    assert all(words in text for words in said)


def test_the_ranking_of_the_method_is_not_dwelt_on(audit):
    text = words(parsed(audit))
    assert "most active removed first" in text
    assert "ranked by" not in text
