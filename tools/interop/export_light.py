"""The onnx package's own light models: real architectures, their weights made by ConstantOfShape.

They answer the same to every image, so their counts say little; what is shown is that each is
cut right. The plain way runs them at every 64th n only.
"""

import argparse
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from cells import Cell, export_all, save_samples

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
VERSION = f"onnx {onnx.__version__}"
EXPECTED = {"light_inception_v1": "Concat", "light_inception_v2": "Concat"}
EVERY = 64
LARGE = ("bvlc alexnet", "vgg19", "zfnet512")
BUDGET = (("elements", 1 << 27), ("constant_elements", 1 << 28), ("constant_operations", 1 << 34))
OPTIONS = " ".join(f"--budget {name}={most}" for name, most in BUDGET).replace("_", "-")
NOTE = (
    "ConstantOfShape makes the weights of these files, so that they count as tensors that the "
    "network makes. Those of bvlc alexnet, vgg19 and zfnet512 are beyond what a network may make "
    "unless told otherwise: they were audited with "
    f"`{OPTIONS}`."
)


def build(name, place):
    shutil.copyfile(FOLDER / f"{name}.onnx", place / "network.onnx")
    images = np.random.default_rng(0).random((2, 3, 224, 224)).astype(np.float32)
    save_samples(place, images, np.array([0, 0]), None)
    words = name.removeprefix("light_").replace("_", " ")
    expected = EXPECTED.get(name, "Relu")
    budget, note = (), ""
    if words in LARGE:
        budget, note = BUDGET, NOTE
    return Cell(
        "onnx light models", words, VERSION, expected=expected, every=EVERY, budget=budget,
        note=note,
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("wanted", nargs="*")
    arguments = parser.parse_args()
    names = sorted(path.stem for path in FOLDER.glob("*.onnx"))
    cells = {name: partial(build, name) for name in names}
    failed = Cell("onnx light models", "", VERSION)
    export_all(arguments.folder, cells, arguments.wanted, failed)


if __name__ == "__main__":
    main()
