"""Measures how time and peak memory of an audit grow with samples, units and classes.

    python tools/bench_scaling.py [--plot docs/scaling.png] [--json FILE]

Each point is a whole `onnx-gap audit` of a folder of PNG images, in a process of its own, with
--memory 16M. The networks are made here: three convolutions and two fully connected layers with
random weights.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SIZE = 32
MEMORY = "16M"
BASE = {"samples": 1000, "units": 128, "classes": 10}
GROWTH = {
    "samples": (1000, 4000, 16000),
    "units": (32, 128, 512),
    "classes": (10, 40, 160),
}


def write_network(path: Path, units: int, classes: int) -> None:
    random = np.random.default_rng(0)
    nodes, weights, before, value = [], [], 3, "images"
    for number, (after, stride) in enumerate(((16, 2), (32, 2), (units, 1))):
        kernel = random.normal(size=(after, before, 3, 3)) * np.sqrt(2 / (9 * before))
        weights.append(numpy_helper.from_array(kernel.astype(np.float32), f"w{number}"))
        nodes += [
            helper.make_node(
                "Conv", [value, f"w{number}"], [f"c{number}"], pads=[1] * 4, strides=[stride] * 2
            ),
            helper.make_node("Relu", [f"c{number}"], [f"r{number}"]),
        ]
        before, value = after, f"r{number}"
    nodes += [
        helper.make_node("MaxPool", [value], ["p"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["p"], ["f"]),
    ]
    value, before = "f", units * 4
    for number, after in enumerate((256, classes)):
        matrix = random.normal(size=(before, after)) * np.sqrt(2 / before)
        weights.append(numpy_helper.from_array(matrix.astype(np.float32), f"m{number}"))
        nodes.append(helper.make_node("MatMul", [value, f"m{number}"], [f"z{number}"]))
        value, before = f"z{number}", after
        if number == 0:
            nodes.append(helper.make_node("Relu", [value], ["h"]))
            value = "h"
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["N", classes])],
        weights,
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, path)


def write_images(folder: Path, samples: int, classes: int) -> None:
    random = np.random.default_rng(1)
    for number in range(samples):
        place = folder / f"class{number % classes}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")


def measure(samples: int, units: int, classes: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_network(folder / "network.onnx", units, classes)
        write_images(folder / "train", samples, classes)
        command = [
            sys.executable, "-m", "analyzer", "audit", str(folder / "network.onnx"),
            "--data", str(folder / "train"), "--mean", "0.5", "--std", "0.5",
            "--memory", MEMORY, "--out", str(folder / "audit"), "--json",
        ]  # fmt: skip
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        if status:
            raise SystemExit(f"the audit failed: {' '.join(command)}")
        result = json.loads((folder / "audit" / "audit.json").read_text())
        return {
            "samples": samples,
            "units": units,
            "classes": classes,
            "seconds": seconds,
            "prefix": result["seconds"]["prefix"],
            "sweep": result["seconds"]["sweep"],
            "peak_megabytes": usage.ru_maxrss / 1024,
            "rows": result["rows"]["run"],
        }


def plot(rows: dict[str, list[dict[str, float]]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(rows), sharey="row")
    for column, (name, points) in enumerate(rows.items()):
        along = [point[name] for point in points]
        upper, lower = axes[:, column]
        for part, style in (("seconds", "o-"), ("sweep", "s--"), ("prefix", "^:")):
            label = {"seconds": "whole process"}.get(part, part)
            upper.plot(along, [point[part] for point in points], style, label=label)
        lower.plot(along, [point["peak_megabytes"] for point in points], "o-", color="tab:red")
        for panel in (upper, lower):
            panel.set_xscale("log", base=2)
            panel.set_xticks(along, [str(value) for value in along])
            panel.grid(alpha=0.3)
        upper.set_yscale("log")
        lower.set_xlabel(name)
    peak = max(point["peak_megabytes"] for points in rows.values() for point in points)
    axes[1, 0].set_ylim(0, 1.1 * peak)
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("peak memory, MB")
    lines, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", type=Path, help="draw the growth there")
    parser.add_argument("--json", type=Path, help="also write the points there")
    options = parser.parse_args()
    rows = {}
    for name, values in GROWTH.items():
        rows[name] = [measure(**{**BASE, name: value}) for value in values]
        print(f"\n| {name} | whole process | prefix | sweep | peak memory | rows run |")
        print("| --- | --- | --- | --- | --- | --- |")
        for point in rows[name]:
            print(
                f"| {point[name]} | {point['seconds']:.1f} s | {point['prefix']:.2f} s "
                f"| {point['sweep']:.2f} s | {point['peak_megabytes']:.0f} MB | {point['rows']} |",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    if options.plot:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()
