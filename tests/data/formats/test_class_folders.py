import errno
import gc
import os
import pickle

import pytest

from analyzer.data import open_data
from analyzer.errors import DataError


def test_classes_in_natural_order(class_folders):
    source = open_data(class_folders({"10": 1, "2": 2, "1": 1}))
    assert source.kind == "folder"
    assert source.class_names == ("1", "2", "10")
    assert source.labels.tolist() == [0, 1, 1, 2]
    assert list(source.names) == ["1/0.png", "2/0.png", "2/1.png", "10/0.png"]
    assert source.indexing == "order"


def test_class_list_gives_the_indices(class_folders, tmp_path):
    folder = class_folders({"cat": 1, "owl": 2})
    (tmp_path / "classes.txt").write_text("owl\ndog\ncat")
    source = open_data(folder, classes=tmp_path / "classes.txt")
    assert source.class_names == ("owl", "dog", "cat")
    assert source.labels.tolist() == [0, 0, 2]
    assert list(source.names) == ["owl/0.png", "owl/1.png", "cat/0.png"]
    assert source.indexing == "classes"


def test_files_below_class_folders_and_other_files(class_folders):
    folder = class_folders({"cat": 1, "owl/young": 1})
    (folder / "cat" / "notes.txt").write_text("x")
    (folder / "cat" / ".hidden.png").write_text("x")
    for name in ("1.tga", "2.TGA"):
        (folder / "owl" / "young" / name).write_text("x")
    (folder / ".git").mkdir()
    (folder / "readme.md").write_text("x")
    (folder / "loose.png").write_text("x")
    source = open_data(folder)
    assert list(source.names) == ["cat/0.png", "owl/young/0.png"]
    assert source.warnings == (
        f"Files that are not images, or of a format that is not read, were left out of {folder}: "
        "4 (2 .tga, 1 .txt, 1 hidden).",
        f"Images outside class folders were left out of {folder}: 1.",
    )


def test_an_empty_class_is_named(class_folders):
    folder = class_folders({"cat": 1, "owl": 0})
    with pytest.raises(DataError, match=r"owl holds no image\. Fill it"):
        open_data(folder)
    (folder / "owl" / "a.ico").write_text("x")
    with pytest.raises(DataError, match=r"owl holds no image of a format that is read \(1 \.ico\)"):
        open_data(folder)


@pytest.mark.filterwarnings("error::ResourceWarning")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_folders_that_are_looked_into_are_closed(class_folders, tmp_path):
    for split in ("train", "test"):
        class_folders({"a": 1, "b": 1}, tmp_path / split)
    assert len(open_data(tmp_path)) == 2
    gc.collect()


def test_a_folder_of_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match="neither class folders"):
        open_data(tmp_path)


def test_a_folder_of_images_alone_is_told_what_to_name(class_folders):
    folder = class_folders({"a": 2, "b": 1})
    with pytest.raises(DataError, match=r"a holds images but no class folders. Name the folder"):
        open_data(folder / "a")


def test_a_file_that_has_gone_away_is_named_without_codes(class_folders):
    folder = class_folders({"a": 2, "b": 1})
    source = open_data(folder)
    (folder / source.names[0]).unlink()
    with pytest.raises(
        DataError, match=r"cannot be read \(No such file or directory\)\. Fix or remove it"
    ):
        source.read(0)


def test_splits(class_folders, tmp_path):
    root = tmp_path / "data"
    class_folders({"cat": 2, "owl": 1}, root / "train")
    class_folders({"cat": 1, "owl": 1}, root / "val")
    assert open_data(root).source == f"{root}#train"
    assert len(open_data(root)) == 3
    assert len(open_data(f"{root}#val")) == len(open_data(f"{root}#validation")) == 2
    with pytest.raises(DataError, match=r"no split 'test' \(there: train, val\)"):
        open_data(f"{root}#test")


def test_two_folders_of_a_split_are_told_apart_by_their_own_names(class_folders, tmp_path):
    root = tmp_path / "data"
    class_folders({"cat": 2, "owl": 1}, root / "valid")
    class_folders({"cat": 1, "owl": 1}, root / "dev")
    for name, samples in (("valid", 3), ("dev", 2)):
        source = open_data(f"{root}#{name}")
        assert (source.source, len(source)) == (f"{root}#{name}", samples)
    for name in ("val", "Dev"):
        with pytest.raises(DataError, match=r"split 'val'\. Name one of them as .*#dev or"):
            open_data(f"{root}#{name}")


@pytest.mark.parametrize("inside", [False, True])
def test_a_link_to_what_cannot_be_read_is_named(class_folders, tmp_path, monkeypatch, inside):
    root = class_folders({"cat": 1, "owl": 1})
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "gone").mkdir(parents=True)
    link = root / "cat" / "more"
    link.symlink_to(elsewhere)
    lost = link / "gone" if inside else link
    scandir = os.scandir

    def without(path):
        if os.fspath(path) == str(lost):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(lost))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", without)
    with pytest.raises(DataError) as caught:
        open_data(root)
    what = "where gone" if inside else "which"
    assert str(caught.value) == (
        f"The link {link} leads to {elsewhere}, {what} cannot be read (No such file or directory). "
        "Remove the link, or give the images in a .csv manifest."
    )
    link.unlink()
    (root / "cat" / "more" / "gone").mkdir(parents=True)
    with pytest.raises(DataError, match=r"^.*cat.more.* cannot be read \(No such file"):
        open_data(root)


def test_only_a_test_split_is_never_taken_for_training_data(class_folders, tmp_path):
    class_folders({"cat": 2, "owl": 1}, tmp_path / "data" / "test")
    with pytest.raises(DataError, match="no split 'train'"):
        open_data(tmp_path / "data")


def test_classes_called_test_and_train_are_classes(class_folders):
    assert open_data(class_folders({"test": 1, "train": 1})).class_names == ("test", "train")


@pytest.mark.parametrize("beside", ["flat", "nested", "several"])
def test_a_split_of_class_folders_beside_others(class_folders, tmp_path, beside):
    root = tmp_path / "data"
    class_folders({"cat": 2, "owl": 1}, root / "train")
    if beside == "flat":  # as of a competition, whose test images have no labels
        class_folders({"test": 3}, root)
    else:
        class_folders({"cat": 1, "owl": 1}, root / "test")
    if beside == "several":
        class_folders({"extra": 2}, root)
    source = open_data(root)
    assert (source.source, source.class_names) == (f"{root}#train", ("cat", "owl"))
    left_out = f"Folders that name no split were left out of {root}: 1."
    assert source.warnings == ((left_out,) if beside == "several" else ())


@pytest.mark.parametrize("names", [("training_set", "test_set"), ("seg_train", "seg_test")])
def test_splits_by_a_word_of_their_names(class_folders, tmp_path, names):
    for name in names:
        class_folders({"cat": 2, "owl": 1}, tmp_path / "data" / name)
    source = open_data(tmp_path / "data")
    assert (source.source, len(source)) == (f"{tmp_path / 'data'}#train", 3)
    class_folders({"bus": 1}, tmp_path / "data")  # so these are classes, all of them
    assert len(open_data(tmp_path / "data").class_names) == 3


def test_splits_below_classes_are_refused(class_folders, tmp_path):
    for name in ("cat", "owl"):
        class_folders({"train": 2, "test": 1}, tmp_path / "data" / name)
    with pytest.raises(DataError, match=r"'cat/t\w+' and 'cat/t\w+', .*as t\w+/cat"):
        open_data(tmp_path / "data")


def test_one_split_below_every_class_is_refused(class_folders, tmp_path):
    root = tmp_path / "data"
    for name in ("cat", "owl"):
        class_folders({"val": 1}, root / name)
    with pytest.raises(DataError, match=r"All classes in .* have a folder like '(cat|owl)/val'"):
        open_data(root)
    class_folders({"bus": 1}, root)  # which has none
    assert len(open_data(root)) == 3
    class_folders({"Test": 1}, root / "bus")
    with pytest.raises(DataError, match="both can be of the training data"):
        open_data(root)


@pytest.mark.parametrize("name", ["train.npz", "labels.csv", "metadata.jsonl", "more.tar.gz"])
def test_what_could_be_data_beside_class_folders_is_named(class_folders, name):
    folder = class_folders({"a": 1, "b": 1})
    (folder / "README.md").write_text("x")
    assert open_data(folder).warnings == ()
    (folder / name).write_text("x")
    assert f"; {name} beside that not." in open_data(folder).warnings[0]
    splits = folder / "of_splits"
    for split in ("train", "test"):
        class_folders({"a": 1, "b": 1}, splits / split)
    assert open_data(splits).warnings == ()
    (splits / "train" / name).write_text("x")
    assert f"; train/{name} beside that not." in open_data(splits).warnings[0]


def test_a_folder_that_could_be_a_split_or_a_class_is_refused(class_folders, tmp_path):
    root = tmp_path / "data"
    class_folders({"diesel": 2, "steam": 1}, root / "train")
    class_folders({"bus": 1, "car": 1}, root)
    with pytest.raises(DataError, match=r"train is a split by its name .* name it as .*#train"):
        open_data(root)
    assert open_data(f"{root}#train").class_names == ("diesel", "steam")
    (tmp_path / "classes.txt").write_text("bus\ncar\ntrain\n")
    assert len(open_data(root, classes=tmp_path / "classes.txt")) == 5


def test_images_beside_splits_are_left_out_with_a_warning(class_folders, tmp_path):
    root = class_folders({"cat": 2, "owl": 1}, tmp_path / "data" / "train").parent
    (root / "top.png").write_bytes(b"")
    (warning,) = open_data(root).warnings
    assert warning == f"Images outside class folders were left out of {root}#train: 1."


def test_a_hash_in_the_path_is_part_of_it(class_folders, tmp_path):
    folder = class_folders({"a": 1}, tmp_path / "c#test")
    assert open_data(folder).source == str(folder)


def test_a_source_travels_to_another_process(class_folders):
    source = open_data(class_folders({"a": 1, "b": 2}))
    copy = pickle.loads(pickle.dumps(source))
    assert copy.read(2).digest == source.read(2).digest
    assert copy.fingerprint() == source.fingerprint()


def test_folders_that_systems_add_are_no_classes(class_folders):
    folder = class_folders({"a": 1, "b": 1, "__MACOSX/a": 1, "a/@eaDir/0.png": 2, ".cache": 1})
    assert list(open_data(folder).names) == ["a/0.png", "b/0.png"]


@pytest.mark.parametrize("target", ["..", "../..", "."])
def test_links_that_lead_back_up_are_not_followed(target, class_folders):
    folder = class_folders({"a": 1, "b": 2})
    (folder / "b" / "link").symlink_to(target)
    assert list(open_data(folder).names) == ["a/0.png", "b/0.png", "b/1.png"]


@pytest.mark.parametrize(("link", "target"), [("b/link", "../a"), ("b/l", "../a/s"), ("c", "a")])
def test_a_link_to_a_folder_of_another_class_is_refused(link, target, class_folders):
    folder = class_folders({"a": 1, "a/s": 1, "b": 1})
    (folder / link).symlink_to(target)
    with pytest.raises(DataError, match="are one folder, by a link, in two classes"):
        open_data(folder)
