"""Attacks audit folders: kills at random moments, and runs at once.

    python tools/attack_faults.py [--kills N] [--races N] [--seed N] [--write]

kills
    Audits, ``--fresh`` audits over others, measures that are added, reports and populations are
    killed at random moments, up to three times each, in processes forked after the imports. After
    each kill the folder must be refused, or hold one of the results that an undisturbed run gives;
    and the same command must lead to the bytes of an undisturbed run.
races
    Two or three runs into one folder at nearly the same time. One result must be there in the end;
    the others are told, or waited.

``--write`` puts the figures into docs/RELIABILITY.md. Ends with 1 if something was wrong.
"""

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from analyzer.api import verify_audit
from analyzer.audit.folder import REPORT, RESULT_FILES
from analyzer.audit.result_manifest import MANIFEST
from analyzer.cli.commands import exit_code_of
from analyzer.errors import AnalyzerError
from analyzer.files import sha256

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "RELIABILITY.md"
BUNDLED = ROOT / "model_zoo" / "bundled" / "digits"
SMALL = ("--limit-per-class", "4")
A = ("audit", "zoo:digits-c0", *SMALL)
B = ("audit", "zoo:digits-c60", *SMALL, "--fresh")
WITH_MARGINS = (*A, "--margins")
TIMED = ("audit.json", REPORT, MANIFEST)  # they hold the time of the run
POPULATION = "name,model,train_data,keys,gap\n" + "".join(
    f'c{c},{BUNDLED}/digits-c{c}.onnx,{BUNDLED}/train.npz,"images,labels_c{c}",{c / 100}\n'
    for c in (0, 20, 40)
)


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

    def kill_after(self, seconds: float) -> None:
        """Kill it, unless it is done by then."""
        time.sleep(seconds)
        os.killpg(self.pid, signal.SIGKILL)

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


KILLED = {
    "audit": (None, A, "A"),
    "fresh over another": ("A", B, "B"),
    "measure added": ("A", WITH_MARGINS, "margins"),
    "summed up again": ("A", (*A, "--chance", "0.2"), "A"),
    "report": ("A", ("report",), "A"),
}
"""By kind: the audit that is there before, the command that is killed, and what it leads to."""


def attack_by_kills(count: int, chance: random.Random, place: Path) -> Iterator[tuple[str, str]]:
    """(kind, what was wrong or "") for each kill."""
    said = place / "said"
    references, seconds = {}, {}
    for name, commands in {"A": [A], "B": [B], "margins": [A, WITH_MARGINS]}.items():
        for command in commands:
            seconds[name] = run((*command, "--out", str(place / name)), said)
        references[name] = print_of(place / name)
    (place / "manifest.csv").write_text(POPULATION)
    population = ("population", str(place / "manifest.csv"), *SMALL, "--preprocess", "none")
    seconds["population"] = run((*population, "--out", str(place / "population")), said)
    done = 0
    while done < count:
        out = place / f"k{done}"
        if chance.random() < 0.1:
            done += 1
            after = chance.uniform(0, seconds["population"])
            yield "population", kill_population(population, after, out, said)
        else:
            kind = chance.choice(list(KILLED))
            for wrong in kill_audit(kind, chance, out, references, seconds):
                done += 1
                yield kind, wrong
        shutil.rmtree(out)


def kill_population(command: Sequence[str], after: float, out: Path, said: Path) -> str:
    """Kill the audit of a population after so many seconds, run it again; what was wrong."""
    whole, wrong = out.parent / "population", ""
    command = (*command, "--out", str(out))
    Run(command, said).kill_after(after)
    os.wait()
    for member in (out / "audits").glob("*"):
        if passes(member) and print_of(member) != print_of(whole / "audits" / member.name):
            wrong = f"{member.name} is false"
    run(command, said)
    if (out / "population.csv").read_bytes() != (whole / "population.csv").read_bytes():
        wrong = "the table is another"
    return wrong


def kill_audit(
    kind: str,
    chance: random.Random,
    out: Path,
    references: Mapping[str, Mapping[str, str]],
    seconds: Mapping[str, float],
) -> Iterator[str]:
    """Kill a command up to three times, run it once more; what was wrong, or "", each time.

    Args:
        kind: one of :data:`KILLED`.
        chance: says how often and when.
        out: folder for the audit.
        references: the files of whole audits, by name.
        seconds: that these took.
    """
    start, command, end = KILLED[kind]
    said = out.parent / "said"
    if start is not None:
        shutil.copytree(out.parent / start, out)
    command = (*command, *(() if kind == "report" else ("--out",)), str(out))
    allowed = [references[name] for name in (start, end) if name is not None]
    for _ in range(chance.randint(1, 3)):
        took = 0.1 if kind == "report" else seconds[end]
        started = Run(command, said)
        started.kill_after(chance.uniform(0, took))
        started.wait()
        wrong = ""
        if (out / MANIFEST).exists() and not passes(out):
            wrong = "verify refuses a folder with a manifest"
        elif passes(out) and print_of(out) not in allowed:
            wrong = "verify passes a false result"
        yield wrong
    run(command, said)
    left = {path.name for path in out.iterdir()} - {*RESULT_FILES, MANIFEST}
    if not passes(out) or print_of(out) != references[end] or left:
        yield f"the same command leads elsewhere ({left})"


def attack_by_races(count: int, chance: random.Random, place: Path) -> Iterator[tuple[str, str]]:
    """(kind, what was wrong or "") for each race."""
    references = [print_of(place / "A"), print_of(place / "B")]
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


def write_figures(name: str, text: str) -> None:
    """Put figures into docs/RELIABILITY.md, between the marks of that name."""
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    page = PAGE.read_text(encoding="utf-8")
    page = re.sub(f"{first}.*{last}", lambda _: f"{first}\n{text}\n{last}", page, flags=re.DOTALL)
    PAGE.write_text(page, encoding="utf-8")


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
