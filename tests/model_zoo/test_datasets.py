import numpy as np
import pytest

from analyzer.errors import DataError
from model_zoo import datasets
from model_zoo.datasets import DATA_SETS, colored, corrupt, corrupt_alike, likeness, stratified


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
def test_corrupt_changes_the_expected_share(fraction):
    labels = np.arange(20_000) % 10
    corrupted = corrupt(labels, fraction, classes=10, generator=np.random.default_rng(1))
    # Drawn from all classes, so a tenth of the drawn labels stay what they were.
    assert np.mean(corrupted != labels) == pytest.approx(0.9 * fraction, abs=0.01)
    drawn = corrupted[corrupted != labels]
    if fraction:
        assert np.bincount(drawn, minlength=10) / len(drawn) == pytest.approx(0.1, abs=0.02)


def test_corrupt_leaves_the_given_labels_alone():
    labels = np.zeros(50, np.int64)
    corrupt(labels, 1.0, classes=10, generator=np.random.default_rng(0))
    assert not labels.any()


@pytest.fixture
def rows_of_gray():
    """Images of six classes, 40 of each: class k is of gray 40·k, so that its likes are the classes
    beside it. (images, labels)
    """
    generator = np.random.default_rng(4)
    labels = generator.permutation(np.arange(240) % 6)
    noise = generator.integers(-5, 6, (240, 3, 3))
    return (20 + 40 * labels[:, None, None] + noise).astype(np.uint8), labels


def test_likeness_finds_the_classes_that_look_alike(rows_of_gray):
    alike = likeness(*rows_of_gray)
    np.testing.assert_allclose(alike.sum(axis=1), 1)
    assert not alike.diagonal().any()
    for label in range(1, 5):
        assert set(np.flatnonzero(alike[label])) <= {label - 1, label + 1}
    assert alike[0].argmax() == 1
    assert alike[5].argmax() == 4


def test_likeness_does_not_depend_on_how_many_distances_are_held(rows_of_gray, monkeypatch):
    whole = likeness(*rows_of_gray)
    monkeypatch.setattr(datasets, "_ROWS", 7)
    np.testing.assert_array_equal(likeness(*rows_of_gray), whole)


@pytest.mark.parametrize("fraction", [0.01, 0.05, 0.2])
def test_confusable_labels_are_wrong_exactly_that_often_and_of_alike_classes(
    rows_of_gray, fraction
):
    images, labels = rows_of_gray
    given = corrupt_alike(labels, images, fraction, generator=np.random.default_rng(6))
    wrong = given != labels
    assert wrong.sum() == round(fraction * len(labels))
    assert likeness(images, labels)[labels[wrong], given[wrong]].all()
    again = corrupt_alike(labels, images, fraction, generator=np.random.default_rng(6))
    np.testing.assert_array_equal(again, given)


def test_confusable_digits_are_those_that_people_confuse():
    train, _ = DATA_SETS["digits"].read(None)
    alike = likeness(train.images, train.labels)
    assert alike[1].argmax() == 8
    assert alike[9].argmax() in (3, 5)


def test_stratified_keeps_the_shares_of_classes():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    chosen = stratified(labels, 100, np.random.default_rng(3))
    assert np.bincount(labels[chosen]).tolist() == [60, 30, 10]
    assert (np.diff(chosen) > 0).all()


def test_stratified_can_take_all():
    labels = np.array([2, 0, 1, 0])
    assert stratified(labels, 4, np.random.default_rng(0)).tolist() == [0, 1, 2, 3]


def test_digits_splits_are_disjoint_and_complete():
    train, test = DATA_SETS["digits"].read(None)
    assert (len(train.labels), len(test.labels)) == (1300, 497)
    assert train.images.dtype == np.uint8
    assert train.images.shape[1:] == (8, 8)
    assert train.images.max() == 255
    shares = [np.bincount(split.labels) / len(split.labels) for split in (train, test)]
    assert shares[0] == pytest.approx(shares[1], abs=0.01)


def test_fashion_mnist_missing_says_where_to_get_it(tmp_path):
    with pytest.raises(DataError, match="dataset-fashion-mnist"):
        DATA_SETS["fashion-mnist"].read(tmp_path / "nowhere")


def test_a_drawing_in_color_stands_out_from_its_background():
    ink = np.zeros((32, 32), np.uint8)
    ink[8:24, 8:24] = 255
    for seed in range(20):
        image = colored(ink, np.random.default_rng(seed)).astype(float)
        inner, around = (
            image[12:20, 12:20].mean(axis=(0, 1)),
            image[[5, 26], 8:24].mean(axis=(0, 1)),
        )
        assert np.linalg.norm(inner - around) > 50
        np.testing.assert_array_equal(image, colored(ink, np.random.default_rng(seed)))


def test_color_glyphs_are_the_capitals_each_in_its_own_colors(tmp_path):
    labels = np.repeat(np.arange(100, dtype=np.uint8), 2)
    ink = np.full((200, 32, 32), 255, np.uint8)
    splits = {"images": ink, "labels": labels}
    np.savez(
        tmp_path / "glyphs.npz",
        **{f"{s}_{k}": splits[k] for s in ("train", "test") for k in splits},
    )
    data_set = DATA_SETS["color-glyphs"]
    train, test = data_set.read(tmp_path)
    assert np.bincount(train.labels).tolist() == [2] * data_set.classes
    assert train.images.shape == test.images.shape == (50, 32, 32, data_set.colors)
    colors = np.concatenate([train.images, test.images]).mean(axis=(1, 2)).round()
    assert len(np.unique(colors, axis=0)) == 100
