"""Audits a population of many networks, some of them broken, while its workers are killed.

    python -m tools.attack_population [--networks N] [--kills N] [--seed N] [--only WAY] [--write]

The networks are made from a seed: a convolution with two channels and a linear layer, on twenty
images of 6 × 6 pixels. One in twenty is broken: cut short, no ONNX, missing, of other inputs, or
with weights that are not numbers. The population is audited in one process, undisturbed; by two
worker processes, of which some are killed at random moments; and by a Dask cluster of two workers,
likewise. All must leave the same table, and name the broken networks and no others. The memory of
the processes is read while they run. ``--only`` picks one of the ways, or some if repeated.

``--write`` puts the figures into docs/RELIABILITY.md, where the rows of other ways stay. Ends with
1 if the tables of as many networks differ, those of rows that stay included, or other networks than
the broken ones are named.
"""

import argparse
import contextlib
import csv
import hashlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tools.attack_faults import ROOT
from tools.reliability_figures import read_figures, write_figures

IMAGES, EDGE, CLASSES = 20, 6, 2
FAULTS = ("cut short", "no ONNX", "missing", "of other inputs", "not numbers")
ONE_IN = 20
WAYS = {"none": 0, "2 processes": 1, "2 of Dask": 1}
"""Workers that audit, and whether some of them are killed."""
HEAD = (
    "| networks | workers | killed | broken, all named | the process that leads | workers together "
    "| seconds | table |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
)
OPTIONS = (
    "--skip-failed",
    "--progress",
    "none",
    "--interpolation-samples",
    "0",
    "--neighbor-samples",
    "0",
)


def network(random_: np.random.Generator, fault: str) -> onnx.ModelProto:
    """One network; with a fault of its content where ``fault`` names one."""
    colors = 3 if fault == "of other inputs" else 1
    first = random_.normal(size=(2, colors, 3, 3)).astype(np.float32)
    last = random_.normal(size=(2, CLASSES)).astype(np.float32)
    if fault == "not numbers":
        last[:] = np.nan
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalMaxPool", ["relu"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("MatMul", ["flat", "last"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", colors, EDGE, EDGE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(last, "last")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_population(place: Path, networks: int, seed: int) -> tuple[Path, dict[str, str]]:
    """Networks, data and manifest; the path of the manifest, and the broken ones with the fault."""
    random_ = np.random.default_rng(seed)
    images = random_.normal(size=(IMAGES, 1, EDGE, EDGE)).astype(np.float32)
    np.savez(place / "train.npz", images=images, labels=np.arange(IMAGES) % CLASSES)
    broken: dict[str, str] = {}
    rows = [("name", "model", "train_data", "gap")]
    for number in range(networks):
        name = f"n{number:04}"
        if number % ONE_IN == ONE_IN - 1:
            broken[name] = FAULTS[number // ONE_IN % len(FAULTS)]
        fault = broken.get(name, "")
        content = network(random_, fault).SerializeToString()
        if fault == "cut short":
            content = content[: len(content) // 2]
        elif fault == "no ONNX":
            content = b"these are not the networks that you are looking for"
        if fault != "missing":
            (place / f"{name}.onnx").write_bytes(content)
        rows.append((name, f"{name}.onnx", "train.npz", f"{random_.uniform(0, 0.5):.3f}"))
    with (place / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return place / "manifest.csv", broken


def children_of(process: int) -> list[int]:
    """The processes that a process has started, those that these have started included."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = place.read_text().rpartition(")")[2].split()
            if int(fields[1]) == process:
                child = int(place.parent.name)
                found += [child, *children_of(child)]
    return found


def megabytes(process: int) -> float:
    """The memory of a process; 0 where it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


@dataclass
class Watch:
    """Reads the memory of a run as networks are done, and kills some of its workers."""

    out: Path
    networks: int
    kills: int
    chance: random.Random
    process: int  # that leads
    workers_of: int  # whose children are the workers
    memory: list[tuple[int, float, float]] = field(default_factory=list)
    # networks done, megabytes of the process that leads, of its workers together
    killed: int = 0

    def look(self) -> None:
        """Once; kill a worker where enough networks are done for the next one."""
        done = sum(1 for _ in self.out.glob("audits/*/manifest.json"))
        workers = [child for child in children_of(self.workers_of) if is_worker(child)]
        self.memory.append((done, megabytes(self.process), sum(map(megabytes, workers))))
        due = (self.killed + 1) * self.networks / (self.kills + 1)
        if self.killed < self.kills and workers and done >= due:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.chance.choice(workers), signal.SIGKILL)
                self.killed += 1

    def told(self) -> tuple[str, str]:
        """Memory of the process that leads, and of its workers, from a fifth of the networks on."""
        early = [one for one in self.memory if self.networks / 5 <= one[0] < self.networks / 2]
        late = [one for one in self.memory if self.networks / 2 <= one[0] < self.networks * 0.95]
        if not early or not late:
            return "–", "–"

        def middle(column: int) -> str:
            values = [statistics.median(one[column] for one in part) for part in (early, late)]
            return f"{values[0]:.0f} → {values[1]:.0f} MB" if any(values) else "–"

        return middle(1), middle(2)


def is_worker(process: int) -> bool:
    """Whether a child is one that audits: neither a tracker of resources nor a nanny of Dask."""
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ")
        loky = b"loky" in command and b"resource_tracker" not in command
        return loky or b"--multiprocessing-fork" in command or b"spawn_main" in command
    return False


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """The address of a Dask scheduler with two workers, without the profiles that Dask keeps."""
    import dask
    import distributed

    with (
        dask.config.set({"distributed.worker.profile.enabled": False}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as workers,
    ):
        workers.adapt(minimum=2, maximum=2)  # another one for each that is gone
        yield workers.scheduler_address


def audit(
    manifest: Path, out: Path, networks: int, kills: int, chance: random.Random, where: list[str]
) -> Watch:
    """Audit the population to its end; ``where`` are the options that say by which workers."""
    command = [sys.executable, "-m", "analyzer", "population", str(manifest), "--out", str(out)]
    said = out.with_suffix(".said")
    with said.open("wb") as file:
        run = subprocess.Popen([*command, *OPTIONS, *where], stdout=file, stderr=file, cwd=ROOT)
    of_dask = "--dask" in where
    watch = Watch(out, networks, kills, chance, run.pid, os.getpid() if of_dask else run.pid)
    ended = threading.Event()

    def keep_looking() -> None:
        while not ended.wait(0.3):
            watch.look()

    watching = threading.Thread(target=keep_looking)
    watching.start()
    code = run.wait()
    ended.set()
    watching.join()
    if code != 1:  # some have failed
        raise RuntimeError(f"{command} ended with {code}:\n{said.read_text()}")
    return watch


def names_in(path: Path) -> set[str]:
    """The column ``name`` of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return {row["name"] for row in csv.DictReader(file)}


def audit_in(way: str, manifest: Path, networks: int, kills: int, seed: int) -> tuple[Watch, Path]:
    """Audit the population in one of the ways; what was seen, and the folder."""
    out, chance = manifest.parent / way.replace(" ", "-"), random.Random(seed)
    with contextlib.ExitStack() as stack:
        if way == "2 of Dask":
            where = ["--dask", stack.enter_context(cluster())]
        else:
            where = ["--jobs", "1" if way == "none" else "2"]
        return audit(manifest, out, networks, kills * WAYS[way], chance, where), out


def rows_by_way(figures: str) -> dict[str, list[str]]:
    """The cells of the rows of a table, by how the networks were audited."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in figures.splitlines()]
    return {row[1]: row for row in rows if len(row) > 1 and row[1] in WAYS}


def main() -> int:
    """Audit the population in each way, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("networks", 500), ("kills", 5), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", action="append", choices=WAYS, help="audit in this way alone")
    parser.add_argument("--write", action="store_true", help="put them into docs/RELIABILITY.md")
    asked = parser.parse_args()
    rows = rows_by_way(read_figures("populations"))
    wrong = False
    with tempfile.TemporaryDirectory() as folder:
        manifest, broken = write_population(Path(folder), asked.networks, asked.seed)
        for way in asked.only or WAYS:
            began = time.monotonic()
            watch, out = audit_in(way, manifest, asked.networks, asked.kills, asked.seed)
            seconds = time.monotonic() - began
            named = names_in(out / "failed.csv") == broken.keys()
            if not named:
                print((out / "failed.csv").read_text(encoding="utf-8"), file=sys.stderr)
            table = hashlib.sha256((out / "population.csv").read_bytes()).hexdigest()
            rows[way] = [
                str(asked.networks),
                way,
                str(watch.killed),
                f"{len(broken)}, {'yes' if named else 'NO'}",
                *watch.told(),
                f"{seconds:.0f}",
                f"`{table[:12]}`",
            ]
            wrong |= not named
            print(" | ".join(rows[way]), flush=True)
    # Of populations of as many networks alone: the others are other networks.
    wrong |= len({row[-1] for row in rows.values() if row[0] == str(asked.networks)}) > 1
    if asked.write:
        lines = [f"| {' | '.join(rows[way])} |" for way in WAYS if way in rows]
        write_figures("populations", "\n".join([*HEAD, *lines]))
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
