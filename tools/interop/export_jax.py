"""JAX and Flax: jax2onnx on an NNX module, counted by calling its two halves."""

import argparse
from functools import partial
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from cells import Cell, export_all, labels_for, own_counts, save_samples
from flax import nnx
from jax2onnx import to_onnx

CLASSES = 10
IMAGES = 12
SHAPE = (16, 16, 3)
VERSION = f"jax2onnx {version('jax2onnx')} (JAX {jax.__version__}, Flax {version('flax')})"


class SmallCNN(nnx.Module):
    """Two convolutions, flattened position by position."""

    def __init__(self, rngs):
        self.conv1 = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(8, 12, (3, 3), rngs=rngs)
        self.head = nnx.Linear(12 * 16, CLASSES, rngs=rngs)

    def site(self, x):
        x = nnx.max_pool(nnx.relu(self.conv1(x)), window_shape=(2, 2), strides=(2, 2))
        return nnx.gelu(self.conv2(x))

    def below(self, x):
        x = nnx.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        return self.head(x.reshape(x.shape[0], -1))

    def __call__(self, x):
        return self.below(self.site(x))


class Block(nnx.Module):
    def __init__(self, before, after, stride, rngs):
        self.conv1 = nnx.Conv(before, after, (3, 3), strides=stride, use_bias=False, rngs=rngs)
        self.norm1 = nnx.BatchNorm(after, rngs=rngs)
        self.conv2 = nnx.Conv(after, after, (3, 3), use_bias=False, rngs=rngs)
        self.norm2 = nnx.BatchNorm(after, rngs=rngs)
        same = before == after and stride == 1
        self.shortcut = None if same else nnx.Conv(before, after, (1, 1), stride, rngs=rngs)

    def __call__(self, x):
        around = x if self.shortcut is None else self.shortcut(x)
        x = nnx.relu(self.norm1(self.conv1(x)))
        return nnx.relu(self.norm2(self.conv2(x)) + around)


class ResNet(nnx.Module):
    """A stem and six residual blocks of up to 32 channels."""

    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        widths = ((8, 8, 1), (8, 8, 1), (8, 16, 2), (16, 16, 1), (16, 32, 2), (32, 32, 1))
        self.blocks = nnx.List([Block(*width, rngs) for width in widths])
        self.head = nnx.Linear(32, CLASSES, rngs=rngs)

    def site(self, x):
        x = nnx.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return x

    def below(self, x):
        return self.head(x.mean(axis=(1, 2)))

    def __call__(self, x):
        return self.below(self.site(x))


NETWORKS = {"small CNN": (SmallCNN, "GELU"), "ResNet": (ResNet, "Relu")}


def calibrated(build):
    """A network in evaluation mode whose classes differ between images."""
    network = build(nnx.Rngs(0))
    draw = np.random.default_rng(3)
    network.train()
    for _ in range(20):
        network(jnp.asarray(draw.normal(size=(32, *SHAPE)), jnp.float32))
    network.eval()
    mean = network(jnp.asarray(draw.normal(size=(64, *SHAPE)), jnp.float32)).mean(axis=0)
    network.head.bias[...] -= mean
    return network


def build(name, place):
    builder, operator = NETWORKS[name]
    network = calibrated(builder)
    images = np.random.default_rng(2).normal(size=(IMAGES, *SHAPE)).astype(np.float32)
    values = np.asarray(network.site(jnp.asarray(images)))
    labels = labels_for(np.asarray(network(jnp.asarray(images))))

    def scores(samples, keep):
        masked = np.where(keep[:, None, None], values[samples], 0)
        return np.asarray(network.below(jnp.asarray(masked, jnp.float32)))

    onnx.save(to_onnx(network, [("B", *SHAPE)]), place / "network.onnx")
    save_samples(place, images, labels, own_counts(values, labels, scores, axis=3))
    return Cell("JAX/Flax", name, VERSION, expected=operator)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("wanted", nargs="*")
    arguments = parser.parse_args()
    cells = {f"jax {name}": partial(build, name) for name in NETWORKS}
    export_all(arguments.folder, cells, arguments.wanted, Cell("JAX/Flax", "", VERSION))


if __name__ == "__main__":
    main()
