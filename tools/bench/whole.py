"""The audit of the zoo's digits-c0 as a whole process: its time beside its imports', its counts.

It runs as an installed package does, with bytecode that was written before; so do the imports
that it is held against.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import model_zoo
from analyzer import data, surgery
from analyzer.measures.ablation.prefix_and_suffix import open_network
from tools.bench.ways import Counts, by_reference

__all__ = ["NETWORK", "Whole", "measure_whole"]

NETWORK = "digits-c0"
_ROOT = Path(__file__).resolve().parents[2]
_IMPORTS = "import onnxruntime, onnx, numpy"


@dataclass(frozen=True)
class Whole:
    """An audit as a whole process, report included; times in seconds."""

    case: str
    samples: int
    units: int
    rows_possible: int
    rows_run: int
    process_seconds: tuple[float, ...]  # of each run of the audit
    imports_seconds: tuple[float, ...]  # of the imports right behind it
    differing: int  # counts that differ from the reference's
    near_ties: int  # reference rows whose two highest scores lie within 1e-5 of the scale
    asked: float  # times the imports, at most

    @property
    def ratios(self) -> tuple[float, ...]:
        """Of each pair, in rising order."""
        pairs = zip(self.process_seconds, self.imports_seconds, strict=True)
        return tuple(sorted(process / imports for process, imports in pairs))

    @property
    def process_median(self) -> float:
        return statistics.median(self.process_seconds)

    @property
    def imports_median(self) -> float:
        return statistics.median(self.imports_seconds)


def measure_whole(pairs: int, *, asked: float) -> Whole:
    """Times audit and imports in turn, and holds the audit's counts against the reference way."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = _with_bytecode(folder / "bytecode")

        def audit(out: Path) -> float:
            command = ["-m", "analyzer", "audit", f"zoo:{NETWORK}", "--out", str(out)]
            return _timed(command, environment)

        def imports() -> float:
            return _timed(["-c", _IMPORTS], environment)

        audit(folder / "first")  # both once untimed: they write the bytecode
        imports()
        times = [(audit(folder / f"audit-{pair}"), imports()) for pair in range(pairs)]
        rows = json.loads((folder / "first" / "audit.json").read_text(encoding="utf-8"))["rows"]
        found = np.load(folder / "first" / "curves.npz")
        reference = _by_reference(folder, found["order"])
        counted = np.stack([found["descending"], found["ascending"]])  # (2, K, M + 1)
        return Whole(
            case=NETWORK,
            samples=int(found["samples"].sum()),
            units=found["order"].shape[1],
            rows_possible=rows["possible"],
            rows_run=rows["run"],
            process_seconds=tuple(process for process, _ in times),
            imports_seconds=tuple(alone for _, alone in times),
            differing=int(np.abs(counted - reference.curves).sum()),
            near_ties=reference.near_ties,
            asked=asked,
        )


def _with_bytecode(folder: Path) -> Mapping[str, str]:
    """This process's environment, but bytecode is written to a folder and read from there."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder)}


def _timed(arguments: Sequence[str], environment: Mapping[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        cwd=_ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - began


def _by_reference(folder: Path, order: np.ndarray) -> Counts:
    """The counts of the reference way; every class has samples.

    Args:
        order: int64 (K, M), the channels of each class by descending unit attribute.
    """
    entry = model_zoo.find(NETWORK)
    network = surgery.load_network(entry.model)
    source = data.open_data(entry.data, keys=entry.keys)
    preprocessing = data.resolve_preprocessing(
        source, network.info.inputs[0], data.PreprocessOptions(**(entry.preprocessing or {}))
    )
    everything = data.read_batches(source, preprocessing, np.arange(len(source)), len(source))
    images = np.concatenate([batch.images for batch in everything])
    cut = surgery.cut_network(network, surgery.default_site(network), folder)
    opened = open_network(cut, network.info.inputs[0].name, "cpu")
    return by_reference(opened, images, source.labels, order)
