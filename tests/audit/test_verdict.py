"""What follows from limits and a record: pass, fail, or not judgeable."""

import dataclasses
from pathlib import Path

import pytest

from analyzer.audit import read_record
from analyzer.audit.verdict import (
    FAIL,
    NOT_JUDGEABLE,
    PASS,
    at_chance,
    doubt_of,
    exceeds,
    is_at_chance,
    judge,
    told_apart,
)
from analyzer.cli.audit_command import _facts


@pytest.fixture
def record(audit):
    """An estimate of 0.41, 0.34 to 0.48, of a network that knows its data."""
    found = read_record(audit)
    return dataclasses.replace(found, chance=0.001)


def with_limits(record, **limits):
    return dataclasses.replace(record, settings={**record.settings, **limits})


@pytest.mark.parametrize(
    ("limits", "outcomes"),
    [
        ({"max_gap": 0.48}, [PASS]),
        ({"max_gap": 0.4799}, [FAIL]),
        ({"max_gap": 0.42, "gate": "estimate"}, [PASS]),
        ({"max_gap": 0.40, "gate": "estimate"}, [FAIL]),
        ({"min_accuracy": 0.5}, [PASS]),
        ({"min_accuracy": 0.5, "max_gap": 0.1}, [PASS, FAIL]),
        ({"min_accuracy": 1.0, "max_gap": 0.9}, [FAIL, PASS]),
    ],
)
def test_each_limit_is_judged_and_one_that_fails_decides(record, limits, outcomes):
    verdict = judge(with_limits(record, **limits))
    assert [one.outcome for one in verdict.limits] == outcomes
    assert verdict.outcome == (FAIL if FAIL in outcomes else PASS)
    assert verdict.sentence.startswith(f"{verdict.outcome.capitalize()}: {verdict.reasons[0]}")


@pytest.mark.parametrize(("share", "outcome"), [(0.05, PASS), (0.051, FAIL), (None, NOT_JUDGEABLE)])
def test_a_limit_of_doubtful_labels(record, share, outcome):
    verdict = judge(with_limits(changed(record, doubtful_labels=share), max_suspects=0.05))
    assert verdict.outcome == outcome
    assert verdict.limits[0].figure == share


@pytest.mark.parametrize(
    ("figure", "limit", "percent", "wanted"),
    [
        (0.5, 0.48, False, ("0.5000", "0.48")),
        (0.899999, 0.9, False, ("0.899999", "0.9")),
        (0.30004, 0.3, False, ("0.30004", "0.3")),
        (2 / 3, 0.66666666, False, ("0.6667", "0.66666666")),
        (0.25, 0.25, False, ("0.2500", "0.25")),
        (-1e-9, 0.0, False, ("-0.000000001", "0")),
        (-1e-9, 0.1, False, ("0.0000", "0.1")),
        (0.05001, 0.05, True, ("5.001%", "5.0%")),
        (0.2, 0.0512, True, ("20.0%", "5.12%")),
        (float("inf"), 0.3, False, ("inf", "0.3")),
        (1e300, 0.3, False, (f"{1e300:.4f}", "0.3")),
    ],
)
def test_a_figure_is_told_on_its_side_of_the_limit(figure, limit, percent, wanted):
    assert told_apart(figure, limit, percent=percent) == wanted


def test_a_difference_in_the_last_digits_is_no_difference():
    assert 0.8 - 0.7 > 0.1
    assert not exceeds(0.8 - 0.7, 0.1)
    assert exceeds(0.1 + 1e-9, 0.1)
    assert told_apart(0.8 - 0.7, 0.1) == ("0.1000", "0.1")


def test_without_a_limit_there_is_no_verdict(record):
    assert judge(record) is None


def changed(record, **fields):
    return dataclasses.replace(record, **fields)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: changed(r, gap=None, no_gap="Neighbors were not measured."), "Neighbors were"),
        (lambda r: changed(r, gap=None), "No gap model was asked for"),
        (
            lambda r: changed(r, gap=dataclasses.replace(r.gap, inside_range=False)),
            "unlike those that the gap model was fitted on",
        ),
        (lambda r: changed(r, chance=r.accuracy), "no better than chance"),
        (
            lambda r: changed(
                r, classes=(dataclasses.replace(r.classes[0], accuracy=0.0), *r.classes[1:])
            ),
            "1 of 10 classes is no better than chance",
        ),
    ],
)
def test_what_means_nothing_never_passes(record, change, said):
    doubtful = with_limits(change(record), max_gap=1.0)
    verdict = judge(doubtful)
    assert verdict.outcome == NOT_JUDGEABLE
    assert said in verdict.sentence
    assert said in doubt_of(doubtful)
    # A limit that does fail is not excused by one that cannot be judged.
    if doubtful.accuracy < 1:
        assert judge(with_limits(doubtful, min_accuracy=1.0)).outcome == FAIL


def test_an_estimate_that_no_limit_relies_on_is_said_to_be_none(record):
    first = dataclasses.replace(record.classes[0], accuracy=record.chance, gap=0.1)
    doubtful = dataclasses.replace(record, classes=(first, *record.classes[1:]))
    for one, told in ((record, False), (doubtful, True)):
        said = dict(_facts(one, Path("audit")))
        assert ("not dependable" in said["gap"]) == told, said["gap"]
    assert "not dependable" in said["classes"]


def test_chance_has_three_standard_errors():
    assert is_at_chance(0.19, 0.1, 100)  # 0.1 + 3 * 0.03
    assert not is_at_chance(0.191, 0.1, 100)


@pytest.mark.parametrize(
    ("accuracy", "chance", "samples", "said"),
    [
        (
            1.0,
            0.1,
            1,
            "of 1 training sample is named as labeled, and chance is 10.0%: so few samples",
        ),
        (1.0, 0.5, 9, "100.0% of 9 training samples are named as labeled, and chance is 50"),
        (
            0.0,
            0.1,
            1,
            "0.0% of 1 training sample is named as labeled, no better than chance",
        ),
        (0.19, 0.1, 100, "no better than chance (10.0%) as far as these tell: the preprocessing"),
        (0.05, 0.1, 100, "no better than chance (10.0%): the preprocessing"),
    ],
)
def test_what_is_said_at_chance_is_true(accuracy, chance, samples, said):
    assert is_at_chance(accuracy, chance, samples)
    assert said in at_chance(accuracy, chance, samples)


def test_ten_samples_of_two_classes_are_enough_to_know_them_all():
    assert not is_at_chance(1.0, 0.5, 10)
