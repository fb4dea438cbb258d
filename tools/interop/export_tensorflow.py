"""TensorFlow and Keras: tf2onnx on a function, and Keras 3's own export, counted with submodels."""

import argparse
import os
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
from cells import Cell, export_all, labels_for, own_counts, save_samples

CLASSES = 10
IMAGES = 12
OPSET = 18

applications = keras.applications


def small_cnn(groups=1):
    """Small enough for a fixture."""
    layers = keras.layers
    image = x = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))
    x = layers.SeparableConv2D(16, 3, padding="same", activation="relu")(x)
    x = layers.BatchNormalization()(layers.Conv2D(16, 3, groups=groups, padding="same")(x))
    x = layers.Activation("silu", name="site")(x)
    x = layers.Dense(CLASSES, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, x)


def application(name, **options):
    return getattr(applications, name)(
        weights=None, input_shape=(32, 32, 3), classes=CLASSES, **options
    )


NETWORKS = {  # name: (builder, layer whose output is the site, operator)
    "small CNN": (small_cnn, "site", "SiLU"),
    "small CNN, grouped": (partial(small_cnn, 2), "site", "SiLU"),
    "VGG16": (partial(application, "VGG16"), "block5_conv3", "Relu"),
    "ResNet50": (partial(application, "ResNet50"), "conv5_block3_out", "Relu"),
    "MobileNet": (partial(application, "MobileNet", alpha=0.25), "conv_pw_13_relu", "Clip"),
    "EfficientNet-B0": (partial(application, "EfficientNetB0"), "top_activation", "SiLU"),
}


def calibrated(build):
    """A network whose classes differ between images."""
    keras.utils.set_random_seed(0)
    network = build()
    random = np.random.default_rng(3)
    shape = network.input_shape[1:]
    rescales = any(isinstance(layer, keras.layers.Rescaling) for layer in network.layers)
    # EfficientNet's graph takes pixels of 0 to 255.
    draw = (lambda n: random.uniform(0, 255, (n, *shape))) if rescales else (
        lambda n: random.normal(size=(n, *shape))
    )  # fmt: skip
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        elif type(layer) is keras.layers.Conv2D:
            kernel, *bias = layer.get_weights()
            scale = np.sqrt(2 / np.prod(kernel.shape[:-1]))  # else images look alike at the end
            layer.set_weights([random.normal(0, scale, kernel.shape), *bias])
    network(draw(64).astype(np.float32), training=True)
    last = next(layer for layer in reversed(network.layers) if layer.get_weights())
    log = np.log(network(draw(64).astype(np.float32), training=False).numpy() + 1e-30)
    kernel, bias = last.get_weights()
    last.set_weights([kernel, bias - log.mean(axis=0)])
    return network, draw(IMAGES).astype(np.float32)


def counted(network, layer, images, labels):
    """The sweep by two submodels, with the mask between them."""
    site = network.get_layer(layer).output
    above = keras.Model(network.inputs, site)
    below = keras.Model(site, network.output)
    values = above(images, training=False).numpy()

    def scores(samples, keep):
        masked = np.where(keep.reshape(len(keep), *[1] * (values.ndim - 2), -1), values[samples], 0)
        return below(masked.astype(np.float32), training=False).numpy()

    return own_counts(values, labels, scores, axis=values.ndim - 1)


def exported(network, path, exporter):
    if exporter == "keras":
        network.export(path, format="onnx", opset_version=OPSET, verbose=False)
        return
    signature = [tf.TensorSpec((None, *network.input_shape[1:]), tf.float32, name="image")]
    function = tf.function(lambda image: network(image, training=False))
    tf2onnx.convert.from_function(
        function, input_signature=signature, opset=OPSET, output_path=str(path)
    )


GROUPED = (
    "TensorFlow runs grouped convolutions on a processor as a compiled function call, which "
    "tf2onnx leaves in the file. Such a file is not an ONNX network, and no runtime accepts it. "
    "Export a grouped convolution as one convolution for each group and a concatenation."
)


def build(name, exporter, place):
    builder, layer, operator = NETWORKS[name]
    network, images = calibrated(builder)
    labels = labels_for(network(images, training=False).numpy())
    exported(network, place / "network.onnx", exporter)
    save_samples(place, images, labels, counted(network, layer, images, labels))
    refusal = "StatefulPartitionedCall" if "grouped" in name else ""
    return Cell(
        "TensorFlow/Keras", name, VERSIONS[exporter], expected=operator, refusal=refusal,
        note=GROUPED if refusal else "",
    )  # fmt: skip


VERSIONS = {
    "tf2onnx": f"tf2onnx {tf2onnx.__version__} (TensorFlow {tf.__version__})",
    "keras": f"Keras export {keras.__version__}",
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("wanted", nargs="*")
    arguments = parser.parse_args()
    for exporter, version in VERSIONS.items():
        cells = {f"{exporter} {name}": partial(build, name, exporter) for name in NETWORKS}
        failed = Cell("TensorFlow/Keras", "", version)
        export_all(arguments.folder, cells, arguments.wanted, failed)


if __name__ == "__main__":
    main()
