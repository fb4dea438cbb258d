"""Which samples look the same and have different labels, against every pair looked at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.measures.neighbors import NeighborVotes
from analyzer.measures.neighbors.label_conflicts import conflicts_record, find_conflicts


def votes_of(vectors, contents, *, k=3):
    """What a search finds among rows of different content, but for the votes."""
    size = len(vectors)
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    apart[contents[:, None] == contents[None]] = np.inf
    nearest = np.argsort(apart, axis=1, kind="stable")[:, :k]
    distance = np.take_along_axis(apart, nearest, axis=1)
    none = np.isinf(distance)
    return NeighborVotes(
        measured=np.ones(size, bool),
        agreement=np.zeros((5, size)),
        majority=np.zeros((5, size), int),
        nearest=np.full((size, k), -1),
        weight=np.ones(size),
        nearest_images=np.where(none, -1, nearest),
        distance_images=np.where(none, np.nan, distance),
        content=contents,
    )


def test_near_ones_of_another_label_are_found():
    vectors = np.array([[0.0, 0], [0.01, 0], [0.012, 0], [1, 0], [0, 1], [1, 1.0]])
    votes = votes_of(vectors, np.arange(6))
    found = find_conflicts(votes, np.array([0, 0, 1, 1, 1, 0]))
    assert found.twin.tolist() == [2, 2, 1, -1, -1, -1]
    np.testing.assert_allclose(found.distance[:3], [0.012, 0.002, 0.002])
    assert not found.same_bytes.any()
    assert (find_conflicts(votes, np.zeros(6, int)).twin == -1).all()


def test_near_is_what_is_near_for_these_data():
    vectors = np.random.default_rng(0).normal(size=(40, 5))
    vectors[1] = vectors[0] + 0.01
    labels = np.arange(40)
    for scale in (1e-3, 1, 50):  # as alike as all are, they are not the same
        found = find_conflicts(votes_of(scale * vectors, np.arange(40)), labels)
        assert np.flatnonzero(found.twin >= 0).tolist() == [0, 1]


def test_the_same_bytes_go_before_near_ones():
    vectors = np.array([[0.0, 0], [0, 0], [1e-6, 0], [1, 0], [0, 1]])
    found = find_conflicts(votes_of(vectors, np.array([0, 0, 1, 2, 3])), np.array([0, 1, 1, 0, 1]))
    assert found.twin.tolist() == [1, 0, 0, -1, -1]
    assert found.same_bytes.tolist() == [True, True, False, False, False]
    said = conflicts_record(
        found,
        np.array([0, 1, 1, 0, 1]),
        np.array([10, 20, 30, 40, 50]),
        sample_name="sample {}".format,
        class_name="class {}".format,
    )
    assert (said.same_bytes, said.near) == (2, 1)
    assert [(one.index, one.other_index, one.same_bytes) for one in said.pairs] == [
        (10, 20, True),
        (10, 30, False),
    ]
    assert said.pairs[0].other_name == "sample 20"
    assert said.pairs[0].other_label_name == "class 1"


@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 2)), max_size=12))
def test_twins_of_the_same_bytes_are_the_first_of_another_label(samples):
    contents, labels = (np.array([one[i] for one in samples], int) for i in (0, 1))
    votes = votes_of(np.zeros((len(samples), 2)), np.zeros(len(samples), int), k=1)
    votes.content[:] = contents
    found = find_conflicts(votes, labels)
    for place, (content, label) in enumerate(samples):
        others = [
            (other[1], at)
            for at, other in enumerate(samples)
            if content >= 0 and other[0] == content and other[1] != label
        ]
        assert found.twin[place] == (min(others)[1] if others else -1)


def test_only_so_many_pairs_are_listed():
    contents = np.repeat(np.arange(80), 2)
    votes = votes_of(np.random.default_rng(0).normal(size=(160, 3)), contents)
    labels = np.arange(160) % 2
    said = conflicts_record(
        find_conflicts(votes, labels), labels, np.arange(160), sample_name=str, class_name=str
    )
    assert said.same_bytes == 160
    assert len(said.pairs) == 50


@pytest.mark.parametrize("size", [0, 1])
def test_of_one_sample_or_none_there_is_no_conflict(size):
    votes = votes_of(np.zeros((size, 2)), np.arange(size), k=0)
    assert find_conflicts(votes, np.zeros(size, int)).twin.tolist() == [-1] * size
