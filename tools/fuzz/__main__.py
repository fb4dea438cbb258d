"""Hostile input for every reader, counted.

    python -m tools.fuzz [TARGET …] [--cases N] [--seed N] [--jobs N] [--keep FOLDER] [--write]

Of each target the corpus in tests/fuzz/corpus runs first, then N new cases. A case of each fault
is written to FOLDER, to be fixed and moved to the corpus. ``--write`` puts the figures into
docs/RELIABILITY.md. Ends with 1 if a fault was found.
"""

import argparse
import re
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tools.fuzz.harness import Case, Target, fault_of, load_case, run_case, save_case
from tools.fuzz.targets import CORPUS, TARGETS
from tools.reliability_figures import write_figures


class Tally:
    """What the cases of a target came to."""

    def __init__(self, target: Target, keep: Path):
        self.target, self.keep = target, keep
        self.codes, self.faults = Counter[int](), Counter[str]()
        self.seconds = self.bytes = 0.0
        self._smallest: dict[str, int] = {}

    def run(self, case: Case) -> None:
        """Run a case; keep it if it is the smallest of its fault."""
        outcome = run_case(self.target, case)
        self.codes[outcome.code] += 1
        self.seconds = max(self.seconds, outcome.cpu_seconds)
        self.bytes = max(self.bytes, outcome.bytes)
        fault = fault_of(outcome)
        if fault is None:
            return
        self.faults[fault] += 1
        size = sum(len(content) for content in case.files.values() if isinstance(content, bytes))
        if size < self._smallest.get(fault, size + 1):
            self._smallest[fault] = size
            name = re.sub(r"\W+", "-", fault).strip("-")[:80]
            save_case(case, self.keep / self.target.name / f"{name}.json")
            print(f"{self.target.name}: {fault}", file=sys.stderr, flush=True)

    @property
    def cases(self) -> int:
        return self.codes.total()


def attack(name: str, cases: int, number: int, keep: Path) -> tuple[str, int, int]:
    """The corpus of a target, then so many new cases: a row of the table, cases and faults."""
    target = TARGETS[name]
    tally = Tally(target, keep)
    kept = sorted((CORPUS / name).glob("*.json"))
    for path in kept:
        tally.run(load_case(path))

    @seed(number)
    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(target.cases)
    def attack_with_new_cases(case: Case) -> None:
        tally.run(case)

    attack_with_new_cases()
    faults = tally.faults.total()
    row = (
        f"| {name} | {tally.cases:,} | {tally.codes[2]:,} | {tally.seconds:.1f} | "
        f"{tally.bytes / 1e6:,.0f} MB | {len(kept)} | {faults} |"
    )
    print(row, file=sys.stderr, flush=True)
    return row, tally.cases, faults


def main() -> int:
    """Attack, print the figures, and say whether all went well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], help="all unless named")
    parser.add_argument("--cases", type=int, default=1000, help="new cases of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="targets at once")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-faults"))
    parser.add_argument("--write", action="store_true", help="put them into docs/RELIABILITY.md")
    asked = parser.parse_args()
    lines = [
        "| reader | cases | refused | most seconds | most memory | kept | faults |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    one = partial(attack, cases=asked.cases, number=asked.seed, keep=asked.keep)
    with ProcessPoolExecutor(asked.jobs) as pool:
        found = list(pool.map(one, asked.targets or TARGETS))
    total, faults = (sum(counts) for counts in list(zip(*found, strict=True))[1:])
    lines += [row for row, *_ in found]
    lines.append(f"| all | {total:,} | | | | | {faults} |")
    table = "\n".join(lines)
    print(table)
    if asked.write:
        write_figures("hostile input", table)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
