"""Twins: made copies are found and others are not; and which of them are conflicts of labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from analyzer.measures.neighbors.pictures import gray_pictures
from analyzer.measures.neighbors.twins import (
    conflicts_record,
    find_conflicts,
    find_twins,
)
from analyzer.measures.neighbors.vector_search import nearest_neighbors, unit_vectors
from analyzer.measures.neighbors.votes import NeighborVotes

DIGITS = np.rint(load_digits().images[:400] * (255 / 16)).astype(np.uint8)


def twins_among(images, ranks=None):
    """The twins among images, which are searched at the images alone."""
    count = len(images)
    vectors = unit_vectors(images.reshape(count, -1).astype(np.float64))
    everyone = np.arange(count)
    ranks = everyone if ranks is None else ranks
    nearest = nearest_neighbors(vectors, everyone, ranks, 32, everyone)
    return find_twins(gray_pictures(images), nearest[None], ranks)[0]


def shifted(images):
    return np.roll(images, 1, axis=2)


def brighter(images):
    return np.minimum(images.astype(int) + 40, 255).astype(np.uint8)


def with_less_contrast(images):
    return (images * 0.6 + 30).astype(np.uint8)


def noisy(images):
    noise = np.random.default_rng(0).normal(scale=6, size=images.shape)
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


def test_different_digits_are_no_twins():
    assert len(twins_among(DIGITS)) == 0


def turned(images):
    return np.stack(
        [np.array(Image.fromarray(one).rotate(5, Image.Resampling.BILINEAR)) for one in images]
    )


@pytest.mark.parametrize("copied", [brighter, with_less_contrast, noisy, turned])
def test_copies_are_found(copied):
    found = twins_among(np.concatenate([DIGITS, copied(DIGITS[:60])]))
    pairs = {tuple(pair) for pair in found.tolist()}
    made = {(i, 400 + i) for i in range(60)}
    assert len(pairs & made) >= 48  # some of what is brighter is cut off at white
    assert len(pairs - made) <= 1


def test_what_was_shifted_is_found_where_it_is_near():
    # At the images these are far apart: a later layer has to propose them.
    images = np.concatenate([DIGITS, shifted(DIGITS[:40])])
    count, everyone = len(images), np.arange(len(images))
    vectors = unit_vectors(images.reshape(count, -1).astype(np.float64))
    nearest = nearest_neighbors(vectors, everyone, everyone, 32, everyone)
    later = np.roll(nearest, 1, axis=1)
    later[400:, 0] = everyone[:40]
    found, apart = find_twins(gray_pictures(images), np.stack([nearest, later]), everyone)
    assert apart.max() < 0.1
    assert {(i, 400 + i) for i in range(40)} <= {tuple(pair) for pair in found.tolist()}


def test_the_order_of_the_samples_changes_nothing():
    images = np.concatenate([DIGITS[:200], noisy(DIGITS[:30]), turned(DIGITS[30:60])])
    order = np.random.default_rng(3).permutation(260)
    again = order[twins_among(images[order], order)]
    assert {tuple(sorted(pair)) for pair in again.tolist()} == {
        tuple(pair) for pair in twins_among(images).tolist()
    }


@pytest.mark.parametrize("copied", [brighter, noisy, shifted, turned])
def test_pairs_that_are_passed_over_are_no_twins(copied, monkeypatch):
    """Those of which products of matrices say that they are far apart, however they are moved."""
    some = DIGITS[:150]
    images = np.concatenate([some, np.zeros_like(some[:1]), copied(some[:60])])
    images[3:6, 1:, 1:] = 7  # nothing but an edge
    quickly = twins_among(images)
    monkeypatch.setattr(
        "analyzer.measures.neighbors.twins.may_correlate",
        lambda pictures, pairs, least: np.ones(len(pairs), bool),
    )
    np.testing.assert_array_equal(twins_among(images), quickly)


@pytest.mark.parametrize("shape", [(2,), (3, 1), (2, 3, 3)])
def test_in_simple_data_few_are_near_by_chance(shape):
    """Two or three numbers a sample: many have another one at three tenths of the usual."""
    images = np.random.default_rng(0).normal(size=(300, *shape)).astype(np.float32)
    assert len(twins_among(images)) <= 3


def test_of_few_samples_or_equal_ones_none_are_twins():
    assert len(twins_among(DIGITS[:30])) == 0
    few = np.concatenate([DIGITS[:30], DIGITS[:2] // 2 + 5])
    assert twins_among(few).tolist() == [[0, 30], [1, 31]]
    assert len(twins_among(few[[*range(18), 30, 31]])) == 0
    assert len(twins_among(np.ones((150, 8, 8), np.uint8))) == 0


def votes_of(contents, twins=(), distance=()):
    """What conflicts are read from."""
    size = len(contents)
    return NeighborVotes(
        measured=np.ones(size, bool),
        agreement=np.zeros((5, size)),
        majority=np.zeros((5, size), int),
        nearest=np.full((size, 3), -1),
        weight=np.ones(size),
        nearest_images=np.full((size, 3), -1),
        distance_images=np.full((size, 3), np.nan),
        content=np.asarray(contents),
        group=np.full(size, -1),
        twins=np.array(twins, int).reshape(-1, 2),
        twin_distance=np.array(distance, float),
    )


def test_the_nearest_twin_of_another_label_is_a_conflict():
    votes = votes_of(np.arange(6), [(0, 1), (0, 2), (1, 2), (3, 5)], [0.01, 0.012, 0.002, 0.1])
    found = find_conflicts(votes, np.array([0, 0, 1, 1, 1, 1]))
    assert found.twin.tolist() == [2, 2, 1, -1, -1, -1]
    np.testing.assert_allclose(found.distance[:3], [0.012, 0.002, 0.002])
    assert not found.same_bytes.any()
    assert (find_conflicts(votes, np.zeros(6, int)).twin == -1).all()


def test_what_shows_the_same_thing_has_one_number():
    votes = votes_of([0, 0, 1, 2, 3, 4], [(1, 2), (3, 4)], [0.1, 0.1])
    votes.group[[2, 5]] = 7
    things = votes.things()
    assert len(set(things[[0, 1, 2, 5]])) == len(set(things[3:5])) == 1
    assert things[0] != things[3]
    apart = votes.things(with_twins=False)
    assert apart[0] == apart[1] != apart[2] == apart[5]


def test_the_same_bytes_go_before_twins():
    labels = np.array([0, 1, 1, 0, 1])
    votes = votes_of([0, 0, 1, 2, 3], [(0, 2), (1, 2)], [0.05, 0.05])
    found = find_conflicts(votes, labels)
    assert found.twin.tolist() == [1, 0, 0, -1, -1]
    assert found.same_bytes.tolist() == [True, True, False, False, False]
    said = conflicts_record(
        found,
        labels,
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
    found = find_conflicts(votes_of(contents), labels)
    for place, (content, label) in enumerate(samples):
        others = [
            (other[1], at)
            for at, other in enumerate(samples)
            if content >= 0 and other[0] == content and other[1] != label
        ]
        assert found.twin[place] == (min(others)[1] if others else -1)


def test_only_so_many_pairs_are_listed():
    contents = np.repeat(np.arange(80), 2)
    labels = np.arange(160) % 2
    said = conflicts_record(
        find_conflicts(votes_of(contents), labels),
        labels,
        np.arange(160),
        sample_name=str,
        class_name=str,
    )
    assert said.same_bytes == 160
    assert len(said.pairs) == 50


@pytest.mark.parametrize("size", [0, 1])
def test_of_one_sample_or_none_there_is_no_conflict(size):
    assert (
        find_conflicts(votes_of(np.arange(size)), np.zeros(size, int)).twin.tolist() == [-1] * size
    )
