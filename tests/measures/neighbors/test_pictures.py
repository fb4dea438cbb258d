"""Gray pictures, turned as scipy turns them, and distances that are those of correlations."""

import numpy as np
import pytest
from scipy import ndimage

from analyzer.measures.neighbors.pictures import (
    gray_pictures,
    picture_distances,
    turned_pictures,
)


@pytest.mark.parametrize("degrees", [-6, 3, 40])
def test_pictures_are_turned_as_scipy_does(degrees):
    pictures = np.random.default_rng(0).normal(size=(3, 28, 31)).astype(np.float32)
    wanted = ndimage.rotate(pictures, degrees, axes=(1, 2), reshape=False, order=1, mode="nearest")
    np.testing.assert_allclose(turned_pictures(pictures, degrees), wanted, atol=1e-5)


def test_distances_are_those_of_correlations_at_nine_shifts():
    random = np.random.default_rng(1)
    pictures = gray_pictures(random.normal(size=(6, 7, 6)))
    pairs = np.array([(i, j) for i in range(6) for j in range(i)])
    wanted = []
    for i, j in pairs:
        one, other = pictures[i].astype(float), pictures[j].astype(float)
        best = max(
            np.corrcoef(
                one[max(y, 0) : 7 + min(y, 0), max(x, 0) : 6 + min(x, 0)].ravel(),
                other[max(-y, 0) : 7 + min(-y, 0), max(-x, 0) : 6 + min(-x, 0)].ravel(),
            )[0, 1]
            for y in (-1, 0, 1)
            for x in (-1, 0, 1)
        )
        wanted.append(np.sqrt(1 - best))
    np.testing.assert_allclose(picture_distances(pictures, pairs), wanted, atol=1e-5)
    np.testing.assert_array_equal(
        picture_distances(pictures, pairs), picture_distances(pictures, pairs[:, ::-1])
    )


def test_a_picture_is_gray_small_and_of_any_layout():
    images = np.random.default_rng(2).integers(0, 256, (3, 3, 70, 50)).astype(np.float32)
    found = gray_pictures(images)
    assert found.shape == (3, 24, 17)  # means of 3 × 3 pixels
    np.testing.assert_allclose(found.mean(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose((found.astype(float) ** 2).mean(axis=(1, 2)), 1, rtol=1e-5)
    by_hand = images[0].astype(float).mean(axis=0)[3:6, 6:9].mean() - images[0, :, :3, :3].mean()
    assert np.sign(found[0, 1, 2] - found[0, 0, 0]) == np.sign(by_hand)
    np.testing.assert_array_equal(gray_pictures(np.moveaxis(images, 1, 3)), found)
    for one in range(3):
        np.testing.assert_array_equal(gray_pictures(images[one : one + 1])[0], found[one])
    squares = np.random.default_rng(4).integers(0, 256, (40, 8, 8))
    rows = squares.reshape(40, 64)
    np.testing.assert_array_equal(gray_pictures(rows, (8, 8)), gray_pictures(squares))
    assert gray_pictures(rows, (3, 3)).shape == (40, 1, 64)
    assert not gray_pictures(np.full((2, 4, 4), 7, np.uint8)).any()
    many = np.random.default_rng(3).random((2, 20, 9, 9))  # more channels than pixels a side
    np.testing.assert_array_equal(gray_pictures(many), gray_pictures(np.moveaxis(many, 1, 3)))
    np.testing.assert_allclose(gray_pictures(many), gray_pictures(many.mean(axis=1)), atol=1e-5)
