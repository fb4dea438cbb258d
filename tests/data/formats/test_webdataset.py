import io
import json
import os
import re
import shutil
import subprocess
import tarfile

import pytest

from analyzer.data import open_data
from analyzer.errors import DataError


@pytest.fixture
def shard(picture, encoded, tmp_path):
    """shard(name, {"a.jpg": …}): a tar archive; an int as content makes a PNG of that seed."""

    def make(name, files, mode="w", folder=tmp_path):
        folder.mkdir(exist_ok=True)
        with tarfile.open(folder / name, mode) as archive:
            for file, content in files.items():
                data = content
                if isinstance(content, int):
                    data = encoded(picture(8, 8, seed=content))
                elif isinstance(content, str):
                    data = content.encode()
                elif isinstance(content, dict):
                    data = json.dumps(content).encode()
                info = tarfile.TarInfo(file)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return folder / name

    return make


def test_samples_of_an_archive(shard, encoded, picture):
    files = {"n/0001.png": 1, "n/0001.cls": "7\n", "n/0002.cls": "3", "n/0002.jpg": 2}
    source = open_data(shard("a.tar", files))
    assert source.kind == "tar"
    assert list(source.names) == ["n/0001", "n/0002"]
    assert source.labels.tolist() == [7, 3]
    assert source.stored(1) == encoded(picture(8, 8, seed=2))
    assert source.read(0).image.shape == (8, 8, 3)


def test_folders_in_an_archive_that_are_splits(shard, tmp_path):
    files = {}
    for number, folder in enumerate(("train/cat", "train/dog", "test/cat", "Val/dog")):
        files |= {f"./set/{folder}/{number}.png": number, f"./set/{folder}/{number}.cls": number}
    files = {name: str(one) if name.endswith("cls") else one for name, one in files.items()}
    path = shard("a.tar", files)
    source = open_data(path)
    assert source.source == f"{path}#train"
    assert list(source.names) == ["set/train/cat/0", "set/train/dog/1"]
    assert source.labels.tolist() == [0, 1]
    assert list(open_data(f"{path}#val").names) == ["set/Val/dog/3"]
    with pytest.raises(DataError, match=r"has no split 'extra' \(there: test, train, val\)"):
        open_data(f"{path}#extra")
    files |= {"set/bus/4.png": 4, "set/bus/4.cls": "4"}
    path = shard("b.tar", files)
    with pytest.raises(DataError, match=r"a split, .Val. and .test. and .train., beside"):
        open_data(path)
    source = open_data(f"{path}#train")
    assert source.labels.tolist() == [0, 1]
    assert source.warnings == (f"Samples that name no split were left out of {path}: 1.",)
    one = {name: content for name, content in files.items() if "/train/" in name or "/bus/" in name}
    with pytest.raises(DataError, match=r"name a split, 'train', beside others that are"):
        open_data(shard("d.tar", one))
    vehicles = {"train/0.png": 0, "train/0.cls": "1", "train/1.png": 1, "train/1.cls": "1"}
    path = shard("c.tar", {**vehicles, "bus/0.png": 2, "bus/0.cls": "0"})  # "train" is one
    assert open_data(path).labels.tolist() == [1, 1, 0]
    with pytest.raises(DataError, match=r"has no split 'train' \(there: no splits\)"):
        open_data(f"{path}#train")


def test_folders_of_splits_that_are_written_in_two_ways(shard):
    files = {}
    for number, folder in enumerate(("./train", "train", "test", ".")):
        files |= {f"{folder}/{number}.png": number, f"{folder}/{number}.cls": str(number)}
    assert open_data(f"{shard('a.tar', files)}#train").labels.tolist() == [0, 1]
    del files["./3.png"], files["./3.cls"]
    assert open_data(shard("b.tar", files)).labels.tolist() == [0, 1]


def test_hidden_folders_and_those_that_systems_add_are_not_looked_into(shard):
    files = {"./n/1.png": 1, "./n/1.cls": "7"}
    for folder in ("__MACOSX/n", "n/@eaDir", ".hidden"):
        files |= {f"{folder}/1.png": 2, f"{folder}/1.cls": "3"}
    assert list(open_data(shard("a.tar", files)).names) == ["n/1"]


def test_labels_in_json_and_in_cls(shard):
    files = {"a.png": 0, "a.json": {"label": 4}, "b.png": 1, "b.json": {"label": 2}, "b.cls": "2"}
    files |= {"c.png": 2, "c.cls": "1", "c.json": {"caption": "c"}, "d.png": 3, "d.json": "3.0"}
    files |= {"e.png": 4, "e.cls": "5", "e.json": {"label": ["no", "label"]}}
    files |= {"f.png": 5, "f.json": {"label": None, "cls": 6}, "g.png": 6}
    files |= {"g.json": {"label": 7.0, "cls": "7"}, "g.cls": "7\n"}
    assert open_data(shard("a.tar", files)).labels.tolist() == [4, 2, 1, 3, 5, 6, 7]


@pytest.mark.parametrize(
    ("files", "one", "other"),
    [
        ({"a.cls": "1", "a.json": {"label": 8}}, "'1' (.cls)", "8 ('label' in .json)"),
        ({"a.json": "8", "a.cls": "1"}, "8 (.json)", "'1' (.cls)"),
        ({"a.cls": "1", "a.json": {"cls": "owl"}}, "'1' (.cls)", "'owl' ('cls' in .json)"),
        ({"a.json": {"cls": 1, "label": 0}}, "0 ('label' in .json)", "1 ('cls' in .json)"),
    ],
)
def test_two_labels_of_a_sample_are_refused_unless_one_is_chosen(files, one, other, shard):
    path = shard("a.tar", {"a.png": 0, **files})
    with pytest.raises(DataError, match=re.escape(f"the label {one} and {other}")):
        open_data(path)
    if "a.cls" in files:
        assert open_data(path, keys=("png", "cls")).labels.tolist() == [1]


def test_names_of_classes(shard, tmp_path):
    path = shard("a.tar", {"a.png": 0, "a.cls": "owl", "b.png": 0, "b.cls": "cat"})
    assert open_data(path).labels.tolist() == [1, 0]
    (tmp_path / "classes.txt").write_text("owl\ndog\ncat")
    assert open_data(path, classes=tmp_path / "classes.txt").labels.tolist() == [0, 2]


def test_endings_by_option(shard):
    files = {"a.left.png": 0, "a.right.png": 1, "a.png": 3, "a.kind": "3"}
    path = shard("a.tar", files)
    assert open_data(path, keys=("png", "kind")).labels.tolist() == [3]
    assert open_data(path, keys=("left.png", "kind")).stored(0) != open_data(
        path, keys=("right.png", "kind")
    ).stored(0)
    with pytest.raises(DataError, match="has no label"):
        open_data(path)


def test_folder_of_archives_with_splits(shard, tmp_path):
    folder = tmp_path / "shards"
    for number in (0, 1, 10, 2):
        files = {f"{number}.png": number, f"{number}.cls": str(number)}
        shard(f"set-train-{number}.tar", files, folder=folder)
    shard("set-validation-0.tar", {"v.png": 0, "v.cls": "5"}, folder=folder)
    source = open_data(folder)
    assert source.source == f"{folder}#train"
    assert source.labels.tolist() == [0, 1, 2, 10]
    assert source.stored(3) == open_data(folder / "set-train-10.tar").stored(0)
    assert open_data(f"{folder}#val").labels.tolist() == [5]


def test_samples_without_an_image_are_counted(shard):
    source = open_data(shard("a.tar", {"a.png": 0, "a.cls": "1", "b.cls": "2", "c.txt": "x"}))
    assert source.labels.tolist() == [1]
    assert re.match(r"Samples without an image .* were left out of .*: 2\.", source.warnings[0])


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_are_no_images_and_are_counted(kind, shard):
    path = shard("a.tar", {"a.png": 0, "a.cls": "1"})
    with tarfile.open(path, "a") as archive:
        for name in ("b.png", "b.cls"):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, f"a.{name[2:]}"
            archive.addfile(info)
    source = open_data(path)
    assert list(source.names) == ["a"]
    assert "(a link is none)" in source.warnings[0]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a.png": 0}, "a in .* has no label"),
        ({"a.png": 0, "a.jpg": 1, "a.cls": "1"}, "second image"),
        ({"d/a.png": 0, "d/a.cls": "1", "./d//a.png": 0}, "second image"),
        ({"a.cls": "1"}, "no samples"),
        ({"a.png": 0, "a.cls": b"\xff"}, "a.cls"),
        ({"a.png": 0, "a.json": "{"}, "a.json"),
        ({"a.png": 0, "a.json": {"label": [1]}}, r"label \[1\]"),
        ({"a.png": 0, "a.cls": " "}, "no label"),
        ({"a.png": 0, "a.cls": "x" * (1 << 20) + "y"}, "too large"),
    ],
)
def test_refusals(files, says, shard):
    with pytest.raises(DataError, match=says):
        open_data(shard("a.tar", files))


def test_compressed_archives_are_refused_with_the_way_out(shard):
    path = shard("a.tar.gz", {"a.png": 0, "a.cls": "1"}, mode="w:gz")
    with pytest.raises(DataError, match=r"is compressed, .* Unpack it"):
        open_data(path)
    path.rename(path.with_name("b.tar"))
    with pytest.raises(DataError, match=r"b\.tar is compressed"):
        open_data(path.with_name("b.tar"))


@pytest.mark.parametrize("packed", ["s-1.tar.gz", "s-1.TGZ", "s-0.tar.gz", "s-1.tar.Z", "s-1.tlz"])
def test_a_compressed_shard_beside_others_is_refused(packed, shard, tmp_path):
    shard("s-0.tar", {"a.png": 0, "a.cls": "1"}, folder=tmp_path / "d")
    shard(packed, {"b.png": 0, "b.cls": "1"}, mode="w:gz", folder=tmp_path / "d")
    with pytest.raises(DataError, match=rf"{re.escape(packed)} is compressed"):
        open_data(tmp_path / "d")
    (tmp_path / "d" / "s-0.tar").unlink()
    with pytest.raises(DataError, match=rf"{re.escape(packed)} is compressed"):
        open_data(tmp_path / "d")


def test_compressed_shards_of_another_split_do_not_matter(shard, tmp_path):
    shard("train.tar", {"a.png": 0, "a.cls": "1"}, folder=tmp_path / "d")
    shard("test.tar.gz", {"b.png": 0, "b.cls": "1"}, mode="w:gz", folder=tmp_path / "d")
    assert list(open_data(tmp_path / "d").names) == ["a"]


def test_endings_of_shards_are_in_any_case(shard, tmp_path):
    for number, name in enumerate(("s-0.tar", "s-1.TAR")):
        shard(name, {f"{number}.png": 0, f"{number}.cls": "1"}, folder=tmp_path / "d")
    assert list(open_data(tmp_path / "d").names) == ["0", "1"]


def test_shards_in_a_folder_of_their_own_are_said_to_be_left_out(shard, tmp_path):
    shard("s-0.tar", {"a.png": 0, "a.cls": "1"}, folder=tmp_path / "d")
    shard("s-1.tar", {"b.png": 0, "b.cls": "1"}, folder=tmp_path / "d" / "more")
    (warning,) = open_data(tmp_path / "d").warnings
    assert warning.endswith("; more in it was left out.")
    (tmp_path / "d" / "more" / "s-1.tar").rename(tmp_path / "d" / "more" / "s-1.txt")
    (tmp_path / "d" / "more" / "still").mkdir()
    (tmp_path / "d" / "more" / "still" / "s-2.tgz").write_text("x")
    (warning,) = open_data(tmp_path / "d").warnings
    assert warning.endswith("; more/still in it was left out.")


def test_deep_folders_are_refused_before_they_are_split(shard):
    with pytest.raises(DataError, match=r"has a name of 200,00. characters"):
        open_data(shard("a.tar", {"d/" * 100_000 + "k.png": 0, "d/" * 100_000 + "k.cls": "1"}))


def test_labels_may_begin_with_a_byte_order_mark(shard):
    files = {"a.png": 0, "a.json": '\ufeff{"label": 1}', "b.png": 1, "b.cls": "\ufeff2"}
    assert open_data(shard("a.tar", files)).labels.tolist() == [1, 2]


@pytest.mark.parametrize("keep", [600, 700, 2000])
def test_truncated_archives_are_refused(keep, shard):
    path = shard("a.tar", {"a.cls": "1", "a.png": 0})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.tar|a in"):
        open_data(path).read(0)


def test_archives_that_are_cut_off_or_go_on_are_refused(shard):
    path = shard("a.tar", {"a.png": b"1" * 600, "a.cls": "0", "b.png": b"2", "b.cls": "1"})
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[whole.index(b"b.png") + 150] ^= 1  # its checksum
    blank = whole.replace(whole[whole.index(b"b.png") :][:512], bytes(512))
    header = whole.index(b"b.png")
    for content in (whole[:header], whole[: header + 100], bytes(damaged), blank, whole + whole):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.tar is no whole tar archive"):
            open_data(path)
    path.write_bytes(whole.rstrip(b"\0") + bytes(4096))
    assert len(open_data(path)) == 2


def test_hidden_archives_are_not_looked_at(shard, tmp_path):
    shard("train-0.tar", {"a.png": b"1", "a.cls": "0"})
    shard("extra.tar", {"b.png": b"1", "b.cls": "0"})
    (tmp_path / "._train-0.tar").write_bytes(b"x")
    source = open_data(tmp_path)
    assert list(source.names) == ["a"]
    assert source.warnings == (f"Archives that name no split were left out of {tmp_path}: 1.",)


def test_archives_that_are_missing_by_the_names_of_others(shard, tmp_path):
    shard("a-1-of-3.tar", {"a.png": b"1", "a.cls": "0"})
    one = shard("a-2-of-3.tar", {"b.png": b"1", "b.cls": "0"})
    assert open_data(tmp_path).warnings == (
        f"Only 2 of the 3 files called a-…-of-3 are there in {tmp_path}; the samples of the others "
        "are missing.",
    )
    assert not open_data(one).warnings
    shard("a-3-of-3.tar", {"c.png": b"1", "c.cls": "0"})
    assert not open_data(tmp_path).warnings


def test_archives_that_are_missing_between_others(shard, tmp_path):
    for number in (0, 1, 4):
        shard(f"a-00000{number}.tar", {f"{number}.png": b"1", f"{number}.cls": "0"})
    assert open_data(tmp_path).warnings == (
        f"Between a-000000.tar and a-000004.tar 2 files are not there in {tmp_path}; their samples "
        "are missing, if there were any.",
    )
    shard("a-000002.tar", {"2.png": b"1", "2.cls": "0"})
    (warning,) = open_data(tmp_path).warnings
    assert "1 file is not there" in warning
    shard("a-000003.tar", {"3.png": b"1", "3.cls": "0"})
    assert not open_data(tmp_path).warnings


def test_archives_called_by_years_are_no_series(shard, tmp_path):
    for year in (2019, 2021):
        shard(f"a-{year}.tar", {f"{year}.png": b"1", f"{year}.cls": "0"})
    assert not open_data(tmp_path).warnings


def test_two_names_of_one_split_are_told_apart(shard, tmp_path):
    for name, label in (("train", "0"), ("valid", "1"), ("validation", "2")):
        shard(f"{name}.tar", {"a.png": 1, "a.cls": label}, folder=tmp_path / "d")
    assert open_data(tmp_path / "d").labels.tolist() == [0]
    with pytest.raises(DataError, match=r"has 'valid' and 'validation', and both are split 'val'"):
        open_data(f"{tmp_path}/d#val")
    assert open_data(f"{tmp_path}/d#valid").labels.tolist() == [1]


@pytest.mark.parametrize("folders", ["d/shards", "d/raw/shards"])
def test_archives_in_other_folders_are_named(folders, shard, tmp_path):
    folder = tmp_path / folders
    folder.parent.mkdir(parents=True, exist_ok=True)
    archive = shard("a.tar", {"a.png": 1, "a.cls": "0"}, folder=folder)
    with pytest.raises(DataError, match=rf"If {folder}, a WebDataset .tar, is meant, name it"):
        open_data(tmp_path / "d")
    assert open_data(archive.parent).labels.tolist() == [0]


def test_archives_and_folders_in_them_tell_the_same_split(shard, tmp_path):
    files = {}
    for number, folder in enumerate(("train", "train", "test")):
        files |= {f"{folder}/{number}.png": number, f"{folder}/{number}.cls": str(number)}
    path = shard("train.tar", files, folder=tmp_path / "d")
    assert open_data(path).labels.tolist() == [0, 1]
    with pytest.raises(DataError, match=r"test/2 in .*#train is of split 'test' and of 'train'"):
        open_data(path.parent)
    del files["test/2.png"], files["test/2.cls"]
    shard("train.tar", files, folder=tmp_path / "d")
    assert open_data(path.parent).labels.tolist() == [0, 1]


def test_archives_beside_folders_of_splits(shard, tmp_path):
    shard("a.tar", {"a.png": 0, "a.cls": "0"}, folder=tmp_path / "train")
    shard("test-0.tar", {"b.png": 0, "b.cls": "1"})
    assert list(open_data(tmp_path).names) == ["a"]
    assert list(open_data(f"{tmp_path}#test").names) == ["b"]
    shard("c.tar", {"c.png": 0, "c.cls": "1"})
    source = open_data(tmp_path)
    assert list(source.names) == ["a"]
    assert source.warnings == (f"Archives that name no split were left out of {tmp_path}: 1.",)


def test_archives_in_folders_of_splits(shard, tmp_path):
    (tmp_path / "d").mkdir()
    for number, split in enumerate(("train", "validation")):
        for part in range(2):
            files = {f"{part}.png": number, f"{part}.cls": f"{number}"}
            shard(f"{part}.tar", files, folder=tmp_path / "d" / split)
    source = open_data(tmp_path / "d")
    assert (source.labels.tolist(), source.source) == ([0, 0], f"{tmp_path / 'd'}#train")
    assert open_data(f"{tmp_path / 'd'}#val").labels.tolist() == [1, 1]
    assert source.warnings == ()


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), os.mkfifo])
def test_what_is_called_like_an_archive_and_is_none_is_named(make, shard, tmp_path):
    shard("s-0.tar", {"a.png": 0, "a.cls": "1"}, folder=tmp_path / "d")
    make(tmp_path / "d" / "s-1.tar")
    with pytest.raises(DataError, match=r"s-1\.tar is a \w+, not a regular file\. Move"):
        open_data(tmp_path / "d")


@pytest.mark.parametrize("key", ["split", "Split", " SUBSET"])
def test_splits_that_json_files_name(key, shard, tmp_path):
    def files(*splits, cls=False):
        made = {f"{n}.png": n for n in range(len(splits))}
        made |= {f"{n}.json": {"label": n, key: split} for n, split in enumerate(splits)}
        return made | ({f"{n}.cls": str(n) for n in range(len(splits))} if cls else {})

    path = shard("a.tar", files("train", "Test", " training", cls=True))
    with pytest.raises(DataError, match=r"'train' and 'training', and both are split 'train'"):
        open_data(path)
    assert open_data(f"{path}#train").labels.tolist() == [0]
    assert open_data(f"{path}#test", keys=("png", "cls")).labels.tolist() == [1]
    path = shard("b.tar", files("test", "test"))
    with pytest.raises(DataError, match=r"no split 'train' \(there: test\)"):
        open_data(path)
    assert len(open_data(f"{path}#test")) == 2
    path = shard("c.tar", files("front", "test"))
    with pytest.raises(DataError, match=r"name a split, 'test', beside others that are in none"):
        open_data(path)
    assert open_data(f"{path}#test").labels.tolist() == [1]
    shard("train.tar", files("train", "train"), folder=tmp_path / "d")
    shard("test.tar", files("test", "train"), folder=tmp_path / "d")
    assert len(open_data(tmp_path / "d")) == 2
    with pytest.raises(DataError, match=r"1 in .*d#test is of split 'train' and of 'test'"):
        open_data(f"{tmp_path}/d#test")


def test_a_member_of_another_name_that_tells_splits_is_refused(shard):
    files = {f"{n}.png": n for n in range(3)}
    files |= {f"{n}.cls": str(n) for n in range(3)}
    told = [{"phase": "train", "view": "test"}, {"phase": "Test"}, {"phase": "train", "view": "x"}]
    files |= {f"{n}.json": one for n, one in enumerate(told)}
    with pytest.raises(DataError, match=r"The member 'phase' of .*a\.tar says test and train"):
        open_data(shard("a.tar", files))
    files["1.json"] = {"phase": "front"}
    assert len(open_data(shard("a.tar", files))) == 3


@pytest.mark.parametrize(
    "folders", [("set_train", "set_val"), ("train_0", "test_0"), ("train", "imagenet_val")]
)
def test_words_in_folders_tell_splits_where_all_have_some(folders, shard):
    files = {}
    for number, folder in enumerate(folders):
        files |= {f"./d/{folder}/{number}.png": number, f"./d/{folder}/{number}.cls": str(number)}
    assert open_data(shard("a.tar", files)).labels.tolist() == [0]
    files |= {"./d/bullet/2.png": 2, "./d/bullet/2.cls": "2"}  # so these are classes
    assert open_data(shard("b.tar", files)).labels.tolist() == [0, 1, 2]


def test_folders_that_contradict_each_other_are_refused(shard, tmp_path):
    files = {"train/0.png": 0, "train/0.cls": "0", "train/test/1.png": 1, "train/test/1.cls": "1"}
    with pytest.raises(DataError, match=r"train/test/1 in .* is of split 'train' and of 'test'"):
        open_data(shard("a.tar", files))
    shard("test-0.tar", {"a.png": 0, "a.cls": "0"}, folder=tmp_path / "train")
    with pytest.raises(DataError, match=r"test-0.tar is called as a split, .test., and in a"):
        open_data(tmp_path)


def test_a_name_of_two_splits_names_none(shard, tmp_path):
    shard("train.tar", {"a.png": 0, "a.cls": "0"})
    shard("train-val.tar", {"b.png": 0, "b.cls": "1"})
    source = open_data(tmp_path)
    assert list(source.names) == ["a"]
    assert source.warnings == (f"Archives that name no split were left out of {tmp_path}: 1.",)


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
@pytest.mark.parametrize("flavour", ["gnu", "pax"])
@pytest.mark.parametrize("sparse", ["a.png", "a.cls"])
def test_sparse_files_are_refused(flavour, sparse, encoded, picture, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(picture(8, 8, seed=1)))
    (tmp_path / "a.cls").write_text("1")
    with (tmp_path / sparse).open("ab") as file:
        file.truncate(1 << 20)
    where = ["tar", "-C", str(tmp_path), "--sparse", f"--format={flavour}"]
    subprocess.run([*where, "-cf", str(tmp_path / "a.tar"), "a.png", "a.cls"], check=True)
    with pytest.raises(DataError, match=rf"{re.escape(sparse)} in .*a\.tar is stored as a sparse"):
        open_data(tmp_path / "a.tar")


def test_an_archive_that_is_another_by_a_link_is_refused(shard, tmp_path):
    path = shard("a.tar", {"a.png": 0, "a.cls": "1"}, folder=tmp_path / "d")
    (path.parent / "b.tar").symlink_to(path)
    with pytest.raises(DataError, match=r"a\.tar and .*b\.tar are one file, by a link\. Remove"):
        open_data(path.parent)


def test_samples_called_as_others_in_other_archives_are_counted(shard, tmp_path):
    files = {"a.png": 0, "a.cls": "1", "b.png": 1, "b.cls": "1"}
    for name in ("a.tar", "b.tar"):
        shard(name, files, folder=tmp_path / "d")
    source = open_data(tmp_path / "d")
    assert len(source) == 4
    (warning,) = source.warnings
    assert warning.startswith(f"Samples are called as others in {tmp_path}/d, in other archives: 2")
