"""Samples by place, and parts of them that contents decide."""

import numpy as np
import pytest
from samples_in_memory import opened, samples_of

from analyzer.errors import DataError
from analyzer.measures.training_images import (
    SampleImages,
    balanced_part,
    class_weights,
    content_numbers,
    content_ranks,
    joined_numbers,
    seeded_keys,
)

RANDOM = np.random.default_rng(0)


def images_of(*numbers):
    """One image for each number; equal numbers, equal bytes."""
    return np.array(numbers, np.float32).reshape(-1, 1, 1, 1) * np.ones((1, 2, 2), np.float32)


def digests_of(*numbers):
    return opened(images_of(*numbers), np.zeros(len(numbers), int)).digests


def test_images_are_the_same_held_or_read_again():
    images, labels = RANDOM.normal(size=(150, 3, 4)).astype(np.float32), np.arange(150) % 3
    held, read = (opened(images, labels, memory=memory) for memory in (images.nbytes, 100))
    assert held.held is not None
    assert read.held is None
    places = np.array([149, 3, 3, 70, 0, 149])
    for found in (held, read):
        np.testing.assert_array_equal(found.take(places), images[places])
        parts = list(found.batches(places, 4))
        assert [len(part) for part in parts] == [4, 2]
        np.testing.assert_array_equal(np.concatenate(parts), images[places])


def test_unread_samples_are_named_and_their_neighbors_keep_their_place():
    images = images_of(*range(100))
    found = opened(images, np.zeros(100, int), unread={3 * i for i in (0, 5, 64, 65, 99)})
    np.testing.assert_array_equal(np.flatnonzero(~found.read), [0, 5, 64, 65, 99])
    np.testing.assert_array_equal(found.take(np.array([6, 66])), images[[6, 66]])
    with pytest.raises(DataError, match="Not one"):
        opened(images_of(1, 2), [0, 0], unread={0, 3})


def test_data_that_change_meanwhile_are_refused():
    images = images_of(1, 2, 3)
    found = opened(images, [0, 0, 0], memory=1)
    later = SampleImages(samples_of(images[::-1], [0, 0, 0]), found.digests, found.read)
    with pytest.raises(DataError, match="A sample has changed"):
        later.take(np.array([0]))


def test_equal_contents_share_a_number_and_ranks_are_their_order():
    digests, labels = digests_of(4, 7, 4, 4, 9), np.array([1, 0, 0, 1, 0])
    numbers = content_numbers(digests)
    assert len(set(numbers)) == 3
    assert numbers[0] == numbers[2] == numbers[3]
    numbers = content_numbers(digests, labels)
    assert len(set(numbers)) == 4
    assert numbers[0] == numbers[3] != numbers[2]
    order = np.argsort(content_ranks(digests, labels))
    keys = [(digests[i].tobytes(), labels[i], i) for i in order]
    assert keys == sorted(keys)


def test_keys_are_the_same_everywhere_and_differ_by_seed_and_purpose():
    digests = digests_of(*range(50))
    found = seeded_keys(digests, 0)
    assert len(set(found.tolist())) == 50
    for other in (seeded_keys(digests, 1), seeded_keys(digests, 0, 1)):
        assert not np.intersect1d(found, other).size
        assert abs(np.corrcoef(np.argsort(found), np.argsort(other))[0, 1]) < 0.5
    zeros = np.zeros((1, 32), np.uint8)
    assert seeded_keys(zeros, 0).tolist() == [16294208416658607535]  # SplitMix64's first of seed 0


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(6, [2, 2, 2]), (12, [5, 5, 2]), (7, [3, 2, 2]), (1, [1, 0, 0]), (28, [20, 6, 2])],
)
def test_a_part_has_as_many_of_each_class_as_can_be(count, sizes):
    labels = np.repeat([0, 4, 9], [20, 6, 2])
    digests = digests_of(*range(28))
    part = balanced_part(labels, digests, np.ones(28, bool), count, 0)
    assert [int(part[labels == label].sum()) for label in (0, 4, 9)] == sizes
    weights = class_weights(labels, np.ones(28, bool), part)
    for label, total, size in zip((0, 4, 9), (20, 6, 2), sizes, strict=True):
        assert weights[labels == label].sum() == pytest.approx(total if size else 0)


def test_a_part_goes_by_contents_not_by_places():
    numbers = RANDOM.integers(0, 60, 120)
    labels, read = numbers % 3, RANDOM.random(120) < 0.9
    digests = digests_of(*numbers)
    part = balanced_part(labels, digests, read, 40, 3)
    assert part.sum() >= 40
    assert not part[~read].any()
    chosen = set(numbers[part])
    assert not any(number in chosen for number in numbers[read & ~part])  # copies stay together
    order = RANDOM.permutation(120)
    again = balanced_part(labels[order], digests[order], read[order], 40, 3)
    np.testing.assert_array_equal(again, part[order])
    assert (balanced_part(labels, digests, read, 40, 4) != part).any()


def test_joined_numbers_are_the_components_that_a_search_finds():
    random = np.random.default_rng(3)
    for _ in range(50):
        size, count = random.integers(1, 30, 2)
        numbers, pairs = random.integers(0, size, size), random.integers(0, size, (count, 2))
        expected = numbers.copy()
        for _ in range(size):  # the lower number of a pair goes to all that have the higher one
            for first, second in expected[pairs]:
                expected[expected == max(first, second)] = min(first, second)
        found = joined_numbers(numbers, pairs)
        same = expected[:, None] == expected
        assert np.array_equal(found[:, None] == found, same)
