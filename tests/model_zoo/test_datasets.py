import numpy as np
import pytest

from analyzer.errors import DataError
from model_zoo.datasets import DATA_SETS, corrupt, stratified


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


def test_stratified_keeps_the_shares_of_classes():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    chosen = stratified(labels, 100, np.random.default_rng(3))
    assert np.bincount(labels[chosen]).tolist() == [60, 30, 10]
    assert (np.diff(chosen) > 0).all()


def test_stratified_can_take_all():
    labels = np.array([2, 0, 1, 0])
    assert stratified(labels, 4, np.random.default_rng(0)).tolist() == [0, 1, 2, 3]


def test_digits_halves_are_disjoint_and_complete():
    train, test = DATA_SETS["digits"].read(None)
    assert (len(train.labels), len(test.labels)) == (1300, 497)
    assert train.images.dtype == np.uint8
    assert train.images.shape[1:] == (8, 8)
    assert train.images.max() == 255
    shares = [np.bincount(half.labels) / len(half.labels) for half in (train, test)]
    assert shares[0] == pytest.approx(shares[1], abs=0.01)


def test_fashion_mnist_missing_says_where_to_get_it(tmp_path):
    with pytest.raises(DataError, match="dataset-fashion-mnist"):
        DATA_SETS["fashion-mnist"].read(tmp_path / "nowhere")
