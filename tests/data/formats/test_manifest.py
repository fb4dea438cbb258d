import json

import pytest

from analyzer.data import open_data
from analyzer.errors import DataError


@pytest.fixture
def folder(class_folders, tmp_path):
    class_folders({"cat": 2, "owl": 1})
    return tmp_path


def write(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "path,label\nimages/cat/0.png,1\nimages/owl/0.png,0\n"),
        ("a.tsv", "label\tfile_name\n1\timages/cat/0.png\n0\timages/owl/0.png\n"),
        (
            "a.jsonl",
            '{"image": "images/cat/0.png", "label": 1}\n\n'
            '{"image": "images/owl/0.png", "label": 0}',
        ),
    ],
)
def test_forms(name, text, folder):
    source = open_data(write(folder, name, text))
    assert source.kind == "manifest"
    assert source.labels.tolist() == [1, 0]
    assert list(source.names) == ["images/cat/0.png", "images/owl/0.png"]
    assert source.read(1).image.shape == (8, 8, 3)


def test_whole_numbers_as_floats(folder):
    rows = '{"path": "cat/0.png", "label": 1.0}\n{"path": "dog/0.png", "label": 0.0}'
    assert open_data(write(folder, "a.jsonl", rows)).labels.tolist() == [1, 0]


def test_the_first_line_of_json_need_not_have_all_members(folder):
    rows = ({"path": "images/cat/0.png", "label": 0}, {"path": "images/owl/0.png", "label": 1})
    later = [rows[0], {**rows[1], "split": "test"}, {**rows[0], "split": "train"}]
    path = write(folder, "a.jsonl", "\n".join(map(json.dumps, later)))
    assert open_data(path).labels.tolist() == [0]
    path = write(folder, "a.jsonl", "\n".join(map(json.dumps, [rows[0], {**rows[1], "class": 0}])))
    with pytest.raises(DataError, match="'label' and 'class', and both can be labels"):
        open_data(path)


def test_a_name_may_stand_beside_an_index_and_keys_choose(folder):
    rows = "path,label,class_name,class\ncat/0.png,1,cat,0\ndog/0.png,0,dog,1\n"
    path = write(folder, "a.csv", rows)
    assert open_data(path, keys=("path", "class")).labels.tolist() == [0, 1]
    path = write(folder, "a.csv", rows.replace(",class\n", ",other\n"))
    assert open_data(path).labels.tolist() == [1, 0]


def test_names_of_classes(folder):
    path = write(folder, "a.csv", "path,label\nimages/owl/0.png,owl\nimages/cat/0.png,cat\n")
    source = open_data(path)
    assert (source.labels.tolist(), source.class_names) == ([1, 0], ("cat", "owl"))
    classes = write(folder, "classes.json", json.dumps(["owl", "dog", "cat"]))
    source = open_data(path, classes=classes)
    assert (source.labels.tolist(), source.class_names) == ([0, 2], ("owl", "dog", "cat"))


def test_other_columns_by_option(folder):
    path = write(folder, "a.csv", "where,what\nimages/cat/0.png,3\n")
    assert open_data(path, keys=("where", "what")).labels.tolist() == [3]
    with pytest.raises(DataError, match=r"columns 'where', 'what'.*keys"):
        open_data(path)


def test_a_column_of_splits(folder):
    rows = "path,label,split\nimages/cat/0.png,3,train\nimages/cat/1.png,2,test\n"
    path = write(folder, "a.csv", rows)
    assert open_data(path).labels.tolist() == [3]
    assert open_data(f"{path}#test").labels.tolist() == [2]


def test_absolute_paths(folder):
    path = write(folder, "a.csv", f"path,label\n{folder}/images/cat/0.png,3\n")
    assert open_data(path).read(0).image.shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "path,label\n", "no rows"),
        ("a.csv", "", "no rows"),
        ("a.csv", "path,label\na.png\n", "Line 2 .* lacks"),
        (
            "a.csv",
            "to,label\na.png,1\n",
            r"columns 'to', 'label', none .* paths \(path, .* with keys",
        ),
        ("a.csv", "path,label\na.png,\n", "Line 2 .* lacks"),
        ("a.csv", "path,label\na.png,0\nb,c.png,1\n", "Line 3 .* more fields than the header"),
        ("a.csv", "path,label\na.png,0\nb.png,x\n", "Sample b.png of .*a.csv has the label 'x'"),
        ("a.jsonl", '{"path": "a", "label": 0}\n{"path": "b", "label": "x"}', "Sample b of .*'x'"),
        ("a.csv", "path,label\n,1\n", "Line 2 .* lacks"),
        ("a.csv", "\n \npath,label\na.png,0\n,1\n", "Line 5 .* lacks"),
        ("a.jsonl", '\n{"path": "a.png", "label": 0}\n{}\n', "Line 3 .* lacks"),
        ("a.csv", "path;label\na.png;0\n", "seems to separate columns by ';'"),
        ("a.csv", "p\0a\0t\0h\0", "has zero bytes, as text in UTF-16"),
        ("a.csv", "\n\n", "no rows"),
        ("a.csv", "path,label\na.png,-1\n", "class indices start at 0"),
        ("a.csv", 'path,label\n"a.png,1\n', "cannot be read"),
        ("a.jsonl", '{"path": "a.png", "label": 0.5}', "label 0.5"),
        ("a.jsonl", '{"path": "a.png", "label": true}', "label True"),
        ("a.csv", "path,image,label\na.png,b.png,1\n", "'path' and 'image', .* paths.* keys"),
        ("a.csv", "path,class,label\na.png,0,1\n", "'label' and 'class', .* labels.* keys"),
        ("a.csv", "path,label,set,split\na.png,0,test,train\n", "'split' and 'set'"),
        ("a.csv", "path,label,label\na.png,1,2\n", "two columns named 'label'"),
        ("a.csv", 'path,label\na.png,1\n"' + "a" * 131_073 + '",1\n', "in line 3 .field larger"),
        ("a.jsonl", '{"path"', "cannot be read in line 1"),
        ("a.jsonl", '{"path": "\\ud800.png", "label": 0}', r"name '\\ud800.png', which no file"),
        ("a.jsonl", '{"path": "a.png", "label": 0, "label": 1}', "two members named 'label'"),
        ("a.jsonl", "[1]", "no JSON object"),
    ],
)
def test_refusals(name, text, says, folder):
    with pytest.raises(DataError, match=says):
        open_data(write(folder, name, text))


def test_bytes_that_are_no_text(folder):
    (folder / "a.csv").write_bytes(b"path,label\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="cannot be read"):
        open_data(folder / "a.csv")


def test_rows_without_a_split_are_counted(folder):
    (folder / "a.csv").write_text("path,label,split\na.png,0,train\nb.png,1,\nc.png,1,fold3\n")
    source = open_data(folder / "a.csv")
    assert list(source.names) == ["a.png"]
    assert "Rows that name no split were left out" in source.warnings[0]
    assert source.warnings[0].endswith(": 2.")


def test_a_column_of_labels_names_no_split(folder):
    (folder / "a.csv").write_text("path,set\na.png,test\nb.png,train\n")
    source = open_data(folder / "a.csv", keys=("path", "set"))
    assert (source.labels.tolist(), source.warnings) == ([0, 1], ())


def test_a_column_that_names_no_split_is_told(folder):
    (folder / "a.csv").write_text("path,label,set\na.png,0,1\nb.png,1,2\n")
    source = open_data(folder / "a.csv")
    assert len(source) == 2
    assert "'set' of" in source.warnings[0]
    assert "names none of train, val and test, so all rows were taken" in source.warnings[0]


@pytest.mark.parametrize("line", [2, 22, 2002])
def test_bytes_that_are_not_utf8_are_named_by_their_line(tmp_path, line):
    lines = [b"path,label\n", *(b"%d.png,0\n" % number for number in range(3000))]
    lines[line - 1] = b"\xff.png,0\n"
    (tmp_path / "a.csv").write_bytes(b"".join(lines))
    with pytest.raises(DataError, match=f"line {line} has the byte 0xff, which is not UTF-8"):
        open_data(tmp_path / "a.csv")


@pytest.mark.parametrize("column", ["Split", " subset", "SET"])
def test_a_column_of_splits_in_another_case(tmp_path, column):
    (tmp_path / "a.csv").write_text(f"path,label,{column}\na.png,0,train\nb.png,1,test\n")
    assert open_data(tmp_path / "a.csv").labels.tolist() == [0]
    assert open_data(f"{tmp_path / 'a.csv'}#test").labels.tolist() == [1]


def test_values_that_name_a_split_in_part(tmp_path):
    def opened(*splits, of=""):
        rows = "".join(f"{n}.png,{n},{split}\n" for n, split in enumerate(splits))
        (tmp_path / "a.csv").write_text(f"path,label,split\n{rows}")
        return open_data(f"{tmp_path / 'a.csv'}{of}")

    assert opened("train", " Train", "not_train", "test").labels.tolist() == [0, 1]
    assert opened("train_set", "test_set").labels.tolist() == [0]
    with pytest.raises(DataError, match=r"'train' and 'train_extra', and both are split 'train'"):
        opened("train", "train_extra")
    assert opened("train", "train_extra", of="#train_extra").labels.tolist() == [1]


@pytest.mark.parametrize("column", ["phase", "Usage", "partition"])
def test_a_column_of_another_name_that_tells_splits_is_refused(tmp_path, column):
    (tmp_path / "a.csv").write_text(f"path,label,{column}\na.png,0,train\nb.png,1,Test\n")
    with pytest.raises(DataError, match=f"'{column}' of .*a.csv says test and train.*'split'"):
        open_data(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text(f"path,label,{column}\na.png,0,train\nb.png,1,x\n")
    assert len(open_data(tmp_path / "a.csv")) == 2


def test_names_beside_class_indices_contradict_neither_each_other_nor_a_list(tmp_path):
    text = "path,label,label_name\na.png,0,cat\nb.png,1,owl\nc.png,0,\n"
    (tmp_path / "a.csv").write_text(text)
    assert open_data(tmp_path / "a.csv").labels.tolist() == [0, 1, 0]
    (tmp_path / "classes.txt").write_text("owl\ncat\n")
    with pytest.raises(DataError, match=r"calls the class 0 'cat', which .*txt has at 1"):
        open_data(tmp_path / "a.csv", classes=tmp_path / "classes.txt")
    by_name = {"classes": tmp_path / "classes.txt", "keys": ("path", "label_name")}
    (tmp_path / "b.csv").write_text(text.replace("c.png,0,\n", ""))
    assert open_data(tmp_path / "b.csv", **by_name).labels.tolist() == [1, 0]
    (tmp_path / "a.csv").write_text(text.replace("c.png,0,", "c.png,0,owl"))
    with pytest.raises(DataError, match="calls the class 0 'cat' and 'owl'"):
        open_data(tmp_path / "a.csv")
