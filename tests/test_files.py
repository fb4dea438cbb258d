"""Files that appear whole or not at all."""

import csv
import errno
import io
import json
import os
import re
import sys
import warnings
import zipfile

import numpy as np
import pytest

from analyzer.control_characters import printable
from analyzer.errors import AuditFolderError, OutputError
from analyzer.files import holds, read_arrays, read_json
from analyzer.output_files import (
    aside,
    check_place,
    csv_text,
    prepare_folder,
    remove_parts,
    remove_tree,
    scratch_folder,
    write_array,
    write_arrays,
    write_bytes,
    write_json,
)


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


@pytest.mark.parametrize("place", ["", ".", "/"])
def test_a_place_without_a_name_is_a_folder(place):
    for write in (check_place, lambda path: write_bytes(path, b"content")):
        with pytest.raises(OutputError, match="cannot be written: it is a folder"):
            write(place)


@pytest.mark.parametrize("place", ["none/m.json", "file/m.json", "folder", "x" * 300, "\0"])
def test_a_place_that_cannot_be_written_is_told_before_there_is_something_to_write(place, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=re.escape(f"{printable(place)} cannot be written")):
        check_place(tmp_path / place)
    check_place(tmp_path / "folder" / ("x" * 250))
    write_bytes(tmp_path / "folder" / ("x" * 250), b"content")
    assert os.listdir(tmp_path / "folder") == ["x" * 250]


def test_a_folder_that_can_be_made_is_a_place_where_it_is_made(tmp_path):
    check_place(tmp_path / "new" / "newer" / "m.json", parents=True)
    for place in ("new/" + "x" * 300, "x" * 300 + "/m.json", "file/m.json"):
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match=f"{place} cannot be written"):
            check_place(tmp_path / place, parents=True)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes by name")
def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(OutputError, match=f"{name} cannot be written: it is a pipe"):
            write_bytes(tmp_path / name, b"content")
        with pytest.raises(OutputError, match=f"{name} cannot be written: it is a pipe"):
            check_place(tmp_path / name)
    assert (tmp_path / "pipe").is_fifo()


def test_only_parts_of_the_named_files_are_removed(tmp_path):
    parts = [".audit.json.0123abcd.part", f".{'n' * 50}.0123abcd.part"]
    others = [".mine.0123abcd.part", ".audit.json.part", "audit.json.0123abcd.part", ".audit.json"]
    for name in parts + others:
        (tmp_path / name).touch()
    (tmp_path / ".audit.json.01234567.part").mkdir()
    remove_parts(tmp_path, ["audit.json", "n" * 80])
    assert set(os.listdir(tmp_path)) == {*others, ".audit.json.01234567.part"}
    remove_parts(tmp_path / "missing", ["audit.json"])


def test_a_folder_that_cannot_be_read_is_removed_where_it_is_empty(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError

    (tmp_path / "own").mkdir()
    monkeypatch.setattr(os, "scandir", refuse)
    remove_tree(tmp_path / "own")
    assert os.listdir(tmp_path) == []


def test_a_scratch_folder_without_room_names_what_holds_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    told = f"{tmp_path} has no room for temporary .* TMPDIR"
    for within, kind, said in ((None, OutputError, told), (tmp_path, OSError, "full")):
        with pytest.raises(kind, match=said), scratch_folder(within) as folder:
            raise OSError(errno.ENOSPC, "full", str(folder / "x"))
        assert os.listdir(tmp_path) == []


def test_too_many_open_files_are_a_limit_and_no_matter_of_the_place(tmp_path):
    with pytest.raises(OutputError, match="ulimit") as caught, aside(tmp_path / "x"):
        raise OSError(errno.EMFILE, "Too many open files")
    assert "Name a file" not in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="limits are those of POSIX")
def test_a_tree_is_removed_with_few_descriptors_left(tmp_path):
    import resource

    (tmp_path / "own" / "scratch").mkdir(parents=True)
    (tmp_path / "own" / "scratch" / "prefix.onnx").touch()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.dup(0) for _ in range(50)]  # those below the last are taken, too
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (held[-1] + 3, hard))
        remove_tree(tmp_path / "own")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for one in held:
            os.close(one)
    assert os.listdir(tmp_path) == []


def test_json_without_a_number_is_refused_and_nothing_left(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"zeta": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("compressed", [True, False])
def test_the_same_arrays_give_the_same_bytes(tmp_path, monkeypatch, compressed):
    arrays = {"b": np.arange(5), "a": np.ones((2, 3), np.float32)}
    write_arrays(tmp_path / "one.npz", arrays, compressed=compressed)
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    write_arrays(tmp_path / "two.npz", arrays, compressed=compressed)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz") as found:
        assert found.files == ["b", "a"]
        np.testing.assert_array_equal(found["a"], arrays["a"])


def test_an_array_without_room_is_told_with_its_place(tmp_path, monkeypatch):
    write_array(tmp_path / "a.npy", np.arange(3))
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2]

    def full(file, array, **options):  # what numpy raises has no number
        raise OSError("98304 requested and 3040 written")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OutputError, match=r"b\.npy cannot be written: 98304 requested"):
        write_array(tmp_path / "b.npy", np.arange(3))
    assert os.listdir(tmp_path) == ["a.npy"]


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


def test_prepare_folder_makes_parents_and_leaves_them_empty(tmp_path):
    folder = prepare_folder(tmp_path / "a" / "b")
    assert os.listdir(folder) == []


def test_prepare_folder_refuses_a_file(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(AuditFolderError, match="is a file, not a folder"):
        prepare_folder(tmp_path / "out")
    with pytest.raises(AuditFolderError, match="cannot be written: Not a directory"):
        prepare_folder(tmp_path / "out" / "deeper")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(AuditFolderError, match="is a link that leads to nothing, not a folder"):
        prepare_folder(tmp_path / "link")


def test_json_is_strict(tmp_path):
    path = tmp_path / "value.json"
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"zeta": float("nan")})
    assert not path.exists()
    path.write_text('{"zeta": NaN}')
    with pytest.raises(AuditFolderError, match=r"value\.json is not valid JSON: NaN"):
        read_json(path)


def test_json_keeps_names_as_they_are(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"name": "größer ζ"})
    assert "größer ζ" in path.read_text(encoding="utf-8")
    assert json.loads(path.read_bytes()) == {"name": "größer ζ"}


def test_pickled_objects_are_neither_written_nor_read(tmp_path):
    path = tmp_path / "objects.npz"
    objects = np.array([{"a": 1}], dtype=object)
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_arrays(path, {"x": objects})
    assert not path.exists()
    np.savez(path, x=objects)
    with pytest.raises(AuditFolderError, match=r"damaged or not an \.npz file"):
        read_arrays(path)


def test_read_arrays_names_what_is_missing(tmp_path):
    path = tmp_path / "some.npz"
    write_arrays(path, {"x": np.arange(3), "y": np.arange(3)})
    assert list(read_arrays(path)) == ["x", "y"]
    assert list(read_arrays(path, ["y"])) == ["y"]
    with pytest.raises(AuditFolderError, match=r"no array 'z' \(it has: x, y\)"):
        read_arrays(path, ["z"])
    with pytest.raises(AuditFolderError, match=r"other\.npz does not exist"):
        read_arrays(tmp_path / "other.npz")


@pytest.mark.parametrize("flags", [0x01, 0x20])  # encrypted, patched data
def test_an_archive_of_a_kind_that_nobody_reads_is_refused(tmp_path, flags):
    path = tmp_path / "curves.npz"
    write_arrays(path, {"a": np.arange(5)})
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.index(mark) + offset] |= flags
    path.write_bytes(content)
    with pytest.raises(AuditFolderError, match=r"curves\.npz is damaged"):
        read_arrays(path)


def test_csv_reads_back_with_whatever_cells_hold():
    awkward = (
        "plain",
        "",
        " ",
        "a\rb",
        "\r",
        "a\nb",
        "a\r\nb",
        '"',
        'a"b',
        "a,b",
        "\x1b[31m",
        "é\u2028",
    )
    rows = [[a, b] for a in awkward for b in awkward]
    assert list(csv.reader(io.StringIO(csv_text(rows), newline=""), strict=True)) == rows


def test_only_a_regular_file_holds_something(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    os.mkfifo(tmp_path / "pipe")
    assert holds(tmp_path / "file", b"content")
    others = ("file", b"contents"), ("pipe", b""), (".", b""), ("none", b"")
    assert not any(holds(tmp_path / name, content) for name, content in others)


def test_what_another_program_has_put_beside_the_arrays_is_refused(tmp_path):
    for name, content in (("a.npy", b"x"), ("b.npy", b"no array")):
        path = tmp_path / "arrays.npz"
        write_arrays(path, {"a": np.arange(3)})
        with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the name that is there already
            archive.writestr(name, content)
        with pytest.raises(AuditFolderError, match="damaged or not an"):
            read_arrays(path)
    path.write_bytes("{}".encode("utf-16"))
    with pytest.raises(AuditFolderError, match="is not valid JSON"):
        read_json(path)
