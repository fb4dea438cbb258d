"""What could stop a process, or never end, ends with a sentence; all else stays as it was."""

import numpy as np
import onnx
import pytest

from analyzer import runtime, surgery
from analyzer.errors import ModelError
from analyzer.input_budgets import DEFAULT_BUDGETS, UNLIMITED, Budgets
from analyzer.runtime.predictions import scores_in_batches

# The numbers 0, 1, 2, … of an image, less one, divide; and count the turns of a loop.
DIVISION = """
net (float[N,3,8,8] x) => (float[N,4] y) <float[4,3,3,3] w, int64[1,4,1,1] left, int64 one = {1}> {
    c = Conv(x, w)
    r = Relu(c)
    most = ReduceMax<axes=[1,2,3]>(x)
    n = Cast<to=7>(most)
    d = Sub(n, one)
    q = OPERATOR
    e = Cast<to=1>(q)
    a = Add(r, e)
    p = GlobalAveragePool(a)
    y = Flatten(p)
}"""
INSIDE = (
    "If(yes)<then_branch = one_branch () => (i) {i = Div(left, d)}, "
    "else_branch = other_branch () => (j) {j = Identity(d)}>"
)
LOOP = """
net (float[N,3,8,8] x) => (float[N,4] y) <float[4,3,3,3] w, bool yes = {1}> {
    c = Conv(x, w)
    r = Relu(c)
    most = ReduceMax<keepdims=0>(x)
    n = Cast<to=7>(most)
    s = Loop(n, yes, r)<body = turn (int64 i, bool go, float[N,4,6,6] a) =>
        (bool on, float[N,4,6,6] b) {on = Identity(go) b = Relu(a)}>
    p = GlobalAveragePool(s)
    y = Flatten(p)
}"""


def images(*largest):
    """Images (N, 3, 8, 8) whose largest numbers are these."""
    return np.float32(largest).reshape(-1, 1, 1, 1) - np.zeros((1, 3, 8, 8), np.float32)


@pytest.fixture
def answers(write, tmp_path):
    """answers(text, images, budgets): what the network gives as it is run, or an error."""

    def run_file(path, x):
        return runtime.open_session(path, "cpu", threads=1).run({"x": x})[0]

    def make(text, x, budgets=DEFAULT_BUDGETS):
        path = write(text)
        model = onnx.load(path)
        least = np.array([-(2**63), 7, -7, 12], np.int64).reshape(1, 4, 1, 1)
        for tensor in model.graph.initializer:
            if tensor.name == "left":
                tensor.CopyFrom(onnx.numpy_helper.from_array(least, "left"))
        onnx.save(model, path)
        network = surgery.load_network(path, budgets=budgets)
        runnable = surgery.runnable_file(network, tmp_path)
        assert runnable != path
        found = run_file(runnable, x)
        np.testing.assert_array_equal(found, run_file(path, x))  # which it lives through
        return found

    return make


@pytest.mark.parametrize("operator", ["Div(left, d)", "Mod(left, d)", INSIDE])
def test_a_division_is_as_it_was_or_fails_with_a_sentence(operator, answers):
    text = DIVISION.replace("OPERATOR", operator).replace("one = {1}", "one = {1}, bool yes = {1}")
    assert answers(text, images(3, 4, -5)).shape == (3, 4)
    for bad in (1, 0):  # by 0; the least integer by −1
        with pytest.raises(ModelError, match="divides integers by 0"):
            answers(text, images(3, bad))


def test_a_division_keeps_the_shapes_that_follow_from_it(write):
    network = surgery.load_network(write(DIVISION.replace("OPERATOR", "Div(left, d)")))
    assert network.info.outputs[0].shape == ("N", 4)
    assert surgery.default_site(network).shape == ("N", 4, 1, 1)


def test_constants_need_no_guard(write, tmp_path):
    path = write(DIVISION.replace("OPERATOR", "Div(d, two)").replace("{1}", "{1}, int64 two = {2}"))
    assert surgery.runnable_file(surgery.load_network(path), tmp_path) == path


def test_turns_that_are_computed_are_held_against_the_budget(answers):
    few = Budgets(turns=9)
    assert answers(LOOP, images(9, 2), few).shape == (2, 4)
    with pytest.raises(ModelError, match="more turns in a loop than the budget") as refused:
        answers(LOOP, images(2, 10), few)
    assert "--budget turns=none" in refused.value.for_command_line()


def test_without_a_budget_a_loop_needs_no_guard(write, tmp_path):
    path = write(LOOP)
    network = surgery.load_network(path, budgets=Budgets(turns=UNLIMITED))
    assert surgery.runnable_file(network, tmp_path) == path


def test_turns_that_another_input_gives(write, tmp_path):
    path = write(LOOP)
    model = onnx.load(path)
    (loop,) = (node for node in model.graph.node if node.op_type == "Loop")
    loop.input[0] = "turns"
    model.graph.input.append(onnx.helper.make_tensor_value_info("turns", 7, []))
    onnx.save(model, path)
    network = surgery.load_network(path)
    bound, (turns,) = surgery.bind_inputs(network, {"turns": np.array(3)})
    runnable = surgery.runnable_file(bound, tmp_path)
    assert {value.name for value in onnx.load(runnable).graph.input} == {"x", "turns"}
    whole = runtime.WholeNetwork(
        runnable, bound.info.inputs[0], surgery.find_answer(bound, None), (turns,)
    )
    session = runtime.open_session(runnable, "cpu", threads=1)
    few = scores_in_batches(whole, session, images(1, 2))
    expected = runtime.open_session(path, "cpu").run({"x": images(1, 2), "turns": np.array(3)})
    np.testing.assert_array_equal(few, expected[0])
