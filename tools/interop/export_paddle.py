"""PaddlePaddle: paddle2onnx, counted with forward hooks."""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import paddle
import paddle2onnx
from cells import Cell, export_all, labels_for, own_counts, save_samples
from paddle.static import InputSpec
from paddle.vision import models

CLASSES = 10
IMAGES = 12
VERSION = f"paddle2onnx {paddle2onnx.__version__} (PaddlePaddle {paddle.__version__})"


def small_cnn():
    """Small enough for a fixture."""
    layers = paddle.nn
    return layers.Sequential(
        layers.Conv2D(3, 8, 3, padding=1), layers.BatchNorm2D(8), layers.ReLU(),
        layers.MaxPool2D(2), layers.Conv2D(8, 16, 3, padding=1), layers.Swish(),
        layers.AdaptiveAvgPool2D(1), layers.Flatten(), layers.Linear(16, CLASSES),
    )  # fmt: skip


NETWORKS = {  # name: (builder, module whose output is the site, image, operator)
    "small CNN": (small_cnn, "5", (3, 16, 16), "SiLU"),
    "LeNet": (models.LeNet, "features.4", (1, 28, 28), "Relu"),
    "ResNet18": (partial(models.resnet18, num_classes=CLASSES), "layer4.1", (3, 64, 64), "Relu"),
    "MobileNetV3-small": (
        partial(models.mobilenet_v3_small, num_classes=CLASSES), "lastconv", (3, 64, 64),
        "HardSwish",
    ),
}  # fmt: skip


def calibrated(build, shape):
    """A network in evaluation mode whose classes differ between images."""
    paddle.seed(0)
    network = build()
    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            layer._momentum = 0.5
        elif isinstance(layer, paddle.nn.Dropout):
            layer.p = 0.0
    network.train()
    with paddle.no_grad():
        for _ in range(8):
            network(paddle.randn([32, *shape]))
        network.eval()
        last = [m for m in network.sublayers() if isinstance(m, paddle.nn.Linear)][-1]
        last.bias.set_value(last.bias - network(paddle.randn([64, *shape])).mean(axis=0))
    return network


def counted(network, site, images, labels):
    """The sweep by forward hooks; the recorded values stand in for the layers above the site."""
    module = dict(network.named_sublayers())[site]
    x = paddle.to_tensor(images)
    kept = []
    with paddle.no_grad():
        hook = module.register_forward_post_hook(lambda _, __, output: kept.append(output.numpy()))
        network(x)
        hook.remove()
        (values,) = kept

        def scores(samples, keep):
            masked = np.where(keep[:, :, None, None], values[samples], 0).astype(np.float32)
            replaced = paddle.to_tensor(masked)
            hook = module.register_forward_post_hook(lambda *_: replaced)
            answer = network(x[:1]).numpy()
            hook.remove()
            return answer

        return own_counts(values, labels, scores)


def build(name, place):
    builder, site, shape, operator = NETWORKS[name]
    network = calibrated(builder, shape)
    images = np.random.default_rng(2).normal(size=(IMAGES, *shape)).astype(np.float32)
    with paddle.no_grad():
        labels = labels_for(network(paddle.to_tensor(images)).numpy())
    own = counted(network, site, images, labels)
    spec = [InputSpec([None, *shape], "float32", "image")]
    paddle.onnx.export(network, str(place / "network"), input_spec=spec, opset_version=17)
    save_samples(place, images, labels, own)
    return Cell("PaddlePaddle", name, VERSION, expected=operator)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("wanted", nargs="*")
    arguments = parser.parse_args()
    cells = {f"paddle {name}": partial(build, name) for name in NETWORKS}
    export_all(arguments.folder, cells, arguments.wanted, Cell("PaddlePaddle", "", VERSION))


if __name__ == "__main__":
    main()
