"""One writer a folder, and nothing that stays behind and blocks."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cli_commands import ROOT

from analyzer.audit.folder import (
    LOCK,
    UNFINISHED,
    locked,
    read_record,
    refuse_foreign_files,
)
from analyzer.errors import AuditFolderError, OutputError
from analyzer.output_files import write_text

HOLD = """
import sys, time
from pathlib import Path
from analyzer.audit.folder import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock on tmp_path / "audit"."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "audit"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_nothing_is_left_of_a_lock(tmp_path):
    with locked(tmp_path / "audit"):
        about = json.loads((tmp_path / "audit" / LOCK).read_bytes())
        assert about["pid"] == os.getpid()
    assert list((tmp_path / "audit").iterdir()) == []


def test_the_second_is_told_who_holds_it(holder, tmp_path):
    said = f"is being written by another run \\(process {holder.pid} on .*, since .*wait=True"
    with pytest.raises(AuditFolderError, match=said), locked(tmp_path / "audit"):
        pytest.fail("two at once")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"pid": 1}', b"\xff", b"1"])
def test_what_is_no_lock_is_left_alone(content, tmp_path):
    (tmp_path / LOCK).write_bytes(content)
    with pytest.raises(AuditFolderError, match=r"\.lock is no lock of onnx-gap"), locked(tmp_path):
        pass
    assert (tmp_path / LOCK).read_bytes() == content


def test_a_killed_process_holds_nothing(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "audit" / LOCK).exists()
    with locked(tmp_path / "audit"):
        pass
    assert not (tmp_path / "audit" / LOCK).exists()


def test_one_that_waits_gets_it_in_the_end(holder, tmp_path):
    said = []
    threading.Timer(0.5, holder.kill).start()
    with locked(tmp_path / "audit", wait=True, say=said.append):
        pass
    assert len(said) == 1
    assert f"process {holder.pid}" in said[0]


def test_many_at_once_are_one_after_the_other(tmp_path):
    inside, most, entered = 0, 0, 0

    def enter() -> None:
        nonlocal inside, most, entered
        for _ in range(20):
            with locked(tmp_path / "audit", wait=True):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1
                entered += 1

    waits = pytest.MonkeyPatch()
    waits.setattr("analyzer.audit.folder._POLL_SECONDS", 0.0005)
    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    waits.undo()
    assert (most, entered) == (1, 80)
    assert not (tmp_path / "audit" / LOCK).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are those of POSIX")
@pytest.mark.parametrize(
    ("put", "found"),
    [
        (lambda path: path.symlink_to("mine"), "is a link"),
        (lambda path: path.symlink_to("nowhere/mine"), "is a link"),
        (os.mkfifo, "is a pipe"),
        (Path.mkdir, "is a folder"),
        (lambda path: path.write_text("mine"), "is no lock of onnx-gap"),
    ],
)
def test_what_is_no_lock_is_neither_taken_for_one_nor_written(put, found, tmp_path):
    (tmp_path / "mine").write_text("mine")
    put(tmp_path / LOCK)
    before = os.lstat(tmp_path / LOCK)
    with pytest.raises(AuditFolderError, match=f"{LOCK} {found}.* another out"), locked(tmp_path):
        pytest.fail("locked")
    assert (tmp_path / "mine").read_text() == "mine"
    assert os.lstat(tmp_path / LOCK) == before


def test_an_empty_lock_that_a_kill_left_is_taken(tmp_path):
    (tmp_path / LOCK).touch()
    with locked(tmp_path) as check_lock:
        check_lock()


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_a_lock_that_was_removed_is_lost_and_another_ones_stays(tmp_path):
    with locked(tmp_path) as check_first:
        (tmp_path / LOCK).unlink()
        with locked(tmp_path) as check_second:
            check_second()
            with pytest.raises(AuditFolderError, match="was removed"):
                check_first()
        with locked(tmp_path) as check_third:
            (tmp_path / LOCK).unlink()
            (tmp_path / LOCK).write_text("another's")
            with pytest.raises(AuditFolderError, match="was removed or replaced"):
                check_third()
    assert (tmp_path / LOCK).read_text() == "another's"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("report.html", "mine"),
        ("suspects.csv", "mine"),
        ("audit.json", '{"schema": 1}'),
        ("manifest.json", '{"name": "a web page"}'),
        ("manifest.json", '{"schema": 1, "files": {"mine.txt": {}}}'),
    ],
)
def test_a_folder_with_files_that_a_result_would_replace_is_refused(name, text, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    refuse_foreign_files(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(AuditFolderError, match=f"holds no audit, but a file {name}.* another out"):
        refuse_foreign_files(tmp_path)


def test_a_folder_of_an_unfinished_audit_says_what_finishes_it(tmp_path):
    with pytest.raises(AuditFolderError, match=r"audit\.json does not exist"):
        read_record(tmp_path)
    (tmp_path / UNFINISHED).mkdir()
    with pytest.raises(AuditFolderError, match=r"not done, or was interrupted\. The same audit"):
        read_record(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_no_room_names_the_folder_and_no_file_of_a_run(number, tmp_path):
    error = OSError(number, os.strerror(number), str(tmp_path / "a" / UNFINISHED / "x"))
    kind, told = (OSError, UNFINISHED) if number == errno.EACCES else (AuditFolderError, "no room")
    with pytest.raises(kind, match=told), locked(tmp_path / "a"):
        raise error
    with pytest.raises(OutputError, match="Name a file"), locked(tmp_path / "a"):
        write_text(tmp_path / "nowhere" / "x", "")
    with pytest.raises(OSError, match="elsewhere"), locked(tmp_path / "a"):
        raise OSError(number, os.strerror(number), "elsewhere")


@pytest.mark.parametrize("missing", ["manifest.json", "audit.json"])
def test_an_audit_that_lacks_a_file_is_still_known(missing, audit):
    (audit / missing).unlink()
    refuse_foreign_files(audit)
