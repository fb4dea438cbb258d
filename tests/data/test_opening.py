import numpy as np
import pytest

from analyzer.data import open_data
from analyzer.errors import DataError


@pytest.mark.parametrize("spec", ["nothing", "nothing#test", "nothing.npz"])
def test_a_missing_path_is_named(spec, tmp_path):
    with pytest.raises(DataError, match=r"there is no data at .*nothing.*wanted: a folder"):
        open_data(f"{tmp_path}/{spec}")


@pytest.mark.parametrize("name", ["a.pkl", "a.h5", "a", "a.png"])
def test_unknown_kinds(name, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=f"{name} is not a known kind of data"):
        open_data(tmp_path / name)


def test_two_keys_are_wanted(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((1, 2, 2), np.uint8), labels=[0])
    with pytest.raises(DataError, match="names 1 keys"):
        open_data(tmp_path / "a.npz", keys=("images",))


def test_class_folders_next_to_a_readme_and_a_parquet_named_class(class_folders):
    folder = class_folders({"train": 1, "parquet": 1})
    (folder / "readme.txt").write_text("x")
    assert open_data(folder).kind == "folder"


def test_endings_in_capitals(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((1, 2, 2), np.uint8), labels=[0])
    (tmp_path / "a.npz").rename(tmp_path / "A.NPZ")
    assert open_data(tmp_path / "A.NPZ").kind == "npz"
