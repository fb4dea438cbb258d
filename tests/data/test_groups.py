"""Groups of samples: from tables, from files in the order of the samples, from a manifest."""

import json

import numpy as np
import pytest

from analyzer.data import Source, read_groups
from analyzer.errors import DataError

NAMES = ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"]


def source_of(kind="folder", source="data"):
    return Source(source=source, kind=kind, labels=np.array([0, 0, 1, 1]), names=NAMES, store=None)


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_table_names_each_sample(tmp_path):
    rows = list(zip(NAMES, ["a", "b", "", "a"], strict=True))
    text = "path,label,group\n" + "".join(f"{name},x,{group}\n" for name, group in rows[::-1])
    table = written(tmp_path / "groups.csv", text)
    assert read_groups(table, source_of()).tolist() == [0, 1, -1, 0]
    lines = "".join(json.dumps({"file": name, "video": group}) + "\n" for name, group in rows)
    table = written(tmp_path / "groups.jsonl", lines)
    assert read_groups(table, source_of()).tolist() == [0, 1, -1, 0]


def test_groups_are_read_as_labels_are(tmp_path):
    rows = zip(NAMES, [" ", " 1", "1.0", "1e0"], strict=True)
    text = "path,group\n" + "".join(f"{name},{group}\n" for name, group in rows)
    table = written(tmp_path / "groups.csv", text)
    assert read_groups(table, source_of()).tolist() == [-1, 0, 0, 0]
    lines = written(tmp_path / "groups.txt", " \n1 \n1.0\n 1\n")
    assert read_groups(lines, source_of()).tolist() == [-1, 0, 0, 0]


def test_names_that_look_like_numbers_beside_others_are_names(tmp_path):
    lines = written(tmp_path / "groups.txt", "1e3\n1000\nab2\n1e3\n")
    assert read_groups(lines, source_of()).tolist() == [0, 1, 2, 0]
    lines = written(tmp_path / "groups.txt", "1e3\n1000\n-1\nnan\n")
    assert read_groups(lines, source_of()).tolist() == [0, 0, -1, -1]


def test_two_columns_of_usual_names_for_samples_are_refused(tmp_path):
    text = "path,file,group\n" + "".join(f"{name},{name},a\n" for name in NAMES)
    with pytest.raises(DataError, match=r"'path' and 'file', and both can name samples\. Remove"):
        read_groups(written(tmp_path / "groups.csv", text), source_of())


def test_a_column_of_another_name_tells_groups_if_no_other_can(tmp_path):
    text = "path,video\n" + "".join(f"{name},{i // 2}\n" for i, name in enumerate(NAMES))
    assert read_groups(written(tmp_path / "one.csv", text), source_of()).tolist() == [0, 0, 1, 1]
    several = "path,video,camera\n" + "".join(f"{name},a,b\n" for name in NAMES)
    with pytest.raises(DataError, match=r"'video' and 'camera', and both can tell groups\. Call"):
        read_groups(written(tmp_path / "several.csv", several), source_of())
    first = "group,sample\n" + "".join(f"{i // 2},{name}\n" for i, name in enumerate(NAMES))
    assert read_groups(written(tmp_path / "first.csv", first), source_of()).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("columns", ["path,label", "path,class_name,split"])
def test_labels_and_splits_tell_no_groups(columns, tmp_path):
    rows = "".join(f"{name}{',x' * columns.count(',')}\n" for name in NAMES)
    with pytest.raises(DataError, match="none of them 'group'"):
        read_groups(written(tmp_path / "groups.csv", f"{columns}\n{rows}"), source_of())


def test_a_file_in_the_order_of_the_samples(tmp_path):
    text = written(tmp_path / "groups.txt", "one\ntwo\n\none\n")
    assert read_groups(text, source_of()).tolist() == [0, 1, -1, 0]
    np.save(tmp_path / "groups.npy", np.array([7, 3, -1, 7]))
    found = read_groups(str(tmp_path / "groups.npy"), source_of())
    assert found[0] == found[3] != found[1]
    assert found[2] == -1


@pytest.mark.parametrize("name", ["g.csv", "g.jsonl", "g.txt", "g.npy", "manifest"])
def test_a_number_below_0_is_no_group(name, tmp_path):
    groups, source = [-1, -1, 0, -20], source_of()
    rows = list(zip(NAMES, groups, strict=True))
    texts = {
        "g.csv": "path,group\n" + "".join(f"{sample},{group}\n" for sample, group in rows),
        "g.jsonl": "".join(json.dumps({"path": one, "group": group}) + "\n" for one, group in rows),
        "g.txt": "-1\n-1.0\n0\n-20\n",
    }
    text = str(tmp_path / name)
    if name == "g.npy":
        np.save(text, np.array(groups))
    elif name == "manifest":
        source = source_of("manifest", written(tmp_path / "train.csv", texts["g.csv"]))
        text = "group"
    else:
        written(tmp_path / name, texts[name])
    assert read_groups(text, source).tolist() == [-1, -1, 0, -1]


def test_a_name_that_begins_with_a_dash_is_a_group(tmp_path):
    text = written(tmp_path / "groups.txt", "-a\n-0\n-1b\n-a\n")
    assert read_groups(text, source_of()).tolist() == [0, 1, 2, 0]


def test_a_column_of_the_manifest(tmp_path):
    text = "image,label,video\n" + "".join(f"{name},0,{i // 2}\n" for i, name in enumerate(NAMES))
    manifest = written(tmp_path / "train.csv", text)
    source = source_of("manifest", f"{manifest}#train")
    assert read_groups("video", source).tolist() == [0, 0, 1, 1]
    assert read_groups("video", source, keys=("image", "label")).tolist() == [0, 0, 1, 1]
    with pytest.raises(DataError, match="columns 'image', 'label', 'video', none of them 'clip'"):
        read_groups("clip", source)
    for column in ("image", "label"):
        with pytest.raises(DataError, match=f"column '{column}' .* tells samples, labels or"):
            read_groups(column, source)
    with pytest.raises(DataError, match="no file clip, and data is no manifest"):
        read_groups("clip", source_of())


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("g.csv", "path,group\ncat/1.png,a\n", "no group for 3 of the 4 samples.*cat/2.png"),
        ("g.csv", "path,group\n" + "".join(f"{n},a\n" for n in [*NAMES, "x.png"]),
         "names samples that data does not have, x.png"),
        ("g.csv", "path,group\ncat/1.png,a\ncat/1.png,b\n", "Line 3.*cat/1.png into the group 'b'"),
        ("g.csv", "path,group\n,a\n", "Line 2 .* lacks 'path'"),
        ("g.csv", "path\ncat/1.png\n", "columns 'path', none of them 'group'"),
        ("g.txt", "a\nb\n", "has 2 groups, data 4 samples"),
        ("g.txt", "a\n" * 9, "has more than 4 groups, data 4 samples"),
    ],
)  # fmt: skip
def test_what_is_no_group_of_each_sample_is_refused(name, text, said, tmp_path):
    with pytest.raises(DataError, match=said):
        read_groups(written(tmp_path / name, text), source_of())


def test_numbers_of_another_kind_are_refused(tmp_path):
    np.save(tmp_path / "groups.npy", np.array([[0.5, 1]]))
    with pytest.raises(DataError, match="a whole number for each sample was expected"):
        read_groups(str(tmp_path / "groups.npy"), source_of())


def test_no_more_is_read_than_there_are_samples(tmp_path):
    names = [*NAMES, "x.png", "y.png"]
    table = "path,group\n" + "".join(f"{name},a\n" for name in names) + "z.png\n"
    with pytest.raises(DataError, match=r"does not have, x\.png among"):
        read_groups(written(tmp_path / "groups.csv", table), source_of())
    np.save(tmp_path / "groups.npy", np.arange(9))
    with pytest.raises(DataError, match="has more than 4 groups"):
        read_groups(str(tmp_path / "groups.npy"), source_of())


def test_a_group_that_is_no_number_is_none(tmp_path):
    lines = "".join(
        f'{{"path": "{name}", "group": {group}}}\n'
        for name, group in zip(NAMES, ["NaN", "NaN", "1", "2"], strict=True)
    )
    table = written(tmp_path / "groups.jsonl", lines)
    assert read_groups(table, source_of()).tolist() == [-1, -1, 0, 1]


def test_a_file_that_is_called_like_a_column_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{name},{i % 2},{i}\n" for i, name in enumerate(NAMES))
    manifest = written(tmp_path / "data.csv", f"path,label,patient\n{rows}")
    source = source_of("manifest", manifest)
    assert read_groups("patient", source).tolist() == [0, 1, 2, 3]
    written(tmp_path / "patient", "a\na\nb\nb\n")
    with pytest.raises(
        DataError, match=r"patient is a file, and a column of .*data\.csv.*\./patient"
    ):
        read_groups("patient", source)
    assert read_groups("./patient", source).tolist() == [0, 0, 1, 1]
