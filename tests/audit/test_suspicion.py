import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from analyzer.audit.suspects import most_suspicious, ranks_within, suspicion
from analyzer.records import SampleCounts, SampleScores


def samples(label, ascending, log_probability):
    label, ascending = np.array(label), np.array(ascending, np.int32)
    return SampleCounts(
        label=label,
        correct=np.ones(len(label), bool),
        descending=np.zeros(len(label), np.int32),
        ascending=ascending,
        index=np.arange(len(label)),
        scores=SampleScores(
            log_probability=np.array(log_probability, np.float32),
            margin=np.ones(len(label), np.float32),
            other=1 - label,
        ),
    )


def test_ranks_are_shares_of_the_group():
    group = np.array([0, 1, 0, 0, 1, 0])
    values = np.array([5.0, 1.0, 3.0, 3.0, 2.0, 9.0])
    np.testing.assert_array_equal(
        ranks_within(group, values), [2.5 / 4, 0.25, 1 / 4, 1 / 4, 0.75, 3.5 / 4]
    )


@given(
    arrays.arrays(np.int64, st.shared(st.integers(0, 30), key="size"), elements=st.integers(0, 3)),
    arrays.arrays(
        np.float64, st.shared(st.integers(0, 30), key="size"), elements=st.integers(-3, 3)
    ),
)
def test_ranks_of_a_group_average_to_a_half(group, values):
    ranks = ranks_within(group, values)
    assert ((ranks > 0) & (ranks < 1)).all()
    for one in np.unique(group):
        assert ranks[group == one].mean() == pytest.approx(0.5)


def test_by_hand():
    found = suspicion(samples([0, 0, 1, 1], [1, 9, 9, 1], [-2, -0.1, -0.1, -0.1]))
    np.testing.assert_allclose(found, -np.log10([0.25 * 0.25, 0.75 * 0.75, 0.5 * 0.75, 0.5 * 0.25]))


def test_both_doubts_count_and_each_alone_a_little():
    label = np.zeros(100, int)
    ascending, log_probability = np.full(100, 50), np.full(100, -0.01)
    ascending[[3, 4]] = 10
    log_probability[[4, 5]] = -3
    given = samples(label, ascending, log_probability)
    first = most_suspicious(given, 3)
    assert first[0] == 4
    assert set(first[1:].tolist()) == {3, 5}


def test_of_equals_the_less_probable_goes_first():
    given = samples([0, 0, 1, 1], [1, 9, 1, 9], [-2, -1, -4, -3])
    assert most_suspicious(given, 4).tolist() == [2, 0, 3, 1]
    assert len(most_suspicious(given, 0)) == 0
