"""Runs commands of onnx-gap, each in a fork of a process that has imported everything.

Requests come as JSON, a line each, on standard input, answers go to standard output. A fork costs
milliseconds, can crash or be killed, and shows what it took. What it opens for writing and connects
to is noted by Python's audit hooks.
"""

import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import analyzer
from analyzer.cli import main as run_command

ADDRESS_SPACE = 6 << 30  # bytes that a case may ask for, on top of what the imports take
FILE_SIZE = 1 << 30  # bytes of the largest file that it may write
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGING = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink",
             "os.truncate", "os.chmod", "shutil.rmtree")  # fmt: skip


def main() -> None:
    """Import everything, then answer until standard input ends."""
    for module in pkgutil.walk_packages(analyzer.__path__, "analyzer."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    """Run ``asked["arguments"]`` in ``asked["folder"]/here``; what became of it."""
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _run(asked["arguments"], Path(asked["folder"]), asked["cpu_seconds"])
    killed = False
    while True:
        done, status, used = os.wait4(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() - began > asked["seconds"]:
            killed = True
            os.kill(pid, signal.SIGKILL)
            _, status, used = os.wait4(pid, 0)
            break
        time.sleep(0.002)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "killed": killed,
        "seconds": time.monotonic() - began,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "bytes": used.ru_maxrss << 10,
    }


def _run(arguments: list[str], folder: Path, seconds: int) -> None:
    """The command itself, in the fork; never returns."""
    os.setsid()
    code = 70
    try:
        for number, name in ((0, os.devnull), (1, folder / "out"), (2, folder / "err")):
            flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            os.dup2(os.open(name, flags), number)
        os.chdir(folder / "here")
        os.environ.update(HOME=str(folder / "home"), TMPDIR=str(folder / "tmp"))
        tempfile.tempdir = None
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
        most = ADDRESS_SPACE + _address_space()
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        notes = os.open(folder / "notes", os.O_WRONLY | os.O_CREAT)
        _note_what_leaves(folder, notes)
        run_command(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _note_what_leaves(folder: Path, notes: int) -> None:
    """Write a line for every file outside ``folder`` that is written or changed, and for every
    connection."""
    inside = os.fsencode(folder.resolve())

    def heed(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            os.write(notes, f"connected to {arguments[1]!r}\n".encode(errors="replace"))
        elif event == "open":
            path, _, flags = arguments
            if flags & _WRITING and isinstance(path, str | bytes | os.PathLike):
                note(path)
        elif event in _CHANGING and isinstance(arguments[0], str | bytes | os.PathLike):
            note(arguments[0])

    def note(path: Any) -> None:
        parent, name = os.path.split(os.path.abspath(os.fsencode(path)))
        found = os.path.join(os.path.realpath(parent), name)
        if not found.startswith(inside + b"/") and found != os.fsencode(os.devnull):
            os.write(notes, b"wrote " + found + b"\n")

    sys.addaudithook(heed)


if __name__ == "__main__":
    main()
