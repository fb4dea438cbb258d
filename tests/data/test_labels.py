import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.data import (
    check_class_names,
    check_classes,
    from_arrays,
    limit_per_class,
    open_data,
    read_classes,
)
from analyzer.data.labels import (
    ClassList,
    index_names,
    integer_labels,
    labels_of_values,
)
from analyzer.errors import DataError


@pytest.mark.parametrize(
    "values", [[1, 0, 2], [[1], [0], [2]], [1.0, 0.0, 2.0], np.array([1, 0, 2], np.uint8)]
)
def test_labels_become_int64(values):
    labels = integer_labels(values, "data")
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 0, 2]


def test_float16_labels_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert integer_labels(np.array([0, 65504], np.float16), "data").tolist() == [0, 65504]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([1, 0.5], "sample 1 in data is 0.5, which is no whole number. Store class indices"),
        (["a"], "not integers"),
        (np.eye(3), "one-hot"),
        ([0, -1], "sample 1 in data is -1"),
        ([float("nan")], "sample 0 in data is nan, .* Drop the samples without a label, or"),
        (np.array([0, np.inf], np.float16), "sample 1 in data is inf"),
        ([0, 1e300], "no index of a class"),
    ],
)
def test_other_labels_are_refused(values, says):
    with pytest.raises(DataError, match=says):
        integer_labels(values, "data")


def test_texts_that_are_numbers_are_numbers():
    labels, names, indexing = labels_of_values(["10", "2", 3], "abc", None, "data")
    assert (labels.tolist(), names, indexing) == ([10, 2, 3], None, "labels")


def test_names_are_indexed_in_natural_order():
    labels, names, indexing = labels_of_values(["c10", "c2", "c10"], "abc", None, "data")
    assert (labels.tolist(), names, indexing) == ([1, 0, 1], ("c2", "c10"), "order")


def test_a_missing_value_is_named():
    with pytest.raises(DataError, match="Sample y of data has no label"):
        labels_of_values(["a", None], "xy", None, "data")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["0", 2, "x", "y", "2"], r"Sample c of data has the label 'x', but 3 of the 5 .* numbers"),
        (["cat", "7", "owl"], r"Sample b of data has the label '7', but 2 of the 3 .* names"),
        (["0", "1.5", "2"], r"Sample b .*label '1\.5'.* with classes=FILE"),
        (["1e19", "2e19", "3e19"], "Sample a .*label '1e19', which is no class index"),
        ([10**100, 10**101, 10**102], "Sample a .*label '10{39}…', which is no class index"),
        (["0", "12e-1", "2"], "Sample b .*label '12e-1', which is no class index"),
        (["+1", "+2", "+3"], r"Sample a .*label '\+1', which is no class index"),
        (["0", "x" * 5000], r"Sample b .*label 'x{40}…'"),
    ],
)
def test_numbers_among_names_are_refused_without_a_list(values, says, tmp_path):
    with pytest.raises(DataError, match=says):
        labels_of_values(values, "abcde", None, "data")
    classes = class_list(tmp_path, *dict.fromkeys(map(str, values)), "none of these")
    labels, names, indexing = labels_of_values(values, "abcde", classes, "data")
    assert ([names[label] for label in labels], indexing) == (list(map(str, values)), "classes")


@pytest.mark.parametrize("count", [2, 100])
def test_a_list_of_another_length_than_the_networks_is_refused(count, tmp_path):
    names = [f"c{index}" for index in range(count)]
    class_list(tmp_path, *names)
    labeled = np.zeros((2, 2, 2), np.uint8), [0, 1]
    source = open_data(labeled, classes=tmp_path / "classes.txt")
    check_classes(source, count)
    check_classes(source, 3, exact=False)
    with pytest.raises(DataError, match=rf"classes\.txt names {count} classes .* network has 3\."):
        check_classes(source, 3)


def arrays(labels, **options):
    return from_arrays(np.zeros((len(labels), 2, 2), np.uint8), labels, source="data", **options)


def test_labels_within_the_network_pass():
    check_classes(arrays([0, 9, 3]), 10)


def test_labels_that_begin_with_one_are_told_apart():
    with pytest.raises(DataError, match=r"label 10, outside.*begin with 1: subtract 1"):
        check_classes(arrays([1, 10]), 10)


def test_a_label_outside_the_network_is_named():
    with pytest.raises(DataError, match=r"Sample 1 of data has label 10, outside .* 10 classes"):
        check_classes(arrays([0, 10]), 10)


def test_more_names_in_the_data_than_the_network_has_classes_are_refused():
    source = from_arrays(
        np.zeros((2, 2, 2), np.uint8), [0, 1], source="data", class_names=["a", "b", "c"]
    )
    for classes in (3, 4):
        check_classes(source, classes)
    with pytest.raises(DataError, match="data names 3 classes but the network has 2"):
        check_classes(source, 2)


def test_names_that_their_order_indexes_say_nothing_of_indices_without_names(class_folders):
    named, numbers = open_data(class_folders({"a": 1, "b": 1})), arrays([0, 1])
    said = dict(enumerate(named.class_names))
    with pytest.raises(DataError, match="data has their indices alone, so that nothing says which"):
        check_class_names(named, {}, "data")
    with pytest.raises(DataError, match="has names of classes, and data has their indices alone"):
        check_class_names(numbers, said, "trained", by_order=True)
    check_class_names(numbers, said, "trained")  # which declared them
    check_class_names(numbers, {0: "0", 1: "1"}, "trained", by_order=True)
    check_class_names(named, said, "trained", by_order=True)
    with pytest.raises(DataError, match=r"Class 0 is 'a' in .* and 'b' in trained"):
        check_class_names(named, {0: "b", 1: "a"}, "trained", by_order=True)


@pytest.mark.parametrize("classes", [1, 3])
def test_an_order_of_names_must_have_the_networks_number(classes, class_folders):
    source = open_data(class_folders({"a": 1, "b": 1}))
    check_classes(source, 2)
    with pytest.raises(DataError, match=r"own class list with classes=FILE\."):
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


def class_list(tmp_path, *names):
    path = tmp_path / "classes.txt"
    path.write_text("\n".join(names))
    return read_classes(path)


def test_without_a_list_the_order_counts():
    assert index_names(["a", "b"], None, "data") == ([0, 1], ("a", "b"), "order")


def test_numbered_folders_are_indices_into_a_list_of_words(tmp_path):
    classes = class_list(tmp_path, "dog", "cat", "owl")
    assert index_names(["0", "2"], classes, "data") == ([0, 2], ("dog", "cat", "owl"), "classes")


def test_numbers_are_of_the_digits_0_to_9(tmp_path):
    classes = class_list(tmp_path, "dog", "cat", "owl")
    with pytest.raises(DataError, match="'0' of data is not in the class list"):
        index_names(["0", "٢"], classes, "data")
    with pytest.raises(DataError, match="has the label '٢', but 2 of the 3 labels are numbers"):
        labels_of_values(["0", "1", "٢"], ["a", "b", "c"], None, "data")


def test_an_unknown_class_is_named(tmp_path):
    classes = class_list(tmp_path, "dog", "cat", "owl")
    with pytest.raises(DataError, match=r"'cow' of data .* 1 of 2 classes"):
        index_names(["cow", "dog"], classes, "data")


def test_a_name_that_stands_twice_in_the_list_cannot_be_indexed(tmp_path):
    classes = class_list(tmp_path, "crane", "dog", "crane")
    assert index_names(["dog"], classes, "data")[0] == [1]
    with pytest.raises(DataError, match="'crane' twice"):
        index_names(["crane"], classes, "data")


def test_first_words_that_stand_twice_in_the_list_cannot_be_indexed(tmp_path):
    classes = class_list(tmp_path, "tiger shark", "tiger cat", "dog hound")
    assert index_names(["dog"], classes, "data")[0] == [2]
    with pytest.raises(DataError, match="'tiger' twice"):
        index_names(["dog", "tiger"], classes, "data")


def test_a_label_that_is_the_id_of_one_class_and_the_words_of_another_is_refused(tmp_path):
    classes = class_list(tmp_path, "n0 n2", "n1 owl", "n2 n2", "n3 n1")
    assert index_names(["n0", "n3"], classes, "data")[0] == [0, 3]
    with pytest.raises(DataError, match=r"'n1' of data is the first word of one class .* the rest"):
        index_names(["n0", "n1"], classes, "data")


def test_names_that_are_one_index_are_refused(tmp_path):
    classes = class_list(tmp_path, "dog", "cat")
    with pytest.raises(DataError, match="names that are the class index 1, with and without"):
        index_names(["1", "01"], classes, "data")


def test_labels_as_numpy_writes_them_as_text():
    texts = [f"{label:.18e}" for label in (2, 11, 0, 10)]
    assert labels_of_values(texts, "abcd", None, "data")[0].tolist() == [2, 11, 0, 10]
    assert labels_of_values(["1e1", "2E0"], "ab", None, "data")[0].tolist() == [10, 2]


def test_labels_that_are_fractions():
    assert labels_of_values(["0.0", "2.", "1"], "abc", None, "data")[0].tolist() == [0, 2, 1]
    with pytest.raises(
        DataError, match=r"Sample b of data has the label '1\.5', which is no class"
    ):
        labels_of_values(["0.0", "1.5"], "ab", None, "data")
    with pytest.raises(DataError, match=r"has the label '1\.5e\+00', which is no class"):
        labels_of_values(["0.0", "1.5e+00"], "ab", None, "data")
    classes = ClassList("list", ("1.5", "2.0"), {"1.5": 0, "2.0": 1})
    assert labels_of_values(["2.0", "1.5"], "ab", classes, "data")[0].tolist() == [1, 0]


def test_texts_of_digits_that_a_class_list_has_as_other_names_are_refused():
    classes = ClassList("list", ("0", "10", "2"), {"0": 0, "10": 1, "2": 2})
    assert labels_of_values(["0", "2"], "ab", classes, "data")[0].tolist() == [0, 2]
    assert labels_of_values([10, 2], "ab", None, "data")[0].tolist() == [10, 2]
    with pytest.raises(DataError, match="The label '10' of data can be the index 10, or the class"):
        labels_of_values(["0", "10"], "ab", classes, "data")
