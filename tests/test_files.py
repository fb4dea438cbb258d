"""Files that appear whole or not at all."""

import os
import zipfile

import numpy as np
import pytest

from analyzer.errors import AuditFolderError, OutputError
from analyzer.files import aside, read_arrays, sha256, write_arrays, write_bytes, write_json


def test_aside_replaces_the_file_only_once_it_is_whole(tmp_path):
    path = tmp_path / "audit.json"
    path.write_text("old")
    with aside(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["audit.json"]


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_aside_leaves_nothing_behind_when_stopped(tmp_path, stop):
    path = tmp_path / "audit.json"
    path.write_text("old")
    with pytest.raises(stop), aside(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise stop
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["audit.json"]


@pytest.mark.parametrize("place", ["none/m.json", "file/m.json", "folder"])
def test_an_unwritable_place_is_named_and_nothing_left(place, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=f"{place} cannot be written"):
        write_bytes(tmp_path / place, b"content")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_json_without_a_number_is_refused_and_nothing_left(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"zeta": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("compressed", [True, False])
def test_the_same_arrays_give_the_same_bytes(compressed, tmp_path):
    arrays = {"order": np.arange(6).reshape(2, 3), "name": np.array("digits")}
    for name in ("one.npz", "other.npz"):
        write_arrays(tmp_path / name, arrays, compressed=compressed)
    assert sha256(tmp_path / "one.npz") == sha256(tmp_path / "other.npz")
    with np.load(tmp_path / "one.npz") as read:
        for name, value in arrays.items():
            np.testing.assert_array_equal(read[name], value)


def test_arrays_that_no_audit_writes_are_not_decompressed(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(1000))
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = (2_000_000_000).to_bytes(4, "little")  # what it says it becomes
    path.write_bytes(content)
    with pytest.raises(AuditFolderError, match="decompresses to 2,000,000,000 bytes"):
        read_arrays(path)
