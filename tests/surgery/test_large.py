"""A network over 2 GB, which no single protobuf can hold. Takes half a minute: ONNX_GAP_SLOW=1."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from analyzer.audit import run_audit
from analyzer.audit_options import AuditRequest

pytestmark = pytest.mark.skipif(
    not os.environ.get("ONNX_GAP_SLOW"), reason="writes several GB; set ONNX_GAP_SLOW=1"
)

ROWS, COLUMNS = 540_000, 1024  # float32: 2.2 GB


@pytest.fixture
def large(tmp_path):
    """A convolution, and an offset that is looked up in a table of 2.2 GB of zeros."""
    (tmp_path / "table.bin").touch()
    os.truncate(tmp_path / "table.bin", 4 * ROWS * COLUMNS)  # sparse: takes no room on disk
    table = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=[ROWS, COLUMNS])
    table.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "table.bin"), ("length", str(4 * ROWS * COLUMNS))):
        table.external_data.add(key=key, value=value)
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.normal(size=(4, 3, 3, 3)).astype(np.float32), "w"),
        numpy_helper.from_array(random.normal(size=(4, 5)).astype(np.float32), "v"),
        numpy_helper.from_array(np.array([3, 5, 7, 11, 13]), "rows"),
        numpy_helper.from_array(np.array([0]), "first"),
        table,
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "v"], ["z"]),
        helper.make_node("Gather", ["table", "rows"], ["found"]),
        helper.make_node("Gather", ["found", "first"], ["column"], axis=1),
        helper.make_node("Transpose", ["column"], ["offset"]),
        helper.make_node("Add", ["z", "offset"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "large.onnx")
    return tmp_path / "large.onnx"


def test_network_over_two_gigabytes_is_audited(large, tmp_path):
    random = np.random.default_rng(1)
    images = random.normal(size=(8, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", images=images, labels=random.integers(0, 5, 8))
    result = run_audit(
        AuditRequest(
            anyway=True,
            model=large,
            data=str(tmp_path / "data.npz"),
            out=tmp_path / "audit",
            device="cpu",
        )
    )
    assert result.model.bytes > 2 << 30
    assert (result.site.tensor, result.site.channels) == ("r", 4)
    assert sorted(p.name for p in (tmp_path / "audit").iterdir()) == [
        "audit.json", "classes.csv", "curves.npz", "manifest.json", "report.html", "samples.npz",
        "suspects.csv",
    ]  # fmt: skip
