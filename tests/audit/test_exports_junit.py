"""JUnit XML as a reader of it understands it."""

import dataclasses

import pytest

from analyzer.audit import ending_of, ending_of_stop, write_junit
from analyzer.audit.verdict import NOT_JUDGEABLE, judge, verdict_of
from analyzer.audit_record import LimitRecord
from analyzer.errors import AuditStopped

junitparser = pytest.importorskip("junitparser", reason="junitparser is not installed")


@pytest.fixture
def ending(audit):
    """An estimate of 0.41, 0.34 to 0.48, of a network that knows its data."""
    found = ending_of(audit)
    return dataclasses.replace(found, record=dataclasses.replace(found.record, chance=0.001))


def judged(ending, **limits):
    record = dataclasses.replace(
        ending.record, settings={**ending.record.settings, **limits}, warnings=("One.", "Two.")
    )
    return dataclasses.replace(ending, record=record, verdict=judge(record))


@pytest.fixture
def read(tmp_path):
    """read(ending, …): the one suite that a reader finds in the file."""

    def written(ending, not_judgeable=None):
        path = tmp_path / "made" / "on" / "the" / "way.xml"
        write_junit(path, ending, not_judgeable)
        (suite,) = junitparser.JUnitXml.fromfile(str(path))
        return suite

    return written


def results_of(suite):
    return [[type(result).__name__ for result in case.result] for case in suite]


def test_a_limit_is_a_test_case(read, ending):
    suite = read(judged(ending, min_accuracy=0.5, max_gap=0.3))
    assert [case.name for case in suite] == ["min_accuracy 0.5", "max_gap 0.3"]
    assert results_of(suite) == [[], ["Failure"]]
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (2, 1, 0, 0)
    failure = list(suite)[1].result[0]
    assert failure.message.endswith("over the limit 0.3.")
    assert "0.4800" in failure.text


def test_without_limits_the_audit_passed(read, ending):
    suite = read(ending)
    assert results_of(suite) == [[]]
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (1, 0, 0, 0)


def test_figures_are_properties(read, ending):
    record = dataclasses.replace(ending.record, doubtful_labels=0.125)
    suite = read(dataclasses.replace(ending, record=record))
    properties = {one.name: one.value for one in suite.properties()}
    assert float(properties["doubtful_labels"]) == 0.125
    assert float(properties["accuracy"]) == ending.record.accuracy
    assert float(properties["gap_estimate"]) == 0.41
    assert float(properties["gap_high"]) == 0.48
    assert float(properties["expected_accuracy"]) == ending.record.accuracy - 0.41
    assert properties["model_sha256"] == ending.record.model.sha256


def test_an_estimate_that_does_not_hold_is_no_property(read, ending):
    gap = dataclasses.replace(ending.record.gap, inside_range=False)
    doubtful = dataclasses.replace(ending, record=dataclasses.replace(ending.record, gap=gap))
    names = [one.name for one in read(doubtful).properties()]
    assert "no_estimate" in names
    assert not {"gap_estimate", "expected_accuracy"} & set(names)


@pytest.mark.parametrize(
    ("mapped", "result"), [(None, "Error"), ("pass", "Skipped"), ("fail", "Failure")]
)
def test_what_cannot_be_judged_is_not_green_unless_asked_for(read, ending, mapped, result):
    record = dataclasses.replace(ending.record, gap=None, no_gap="Neighbors were not measured.")
    suite = read(judged(dataclasses.replace(ending, record=record), max_gap=0.3), mapped)
    assert results_of(suite) == [[result]]
    assert next(iter(suite)).result[0].message == "Neighbors were not measured."


@pytest.mark.parametrize("limits", [(), (LimitRecord("max_gap", 0.3, None, NOT_JUDGEABLE, "No."),)])
def test_an_audit_that_stopped_is_an_error(read, limits):
    verdict = verdict_of(limits, outcome=NOT_JUDGEABLE, reason="At chance.")
    stopped = AuditStopped("At chance. See --anyway.", verdict, 0.1)
    suite = read(ending_of_stop("a.onnx", "train.npz", stopped))
    assert results_of(suite) == [["Error"]]
    properties = {one.name: one.value for one in suite.properties()}
    assert properties["accuracy"] == "0.1"
    assert properties["no_estimate"] == "At chance. See --anyway."


def test_names_of_strangers_are_read_back_as_they_are_shown(read, ending):
    hostile = '</testcase> & "x" ]]> \x00 \ufffe \udc80 \x1b[31m'
    suite = read(dataclasses.replace(judged(ending, max_gap=0.3), model=hostile))
    said = {one.name: one.value for one in suite.properties()}["model"]
    assert said == '</testcase> & "x" ]]> \\x00 \\ufffe \\udc80 \\x1b[31m'
    assert suite.tests == 1
