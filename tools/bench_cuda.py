"""Measures the paper's job on a GPU: VGG16, 50,000 images of 32×32, 100 classes, exact counts.

    python tools/bench_cuda.py [--device cuda:0[,cuda:1]] [--precision P ...] [--json FILE]
    python tools/bench_cuda.py --device cpu --small

One run says three things of each precision:

counts
    on some of the images against the plain way on the processor: the suffix once per n, order and
    class. Counts of float32 may differ only in rows whose two highest scores lie within 1e-5 of
    their scale. The order of units is the device's own; where the processor has another, activities
    are equal but for rounding
time
    of prefix and sweep, and of both as a clock on the wall has it; on one device also with its
    classes dealt out to two threads, so that one prepares rows while the other's are run
use
    of the device: operations of the rows that were run, against the speed of a large matrix product

Nothing but onnx-gap is needed; images and weights are drawn here. Ends with 1 if counts differ by
more than near ties, or the whole job in float32 takes longer than --most-seconds.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from analyzer import runtime, surgery
from analyzer.common_types import Cut
from analyzer.measures.ablation.prefix_and_suffix import CutNetwork, open_network
from analyzer.measures.ablation.ranking_and_evaluations import order_units
from analyzer.measures.ablation.sweep import SweepOptions, split_into_shards, sweep_shards
from analyzer.measures.ablation.sweep_state import SweepState
from tools.bench.vgg16 import Shape, images_of, write_vgg16
from tools.bench.ways import Counts, by_reference, in_memory

PAPER = Shape(classes=100, samples=500)
SMALL = Shape(classes=6, samples=4, width=8, hidden=64)
CHECKED_CLASSES, CHECKED_SAMPLES = 3, 20  # the plain way takes minutes for more
MEMORY = 2 << 30
PEAK_SIZE = {"cuda": 8192, "cpu": 1024}  # of the matrices, square
PEAK_RUNS = 10


@dataclass(frozen=True)
class Row:
    """One line of the table; times in seconds, speeds in operations a second."""

    device: str
    precision: str
    threads: int  # that classes are dealt out to
    accuracy: float
    prefix_seconds: float
    sweep_seconds: float
    seconds: float
    rows_possible: int
    rows_run: int
    prefix_operations: int
    sweep_operations: int
    peak: float  # of a large matrix product, on all devices together
    differing: int  # counts that differ from the plain way's
    near_ties: int
    places: int  # of the checked classes' unit orders in which the processor has another unit

    @property
    def use(self) -> float:
        """Of the device's peak, in prefix and sweep together."""
        return (self.prefix_operations + self.sweep_operations) / self.seconds / self.peak


@dataclass(frozen=True)
class Job:
    """The network, cut for one precision, and what it is run on."""

    cut: Cut
    precision: str
    devices: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    operations: tuple[int, int]  # of a sample before the cut, of a row behind it
    classes: int

    def networks(self) -> list[CutNetwork]:
        # Resident on the processor too, so that what runs there is what runs on a GPU.
        return [
            open_network(self.cut, "images", device, resident=True, precision=self.precision)
            for device in self.devices
        ]

    def count(
        self, networks: Sequence[CutNetwork], chosen: np.ndarray | slice
    ) -> tuple[SweepState, float]:
        """The counts of some of the samples, and the seconds it took."""
        samples = in_memory(self.images[chosen], self.labels[chosen])
        shards = split_into_shards(samples, len(networks))
        units = self.cut.site.channels
        states = [SweepState.start(len(shard.labels), self.classes, units) for shard in shards]
        began = time.perf_counter()
        sweep_shards(
            networks[: len(shards)],
            shards,
            states,
            SweepOptions(memory=MEMORY),
            save=lambda arrays: None,
            progress=lambda stage, done, total: None,
        )
        return SweepState.joined(states), time.perf_counter() - began


def measure(job: Job, plain: CutNetwork, folder: Path) -> list[Row]:
    """The rows of one precision."""
    networks = job.networks()
    top = peak(networks[0].prefix.device, job.precision, folder) * len(networks)
    ways = [networks] if len(networks) > 1 else [networks, networks * 2]
    references: dict[bytes, Counts] = {}
    return [measured(job, way, plain, references, top) for way in ways]


def measured(
    job: Job,
    networks: Sequence[CutNetwork],
    plain: CutNetwork,
    references: dict[bytes, Counts],
    top: float,
) -> Row:
    """A check against the plain way, which also warms up; then the whole job.

    Args:
        references: what the plain way counted, by unit order.
    """
    classes = range(CHECKED_CLASSES)
    chosen = np.concatenate(
        [np.flatnonzero(job.labels == label)[:CHECKED_SAMPLES] for label in classes]
    )
    images, labels = job.images[chosen], job.labels[chosen]
    checked, _ = job.count(networks, chosen)
    key = checked.order.tobytes()
    if key not in references:
        references[key] = by_reference(plain, images, labels, checked.order)
    reference = references[key]
    differing = np.abs(checked.curves[:, :CHECKED_CLASSES] - reference.curves).sum()
    places = sum(
        (checked.order[label] != unit_order_of(plain, images[labels == label])).sum()
        for label in classes
    )
    state, seconds = job.count(networks, slice(None))
    return Row(
        device=",".join(job.devices),
        precision=job.precision,
        threads=len(networks),
        accuracy=float(state.correct.mean()),
        prefix_seconds=state.prefix_seconds,
        sweep_seconds=state.sweep_seconds,
        seconds=seconds,
        rows_possible=state.possible,
        rows_run=state.run,
        prefix_operations=2 * job.operations[0] * len(job.labels),
        sweep_operations=2 * job.operations[1] * state.run,
        peak=top,
        differing=int(differing),
        near_ties=reference.near_ties,
        places=int(places),
    )


def unit_order_of(network: CutNetwork, images: np.ndarray) -> np.ndarray:
    """The order of the units for images of one class."""
    return order_units(network.features(images).activity.mean(axis=0, dtype=np.float64))


def peak(device: str, precision: str, folder: Path) -> float:
    """Operations a second of a large matrix product, the best of some runs."""
    size = PEAK_SIZE[device.partition(":")[0]]
    kind, dtype = TensorProto.FLOAT, np.float32
    if precision == "fp16":
        kind, dtype = TensorProto.FLOAT16, np.float16
    a, b, y = (helper.make_tensor_value_info(name, kind, [size, size]) for name in "aby")
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["y"])], "peak", [a, b], [y])
    path = folder / "peak.onnx"
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, path)
    session = runtime.open_session(path, device, tf32=precision == "tf32")
    random = np.random.default_rng(0)
    feeds = {
        name: session.to_device(random.standard_normal((size, size), np.float32).astype(dtype))
        for name in "ab"
    }
    best = np.inf
    for _ in range(PEAK_RUNS):
        began = time.perf_counter()
        session.run_on_device(feeds, ["y"], ["y"])
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def table(rows: Sequence[Row]) -> str:
    lines = [
        "| device | precision | threads | counts differing (near ties; places of the order) "
        "| prefix | sweep | whole | rows run of possible | matrix product | use of it |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row.device} | {row.precision} | {row.threads} "
        f"| {row.differing} ({row.near_ties}; {row.places}) | {row.prefix_seconds:.1f} s "
        f"| {row.sweep_seconds:.1f} s | {row.seconds:.1f} s | {row.rows_run} of "
        f"{row.rows_possible} | {row.peak / 1e12:.2f} TFLOP/s | {row.use:.0%} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0", help="cpu, cuda:N, or several GPUs")
    parser.add_argument(
        "--precision", nargs="+", choices=runtime.PRECISIONS, help="default: all of them"
    )
    parser.add_argument("--small", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--most-seconds", type=float, help="of the whole job in float32")
    parser.add_argument("--json", type=Path, help="also write the rows there")
    options = parser.parse_args()
    devices = runtime.named_devices(options.device)
    chosen = options.precision or [
        one for one in runtime.PRECISIONS if one != "tf32" or devices != ("cpu",)
    ]
    shape = SMALL if options.small else PAPER
    images, labels = images_of(shape)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_vgg16(shape, images, labels, folder / "vgg16.onnx")
        loaded = surgery.load_network(folder / "vgg16.onnx")
        site = surgery.default_site(loaded)
        cut = surgery.cut_network(loaded, site, folder)
        sizes = surgery.outline_network(loaded, site)
        operations = (sizes.prefix_operations, sizes.suffix_operations)
        plain = open_network(cut, "images", "cpu")
        for precision in chosen:
            mine = cut
            if precision == "fp16":
                (folder / precision).mkdir()
                half = surgery.rewrite_network(loaded, folder / precision, runtime.in_float16)
                mine = surgery.cut_network(half, site, folder / precision)
            job = Job(mine, precision, devices, images, labels, operations, shape.classes)
            began = time.perf_counter()
            rows += measure(job, plain, folder)
            print(f"{precision}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    print(f"{platform.processor() or platform.machine()}; accuracy {rows[0].accuracy:.3f}\n")
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    exact = [row for row in rows if row.precision == "float32"]
    wrong = any(row.differing > row.near_ties for row in exact)
    slow = options.most_seconds and exact and exact[0].seconds > options.most_seconds
    return int(wrong or bool(slow))


if __name__ == "__main__":
    sys.exit(main())
