"""What onnxruntime takes more than in proportion when it opens a network."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from analyzer import surgery
from analyzer.errors import ModelError
from analyzer.input_budgets import Budgets
from analyzer.surgery.session_cost import ordering_steps


def graph_of(*nodes):
    """A graph of nodes, each an output and what it reads."""
    made = [helper.make_node("Sum", read, [name]) for name, *read in nodes]
    value = helper.make_tensor_value_info
    outputs = [value(nodes[-1][0], 1, [1])]
    return ir.from_proto(helper.make_graph(made, "g", [value("x", 1, [1])], outputs))


def steps_plainly(nodes):
    """The same by its definition: a sorted list, of which every place is looked at."""
    done, steps, ready = {"x"}, 0, []
    waiting = dict(enumerate(nodes))
    while True:
        for place in [p for p, (_, *read) in waiting.items() if done.issuperset(read)]:
            steps += len(ready)
            ready = sorted([*ready, place])
            del waiting[place]
        if not ready:
            return steps
        done.add(nodes[ready.pop(0)][0])


@pytest.mark.parametrize(
    ("nodes", "steps"),
    [
        ([("a", "x"), ("b", "a"), ("c", "b"), ("d", "c", "a")], 0),
        ([("a", "x"), ("b", "x"), ("c", "x"), ("d", "a", "b", "c")], 3),
        ([("a", "x"), ("b", "a"), ("c", "a"), ("d", "a"), ("e", "b", "c", "d")], 3),
    ],
)
def test_steps_are_counted_in_the_order_of_the_file(nodes, steps):
    assert ordering_steps(graph_of(*nodes)) == steps_plainly(nodes) == steps


def test_steps_of_graphs_at_random():
    random = np.random.default_rng(0)
    for _ in range(50):
        nodes, names = [], ["x"]
        for number in range(30):
            read = random.choice(names, size=min(len(names), 3))
            nodes.append((f"n{number}", *map(str, read)))
            names.append(f"n{number}")
        assert ordering_steps(graph_of(*nodes)) == steps_plainly(nodes)


def write(tmp_path, nodes, weights):
    kernel = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    weights = {"kernel": kernel, "head": np.ones((4, 5), np.float32), **weights}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "kernel"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"]),
            *nodes,
            helper.make_node("ReduceMean", ["z"], ["p"], axes=[2, 3], keepdims=0),
            helper.make_node("MatMul", ["p", "head"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", 1, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", 1, ["N", 5])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "network.onnx")
    return tmp_path / "network.onnx"


def test_initializers_that_nodes_read_have_a_budget_where_the_network_is_run(tmp_path):
    """onnxruntime takes the square of their number to load them: 60,000 take it 12 s."""
    weights = {f"w{i}": np.full(1, i, np.float32) for i in range(20)}
    path = write(
        tmp_path,
        [
            helper.make_node("Constant", [], ["zero"], value_float=0.0),
            helper.make_node("Sum", [*weights, "zero"], ["k"]),
            helper.make_node("Add", ["r", "k"], ["z"]),
        ],
        {**weights, "unused": np.zeros(1, np.float32)},
    )
    most = len(weights) + 3  # the constant, the kernel and the head
    exact = surgery.load_network(path, budgets=Budgets(read_initializers=most))
    surgery.check_session_cost(exact)
    loaded = surgery.load_network(path, budgets=Budgets(read_initializers=most - 1))
    with pytest.raises(ModelError, match=r"that nodes read, more than.*read-initializers="):
        surgery.check_session_cost(loaded)


def test_nodes_side_by_side_have_a_budget_where_the_network_is_run(tmp_path):
    """onnxruntime takes the square of their number to order them: 16,000 take it 7 s."""
    beside = [helper.make_node("Relu", ["r"], [f"a{i}"]) for i in range(100)]
    path = write(tmp_path, [helper.make_node("Abs", ["r"], ["z"]), *beside], {})
    most = 101 * 100 // 2 + 100  # those that read r, and what reads z, beside those left
    exact = surgery.load_network(path, budgets=Budgets(ordering_steps=most))
    surgery.check_session_cost(exact)
    loaded = surgery.load_network(path, budgets=Budgets(ordering_steps=most - 1))
    with pytest.raises(ModelError, match=r"5,150 steps to put its nodes in order.*ordering-steps="):
        surgery.check_session_cost(loaded)
