"""What the preparation of a network takes grows in proportion to its nodes: counted, not timed."""

import sys

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from analyzer import surgery
from tools.bench_preparation import BLOCKS, write_network

CHANNELS = 2


def conv(x, y):
    return helper.make_node("Conv", [x, "w"], [y])


def wide(count):
    """That many convolutions of one tensor, joined."""
    nodes = [conv("r", f"b{i}") for i in range(count)]
    return [*nodes, helper.make_node("Sum", [f"b{i}" for i in range(count)], ["last"])], []


def densely_joined(count):
    """Layers that all go into one concatenation, as in DenseNet."""
    nodes = [conv("r" if i == 0 else f"b{i - 1}", f"b{i}") for i in range(count)]
    joined = helper.make_node("Concat", [f"b{i}" for i in range(count)], ["j"], axis=1)
    return [*nodes, joined, helper.make_node("Relu", ["j"], ["last"])], []


def choosing(count):
    """That many nodes with two branches, each of which reads what is outside."""
    nodes = []
    for i in range(count):
        x, y = "r" if i == 0 else f"b{i - 1}", "last" if i == count - 1 else f"b{i}"
        branches = {
            f"{name}_branch": helper.make_graph(
                [helper.make_node(kind, [x], [f"{name}{i}"])],
                name,
                [],
                [helper.make_tensor_value_info(f"{name}{i}", TensorProto.FLOAT, None)],
            )
            for name, kind in (("then", "Relu"), ("else", "Neg"))
        }
        nodes.append(helper.make_node("If", ["yes"], [y], **branches))
    return nodes, []


def calling(count):
    """That many calls of a function."""
    opset = [helper.make_opsetid("", 17)]
    body = [helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Neg", ["b"], ["c"])]
    function = helper.make_function("own", "Bend", ["a"], ["c"], body, opset)
    nodes = [
        helper.make_node(
            "Bend",
            ["r" if i == 0 else f"b{i - 1}"],
            ["last" if i == count - 1 else f"b{i}"],
            domain="own",
        )
        for i in range(count)
    ]
    return nodes, [function]


def write_own(path, kind, nodes):
    """A network of one of the kinds above."""
    body, functions = kind(nodes)
    weights = {"w": np.eye(CHANNELS, dtype=np.float32)[..., None, None], "yes": np.array(True)}
    graph = helper.make_graph(
        [
            conv("x", "c"),
            helper.make_node("Relu", ["c"], ["r"]),
            *body,
            helper.make_node("GlobalAveragePool", ["last"], ["p"]),
            helper.make_node("Flatten", ["p"], ["y"]),
        ],
        "grown",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", CHANNELS, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", None])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    onnx.save(
        helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=9), path
    )


def calls_of(work):
    """How many functions are called while ``work`` runs."""
    count = 0

    def counted(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def prepare(path, image):
    """All that is made of a network before it runs."""
    network = surgery.load_network(path)
    site = surgery.find_site(network)
    surgery.outline_network(network, site)
    surgery.cut_network(network, site, path.parent)
    surgery.write_masked(network, site, path.with_name("masked.onnx"))
    surgery.write_activation_outputs(network, path.with_name("layers.onnx"), image)


@pytest.mark.parametrize("kind", [*BLOCKS, wide, densely_joined, choosing, calling])
def test_preparation_takes_calls_in_proportion_to_the_nodes(kind, tmp_path):
    path = tmp_path / "network.onnx"
    image = (CHANNELS, 4, 4) if callable(kind) else (3, 8, 8)

    taken = []
    for nodes in (50, 50, 100, 200):  # once more at first, for what is made only once
        (write_own if callable(kind) else write_network)(path, kind, nodes)
        taken.append(calls_of(lambda: prepare(path, image)))
    _, first, second, third = taken
    # 2 where calls grow as the nodes do, 4 where as their square.
    assert (third - second) / (second - first) < 2.3, taken


def test_shapes_are_inferred_once_and_nothing_is_copied_whole(tmp_path, monkeypatch):
    inferred, cloned = [], []
    infer, clone = onnx.shape_inference.infer_shapes, ir.Model.clone

    def counted_inference(proto, **options):
        inferred.append(len(proto.graph.node))
        return infer(proto, **options)

    def counted_clone(model, *arguments, **options):
        cloned.append(len(model.graph))
        return clone(model, *arguments, **options)

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", counted_inference)
    monkeypatch.setattr(ir.Model, "clone", counted_clone)
    nodes = write_network(tmp_path / "network.onnx", "residual", 60)
    prepare(tmp_path / "network.onnx", (3, 8, 8))
    assert (inferred, cloned) == ([nodes], [])
