"""Cases of hostile input, and what must hold whatever they are.

A :class:`Case` is a command and the files that it finds. A :class:`Target` makes cases for one
reader by a Hypothesis strategy. :func:`run_case` runs one, and :func:`fault_of` says what is wrong:
an exit code other than 0, 1, 2 and 4, a traceback, raw control characters, more than 10 s of
processor time, a minute of waiting, more than 2 GB, a file outside ``--out``, a file of the input
changed, a connection.

In a case's arguments the result goes to names that begin with ``out``; nothing else in its folder
may change.
"""

import atexit
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis.strategies import SearchStrategy

__all__ = [
    "ROOT",
    "SECONDS",
    "Case",
    "Link",
    "Outcome",
    "Pipe",
    "Target",
    "base_of",
    "fault_of",
    "load_case",
    "run_case",
    "save_case",
]

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 10  # of processor time, so that a busy machine makes no fault
BYTES = 2 << 30  # of resident memory
_PATIENCE = 6 * SECONDS  # from start to end: for those that sleep or wait
_CODES = (0, 1, 2, 4)
_RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# What a refused command may leave: to resume from; of a population, what is done and what failed.
_LATE = (".unfinished", ".lock", "audits", "population.csv", "failed.csv")


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Pipe:
    """A named pipe that nobody writes to."""


Content = bytes | Link | Pipe | None
"""Of a file; None for one that is missing, although the target's base has it."""


@dataclass(frozen=True)
class Case:
    """A command, and the files that are in the folder where it runs."""

    arguments: tuple[str, ...]
    files: Mapping[str, Content] = field(default_factory=dict)  # by path in that folder


@dataclass(frozen=True)
class Target:
    """A reader, and how to make hostile input for it."""

    name: str
    cases: SearchStrategy[Case]
    prepare: Callable[[Path], None] | None = None  # fills a folder that every case gets a copy of


@dataclass(frozen=True)
class Outcome:
    """What a case came to."""

    code: int  # negative: ended by that signal
    killed: bool  # for it waited too long
    seconds: float
    cpu_seconds: float
    bytes: int  # the most resident memory
    out: str
    err: str
    strays: tuple[str, ...]  # what was written, changed or left where nothing may be


def run_case(target: Target, case: Case) -> Outcome:
    """Run a case in a new folder, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        here = folder / "here"
        if target.prepare is None:
            here.mkdir()
        else:
            shutil.copytree(base_of(target.prepare), here, symlinks=True)
        for other in ("home", "tmp"):
            (folder / other).mkdir()
        for path, content in case.files.items():
            _put(here / path, content)
        before = _print_of(here)
        asked = {
            "arguments": list(case.arguments),
            "folder": name,
            "seconds": _PATIENCE,
            "cpu_seconds": SECONDS + 1,
        }
        answer = _server().ask(asked)
        strays = _text(folder / "notes").splitlines()
        strays += [f"left {path}" for other in ("home", "tmp") for path in _below(folder / other)]
        after = _print_of(here)
        for path in sorted(before.keys() | after.keys()):
            if not path.startswith("out") and before.get(path) != after.get(path):
                strays.append(f"changed {path}")
            elif (
                answer["code"] == 2
                and before.get(path) != after.get(path)
                and (not set(Path(path).parts) & set(_LATE) and after.get(path) != "folder")
            ):
                strays.append(f"left {path} although it was refused")
        return Outcome(
            **answer, out=_text(folder / "out"), err=_text(folder / "err"), strays=tuple(strays)
        )


def fault_of(outcome: Outcome) -> str | None:
    """What is wrong, in a line that is the same for the same fault; None if nothing is."""
    shown = outcome.out + outcome.err
    if outcome.cpu_seconds > SECONDS:
        return f"took more than {SECONDS} s"
    if outcome.killed:
        return f"waited for more than {_PATIENCE} s"
    if outcome.code not in _CODES or "Traceback (most recent" in shown:
        return f"exit {outcome.code}: {_last_of_traceback(outcome.err)}"
    if found := _RAW.search(shown):
        return f"raw control character U+{ord(found[0]):04X}"
    if outcome.bytes > BYTES:
        return f"took more than {BYTES >> 30} GB"
    if outcome.strays:
        return outcome.strays[0]
    if outcome.code == 2 and not any(
        line.startswith("Error: ") for line in outcome.err.splitlines()
    ):
        return "exit 2 without a sentence"
    return None


def _last_of_traceback(err: str) -> str:
    """Where in our code it was raised, and the kind of the error."""
    places = re.findall(r'File ".*?/((?:analyzer|model_zoo)/[^"]+)", line \d+, in (\S+)', err)
    kinds = re.findall(r"^([A-Za-z_][\w.]*)(?::|$)", err, flags=re.MULTILINE)
    kinds = [kind for kind in kinds if kind not in ("Traceback", "This", "Error", "Warning")]
    where = f"{places[-1][0]} {places[-1][1]} " if places else ""
    return f"{where}{kinds[-1] if kinds else err[-200:].strip()}"


def save_case(case: Case, path: Path) -> None:
    """Write a case as JSON; binary content is packed."""
    files = {name: _packed(content) for name, content in case.files.items()}
    value = {"arguments": list(case.arguments), "files": files}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def load_case(path: Path) -> Case:
    """Read a case that :func:`save_case` wrote."""
    value = json.loads(path.read_text(encoding="utf-8"))
    files = {name: _unpacked(content) for name, content in value["files"].items()}
    return Case(tuple(value["arguments"]), files)


def _packed(content: Content) -> Any:
    if content is None:
        return None
    if isinstance(content, Link):
        return {"link": content.target}
    if isinstance(content, Pipe):
        return {"pipe": True}
    try:
        if len(content) < 4096:
            return {"text": content.decode()}
    except UnicodeDecodeError:
        pass
    return {"zlib": base64.b64encode(zlib.compress(content, 9)).decode()}


def _unpacked(packed: Any) -> Content:
    if packed is None:
        return None
    ((kind, value),) = packed.items()
    if kind == "link":
        return Link(value)
    if kind == "pipe":
        return Pipe()
    return value.encode() if kind == "text" else zlib.decompress(base64.b64decode(value))


def _put(path: Path, content: Content) -> None:
    if path.is_symlink() or path.exists():
        path.unlink()
    if content is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Link):
        path.symlink_to(content.target)
    elif isinstance(content, Pipe):
        os.mkfifo(path)
    else:
        path.write_bytes(content)


def _below(folder: Path) -> list[str]:
    """Every path below a folder; links are not followed."""
    found = []
    for root, folders, files in os.walk(folder):
        found += [os.path.relpath(os.path.join(root, name), folder) for name in (*folders, *files)]
    return found


def _print_of(folder: Path) -> dict[str, object]:
    """What is below a folder, by path."""
    found: dict[str, object] = {}
    for name in _below(folder):
        path = folder / name
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        elif path.is_file():
            found[name] = zlib.crc32(path.read_bytes())
        else:
            found[name] = "folder" if path.is_dir() else "pipe"
    return found


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="backslashreplace") if path.exists() else ""


@cache
def base_of(prepare: Callable[[Path], None]) -> Path:
    """The folder that ``prepare`` fills, once a process."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-base-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    prepare(folder)
    return folder


class _Server:
    """A process of :mod:`tools.fuzz.fork_server`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.fuzz.fork_server"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "100"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self._process.kill)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


@cache
def _server() -> _Server:
    return _Server()
