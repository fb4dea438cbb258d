"""Measures how long large networks take before anything runs: load, check, find the site, cut.

    python tools/bench_preparation.py [--nodes N …] [--repeats R] [--commands NAME …] [--json FILE]

Each figure is processor time of a process of its own, the least of R. The steps are those of an
audit. The floor is what nobody can do without: the file parsed, checked by onnx, its shapes
inferred by onnx, and read by onnx-ir, once each. Commands are measured whole, with the imports, and
also as a multiple of the floor; of ``audit``, on 20 images, and ``verify`` what onnxruntime takes
to open and run networks is left out, and it opens them without optimizing, which would take it
time in proportion to the square of the nodes. The networks are made here, in the kinds that
exporters write: residual blocks, blocks with a squeezing gate, the sizes of a reshape computed at
every layer, and transformer blocks behind a convolution.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[1]
CHANNELS = 8
STEPS = ("load", "site", "plan", "cut")
COMMANDS = ("inspect", "mask", "audit", "verify")  # verify holds what audit leaves


class Builder:
    """A network in the making; ``x`` is (N, CHANNELS, 8, 8)."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []
        self.random = np.random.default_rng(0)

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        """The output of a new node."""
        name = f"/{kind.lower()}_{len(self.nodes)}"
        output = f"{name}_output"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name, **attributes))
        return output

    def weight(self, array: np.ndarray) -> str:
        """A new initializer."""
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def normal(self, *shape: int) -> str:
        """An initializer of random numbers that keep the scale of what they are multiplied with."""
        array = self.random.normal(size=shape) / np.sqrt(np.prod(shape[1:], initial=1))
        return self.weight(array.astype(np.float32))

    def zeros(self, *shape: int) -> str:
        """Weights of what is added to a bypass, so that values stay finite at any depth."""
        return self.weight(np.zeros(shape, np.float32))

    def ones(self) -> str:
        """A vector of ones, one for each channel."""
        return self.weight(np.ones(CHANNELS, np.float32))


def residual(new: Builder, x: str) -> str:
    """Two convolutions with batch norm, and what bypasses them."""
    y = x
    for last in (False, True):
        weight = (new.zeros if last else new.normal)(CHANNELS, CHANNELS, 3, 3)
        y = new.op("Conv", y, weight, pads=[1, 1, 1, 1])
        y = new.op("BatchNormalization", y, *(new.ones() for _ in range(4)))
        y = new.op("Add", y, x) if last else y
        y = new.op("Relu", y)
    return y


def gated(new: Builder, x: str) -> str:
    """A convolution with SiLU as two operators, and squeeze-and-excitation."""
    y = new.op("Conv", x, new.zeros(CHANNELS, 1, 3, 3), pads=[1, 1, 1, 1], group=CHANNELS)
    y = new.op("Mul", y, new.op("Sigmoid", y))
    gate = new.op("Conv", new.op("GlobalAveragePool", y), new.normal(CHANNELS, CHANNELS, 1, 1))
    return new.op("Add", x, new.op("Mul", y, new.op("Sigmoid", gate)))


def reshaped(new: Builder, x: str) -> str:
    """A convolution, then a view by a size that is read from the tensor."""
    y = new.op("Relu", new.op("Conv", x, new.normal(CHANNELS, CHANNELS, 1, 1)))
    constant = new.op("Constant", value=numpy_helper.from_array(np.array(0)))
    size = new.op("Gather", new.op("Shape", y), constant, axis=0)
    size = new.op("Unsqueeze", size, new.weight(np.array([0])))
    target = new.op("Concat", size, new.weight(np.array([CHANNELS, 8, 8])), axis=0)
    return new.op("Reshape", y, target)


def attending(new: Builder, x: str) -> str:
    """Attention over positions and a GELU written as operators, on (N, 64, CHANNELS)."""
    query, key, value = (new.op("MatMul", x, new.normal(CHANNELS, CHANNELS)) for _ in range(3))
    scores = new.op("MatMul", query, new.op("Transpose", key, perm=[0, 2, 1]))
    x = new.op("Add", x, new.op("MatMul", new.op("Softmax", scores, axis=-1), value))
    x = new.op("LayerNormalization", x, new.ones(), new.ones(), axis=-1)
    y = new.op("MatMul", x, new.normal(CHANNELS, CHANNELS))
    half, one, root = (new.weight(np.float32(v)) for v in (0.5, 1, np.sqrt(2)))
    bent = new.op("Add", new.op("Erf", new.op("Div", y, root)), one)
    return new.op("Add", x, new.op("Mul", new.op("Mul", y, bent), half))


BLOCKS: dict[str, Callable[[Builder, str], str]] = {
    "residual": residual,
    "gated": gated,
    "reshaped": reshaped,
    "attention": attending,
}


def write_network(path: Path, kind: str, nodes: int) -> int:
    """Write a classifier of about so many nodes; returns how many it has."""
    new = Builder()
    x = new.op("Conv", "images", new.normal(CHANNELS, 3, 3, 3), pads=[1, 1, 1, 1])
    x = new.op("Relu", x)
    if kind == "attention":
        x = new.op("Reshape", x, new.weight(np.array([0, CHANNELS, 64])))
        x = new.op("Transpose", x, perm=[0, 2, 1])
    while len(new.nodes) < nodes - 10:
        x = BLOCKS[kind](new, x)
    if kind == "attention":
        x = new.op("ReduceMean", x, axes=[1], keepdims=0)
    else:
        x = new.op("Flatten", new.op("GlobalAveragePool", x))
    scores = new.op("MatMul", x, new.normal(CHANNELS, 10))
    graph = helper.make_graph(
        new.nodes,
        kind,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info(scores, TensorProto.FLOAT, ["N", 10])],
        new.weights,
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path
    )
    return len(new.nodes)


def prepare(path: Path, folder: Path) -> dict[str, float]:
    """Seconds of processor time that the floor and the steps of an audit take, by name."""
    import onnx_ir

    from analyzer import surgery

    seconds = {}

    def timed(step: str, run: Callable[[], object]) -> object:
        began = time.process_time()
        found = run()
        seconds[step] = time.process_time() - began
        return found

    def least() -> None:
        proto = onnx.load(path)
        onnx.checker.check_model(path)
        onnx_ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))

    timed("floor", least)
    network = timed("load", lambda: surgery.load_network(path))
    site = timed("site", lambda: surgery.find_site(network))
    timed("plan", lambda: surgery.outline_network(network, site))
    timed("cut", lambda: surgery.cut_network(network, site, folder))
    return seconds


def run_command(name: str, path: Path, folder: Path) -> dict[str, float]:
    """Seconds of processor time of a command in this process, outside onnxruntime; and memory."""
    data, out = folder / "images.npz", str(folder / "audit")
    images = np.random.default_rng(0).normal(size=(20, 3, 8, 8)).astype(np.float32)
    np.savez(data, x=images, y=np.repeat(np.arange(10), 2))
    given = ["--data", str(data), "--keys", "x,y"]
    arguments = {
        "inspect": ["inspect", str(path)],
        "mask": ["mask", str(path), "-o", str(folder / "masked.onnx")],
        "audit": ["audit", str(path), *given, "--anyway", "--fresh", "--out", out],
        "verify": ["verify", out, "--model", str(path), *given],
    }
    inside = time_onnxruntime() if name in ("audit", "verify") else [0.0]
    from analyzer.cli.commands import main as run

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            run(arguments[name])
        except SystemExit as end:
            if end.code:
                sys.exit(f"{name} of {path} ended with {end.code}: {said.getvalue()}")
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = used.ru_utime + used.ru_stime - sum(inside)
    return {name: seconds, "most_bytes": used.ru_maxrss << 10}


def time_onnxruntime() -> list[float]:
    """A list that takes the seconds of each session that is opened or run from now on."""
    from analyzer.runtime import sessions

    seconds: list[float] = []

    def timed(call: Callable[..., object]) -> Callable[..., object]:
        def measured(*arguments: object, **options: object) -> object:
            began = time.process_time()
            found = call(*arguments, **options)
            seconds.append(time.process_time() - began)
            return found

        return measured

    def open_plainly(session: object, path: str, options: object, **others: object) -> None:
        options.graph_optimization_level = sessions.ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        opened(session, path, options, **others)

    kind = sessions.ort.InferenceSession
    opened = kind.__init__
    kind.__init__, kind.run = timed(open_plainly), timed(kind.run)
    return seconds


def measure(path: Path, folder: Path, commands: list[str]) -> dict[str, float]:
    """The floor, the steps, and whole commands, each command in a process of its own."""
    found: dict[str, float] = {}
    for part in ("steps", *commands):
        here = [sys.executable, __file__, "--here", part, str(path), str(folder)]
        said = subprocess.run(here, check=True, stdout=subprocess.PIPE, env=ENV).stdout
        one = json.loads(said)
        most = max(found.get("most_bytes", 0), one.pop("most_bytes", 0))
        found |= {**one, "most_bytes": most}
    return found


ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


def rows(sizes: list[int], repeats: int, commands: list[str]) -> Iterator[dict[str, object]]:
    """A measured network after the other."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "network.onnx")
        for kind in BLOCKS:
            for size in sizes:
                nodes = write_network(path, kind, size)
                found = [measure(path, Path(name), commands) for _ in range(repeats)]
                least = {key: min(one[key] for one in found) for key in found[0]}
                yield {"kind": kind, "nodes": nodes, **least}


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--commands", nargs="*", choices=COMMANDS, default=["inspect"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--here", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        part, *places = asked.here
        path, folder = map(Path, places)
        steps = part == "steps"
        print(json.dumps(prepare(path, folder) if steps else run_command(part, path, folder)))
        return
    columns = ["floor", *STEPS, "load, site and cut", *(f"`{name}`" for name in asked.commands)]
    print(f"| network | nodes | {' | '.join(columns)} | memory |")
    print("| --- | --- | " + "--- | " * (len(columns) + 1))
    found = []
    for row in rows(asked.nodes, asked.repeats, asked.commands):
        found.append(row)
        steps = [row[step] for step in STEPS]
        together = sum(row[step] for step in STEPS if step != "plan")  # a part of the cut
        shown = [f"{seconds:.1f} s" for seconds in (row["floor"], *steps, together)]
        shown += [
            f"{row[name]:.1f} s ({row[name] / row['floor']:.1f} ×)" for name in asked.commands
        ]
        print(
            f"| {row['kind']} | {row['nodes']:,} | {' | '.join(shown)} | "
            f"{row['most_bytes'] / 1e6:,.0f} MB |",
            flush=True,
        )
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
