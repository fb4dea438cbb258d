"""A small network, its data, and an audit of the ablation alone."""

import shutil

import numpy as np
import onnxruntime as ort
import pytest
from onnx import helper
from verified_with_data import CHANNELS, CLASSES, PER_CLASS, audited, save_network


@pytest.fixture(scope="module")
def data():
    """Images of three patterns under noise."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    patterns = random.integers(0, 160, (CLASSES, 8, 8))
    images = patterns[labels] + random.integers(0, 96, (len(labels), 8, 8))
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def network(tmp_path_factory, data):
    """Six random channels, and a linear layer that was fitted to the data."""
    path = tmp_path_factory.mktemp("network") / "tiny.onnx"
    kernels = np.random.default_rng(1).normal(size=(CHANNELS, 1, 3, 3)).astype(np.float32)
    images = data[0][:, None].astype(np.float32)
    last = np.eye(CHANNELS, dtype=np.float32)
    for _ in range(2):  # the features first, then what tells the classes by them
        nodes = [
            helper.make_node("Conv", ["image", "kernels"], ["conv"]),
            helper.make_node("Relu", ["conv"], ["relu"]),
            helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
            helper.make_node("Flatten", ["pool"], ["flat"]),
            helper.make_node("MatMul", ["flat", "last"], ["scores"]),
        ]
        save_network(path, nodes, {"kernels": kernels, "last": last}, classes=last.shape[1])
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"image": images})
        last = np.linalg.lstsq(found, np.eye(CLASSES)[data[1]], rcond=None)[0].astype(np.float32)
    return path


@pytest.fixture(scope="module")
def counted(tmp_path_factory, data, network):
    """An audit of the ablation alone."""
    folder = tmp_path_factory.mktemp("counted") / "audit"
    return audited(folder, data, network, preprocess="none")


@pytest.fixture
def folder(counted, tmp_path):
    return shutil.copytree(counted, tmp_path / "audit")
