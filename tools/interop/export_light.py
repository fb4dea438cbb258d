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


def build(name, place):
    shutil.copyfile(FOLDER / f"{name}.onnx", place / "network.onnx")
    images = np.random.default_rng(0).random((2, 3, 224, 224)).astype(np.float32)
    save_samples(place, images, np.array([0, 0]), None)
    words = name.removeprefix("light_").replace("_", " ")
    expected = EXPECTED.get(name, "Relu")
    return Cell("onnx light models", words, VERSION, expected=expected, every=EVERY)


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
