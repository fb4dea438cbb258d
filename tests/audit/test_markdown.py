"""The page for a CI run and the model card, as readers of Markdown and of model cards see them."""

import dataclasses
import os
import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.audit import ending_of, ending_of_stop, write_model_card, write_summary
from analyzer.audit.markdown import markdown_text, model_card_of, summary_of
from analyzer.audit.suspects import Suspect
from analyzer.audit.verdict import NOT_JUDGEABLE, PASS, judge, limits_of, verdict_of
from analyzer.audit_options import LimitOptions
from analyzer.audit_record import LimitRecord
from analyzer.control_characters import printable
from analyzer.errors import AuditStopped, OutputError
from analyzer.measures.test_data.measure import TestRecord

markdown_it = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed")
HOSTILE = (
    "a|b <img src=x> [l](http://x) `c` *d* _e_ # \n- \\| @me www.x.org https://y.z ![](q) &lt;"
)


@pytest.fixture
def ending(audit):
    """An estimate of 0.41, 0.34 to 0.48, of a network that knows its data."""
    found = ending_of(audit)
    record = dataclasses.replace(
        found.record, chance=0.001, settings={**found.record.settings, "max_gap": 0.3}
    )
    return dataclasses.replace(found, record=record, verdict=judge(record))


def suspect(name, label="3", likely_name="5", **columns):
    """A suspect of which only these columns matter."""
    empty = dict.fromkeys((one.name for one in dataclasses.fields(Suspect)), 0)
    named = {"name": name, "label": 3, "label_name": label, "likely_name": likely_name, "likely": 5}
    return Suspect(**{**empty, "wrong_probability": None, **named, **columns})


def tokens_of(page):
    parsed = markdown_it.MarkdownIt("gfm-like", {"linkify": False, "html": True}).parse(page)
    for token in parsed:
        yield token
        yield from token.children or ()


def text_of(page):
    return "".join(
        token.content if token.type in ("text", "code_inline") else " "
        for token in tokens_of(page)
        if token.type != "inline"
    )


def cells_of(page):
    """The texts of the cells of each table row."""
    rows, inside = [], False
    for token in tokens_of(page):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("td_open", "th_open"):
            rows[-1].append("")
            inside = True
        elif token.type in ("td_close", "th_close"):
            inside = False
        elif inside and token.type == "text":
            rows[-1][-1] += token.content
    return rows


def test_the_page_says_verdict_expected_accuracy_and_limit(ending):
    page = summary_of(ending)
    assert page.startswith("## ❌ Fail: models/digits-c40.onnx\n")
    rows = cells_of(page)
    accuracy = ending.record.accuracy
    expected = (
        f"{accuracy - 0.41:.0%} (90% interval {accuracy - 0.48:.0%} to {accuracy - 0.34:.0%})"
    )
    assert ["Expected accuracy on unseen data", expected] in rows
    assert ["gap, upper end of the interval, at most", "0.3", "0.4800", "❌ Fail"] in rows
    assert "over the limit 0.3." in text_of(page)


def test_the_weakest_classes_and_the_first_suspects(ending):
    classes = ending.record.classes
    suspects = tuple(suspect(f"images/{number}.png") for number in range(12))
    rows = cells_of(summary_of(dataclasses.replace(ending, suspects=suspects)))
    least = min(one.accuracy for one in classes)
    worst = max((one for one in classes if one.accuracy == least), key=lambda one: one.zeta)
    place = rows.index(["class", "samples", "accuracy", "ζ"])
    assert rows[place + 1][0] == worst.name
    assert [f"images/{number}.png" for number in range(10)] == [
        row[0] for row in rows if row[0].startswith("images/")
    ]
    assert ["images/0.png", "3", "5", "–"] in rows


def test_classes_come_by_their_estimated_gaps_where_there_are_some(ending):
    classes = tuple(
        dataclasses.replace(one, gap=one.index / 20, gap_low=0.0, gap_high=0.5)
        for one in ending.record.classes
    )
    record = dataclasses.replace(ending.record, classes=classes)
    rows = cells_of(summary_of(dataclasses.replace(ending, record=record)))
    place = rows.index(["class", "samples", "accuracy", "estimated gap"])
    assert [row[0] for row in rows[place + 1 : place + 6]] == [
        f"class {number}" for number in (9, 8, 7, 6, 5)
    ]
    assert rows[place + 1][3] == "0.450 (0.000 to 0.500)"
    # An estimate that cannot be relied on says nothing of its classes either.
    doubtful = dataclasses.replace(record, gap=dataclasses.replace(record.gap, inside_range=False))
    page = summary_of(dataclasses.replace(ending, record=doubtful))
    assert ["class", "samples", "accuracy", "ζ"] in cells_of(page)


@pytest.mark.parametrize(
    ("in_training", "shared"),
    [(0, ""), (None, ""), (1500, "; 1,500 of them are among the training samples, too")],
)
def test_the_measured_accuracy_stands_with_the_expected_one(ending, in_training, shared):
    test = TestRecord("test", 2000, "", 0.82, top5=None, gap=0.166, in_training=in_training)
    sections = {**ending.record.sections, "test": test}
    record = dataclasses.replace(ending.record, sections=sections)
    for page in (summary_of, model_card_of):
        rows = cells_of(page(dataclasses.replace(ending, record=record)))
        said = f"82.0% of 2,000 samples: a gap of 0.166{shared}"
        assert ["Accuracy on the test data, as measured", said] in rows


@pytest.mark.parametrize(
    ("columns", "perhaps"),
    [
        ({"wrong_probability": 0.98}, ["5", "98%"]),
        ({"likely": None, "predicted": 7, "predicted_name": "7", "other_name": "8"}, ["7", "–"]),
        ({"likely": None, "predicted": 3, "predicted_name": "3", "other_name": "8"}, ["8", "–"]),
    ],
)
def test_the_label_that_a_suspect_has_perhaps(ending, columns, perhaps):
    page = summary_of(dataclasses.replace(ending, suspects=(suspect("a.png", **columns),)))
    assert ["a.png", "3", *perhaps] in cells_of(page)


def test_every_limit_that_there_is_has_words_of_its_own(ending):
    limits = limits_of(dict.fromkeys((one.name for one in dataclasses.fields(LimitOptions)), 0.5))
    verdict = verdict_of(tuple(LimitRecord(name, 0.5, 0.4, PASS, "Kept.") for name in limits))
    rows = cells_of(summary_of(dataclasses.replace(ending, verdict=verdict)))
    place = rows.index(["limit", "asked for", "found", "outcome"]) + 1
    assert len(limits) >= 3
    for (what, *_), name in zip(rows[place : place + len(limits)], limits, strict=True):
        assert what.endswith(("at most", "at least"))
        assert name not in what


@pytest.mark.parametrize("gate", ["estimate", "measured"])
def test_a_limit_of_the_gap_says_which_gap(ending, gate):
    record = dataclasses.replace(ending.record, settings={"max_gap": 0.3, "gate": gate})
    page = summary_of(dataclasses.replace(ending, record=record, verdict=judge(record)))
    gap = {"estimate": "estimated", "measured": "measured"}[gate]
    assert any(row[:2] == [f"{gap} gap, at most", "0.3"] for row in cells_of(page))


def test_a_doubtful_estimate_is_no_figure(ending):
    gap = dataclasses.replace(ending.record.gap, inside_range=False)
    doubtful = dataclasses.replace(ending, record=dataclasses.replace(ending.record, gap=gap))
    for page in (summary_of(doubtful), model_card_of(doubtful)):
        assert "no dependable estimate" in text_of(page)
        assert "0.410" not in page
        assert "generalization_gap" not in page


def test_an_estimate_without_a_caution_has_a_page(ending):
    gap = dataclasses.replace(ending.record.gap, warnings=())
    plain = dataclasses.replace(ending, record=dataclasses.replace(ending.record, gap=gap))
    assert "0.410" in summary_of(plain)
    assert "0.410" in model_card_of(plain)


def test_an_audit_that_stopped_has_a_page(tmp_path):
    verdict = verdict_of((), outcome=NOT_JUDGEABLE, reason="At chance.")
    stopped = ending_of_stop("a.onnx", "d", AuditStopped("At chance. Go on.", verdict, 0.125))
    write_summary(tmp_path / "page.md", stopped)
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert page.startswith("## ❔ Not judgeable: a.onnx\n\nAt chance. Go on.\n")
    assert ["Accuracy on the training data", "12.5% of those looked at"] in cells_of(page)
    assert "Files" not in page


def test_links_lead_to_the_files(ending, tmp_path):
    odd = dataclasses.replace(ending, folder=tmp_path / "an (odd) <folder>")
    odd.folder.mkdir()
    (odd.folder / "report.html").touch()
    page = tmp_path / "pages" / "page.md"
    write_summary(page, odd)
    links = [
        token.attrs["href"]
        for token in tokens_of(page.read_text(encoding="utf-8"))
        if token.type == "link_open"
    ]
    assert (page.parent / unquote(links[0])).resolve() == (odd.folder / "report.html").resolve()
    assert len(links) == 2


@given(st.text(max_size=60))
def test_any_name_is_shown_and_does_nothing(name):
    page = f"| x | y |\n| --- | --- |\n| x{markdown_text(name)}x | z |\n"
    assert text_of(page).split("z")[0].count("\n") == 0
    assert cells_of(page)[1] == [f"x{printable(name)}x", "z"]
    kinds = {token.type for token in tokens_of(page)}
    assert not kinds & {"html_inline", "html_block", "link_open", "image", "em_open", "code_inline"}


def test_hostile_names_stay_in_their_cells(ending):
    named = dataclasses.replace(
        ending, model=HOSTILE, suspects=(suspect(HOSTILE, HOSTILE, HOSTILE),)
    )
    page = summary_of(named)
    linkified = markdown_it.MarkdownIt("gfm-like", {"linkify": False}).parse(page)
    headings = [token.tag for token in linkified if token.type == "heading_open"]
    assert headings == ["h2", "h3", "h3", "h3"]
    assert [*[printable(HOSTILE)] * 3, "–"] in cells_of(page)
    links = [token for token in tokens_of(page) if token.type == "link_open"]
    assert links == []
    assert not re.search(r"https?://|www\.|@me", page)


def test_auto_adds_to_the_summary_of_the_step(ending, tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    with pytest.raises(OutputError, match=r"GITHUB_STEP_SUMMARY names, and that is not set"):
        write_summary("auto", ending)
    step = tmp_path / "step"
    step.write_text("# Before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    write_summary("auto", ending)
    assert step.read_text(encoding="utf-8").startswith("# Before\n## ❌ Fail: ")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "pipe"))
    with pytest.raises(OutputError, match="pipe, which is a pipe"):
        write_summary("auto", ending)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    with pytest.raises(OutputError, match="cannot be written"):
        write_summary("auto", ending)


@pytest.fixture
def hub():
    return pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")


def test_the_model_card_is_read_by_the_hub(hub, ending, tmp_path):
    write_model_card(tmp_path / "cards" / "README.md", ending)
    card = hub.ModelCard.load(tmp_path / "cards" / "README.md")
    assert card.data.model_name == "digits-c40.onnx"
    assert card.data.pipeline_tag == "image-classification"
    results = {one.metric_type: one for one in card.data.eval_results}
    assert {name: one.metric_value for name, one in results.items()} == pytest.approx(
        {
            "accuracy": ending.record.accuracy,
            "generalization_gap": 0.41,
            "generalization_gap_low": 0.34,
            "generalization_gap_high": 0.48,
        }
    )
    for one in results.values():
        assert one.task_type == "image-classification"
        assert (one.dataset_name, one.dataset_split) == ("zoo:digits-c40", "train")
        assert one.verified is False
    assert "Estimated generalization gap" in text_of(card.text)


@pytest.mark.parametrize("value", [1e-7, -3.25e-5, 0.0, 1.0, -0.0, 0.123456789])
def test_small_numbers_are_numbers_in_the_model_card(hub, ending, tmp_path, value):
    gap = dataclasses.replace(ending.record.gap, estimate=value, low=-2.5)
    small = dataclasses.replace(ending, record=dataclasses.replace(ending.record, gap=gap))
    write_model_card(tmp_path / "card.md", small)
    found = hub.ModelCard.load(tmp_path / "card.md").data.eval_results
    values = {one.metric_type: one.metric_value for one in found}
    assert values["generalization_gap"] == pytest.approx(value, abs=1e-9)
    assert values["generalization_gap_low"] == -2.5


def test_hostile_names_in_a_model_card(hub, ending, tmp_path):
    hostile = '"\n---\nmalicious: true # \\ \ufffe\x85 {{ x }} 😀'
    record = ending.record
    record = dataclasses.replace(
        record,
        model=dataclasses.replace(record.model, path=hostile),
        data=dataclasses.replace(record.data, source=hostile),
    )
    write_model_card(tmp_path / "card.md", dataclasses.replace(ending, record=record))
    data = hub.ModelCard.load(tmp_path / "card.md").data
    assert data.eval_results[0].dataset_name == printable(hostile)
    assert "malicious" not in data.to_dict()


def test_a_card_of_somebody_else_is_kept(ending, tmp_path):
    card = tmp_path / "README.md"
    card.write_text("# Mine\n", encoding="utf-8")
    with pytest.raises(OutputError, match="is no model card that onnx-gap wrote"):
        write_model_card(card, ending)
    assert card.read_text(encoding="utf-8") == "# Mine\n"
    card.unlink()
    write_model_card(card, ending)
    write_model_card(card, ending)
