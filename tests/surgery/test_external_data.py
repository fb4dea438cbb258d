"""Weights beside the network: whatever is said of them, one sentence names tensor and file."""

import os

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from analyzer import surgery
from analyzer.errors import ModelError

BYTES = 4 * 4 * 3 * 3 * 3


@pytest.fixture
def network(tmp_path):
    """network(location=…, offset=…, length=…): a network whose kernel is said to lie there."""
    kernel = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    (tmp_path / "kernel.bin").write_bytes(kernel.tobytes())
    (tmp_path / "half.bin").write_bytes(kernel.tobytes()[: BYTES // 2])
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kernel.bin").write_bytes(kernel.tobytes())
    (tmp_path / "link.bin").symlink_to("kernel.bin")
    (tmp_path / "zero.bin").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.bin")

    def write(dims=(4, 3, 3, 3), **said):
        tensor = TensorProto(name="kernel", data_type=TensorProto.FLOAT, dims=dims)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": "kernel.bin", **said}.items():
            tensor.external_data.add(key=key, value=value)
        graph = helper.make_graph(
            [
                helper.make_node("Conv", ["x", "kernel"], ["c"], pads=[1, 1, 1, 1]),
                helper.make_node("Relu", ["c"], ["r"]),
                helper.make_node("GlobalAveragePool", ["r"], ["p"]),
                helper.make_node("Flatten", ["p"], ["f"]),
                helper.make_node("MatMul", ["f", "head"], ["y"]),
            ],
            "external",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
            [tensor, numpy_helper.from_array(np.ones((4, 5), np.float32), "head")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        (tmp_path / "network.onnx").write_bytes(model.SerializeToString())
        return tmp_path / "network.onnx"

    return write


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"offset": "0", "length": str(BYTES)},
        {"location": "folder/kernel.bin"},
        {"location": "./kernel.bin", "offset": "0"},
    ],
)
def test_weights_that_are_there_are_read(network, said):
    loaded = surgery.load_network(network(**said))
    kernel = loaded.model.graph.initializers["kernel"].const_value.numpy()
    np.testing.assert_array_equal(
        kernel, np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype("f4")
    )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"location": "half.bin"}, "half.bin.*truncated: 432 bytes are needed, 216 are there"),
        ({"location": "half.bin", "length": str(BYTES)}, "half.bin.*truncated"),
        ({"offset": "4"}, "kernel.bin.*truncated: 436 bytes"),
        ({"offset": "-4"}, "offset '-4', which is no number of bytes"),
        ({"length": "-432"}, "length '-432', which is no number"),
        ({"offset": "abc"}, "offset 'abc'"),
        ({"offset": ""}, "offset ''"),
        ({"length": "1e3"}, "length '1e3'"),
        ({"offset": "9" * 40}, "which is no number of bytes"),
        ({"length": "100"}, "100 bytes, but their shape .* takes 432"),
        ({"location": "network.onnx"}, "which is the network itself"),
        ({"location": "/etc/passwd"}, "no file in its own folder"),
        ({"location": "../kernel.bin"}, "no file in its own folder"),
        ({"location": "folder/../kernel.bin"}, "no file in its own folder"),
        ({"location": ""}, "no file in its own folder"),
        ({"location": "a\0b"}, "no file in its own folder"),
        ({"location": "missing.bin"}, "not beside it"),
        ({"location": "folder"}, "no regular file"),
        ({"location": "pipe.bin"}, "no regular file"),
        ({"location": "link.bin"}, "symbolic link"),
        ({"location": "zero.bin"}, "symbolic link"),
        ({"dims": (4, 3, 3, -3)}, "shape .*-3.*cannot be"),
        ({"dims": (2**40, 2**20)}, "bytes of weights|truncated"),
    ],
)
def test_weights_that_cannot_be_are_refused(network, said, words):
    with pytest.raises(ModelError, match=words) as refused:
        surgery.load_network(network(**said))
    assert "network.onnx" in str(refused.value)
