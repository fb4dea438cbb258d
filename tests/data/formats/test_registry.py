import io
import os
import sys
import tarfile

import numpy as np
import pytest

from analyzer.data import open_data
from analyzer.data.formats.registry import FORMATS
from analyzer.errors import DataError


def test_a_split_without_a_name_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 4, 4), np.uint8), labels=[0, 1])
    with pytest.raises(DataError, match=r"a\.npz# names no split behind its #"):
        open_data(f"{tmp_path}/a.npz#")


@pytest.mark.parametrize("spec", ["nothing", "nothing#test", "nothing.npz"])
def test_a_missing_path_is_named(spec, tmp_path):
    with pytest.raises(
        DataError, match=r"There is no data at .*nothing.*Wanted: .* or a folder of class"
    ):
        open_data(f"{tmp_path}/{spec}")


@pytest.mark.parametrize("name", ["a.pkl", "a.h5", "a", "a.png"])
def test_unknown_kinds(name, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=f"{name} is not a known kind of data"):
        open_data(tmp_path / name)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes by name")
def test_a_pipe_is_called_one(tmp_path):
    os.mkfifo(tmp_path / "train.npz")
    with pytest.raises(DataError, match=r"train\.npz is a pipe and not a known kind of data"):
        open_data(tmp_path / "train.npz")


def test_two_keys_are_wanted(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((1, 2, 2), np.uint8), labels=[0])
    with pytest.raises(DataError, match="give two names"):
        open_data(tmp_path / "a.npz", keys=("images",))


def test_class_folders_next_to_a_readme_and_a_parquet_named_class(class_folders):
    folder = class_folders({"train": 1, "parquet": 1})
    (folder / "readme.txt").write_text("x")
    assert open_data(folder).kind == "folder"


def test_endings_in_capitals(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((1, 2, 2), np.uint8), labels=[0])
    (tmp_path / "a.npz").rename(tmp_path / "A.NPZ")
    assert open_data(tmp_path / "A.NPZ").kind == "npz"


IMAGES = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def test_arrays_are_data_too(tmp_path):
    (tmp_path / "names.txt").write_text("zero\none")
    source = open_data((IMAGES, [1, 0]), classes=tmp_path / "names.txt")
    assert (source.source, source.kind) == ("memory", "arrays")
    assert source.labels.tolist() == [1, 0]
    assert source.class_names == ("zero", "one")
    assert np.array_equal(source.read(1).image, IMAGES[1])


def test_arrays_are_identified_by_their_values():
    before = open_data((IMAGES, [1, 0])).fingerprint()
    assert open_data([IMAGES.copy(), np.array([1, 0])]).fingerprint() == before
    assert open_data((IMAGES[::-1], [1, 0])).fingerprint() != before
    assert open_data((IMAGES, [0, 1])).fingerprint() != before


@pytest.mark.parametrize(
    ("data", "keys", "says"),
    [
        (None, None, "type NoneType"),
        ((IMAGES,), None, "type tuple are unknown; give a path, or two arrays"),
        (IMAGES, None, "type ndarray"),
        (([[1], [1, 2]], [0, 1]), None, "images or labels in memory are no array"),
        ((IMAGES, [0]), None, "memory holds 2 images but 1 labels"),
        ((IMAGES, [0, 1]), ("x", "y"), "keys names arrays in a file"),
        ("a.npz", "xy", "keys is 'xy'"),
    ],
)
def test_what_is_neither_a_path_nor_arrays(data, keys, says):
    with pytest.raises(DataError, match=says):
        open_data(data, keys=keys)


def test_every_format_says_what_it_is():
    assert len({known.description for known in FORMATS}) == len(FORMATS)
    with pytest.raises(DataError) as caught:
        open_data("nowhere")
    assert all(known.description in str(caught.value) for known in FORMATS)


def test_folders_of_images_beside_other_data_are_said_to_be_left_out(class_folders):
    folder = class_folders({"a": 1, "b": 1})
    (folder / "c").mkdir()
    _pack(folder / "all.tar")
    assert open_data(folder).warnings == (
        f"{folder} was read as a WebDataset .tar; folders of images were left out: 2.",
    )
    assert not open_data(folder / "all.tar").warnings


def test_folders_of_images_in_the_split_that_is_read_are_said_to_be_left_out(
    class_folders, tmp_path
):
    class_folders({"a": 1, "b": 1}, tmp_path / "train")
    _pack(tmp_path / "train" / "all.tar")
    (warning,) = open_data(tmp_path).warnings
    assert warning.endswith("read as a WebDataset .tar; folders of images were left out: 2.")


def test_a_split_of_class_folders_beside_archives_of_another_is_named(class_folders, tmp_path):
    class_folders({"a": 1, "b": 1}, tmp_path / "train")
    _pack(tmp_path / "test.tar")
    with pytest.raises(DataError, match=r"there: test.*If .*train, a folder of class folders, is"):
        open_data(tmp_path)


def _pack(path):
    """An archive of one sample."""
    with tarfile.open(path, "w") as archive:
        for name, content in (("a.png", b"x"), ("a.cls", b"0")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("name", ["b.npz", "c.png", "d.parquet", "data_batch_6.bin", "e.csv"])
def test_files_that_could_be_data_beside_others_are_said_to_be_left_out(name, tmp_path):
    for kind in ("images", "labels"):
        shape = [2, 4, 4] if kind == "images" else [2]
        header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
        (tmp_path / f"train-{kind}-idx{len(shape)}-ubyte").write_bytes(
            header + bytes(int(np.prod(shape)))
        )
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"x")
    (tmp_path / "README.md").write_text("x")
    assert open_data(tmp_path).warnings == ()
    (tmp_path / name).write_bytes(b"x")
    (warning,) = open_data(tmp_path).warnings
    assert warning.endswith(f"; {name} beside that not.")
