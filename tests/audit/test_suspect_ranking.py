import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from analyzer.audit.suspect_ranking import (
    DoubtLine,
    ablation_suspicion,
    doubt_labels,
    likely_labels,
    most_suspicious,
    place_without_neighbors,
    ranks_within,
)
from analyzer.measures.ablation.sample_scores import SampleCounts, SampleScores


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
    found = ablation_suspicion(samples([0, 0, 1, 1], [1, 9, 9, 1], [-2, -0.1, -0.1, -0.1]))
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


def test_the_likely_label_is_the_other_one_at_most_depths_and_of_several_the_deepest():
    labels = np.array([0, 0, 0, 0, 0, 0])
    majority = np.array(
        [
            [1, 0, 1, 1, -1, 0],
            [1, 0, 2, 2, -1, 0],
            [2, 0, 2, 1, -1, 3],
            [0, 0, 1, 2, -1, 0],
            [5, 5, 5, 5, 5, 5],  # the last activation does not count
        ]
    )
    likely, depths = likely_labels(labels, majority)
    assert likely.tolist() == [1, -1, 1, 2, -1, 3]
    assert depths.tolist() == [2, 0, 2, 2, 0, 1]


@given(
    arrays.arrays(np.int64, st.tuples(st.just(5), st.integers(0, 6)), elements=st.integers(-1, 3))
)
def test_likely_labels_as_they_are_counted_one_by_one(majority):
    labels = np.ones(majority.shape[1], int)
    likely, depths = likely_labels(labels, majority)
    for place in range(majority.shape[1]):
        named = [one for one in majority[:4, place].tolist() if one not in (-1, 1)]
        if not named:
            assert (likely[place], depths[place]) == (-1, 0)
            continue
        most = max(named.count(one) for one in named)
        wanted = [one for one in named if named.count(one) == most][-1]
        assert (likely[place], depths[place]) == (wanted, most)


def test_the_odds_are_those_of_the_line():
    line = DoubtLine(agreement=-2, hold=-1, depths=3, intercept=-1)
    agreement = np.full((5, 3), 0.4)
    agreement[0] = [0.0, 0.8, np.nan]
    majority = np.array([[1, 0, -1], [1, 0, 0], [1, 0, 0], [2, 0, 0], [9, 9, 9]])
    found = doubt_labels(np.zeros(3, int), np.array([0.25, 1, np.nan]), agreement, majority, line)
    by_hand = [
        -2 * np.log(0.3 + 0.1) - np.log(0.35) + 3 * 3 / 4 - 1,
        -2 * np.log(0.5 + 0.1) - np.log(1.1) - 1,
        -2 * np.log(0.425 + 0.1) - np.log(0.6) - 1,  # what is unknown counts as a half
    ]
    np.testing.assert_allclose(found.log_odds, by_hand, atol=1e-9)
    np.testing.assert_allclose(found.probability, 1 / (1 + np.exp(-np.array(by_hand))))


def test_samples_without_neighbors_have_no_probability_and_go_by_ablation():
    label = np.zeros(4, int)
    agreement, majority = np.full((5, 4), np.nan), np.full((5, 4), -1)
    agreement[:, 0], majority[:, 0] = 0.1, 3
    doubt = doubt_labels(label, np.full(4, np.nan), agreement, majority)
    assert np.isnan(doubt.probability).tolist() == [False, True, True, True]
    assert doubt.likely.tolist() == [3, -1, -1, -1]
    given_ = samples([0] * 4, [9, 5, 1, 9], [-0.1, -1, -2, -0.2])
    assert most_suspicious(given_, 4, doubt).tolist() == [0, 2, 1, 3]


def test_what_the_neighbors_outvote_goes_first_whatever_the_network_says():
    label = np.zeros(20, int)
    agreement, majority = np.ones((5, 20)), np.zeros((5, 20), int)
    agreement[:4, 7], majority[:4, 7] = 0, 1
    hold = np.ones(20)
    hold[7] = 0
    doubt = doubt_labels(label, hold, agreement, majority)
    assert doubt.probability[7] > 0.9
    assert doubt.probability[:7].max() < 0.01
    given_ = samples([0] * 20, [9] * 20, [-0.001 if i == 7 else -1 for i in range(20)])
    assert most_suspicious(given_, 1, doubt).tolist() == [7]
    assert most_suspicious(given_, 1).tolist() != [7]


def test_samples_without_neighbors_stand_among_those_with_some():
    """In their own order, each where as many of them are more suspicious, but nearer the middle."""
    labels, count = np.zeros(60, np.int64), 60
    near = np.arange(count) % 3 > 0
    agreement = np.where(near, np.linspace(0, 1, count), np.nan)[None].repeat(5, axis=0)
    majority = np.where(near, np.where(agreement < 0.5, 1, 0), -1)
    hold = np.ones(count)
    said = doubt_labels(labels, hold, agreement, majority)
    some = samples(labels, np.arange(count), -np.arange(count, 0, -1.0))
    found = place_without_neighbors(said, some)
    np.testing.assert_array_equal(found.log_odds[near], said.log_odds[near])
    np.testing.assert_array_equal(found.probability, said.probability)
    own = found.log_odds[~near]
    assert (np.diff(own) <= 0).all()  # as ablation and log-probability have it
    middle = np.median(said.log_odds[near])
    assert middle == pytest.approx(np.median(own), abs=0.5)
    lowest, highest = np.sort(said.log_odds[near])[[0, -1]]
    assert middle + 0.8 * (lowest - middle) <= own.min()
    assert middle < own.max() <= middle + 0.8 * (highest - middle)
    everyone = doubt_labels(labels, hold, np.nan_to_num(agreement), np.maximum(majority, 0))
    assert place_without_neighbors(everyone, some) is everyone
