"""scikit-learn: skl2onnx on an MLP, whose hidden units are the units."""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import skl2onnx
from cells import Cell, export_all, labels_for, own_counts, save_samples
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

IMAGES = 60
UNITS = (
    "A perceptron has no convolution, so there is no default site, and nothing is removed: the "
    "audit has interpolation and neighbors alone. `onnx-gap inspect` lists its hidden layers, and "
    "`--site` names one: hidden units are masked like channels."
)
VERSION = f"skl2onnx {skl2onnx.__version__}"


def trained(activation):
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    network = MLPClassifier((24, 16), activation=activation, max_iter=60, random_state=0)
    return network.fit(images, labels), images[:IMAGES]


def counted(network, activation, images, labels):
    """The sweep by the network's own weights, masked at the last hidden layer."""
    act = {"relu": lambda x: np.maximum(x, 0), "tanh": np.tanh}[activation]
    values = images
    for weights, bias in zip(network.coefs_[:-1], network.intercepts_[:-1], strict=True):
        values = act(values @ weights + bias)

    def scores(samples, keep):
        return np.where(keep, values[samples], 0) @ network.coefs_[-1] + network.intercepts_[-1]

    return own_counts(values, labels, scores)


def build(activation, named, place):
    network, images = trained(activation)
    labels = labels_for(network.predict_proba(images))
    proto = skl2onnx.to_onnx(network, images[:1], options={"zipmap": False}, target_opset=18)
    (place / "network.onnx").write_bytes(proto.SerializeToString())
    own = counted(network, activation, images, labels) if named else None
    save_samples(place, images, labels, own)
    name = f"MLP, {activation}"
    if not named:
        return Cell("scikit-learn", name, VERSION, refusal="no convolution", note=UNITS)
    return Cell("scikit-learn", name, VERSION, hidden=16)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("wanted", nargs="*")
    arguments = parser.parse_args()
    cells = {
        "sklearn relu default": partial(build, "relu", False),
        "sklearn relu": partial(build, "relu", True),
        "sklearn tanh": partial(build, "tanh", True),
    }
    export_all(arguments.folder, cells, arguments.wanted, Cell("scikit-learn", "MLP", VERSION))


if __name__ == "__main__":
    main()
