import json

import pytest

from analyzer.data import read_classes
from analyzer.data.classes import index_names
from analyzer.errors import DataError

NAMES = ("dog", "cat", "owl")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.txt", "dog\ncat\nowl\n\n"),
        ("a.json", json.dumps(NAMES)),
        ("a.json", json.dumps({"cat": 1, "dog": 0, "owl": 2})),
        ("a.json", json.dumps({"1": "cat", "0": "dog", "2": "owl"})),
        ("a.json", json.dumps({"id2label": {"1": "cat", "0": "dog", "2": "owl"}})),
        ("a.json", json.dumps({"num_classes": 3, "label_names": NAMES})),
        ("a.csv", "owl,2\ndog,0\ncat,1\n"),
        ("a.csv", "class,index\ndog,0\ncat,1\nowl,2\n"),
        ("a.csv", "0,dog\n1,cat\n2,owl\n"),
        ("a.tsv", "dog\t0\ncat\t1\nowl\t2\n"),
    ],
)
def test_forms_of_class_lists(file, text, tmp_path):
    path = tmp_path / file
    path.write_text(text)
    classes = read_classes(path)
    assert classes.names == NAMES
    assert classes.index == {"dog": 0, "cat": 1, "owl": 2}


def test_keras_class_index(tmp_path):
    path = tmp_path / "imagenet_class_index.json"
    path.write_text(json.dumps({"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}))
    classes = read_classes(path)
    assert classes.names == ("n01440764 tench", "n01443537 goldfish")
    indices, names, indexing = index_names(["n01443537"], classes, "data")
    assert (indices, names, indexing) == ([1], classes.names, "classes")


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("a.txt", "", "names no class"),
        ("a.txt", "dog\n\ncat", "line 2"),
        ("a.json", "{", "not JSON"),
        ("a.json", "3", "neither a list"),
        ("a.json", '{"a": 0, "b": 2}', "each index from 0 to 1"),
        ("a.csv", "dog\ncat\n", "one column"),
        ("a.csv", "dog,0\ncat,0\n", "each index"),
        ("a.pkl", "", "pickle"),
    ],
)
def test_refused_class_lists(file, text, says, tmp_path):
    path = tmp_path / file
    path.write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        read_classes(path)
    assert str(path) in str(caught.value)


def test_a_missing_class_list_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt"):
        read_classes(tmp_path / "none.txt")


def class_list(tmp_path, *names):
    path = tmp_path / "classes.txt"
    path.write_text("\n".join(names))
    return read_classes(path)


def test_without_a_list_the_order_counts():
    assert index_names(["a", "b"], None, "data") == ([0, 1], ("a", "b"), "order")


def test_numbered_folders_are_indices_into_a_list_of_words(tmp_path):
    classes = class_list(tmp_path, "dog", "cat", "owl")
    assert index_names(["0", "2"], classes, "data") == ([0, 2], NAMES, "classes")


def test_an_unknown_class_is_named(tmp_path):
    classes = class_list(tmp_path, "dog", "cat", "owl")
    with pytest.raises(DataError, match=r"'cow' of data .* 1 of 2 classes"):
        index_names(["cow", "dog"], classes, "data")


def test_a_name_that_stands_twice_in_the_list_cannot_be_indexed(tmp_path):
    classes = class_list(tmp_path, "crane", "dog", "crane")
    assert index_names(["dog"], classes, "data")[0] == [1]
    with pytest.raises(DataError, match="'crane' twice"):
        index_names(["crane"], classes, "data")
