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

INTERRUPTED = "Interrupted; the same command resumes where it was."

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

# The first worker process has only been started when SIGNAL comes; then joblib is ended before its
# thread has passed on every task.
STOPPED_WHILE_STARTING = """
import os, signal, sys, time
from joblib.externals.loky import process_executor
from joblib.externals.loky.backend import fork_exec
from analyzer.cli import main

start = fork_exec.fork_exec
submit = process_executor.ProcessPoolExecutor.submit
wait = process_executor._ExecutorManagerThread.wait_result_broken_or_wakeup

def start_and_stop(*arguments, **options):
    number = start(*arguments, **options)
    os.kill(os.getpid(), signal.SIGNAL)
    return number

def wait_and_submit(*arguments, **options):
    time.sleep(0.1)
    return submit(*arguments, **options)

def wait_long(self):
    time.sleep(0.3)
    return wait(self)

fork_exec.fork_exec = start_and_stop
process_executor.ProcessPoolExecutor.submit = wait_and_submit
process_executor._ExecutorManagerThread.wait_result_broken_or_wakeup = wait_long
main(sys.argv[1:])
"""

in_proc = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="processes are found in /proc"
)


@pytest.fixture
def spawn_two(spawn, manifest, tmp_path):
    """spawn_two(): two networks audited into tmp_path / "out", a worker each; or other code."""

    def start(*python):
        arguments = ("population", manifest, "-j", 2, "--out", tmp_path / "out")
        return spawn(*arguments, python=python or ("-m", "analyzer"), own_group=True)

    return start


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


@in_proc
def test_workers_that_have_no_network_yet_end_with_a_killed_command(spawn, manifest, tmp_path):
    process = spawn("population", manifest, "-j", 2, "--out", tmp_path / "out")
    numbers = wait_for_workers(process)
    process.terminate()
    assert_that_they_end(process, numbers)


def assert_that_they_end(process, numbers):
    process.wait()
    began = time.monotonic()
    while any(map(is_running, numbers)):
        assert time.monotonic() - began < 20
        time.sleep(0.05)


@in_proc
@pytest.mark.parametrize("reaches", ["kill", "killpg"])
@pytest.mark.parametrize("seconds", [0, 0.3, 1])
def test_ctrl_c_of_workers_that_start_is_one_sentence(spawn_two, reaches, seconds):
    process = spawn_two()
    wait_for_workers(process)
    time.sleep(seconds)
    getattr(os, reaches)(process.pid, signal.SIGINT)
    assert_that_it_is_interrupted(process)


@in_proc
@pytest.mark.parametrize("reaches", ["kill", "killpg"])
def test_ctrl_c_of_workers_at_work_and_of_those_that_replace_them(spawn_two, tmp_path, reaches):
    out = tmp_path / "out"
    process = spawn_two("-c", ENDLESS)
    wait_for_workers(process)
    first = workers_at_work(process, out)
    os.kill(first[0], signal.SIGKILL)
    second = wait_for_workers(process, gone=first)
    assert all(heeds_no_interrupt(number) for number in second)
    getattr(os, reaches)(process.pid, signal.SIGINT)
    assert_that_it_is_interrupted(process, "A worker process was lost")

    process = spawn_two("-c", ENDLESS)
    workers_at_work(process, out)
    getattr(os, reaches)(process.pid, signal.SIGINT)
    assert_that_it_is_interrupted(process)


@in_proc
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_no_worker_is_started_by_halves(spawn_two, name):
    code = STOPPED_WHILE_STARTING.replace("SIGNAL", name)
    process = spawn_two("-c", code)
    if name == "SIGINT":
        assert_that_it_is_interrupted(process)
    else:
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == -signal.SIGTERM
        assert_that_the_group_ends(process)


@in_proc
@pytest.mark.parametrize("seconds", [0, 0.5])
def test_a_command_that_is_terminated_with_its_workers_says_nothing(spawn_two, seconds):
    process = spawn_two()
    wait_for_workers(process)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == -signal.SIGTERM
    assert_that_the_group_ends(process)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no masks of signals")
def test_what_handles_signals_is_as_it_was_before_workers_were_started(
    onnx_gap, manifest, tmp_path
):
    def state():
        handlers = [signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM)]
        return handlers, signal.pthread_sigmask(signal.SIG_BLOCK, [])

    before = state()
    assert onnx_gap("population", manifest, *QUICK, "-j", 2, "--out", tmp_path / "out").code == 0
    assert state() == before


def assert_that_it_is_interrupted(process, *warnings):
    shown, said = process.communicate(timeout=60)
    *warned, sentence = said.split("\n\n") if warnings else [said]
    assert (shown, sentence.strip(), process.returncode) == ("", INTERRUPTED, 130)
    assert len(warned) == len(warnings)
    assert all(one in line for one, line in zip(warnings, warned, strict=True))
    assert_that_the_group_ends(process)


def assert_that_the_group_ends(process):
    began = time.monotonic()
    while any(group == process.pid for _, _, group in processes()):
        assert time.monotonic() - began < 20
        time.sleep(0.05)


def wait_for_workers(process, gone=()):
    """Numbers of the worker processes of a command, once there is one besides ``gone``."""
    began = time.monotonic()
    while not (numbers := set(workers_of(process.pid)) - set(gone)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - began < 60
        time.sleep(0.005)
    return sorted(numbers)


def workers_at_work(process, out):
    """Numbers of the two worker processes of a command, once each audits a network."""
    began = time.monotonic()
    while True:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - began < 60
        locks = [lock.read_bytes() for lock in out.glob("audits/*/.lock")]
        numbers = {json.loads(lock)["pid"] for lock in locks if lock}
        if len(numbers & set(workers_of(process.pid))) == 2:
            return sorted(numbers)
        time.sleep(0.05)


def heeds_no_interrupt(number):
    """Whether a process blocks or ignores the signal of Ctrl-C."""
    told = dict(
        line.split(":", 1) for line in Path(f"/proc/{number}/status").read_text().splitlines()
    )
    return any(int(told[kind], 16) >> (signal.SIGINT - 1) & 1 for kind in ("SigBlk", "SigIgn"))


def processes():
    """Number, parent and group of every process that has not ended."""
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, parent, group = (place / "stat").read_text().rpartition(")")[2].split()[:3]
            if state != "Z":
                yield int(place.name), int(parent), int(group)


def workers_of(parent):
    """Numbers of the worker processes that a process has started."""
    found = []
    for number, mother, _ in processes():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            command = Path(f"/proc/{number}/cmdline").read_bytes()
            if mother == parent and b"LokyProcess" in command:
                found.append(number)
    return found


def is_running(number):
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
