import dataclasses
import json

import pytest
from sealed_audits import rewrite_record

from analyzer.audit.compare import compare_audits
from analyzer.audit.folder import read_record


@pytest.fixture
def change(make_audit, gap_record):
    """Makes two audits of one seed and changes fields of the second one's record."""

    def change(**fields):
        before, after = make_audit("before", gap=gap_record), make_audit("after", gap=gap_record)
        rewrite_record(after, dataclasses.replace(read_record(after), **fields))
        return before, after

    return change


def test_an_audit_is_not_worse_than_itself(audit):
    comparison = compare_audits(audit, audit)
    assert not comparison.worse
    assert comparison.zeta.difference == 0
    assert len(comparison.classes) == 10
    assert comparison.warnings == ("Both audits are of the same network.",)


@pytest.mark.parametrize(
    ("name", "difference", "said"),
    [
        ("zeta", 0.02, "ζ rose by 0.0200"),
        ("zeta", -0.02, None),
        ("zeta", 0.01, None),
        ("kappa", -0.02, "κ fell by 0.0200"),
        ("kappa", 0.02, None),
        ("accuracy", -0.02, None),
    ],
)
def test_worse_is_a_higher_zeta_or_a_lower_kappa(change, audit, name, difference, said):
    before, after = change(**{name: getattr(read_record(audit), name) + difference})
    comparison = compare_audits(before, after)
    assert comparison.worse == (said is not None)
    assert getattr(comparison, name).difference == pytest.approx(difference)
    if said:
        assert comparison.reasons[0].startswith(said)
        assert not compare_audits(before, after, tolerance=0.05).worse


def test_a_higher_gap_is_worse(change, gap_record):
    before, after = change(gap=dataclasses.replace(gap_record, estimate=0.5))
    comparison = compare_audits(before, after)
    assert comparison.gap.difference == pytest.approx(0.09)
    assert comparison.reasons == ("The estimated gap rose by 0.0900, from 0.4100 to 0.5000.",)


def test_gaps_of_different_models_are_not_compared(change, gap_record):
    before, after = change(gap=dataclasses.replace(gap_record, estimate=0.9, gap_model="1" * 64))
    comparison = compare_audits(before, after)
    assert comparison.gap is None
    assert not comparison.worse
    assert any("different gap models" in warning for warning in comparison.warnings)


def test_what_the_audits_do_not_share_is_said(change, audit):
    record = read_record(audit)
    before, after = change(
        gap=None,
        chance=0.2,
        data=dataclasses.replace(record.data, sha256="1" * 64, preprocessing={}),
        site=dataclasses.replace(record.site, tensor="other", channels=32),
        classes=(dataclasses.replace(record.classes[0], name="renamed"), *record.classes[1:9]),
    )
    said = " ".join(compare_audits(before, after).warnings)
    for part in (
        "different samples",
        "preprocessed differently",
        "The sites differ",
        "other with 32",
        "chance levels differ: 0.1 and 0.2",
        "1 classes have samples in one audit only",
        "another name in each audit",
        "Only one audit has an estimated gap",
    ):
        assert part in said


def test_to_dict_is_strict_json(change):
    value = compare_audits(*change(zeta=0.9)).to_dict()
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert value["worse"] is True
    assert value["zeta"]["after"] == 0.9
    assert set(value["classes"][0]) == {"index", "name", "accuracy", "zeta", "kappa", "noise"}


def test_audits_by_other_rankings_do_not_mean_the_same(change):
    before, after = change(settings={"rank": "random"})
    found = compare_audits(before, after)
    (sentence,) = (s for s in found.warnings if "ranked" in s)
    assert "by l1 in the first audit, by random in the second" in sentence
    assert not found.comparable


def test_what_cannot_be_compared_is_no_worse(change, gap_record):
    gap = dataclasses.replace(gap_record, estimate=0.9)
    before, after = change(settings={"rank": "random"}, zeta=0.99, kappa=0.0, gap=gap)
    found = compare_audits(before, after)
    assert (found.reasons, found.gap) == ((), None)
