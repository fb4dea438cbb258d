"""Attacks audit folders: kills at random moments, and runs at once.

    python -m tools.attack_faults [--kills N] [--races N] [--seed N] [--write]

kills
    Audits, measures that are added, reports and populations, with ``--fresh`` over others, too, are
    killed at random moments, up to three times each, in processes forked after the imports; every
    kind gets as many kills. After each the folder must be refused, or hold one of the results that
    an undisturbed run gives; and the same command must lead to the bytes of an undisturbed run.
races
    Two or three runs into one folder at nearly the same time. One result must be there in the end;
    the others are told, or waited.

``--write`` puts the figures into docs/RELIABILITY.md. Ends with 1 if something was wrong.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from analyzer.api import verify_audit
from analyzer.audit.folder import REPORT, RESULT_FILES
from analyzer.audit.population_result import AUDITS, TABLE
from analyzer.audit.result_manifest import MANIFEST
from analyzer.cli.commands import exit_code_of
from analyzer.errors import AnalyzerError
from analyzer.files import sha256
from tools.reliability_figures import write_figures

ROOT = Path(__file__).resolve().parents[1]
BUNDLED = ROOT / "model_zoo" / "bundled" / "digits"
SMALL = ("--limit-per-class", "4")
A = ("audit", "zoo:digits-c0", *SMALL)
B = ("audit", "zoo:digits-c60", *SMALL, "--fresh")
WITH_MARGINS = (*A, "--margins")
REFUSED = "refused"
TIMED = ("audit.json", REPORT, MANIFEST)  # they hold the time of the run


class Run:
    """A command in a process of its own."""

    def __init__(self, arguments: Sequence[str], said: Path):
        self.began, self._said = time.monotonic(), said
        self.pid = os.fork()
        # A group of their own: a kill takes a population's workers along, as a terminal's does.
        with contextlib.suppress(OSError):  # by whoever is first
            os.setpgid(self.pid, self.pid)
        if self.pid == 0:
            file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, 1)
            os.dup2(file, 2)
            os._exit(exit_code_of(list(arguments)))

    def wait(self) -> int:
        """The exit code; −9 after a kill."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def killed_after(self, seconds: float) -> bool:
        """Kill it then, and wait for its end; False where it had ended before."""
        while time.monotonic() - self.began < seconds:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                break
            time.sleep(0.005)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    @property
    def said(self) -> str:
        """What it printed."""
        return self._said.read_text(errors="replace")


def run(arguments: Sequence[str], said: Path) -> float:
    """Run a command to its end; the seconds that it took."""
    started = Run(arguments, said)
    if (code := started.wait()) != 0:
        raise RuntimeError(f"{arguments} ended with {code}:\n{started.said}")
    return time.monotonic() - started.began


def print_of(folder: Path) -> dict[str, str]:
    """The files of a result that are the same in every run, by their hashes."""
    names = [name for name in RESULT_FILES if name not in TIMED]
    return {name: sha256(folder / name) for name in names if (folder / name).is_file()}


def passes(folder: Path) -> bool:
    """Whether ``verify`` finds a whole result."""
    try:
        return verify_audit(folder).passed
    except AnalyzerError:
        return False


def results_in(out: Path) -> dict[str, dict[str, str]]:
    """What ``verify`` passes in the folder of an audit or a population, and the latter's table.

    A folder that has a manifest and is refused is there with ``REFUSED``.
    """
    found = {}
    for folder in (out, *out.glob(f"{AUDITS}/*")):
        name = "" if folder == out else folder.name
        if passes(folder):
            found[name] = print_of(folder)
        elif (folder / MANIFEST).exists():
            found[name] = {REFUSED: ""}
    if (out / TABLE).is_file():
        found[TABLE] = {TABLE: sha256(out / TABLE)}
    return found


class Kind:
    """A command that is killed, run undisturbed once to know its results and its time."""

    def __init__(self, start: Path | None, command: Sequence[str], place: Path):
        self._start, self._command = start, command
        self._before = results_in(start) if start else {}
        self.seconds = run(self.prepare(place), place.with_suffix(".said"))
        self._after = results_in(place)

    def prepare(self, out: Path) -> tuple[str, ...]:
        """Put a folder where it was before the command, and return the command."""
        if self._start is not None:
            shutil.copytree(self._start, out)
        return (*self._command, *(() if self._command[0] == "report" else ("--out",)), str(out))

    def wrong(self, out: Path) -> str:
        """What is wrong with the folder after a kill, or ""."""
        for name, result in results_in(out).items():
            if REFUSED in result:
                return f"verify refuses a folder with a manifest {name}"
            if result not in (self._before.get(name), self._after.get(name)):
                return f"verify passes a false result {name}"
        return ""

    def wrong_in_the_end(self, out: Path) -> str:
        """What is wrong with the folder after the same command has run to its end, or ""."""
        kept = {TABLE, AUDITS} if TABLE in self._after else {*RESULT_FILES, MANIFEST}
        left = {path.name for path in out.iterdir()} - kept
        same = results_in(out) == self._after
        return "" if same and not left else f"the same command leads elsewhere {left or ''}"


def population_of(percent: Sequence[int], manifest: Path) -> tuple[str, ...]:
    """Write the manifest of networks with these shares of wrong labels; the command for it."""
    rows = [
        f'{name},{BUNDLED}/digits-c{c}.onnx,{BUNDLED}/train.npz,"images,labels_c{c}",0.1\n'
        for name, c in zip("xyz", percent, strict=True)
    ]
    manifest.write_text("name,model,train_data,keys,gap\n" + "".join(rows))
    return ("population", str(manifest), *SMALL, "--preprocess", "none")


def kinds_in(place: Path) -> dict[str, Kind]:
    """What is killed, by name, each run undisturbed into a folder of ``place``."""
    population, other = (
        population_of(percent, place / f"{percent[0]}.csv")
        for percent in ((0, 20, 40), (60, 80, 100))
    )
    made = place / "audit", place / "population"
    return {
        name: Kind(start, command, place / name)
        for name, start, command in (
            ("audit", None, A),
            ("fresh over another", made[0], B),
            ("measure added", made[0], WITH_MARGINS),
            ("summed up again", made[0], (*A, "--chance", "0.2")),
            ("report", made[0], ("report",)),
            ("population", None, population),
            ("population, 2 at once", None, (*population, "--jobs", "2")),
            ("population, fresh over another", made[1], (*other, "--fresh")),
        )
    }


def attack_by_kills(count: int, chance: random.Random, place: Path) -> Iterator[tuple[str, str]]:
    """(kind, what was wrong or "") for each kill of a process that was still running."""
    kinds = kinds_in(place)
    done = dict.fromkeys(kinds, 0)
    out, said = place / "killed", place / "said"
    while sum(done.values()) < count:
        name = min(kinds, key=lambda one: (done[one], chance.random()))
        kind, faults = kinds[name], []
        command = kind.prepare(out)
        for _ in range(chance.randint(1, 3)):
            started = Run(command, said)
            if started.killed_after(chance.uniform(0, kind.seconds)):
                faults.append(kind.wrong(out))
                continue
            if not faults:  # the machine has less to do than when it was timed
                kind.seconds = time.monotonic() - started.began
            break
        run(command, said)
        if in_the_end := kind.wrong_in_the_end(out):
            faults[-1:] = [in_the_end]
        done[name] += len(faults)
        yield from ((name, wrong) for wrong in faults)
        shutil.rmtree(out)


def attack_by_races(count: int, chance: random.Random, place: Path) -> Iterator[tuple[str, str]]:
    """(kind, what was wrong or "") for each race."""
    references = [print_of(place / name) for name in ("audit", "fresh over another")]
    for number in range(count):
        out = place / f"r{number}"
        runners, waiting = chance.choice((2, 3)), chance.random() < 0.3
        started = []
        for runner in range(runners):
            command = (*chance.choice((A, B)), "--out", str(out), *(["--wait"] if waiting else []))
            started.append(Run(command, place / f"said{runner}"))
            time.sleep(chance.uniform(0, 0.2))
        codes = [one.wait() for one in started]
        told = ("is being written by another run", "holds an audit that differs")
        wrong = ""
        for one, code in zip(started, codes, strict=True):
            if code != 0 and not (code == 2 and any(words in one.said for words in told)):
                wrong = f"a run ended with {code}: {one.said[-300:]}"
        if 0 not in codes:
            wrong = "nobody won"
        elif not passes(out) or print_of(out) not in references:
            wrong = "the result is none"
        elif {path.name for path in out.iterdir()} - {*RESULT_FILES, MANIFEST}:
            wrong = "something stayed behind"
        shutil.rmtree(out, ignore_errors=True)
        yield f"{runners} runs", wrong


def main() -> int:
    """Attack, print the figures, and say whether all went well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("kills", 200), ("races", 50), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--write", action="store_true", help="put them into docs/RELIABILITY.md")
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    made, failed = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, attack in (
            ("kill", attack_by_kills(asked.kills, chance, place)),
            ("race", attack_by_races(asked.races, chance, place)),
        ):
            for kind, wrong in attack:
                made[f"{name}: {kind}"] += 1
                if wrong:
                    failed[f"{name}: {kind}"] += 1
                    print(f"{name}: {kind}: {wrong}", file=sys.stderr, flush=True)
    lines = ["| attack | made | wrong |", "| --- | --- | --- |"]
    lines += [f"| {kind} | {made[kind]:,} | {failed[kind]:,} |" for kind in sorted(made)]
    table = "\n".join(lines)
    print(table)
    if asked.write:
        write_figures("figures", table)
    return int(any(failed.values()))


if __name__ == "__main__":
    sys.exit(main())
