import json

import pytest

from analyzer.data import read_classes
from analyzer.data.labels import (
    index_names,
    label_value,
)
from analyzer.errors import DataError
from analyzer.input_budgets import Budgets

NAMES = ("dog", "cat", "owl")
NAMED = dict(zip("012", NAMES, strict=True))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.txt", "dog\ncat\nowl\n\n"),
        ("a.json", json.dumps(NAMES)),
        ("a.json", json.dumps({"cat": 1, "dog": 0, "owl": 2})),
        ("a.json", json.dumps({"1": "cat", "0": "dog", "2": "owl"})),
        ("a.json", json.dumps({"id2label": {"1": "cat", "0": "dog", "2": "owl"}})),
        ("a.json", json.dumps({"label2id": {"cat": 1, "dog": 0, "owl": "2"}})),
        ("a.json", json.dumps({"id2label": NAMED, "label2id": {"owl": 2}, "label_names": NAMES})),
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
        ("a.txt", "dog\n\ncat", "Line 2"),
        ("a.json", "{", "not JSON"),
        ("a.json", "3", "neither a list"),
        ("a.json", '{"a": 0, "b": 2}', "each index from 0 to 1"),
        ("a.csv", "dog\ncat\n", "one column"),
        ("a.csv", "dog,0\ncat,0\n", "each index"),
        ("a.csv", "index,name,label\n0,c,a\n1,a,b\n2,b,c\n", "a row of 3 columns"),
        ("a.csv", "dog;0\ncat;1\n", "a row of one column.* with a comma between"),
        ("a.csv", "0,1\n1,2\n2,0\n", "either can be the index"),
        ("a.json", '{"0": 1, "1": 2, "2": 0}', "either can be the index"),
        (
            "a.json",
            json.dumps({"id2label": NAMED, "label2id": {"dog": 1}}),
            "other names in 'id2label' than in 'label2id'",
        ),
        (
            "a.json",
            json.dumps({"id2label": NAMED, "label2id": {"cow": 3}}),
            "other names in 'id2label' than in 'label2id'",
        ),
        (
            "a.json",
            json.dumps({"id2label": NAMED, "label_names": ["a", "b", "c"]}),
            "other names in 'id2label' than in 'label_names'",
        ),
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


def test_names_of_config_json_that_are_numbers(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"id2label": {"0": "1", "1": "2", "2": "0"}}))
    assert read_classes(path).names == ("1", "2", "0")


@pytest.mark.parametrize("key", ["classes", "names", "class_names"])
def test_class_lists_below_usual_names(tmp_path, key):
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({key: ["cat", "owl"], "nc": 2}))
    assert read_classes(path).names == ("cat", "owl")
    path.write_text(json.dumps({key: ["cat", "owl"], "label_names": ["owl", "cat"]}))
    with pytest.raises(DataError, match="gives the classes other names in"):
        read_classes(path)


def test_class_lists_of_very_many_lines_are_refused(tmp_path):
    budgets = Budgets(classes=1000)
    (tmp_path / "a.txt").write_text("".join(f"class {n}\n" for n in range(1000)))
    assert len(read_classes(tmp_path / "a.txt", budgets).names) == 1000
    for text in ("a\n" * 1001, "a" * 257_000):
        (tmp_path / "a.txt").write_text(text)
        with pytest.raises(DataError, match=r"long enough for 1,00\d classes, more than"):
            read_classes(tmp_path / "a.txt", budgets)


def test_integers_of_the_same_hash_are_no_indices(tmp_path):
    collide = [i * (2**61 - 1) for i in range(5, 9)]
    (tmp_path / "a.csv").write_text("".join(f"class {n},{n}\n" for n in collide))
    with pytest.raises(DataError, match="does not give each index"):
        read_classes(tmp_path / "a.csv")
    with pytest.raises(DataError, match="is no index of a class"):
        label_value(collide[-1], "Line 1 of a.jsonl")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_where_texts_have_ends_of_lines(end, tmp_path):
    names = ["a\u2028b", "c\u0085d", "e\x0bf"]
    for name, content in (
        ("classes.txt", end.join(names)),
        ("classes.csv", end.join(f"{one},{n}" for n, one in enumerate(names))),
    ):
        (tmp_path / name).write_bytes(content.encode())
        assert read_classes(tmp_path / name).names == tuple(names)
