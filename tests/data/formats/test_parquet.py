import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from analyzer.data import open_data
from analyzer.data.formats import parquet_store
from analyzer.data.formats.parquet_footer import check_footer, check_rows
from analyzer.errors import DataError
from analyzer.input_budgets import Budgets

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture
def write(picture, encoded, tmp_path):
    """write(name, labels, …): a file as Hugging Face's datasets writes it."""

    def make(
        name,
        labels,
        *,
        features=True,
        columns=("image", "label"),
        seed=0,
        paths=True,
        names=("cat", "dog", "owl"),
    ):
        rows = [
            {"bytes": encoded(picture(8, 8, seed=seed + i)), "path": f"{i}.png" if paths else None}
            for i in range(len(labels))
        ]
        table = pa.table({columns[0]: pa.array(rows, IMAGE), columns[1]: labels})
        if features:
            described = {
                columns[0]: {"_type": "Image"},
                columns[1]: {"names": list(names), "_type": "ClassLabel"},
            }
            content = json.dumps({"info": {"features": described}})
            table = table.replace_schema_metadata({"huggingface": content})
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=2)
        return path

    return make


def test_a_file_of_hugging_face(write, encoded, picture):
    path = write("a.parquet", [2, 0, 1, 1, 2])
    source = open_data(path)
    assert (source.kind, source.source) == ("parquet", str(path))
    assert source.labels.tolist() == [2, 0, 1, 1, 2]
    assert source.class_names == ("cat", "dog", "owl")
    assert source.names[3] == "3.png"
    assert source.exif
    for index in (4, 0, 3, 1, 2):
        assert source.stored(index) == encoded(picture(8, 8, seed=index))


def test_columns_by_name_without_features(write):
    path = write("a.parquet", [2, 0], features=False, columns=("img", "fine_label"), paths=False)
    source = open_data(path)
    assert source.labels.tolist() == [2, 0]
    assert source.class_names is None
    assert source.names[1] == "row 1"


def test_two_columns_of_usual_names_want_keys(write):
    path = write("a.parquet", [2, 0], features=False)
    table = pq.read_table(path).append_column("class", pa.array([0, 1]))
    pq.write_table(table, path)
    with pytest.raises(DataError, match=r"'label' and 'class', .* with keys"):
        open_data(path)
    assert open_data(path, keys=("image", "class")).labels.tolist() == [0, 1]


def test_whole_numbers_as_floats(write):
    path = write("a.parquet", pa.array([2.0, 0.0]), features=False)
    assert open_data(path).labels.tolist() == [2, 0]
    with pytest.raises(DataError, match=r"sample 0 in .* is 2\.5, which is no whole number"):
        open_data(write("a.parquet", pa.array([2.5, 0.0]), features=False))


def test_columns_by_option(write):
    path = write("a.parquet", [2, 0], features=False, columns=("photo", "kind"))
    assert open_data(path, keys=("photo", "kind")).labels.tolist() == [2, 0]
    with pytest.raises(
        DataError, match=r"columns 'photo', 'kind', none known for images.*with keys"
    ):
        open_data(path)
    with pytest.raises(DataError, match="not 'label'"):
        open_data(path, keys=("photo", "label"))
    with pytest.raises(DataError, match="not bytes of image files"):
        open_data(path, keys=("kind", "kind"))


def test_names_of_classes_as_labels(write):
    source = open_data(write("a.parquet", ["owl", "cat"], features=False))
    assert (source.labels.tolist(), source.class_names) == ([1, 0], ("cat", "owl"))


def test_names_of_classes_beside_texts_want_a_class_list(write, tmp_path):
    path = write("a.parquet", ["owl", "cat"], names=("owl", "dog", "cat"))
    with pytest.raises(DataError, match=r"either order can be the network's\. Pass its class list"):
        open_data(path)
    (tmp_path / "classes.txt").write_text("owl\ndog\ncat\n")
    found = open_data(path, classes=tmp_path / "classes.txt")
    assert (found.labels.tolist(), found.class_names) == ([0, 2], ("owl", "dog", "cat"))


@pytest.mark.parametrize("column", ["image.bytes", "image.path", "label"])
@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_what_is_written_as_differences_is_refused(column, encoding, write):
    path = write("a.parquet", ["owl", "cat"], features=False)
    table = pq.read_table(path)
    pq.write_table(table, path, use_dictionary=False, column_encoding={column: encoding})
    with pytest.raises(
        DataError, match=f"'{column}' of .* is encoded as {encoding}.*again in dict"
    ):
        open_data(path)


def test_plain_bytes_as_images(encoded, picture, tmp_path):
    data = encoded(picture(8, 8))
    pq.write_table(pa.table({"image": [data, data], "label": [0, 1]}), tmp_path / "a.parquet")
    assert open_data(tmp_path / "a.parquet").stored(1) == data


@pytest.mark.parametrize(
    "names",
    [
        ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002-0f3.parquet"),
        ("default/train/0000.parquet", "default/train/0001.parquet"),
    ],
)
def test_folders_of_shards(names, write, encoded, picture, tmp_path):
    write(f"d/{names[0]}", [0, 1, 2])
    write(f"d/{names[1]}", [2, 2], seed=10)
    test = names[0].replace("train", "test")
    write(f"d/{test}", [1])
    source = open_data(tmp_path / "d")
    assert source.source == f"{tmp_path}/d#train"
    assert source.labels.tolist() == [0, 1, 2, 2, 2]
    assert source.stored(4) == encoded(picture(8, 8, seed=11))
    assert open_data(f"{tmp_path}/d#test").labels.tolist() == [1]
    with pytest.raises(DataError, match=r"no split 'val' \(there: test, train\)"):
        open_data(f"{tmp_path}/d#validation")


def test_several_configurations_are_refused(write, tmp_path):
    write("d/small/train-00000-of-00001.parquet", [0])
    write("d/large/train-00000-of-00001.parquet", [0])
    with pytest.raises(DataError, match=r"several data sets .*large, small"):
        open_data(tmp_path / "d")


def test_a_small_cache_reads_the_same(write, monkeypatch):
    path = write("a.parquet", list(np.arange(9) % 3))
    everything = [open_data(path).stored(i) for i in range(9)]
    monkeypatch.setattr(parquet_store, "_CACHE_BYTES", 1)
    source = open_data(path)
    assert [source.stored(i) for i in range(9)] == everything
    assert len(source.store._kept) == 1


@pytest.mark.parametrize("labels", [[0, None], [0, -1], [0.5, 1.0]])
def test_labels_that_are_none(labels, write):
    with pytest.raises(DataError, match=r"a\.parquet"):
        open_data(write("a.parquet", labels))


def test_a_row_without_bytes_is_an_unreadable_sample(tmp_path):
    rows = pa.array([{"bytes": None, "path": "/elsewhere/a.png"}], IMAGE)
    pq.write_table(pa.table({"image": rows, "label": [0]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.png in .*no image bytes.*skip_bad=True"):
        open_data(tmp_path / "a.parquet").read(0)


@pytest.mark.parametrize("keep", [0, 100, -20])
def test_damaged_files_are_refused(keep, write):
    path = write("a.parquet", [0, 1])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.parquet is not readable Parquet .* Fetch it again"):
        open_data(path)


def test_a_damaged_file_of_several_is_named(write, tmp_path):
    write("d/0.parquet", [0, 1])
    write("d/1.parquet", [0, 1]).write_bytes(b"")
    with pytest.raises(DataError, match=r"1\.parquet is not readable Parquet .* or remove it"):
        open_data(tmp_path / "d")


def test_files_that_are_missing_by_the_names_of_others(write, tmp_path):
    for number in (0, 2):
        write(f"d/train-0000{number}-of-00004.parquet", [0, 1])
    write("d/test-00000-of-00001.parquet", [1])
    source = open_data(tmp_path / "d")
    assert source.warnings == (
        f"Only 2 of the 4 files called train-…-of-4 are there in {tmp_path}/d#train; the samples "
        "of the others are missing.",
    )
    assert not open_data(f"{tmp_path}/d#test").warnings


@pytest.mark.parametrize("kind", ["texts", "categories", "class labels"])
@pytest.mark.parametrize("paths", [True, False])
def test_a_column_of_splits(kind, paths, write, encoded, picture):
    path = write("a.parquet", [0, 1, None, 2, 1], paths=paths)
    table = pq.read_table(path)
    splits = pa.array(["train", "validation", "test", "Train", None])
    if kind == "categories":
        splits = splits.dictionary_encode()
    if kind == "class labels":
        splits = pa.array([0, 1, 2, 0, None])
        metadata = json.loads(table.schema.metadata[b"huggingface"])
        metadata["info"]["features"]["split"] = {"names": ["train", "val", "test"]}
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pq.write_table(table.append_column("split", splits), path, row_group_size=2)
    source = open_data(path)
    assert source.source == f"{path}#train"
    assert source.labels.tolist() == [0, 2]
    assert list(source.names) == (["0.png", "3.png"] if paths else ["row 0", "row 3"])
    assert source.stored(1) == encoded(picture(8, 8, seed=3))
    assert source.warnings == (f"Rows that name no split were left out of {path}: 1.",)
    assert open_data(f"{path}#val").labels.tolist() == [1]
    with pytest.raises(DataError, match=r"1 row has no 'label' in .*#test, first "):
        open_data(f"{path}#test")


@pytest.mark.parametrize("values", [["a", "b"], [0, 1]])
def test_a_column_that_names_no_split_is_told(values, write):
    path = write("a.parquet", [0, 1])
    pq.write_table(pq.read_table(path).append_column("set", pa.array(values)), path)
    source = open_data(path)
    assert source.warnings == (
        f"The column 'set' of {path} names none of train, val and test, so all rows were taken.",
    )
    assert source.source == str(path)


def with_column(path, name, values):
    values = pa.array(values).dictionary_encode() if name == "category" else values
    pq.write_table(pq.read_table(path).append_column(name, pa.array(values)), path)
    return path


def test_a_column_of_splits_of_another_name_is_refused(write, tmp_path):
    for name in ("phase", "category"):
        path = with_column(write("a.parquet", [0, 1, 1]), name, ["train", "Test", "train"])
        with pytest.raises(DataError, match=rf"'{name}' of .*a\.parquet says test and train, "):
            open_data(path)
    for values in (["train"] * 3, ["train", "test", "owl"], ["train", "test", None]):
        path = with_column(write("b.parquet", [0, 1, 1]), "phase", values)
        assert open_data(path).labels.tolist() == [0, 1, 1]
    for name in ("train", "test"):
        with_column(write(f"d/{name}.parquet", [0, 1]), "phase", [name, name])
    assert open_data(tmp_path / "d").labels.tolist() == [0, 1]
    with_column(write("d/train.parquet", [0, 1]), "phase", ["train", "test"])
    with pytest.raises(DataError, match=r"'phase' of .*d says test and train, "):
        open_data(tmp_path / "d")


@pytest.mark.parametrize(
    ("names", "kind"), [(("split", "label"), "ClassLabel"), (("mask", "image"), "Image")]
)
def test_a_declared_column_beside_one_of_a_usual_name_is_refused(names, kind, write):
    declared, usual = names
    path = write("a.parquet", [0, 1, 1])
    table = pq.read_table(path)
    table = table.append_column(declared, table[usual])
    content = json.dumps({"info": {"features": {declared: {"_type": kind, "names": ["a", "b"]}}}})
    pq.write_table(table.replace_schema_metadata({"huggingface": content}), path)
    with pytest.raises(DataError, match=f"'{declared}' and '{usual}', and the former is declared"):
        open_data(path)
    assert open_data(path, keys=("image", "label")).labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "said",
    [
        '{"info": {"fea',
        "[1]",
        '{"info": 5}',
        '{"info": {"features": ["label"]}}',
        '{"info": {"features": {"label": ["a"]}}}',
    ],
)
def test_metadata_that_cannot_be_read_are_said_to_give_no_names(write, said):
    path = write("a.parquet", [0, 1, 1])
    table = pq.read_table(path)
    assert open_data(path).warnings == ()
    pq.write_table(table.replace_schema_metadata({"huggingface": said}), path)
    source = open_data(path)
    assert source.class_names is None
    (warning,) = source.warnings
    assert "under 'huggingface', cannot be read" in warning


def test_a_file_that_is_another_by_a_link_is_refused(write):
    path = write("d/train-0.parquet", [0, 1])
    (path.parent / "train-1.parquet").symlink_to(path)
    with pytest.raises(DataError, match=r"train-1\.parquet are one file, by a link\. Remove"):
        open_data(path.parent)


def test_footers_that_contradict_themselves_are_refused(write, tmp_path):
    path = write("a.parquet", [0, 1, 1, 2, 0])
    metadata = pq.read_metadata(path)
    columns = ("image.bytes", "label")
    check_footer(path, metadata, columns)

    class Footer:
        """The same, but for one number."""

        def __init__(self, place=None, rows=None, values=None):
            self.place, self.rows, self.values = place, rows, values

        def __getattr__(self, name):
            return getattr(metadata, name)

        def row_group(self, number):
            group = metadata.row_group(number)
            if number != self.place:
                return group
            chunks = [group.column(one) for one in range(metadata.num_columns)]
            if self.values is not None:
                chunks[0] = SimpleNamespace(
                    path_in_schema=chunks[0].path_in_schema, num_values=self.values
                )
            rows = group.num_rows if self.rows is None else self.rows
            return SimpleNamespace(num_rows=rows, column=chunks.__getitem__)

    for wrong in ({"rows": 10**12}, {"rows": -1}, {"rows": 1}, {"values": 3}):
        with pytest.raises(DataError, match=r"a\.parquet is damaged: its footer gives other"):
            check_rows(path, Footer(1, **wrong), columns)


def test_columns_that_hold_lists_may_have_more_values_than_rows(write):
    path = write("a.parquet", [0, 1, 1])
    table = pq.read_table(path)
    table = table.append_column("boxes", pa.array([[1, 2], [], [3, 4, 5]]))
    pq.write_table(table, path)
    assert open_data(path).labels.tolist() == [0, 1, 1]


def test_names_beside_indices_are_held_against_them(write, tmp_path):
    path = with_column(write("a.parquet", [0, 1, 1]), "label_name", ["cat", "owl", "cat"])
    with pytest.raises(DataError, match=r"calls the class 1 'owl' and 'cat'"):
        open_data(path)
    assert open_data(path, keys=("image", "label")).labels.tolist() == [0, 1, 1]
    path = with_column(write("b.parquet", [0, 1, 1]), "label_name", ["cat", "dog", None])
    classes = tmp_path / "classes.txt"
    classes.write_text("owl\ncat\ndog\n")
    assert open_data(path).labels.tolist() == [0, 1, 1]
    with pytest.raises(DataError, match=r"calls the class 0 'cat', which .* has at 1"):
        open_data(path, classes=classes)
    path = with_column(write("c.parquet", [0, 1, 1]), "class_name", ["dog", "cat", "cat"])
    with pytest.raises(DataError, match=r"calls the class 0 'dog', which the features .* at 1"):
        open_data(path)


def test_texts_and_images_that_repeat_zeros_are_refused_before_they_are_read(
    tmp_path, encoded, picture
):
    images = [encoded(picture(8, 8, seed=number)) for number in range(3)]
    budgets = Budgets(bytes=20_000_000)

    def opened(labels, images=images, **more):
        table = pa.table({"image": images, "label": labels, **more})
        pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
        return open_data(tmp_path / "a.parquet", budgets=budgets)

    long = "x" * 6_000_000
    assert opened([0, 1, 1], text=[long, "a", "b"]).labels.tolist() == [0, 1, 1]  # it is not read
    with pytest.raises(DataError, match=r"texts in 'label' .* are held 4 times, more than"):
        opened([long, "a", "b"])
    with pytest.raises(DataError, match=r"'label' .* has a text of 3,000,000 bytes, which is no"):
        opened(["x" * 3_000_000, "a", "b"])
    with pytest.raises(DataError, match=r"Row group 0 .* are held 4 times, more than the budget"):
        opened([0, 1, 1], [images[0] + bytes(6_000_000), *images[1:]])


def test_two_names_of_one_split_are_told_apart(write, tmp_path):
    write("d/dev.parquet", [0, 1])
    write("d/valid.parquet", [2])
    with pytest.raises(DataError, match=r"has 'dev' and 'valid', and both are split 'val'"):
        open_data(f"{tmp_path}/d#val")
    assert open_data(f"{tmp_path}/d#dev").labels.tolist() == [0, 1]


def test_a_column_of_splits_beside_files_of_splits(write, tmp_path):
    for name, splits in (("train", ["train", "val"]), ("test", ["a", "b"])):
        path = write(f"d/{name}.parquet", [0, 1])
        pq.write_table(pq.read_table(path).append_column("subset", pa.array(splits)), path)
    train = open_data(tmp_path / "d")
    assert train.labels.tolist() == [0]
    (warning,) = train.warnings
    assert warning.startswith("Rows that the column 'subset' gives another split than the names of")
    assert warning.endswith("d#train: 1.")
    test = open_data(f"{tmp_path}/d#test")
    assert test.labels.tolist() == [0, 1]
    assert test.warnings[0].startswith("The column 'subset' of ")
    path = write("d/train-1.parquet", [0, 1])
    with pytest.raises(DataError, match=r"train\.parquet differ in the column 'subset'"):
        open_data(tmp_path / "d")
    with pytest.raises(DataError, match=r"no split 'test' \(there: no splits\)"):
        open_data(f"{path}#test")


def test_damaged_pages_are_unreadable_samples(write):
    path = write("a.parquet", [0, 1])
    source = open_data(path)
    data = bytearray(path.read_bytes())
    data[4:120] = bytes(116)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"0\.png in .*skip_bad=True"):
        source.read(0)


def test_without_pyarrow_the_extra_is_named(write, monkeypatch):
    path = write("a.parquet", [0, 1])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r'pip install "onnx-gap\[parquet\]"'):
        open_data(path)


def test_names_that_are_null_everywhere(encoded, picture, tmp_path):
    rows = [{"bytes": encoded(picture(8, 8)), "path": None}] * 2
    pq.write_table(pa.table({"image": rows, "label": [0, 1]}), tmp_path / "a.parquet")
    assert list(open_data(tmp_path / "a.parquet").names) == ["row 0", "row 1"]


@pytest.mark.parametrize("labels", [[2, None, None], ["owl", None, None]])
def test_the_first_row_without_a_label_is_named(write, labels):
    path = write("a.parquet", pa.array(labels), features=False, paths=False)
    with pytest.raises(
        DataError, match=r"2 rows have no 'label' in .*, first row 1\. Leave out the rows"
    ):
        open_data(path)


def test_categories_as_labels(write):
    labels = pa.array(["owl", "cat"]).dictionary_encode()
    assert open_data(write("a.parquet", labels, features=False)).labels.tolist() == [1, 0]


def test_more_labels_than_names_are_refused(write):
    with pytest.raises(DataError, match=r"Sample 1\.png .* has label 3, but the data name 3"):
        open_data(write("a.parquet", [0, 3]))


def test_files_that_are_no_parts_of_one_data_set(write, tmp_path):
    write("train-0.parquet", [0, 1])
    other = write("train-1.parquet", [0, 1])
    table = pq.read_table(other)
    swapped = table.schema.metadata[b"huggingface"].replace(b'"cat", "dog"', b'"dog", "cat"')
    pq.write_table(table.replace_schema_metadata({"huggingface": swapped}), other)
    with pytest.raises(DataError, match=r"train-1\.parquet give the classes other names"):
        open_data(tmp_path)
    write("train-1.parquet", pa.array([0, 1], pa.int8()))
    with pytest.raises(DataError, match=r"train-1\.parquet differ in the column 'label'"):
        open_data(tmp_path)


def test_a_later_part_with_two_columns_of_labels_is_refused(write, tmp_path):
    write("train-0.parquet", [0, 1], features=False)
    other = write("train-1.parquet", [0, 1], features=False)
    table = pq.read_table(other)
    pq.write_table(table.append_column("target", pa.array([1, 0])), other)
    with pytest.raises(DataError, match=r"train-1\.parquet has the columns 'label' and 'target'"):
        open_data(tmp_path)
    assert open_data(tmp_path, keys=("image", "label")).labels.tolist() == [0, 1, 0, 1]


def test_a_class_list_decides_by_the_names_of_the_data(write, tmp_path):
    path = write("a.parquet", [2, 0, 1])
    (tmp_path / "classes.txt").write_text("owl\ncat\ndog\n")
    source = open_data(path, classes=tmp_path / "classes.txt")
    assert source.labels.tolist() == [0, 1, 2]
    assert source.class_name(0) == "owl"
    (tmp_path / "classes.txt").write_text("owl\ncat\nhound\n")
    with pytest.raises(DataError, match=r"The class 'dog' of .* is not in the class list"):
        open_data(path, classes=tmp_path / "classes.txt")
    (tmp_path / "classes.txt").write_text("Katze\nHund\nEule\n")
    assert open_data(path, classes=tmp_path / "classes.txt").labels.tolist() == [2, 0, 1]


def test_a_class_list_tells_no_classes_of_one_name_apart(write, tmp_path):
    path = write("a.parquet", [2, 0, 1], names=["owl", "cat", "cat"])
    assert open_data(path).labels.tolist() == [2, 0, 1]
    (tmp_path / "classes.txt").write_text("owl\ncat\ncat\n")  # as ImageNet has two cranes
    assert open_data(path, classes=tmp_path / "classes.txt").labels.tolist() == [2, 0, 1]
    (tmp_path / "classes.txt").write_text("cat\nowl\ndog\n")
    with pytest.raises(DataError, match="names two of its classes 'cat', so that classes cannot"):
        open_data(path, classes=tmp_path / "classes.txt")
