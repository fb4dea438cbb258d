"""Sizes of batches, at each of which rows are held against the same rows alone."""

import numpy as np
import pytest

from analyzer.errors import ModelError
from analyzer.runtime.independence import CheckedSizes

IMAGES = np.random.default_rng(0).normal(size=(100, 3))


def run_at(changed, by=1.0):
    """Run batches of the images through a network that adds to one score at changed sizes."""
    checked = CheckedSizes()
    alone = []

    def once(piece):
        scores = IMAGES[piece].copy()
        scores[:, 2] += by * changed(len(scores))
        return [scores]

    def by_one(piece):
        alone.append(piece)
        return once(piece)

    def run(count):
        checked.check("scores", once(slice(0, count)), by_one)

    return run, alone


@pytest.mark.parametrize("size", [4, 16, 65, 91])
def test_a_network_that_changes_above_a_size_is_refused_at_that_size(size):
    run, _ = run_at(lambda rows: rows > size)
    run(2)
    run(size)
    with pytest.raises(ModelError, match=r"output scores .* depends on the other images"):
        run(size + 1)


def test_smaller_batches_than_the_first_are_checked_too():
    run, _ = run_at(lambda rows: 1 < rows < 64)
    run(64)
    with pytest.raises(ModelError):
        run(7)


def test_each_size_is_checked_once_and_rounding_is_let_pass():
    run, alone = run_at(lambda rows: rows > 1, by=1e-3)
    run(90)
    first = len(alone)
    assert (alone[0], alone[first - 1]) == (slice(0, 1), slice(89, 90))
    run(90)
    assert len(alone) == first
    run(20)
    assert len(alone) > first


def test_images_of_which_some_have_more_scores_are_refused():
    def of(count):
        return [np.zeros((1, count))]

    checked = CheckedSizes()
    checked.check("scores", of(5), lambda piece: of(5))
    with pytest.raises(ModelError, match=r"shape \(5,\) for some images and \(4,\) for others"):
        checked.check("scores", of(4), lambda piece: of(4))
    with pytest.raises(ModelError, match=r"\(5,\) for some images and \(6,\)"):
        checked.check("scores", [np.zeros((2, 5))], lambda piece: of(6))


def test_labels_and_scores_all_alike():
    same = np.full((5, 3), 7.0, np.float32)
    CheckedSizes().check("scores", [same], lambda piece: [same[piece] * np.float32(1 + 1e-7)])
    labels = np.array([[3], [3], [4]])
    with pytest.raises(ModelError):
        CheckedSizes().check("label", [labels], lambda piece: [labels[piece] * 0 + 3], exact=True)


@pytest.mark.parametrize("far", [-1e9, float(np.finfo(np.float32).min), -np.inf])
def test_a_class_that_never_competes_says_nothing_of_the_rounding_of_others(far):
    scores = np.pad(IMAGES, ((0, 0), (0, 1)), constant_values=far).astype(np.float32)
    moved = np.where(np.abs(scores) < 1e9, scores + np.float32(1e-7), scores)
    CheckedSizes().check("scores", [scores], lambda piece: [moved[piece]])

    def alone(piece):
        one = scores[piece].copy()
        one[:, 0] += 0.5
        return [one]

    with pytest.raises(ModelError, match="depends on the other images"):
        CheckedSizes().check("scores", [scores], alone)


def test_what_all_scores_of_an_image_have_in_common_says_nothing_either():
    scores = IMAGES + np.linspace(-1e4, 1e4, len(IMAGES))[:, None]
    with pytest.raises(ModelError, match="depends on the other images"):
        CheckedSizes().check("scores", [scores], lambda piece: [scores[piece] + [[0.5, 0, 0]]])
