import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.data import check_classes, from_arrays, limit_per_class
from analyzer.data.labels import integer_labels, labels_of_values
from analyzer.errors import DataError


@pytest.mark.parametrize(
    "values", [[1, 0, 2], [[1], [0], [2]], [1.0, 0.0, 2.0], np.array([1, 0, 2], np.uint8)]
)
def test_labels_become_int64(values):
    labels = integer_labels(values, "data")
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([0.5, 1], "not integers"),
        (["a"], "not integers"),
        (np.eye(3), "one-hot"),
        ([0, -1], "sample 1 in data is -1"),
        ([float("nan")], "not integers"),
    ],
)
def test_other_labels_are_refused(values, says):
    with pytest.raises(DataError, match=says):
        integer_labels(values, "data")


def test_texts_that_are_numbers_are_numbers():
    labels, names, indexing = labels_of_values(["10", "2", 3], None, "data")
    assert (labels.tolist(), names, indexing) == ([10, 2, 3], None, "labels")


def test_names_are_indexed_in_natural_order():
    labels, names, indexing = labels_of_values(["c10", "c2", "c10"], None, "data")
    assert (labels.tolist(), names, indexing) == ([1, 0, 1], ("c2", "c10"), "order")


def test_a_missing_value_is_named():
    with pytest.raises(DataError, match="sample 1 in data has no label"):
        labels_of_values(["a", None], None, "data")


def arrays(labels, **options):
    return from_arrays(np.zeros((len(labels), 2, 2), np.uint8), labels, source="data", **options)


def test_labels_within_the_network_pass():
    check_classes(arrays([0, 9, 3]), 10)


def test_labels_that_begin_with_one_are_told_apart():
    with pytest.raises(DataError, match=r"label 10, outside.*begin with 1: subtract 1"):
        check_classes(arrays([1, 10]), 10)


def test_a_label_outside_the_network_is_named():
    with pytest.raises(DataError, match=r"sample 1 of data has label 10, outside .* 10 classes"):
        check_classes(arrays([0, 10]), 10)


@pytest.mark.parametrize("classes", [1, 3])
def test_an_order_of_names_must_have_the_networks_number(classes, class_folders):
    from analyzer.data import open_data

    source = open_data(class_folders({"a": 1, "b": 1}))
    check_classes(source, 2)
    with pytest.raises(DataError, match="--classes FILE"):
        check_classes(source, classes)


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array),
    st.integers(1, 8),
    st.integers(0, 5),
)
def test_a_limit_per_class(labels, limit, seed):
    chosen = limit_per_class(labels, limit, seed)
    assert (np.diff(chosen) > 0).all()
    for label in np.unique(labels):
        assert (labels[chosen] == label).sum() == min(limit, (labels == label).sum())
    assert np.array_equal(chosen, limit_per_class(labels, limit, seed))


def test_a_class_is_drawn_alike_whatever_the_others():
    labels = np.arange(200) % 2
    kept = limit_per_class(labels, 10, seed=3)
    alone = limit_per_class(np.where(labels == 0, 0, 5), 10, seed=3)
    assert np.array_equal(kept[labels[kept] == 0], alone[alone % 2 == 0])
    assert not np.array_equal(kept, limit_per_class(labels, 10, seed=4))


def test_a_limit_of_nothing_is_refused():
    with pytest.raises(DataError, match="at least 1"):
        limit_per_class(np.zeros(3, int), 0)
