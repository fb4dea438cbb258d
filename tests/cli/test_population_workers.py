"""Workers of `onnx-gap population`: lost, waited for, and gone with a killed command."""

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli_commands import QUICK, rows_of

from analyzer.audit import folder, population

# Networks that take for ever, in workers.
ENDLESS = """
import sys
from analyzer.audit import population
from analyzer.cli import main

def endless(*arguments):
    import time
    from analyzer.audit import population, run
    run.make_record = lambda *arguments: time.sleep(1000)
    return population._measured(*arguments)

population._measured = endless
main(sys.argv[1:])
"""


@pytest.mark.parametrize("times", [1, 99])
def test_a_lost_worker_costs_no_network_but_the_one_that_always_takes_it_along(
    onnx_gap, tmp_path, network, train, monkeypatch, times
):
    names = "abcd"
    for name in names:
        shutil.copy(network, tmp_path / f"{name}.onnx")
    rows = "".join(f"{name},{name}.onnx,train.npz\n" for name in names)
    (tmp_path / "four.csv").write_text("name,model,train_data\n" + rows)
    notes = tmp_path / "lost"
    notes.mkdir()

    def killed(member, request):  # in a worker: there the module's own function is the real one
        if member.name == "c" and len(os.listdir(notes)) < times:
            (notes / f"{time.time_ns()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return population._measured(member, request)

    monkeypatch.setattr(population, "_measured", killed)
    out = tmp_path / "population"
    shown = onnx_gap(
        "population", tmp_path / "four.csv", *QUICK, "-j", 2, "--skip-failed", "--out", out
    )
    assert "A worker process was lost" in shown.err
    done = [row["name"] for row in rows_of(out / "population.csv")]
    if times == 1:
        assert (shown.code, done) == (0, ["a", "b", "c", "d"])
    else:
        assert (shown.code, done) == (1, ["a", "b", "d"])
        (row,) = rows_of(out / "failed.csv")
        assert (row["name"], "was killed" in row["error"]) == ("c", True)


def test_a_network_that_another_run_is_still_writing_is_waited_for(
    onnx_gap, manifest, tmp_path, monkeypatch
):
    """As a worker that Dask has given up, and whose network it has given to another one."""
    out, elsewhere = tmp_path / "population", contextlib.ExitStack()
    elsewhere.enter_context(folder.locked(out / "audits" / "a"))
    waiting = SimpleNamespace(sleep=lambda seconds: elsewhere.close())
    monkeypatch.setattr(folder, "time", waiting)
    arguments = ("--preprocess", "none", "--limit-per-class", 1, "--out", out, "--skip-failed")
    assert onnx_gap("population", manifest, *arguments).code == 0
    assert not (out / "failed.csv").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
def test_workers_end_soon_after_a_killed_command(spawn, manifest, tmp_path):
    out = tmp_path / "out"
    process = spawn("population", manifest, "-j", 2, "--out", out, python=("-c", ENDLESS))
    began = time.monotonic()
    while len(workers := [one for one in out.glob("audits/*/.lock") if one.stat().st_size]) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - began < 60
        time.sleep(0.05)
    numbers = [json.loads(lock.read_bytes())["pid"] for lock in workers]
    assert process.pid not in numbers
    process.kill()
    assert_that_they_end(process, numbers)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
def test_workers_that_have_no_network_yet_end_with_a_killed_command(spawn, manifest, tmp_path):
    process = spawn("population", manifest, "-j", 2, "--out", tmp_path / "out")
    while not (numbers := workers_of(process.pid)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.terminate()
    assert_that_they_end(process, numbers)


def assert_that_they_end(process, numbers):
    process.wait()
    began = time.monotonic()
    while any(map(is_running, numbers)):
        assert time.monotonic() - began < 20
        time.sleep(0.05)


def workers_of(parent):
    """Numbers of the worker processes that a process has started."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            mother = (place / "stat").read_text().rpartition(")")[2].split()[1]
            if int(mother) == parent and b"LokyProcess" in (place / "cmdline").read_bytes():
                found.append(int(place.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def is_running(number):
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
