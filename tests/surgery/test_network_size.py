"""What asks for hours or terabytes is refused in a sentence; honest networks pass, and quickly."""

import itertools
import time
from functools import partial

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from analyzer import surgery
from analyzer.errors import ModelError
from analyzer.input_budgets import DEFAULT_BUDGETS, Budgets


@pytest.fixture
def network(tmp_path):
    """network(nodes, weights, …): a file in which ``nodes`` make z (N, 4, 8, 8) of r."""

    def write(nodes, weights=(), *, batch="N", functions=()):
        random = np.random.default_rng(0)
        kernel = random.normal(size=(4, 3, 3, 3)).astype(np.float32)
        head = random.normal(size=(4, 5)).astype(np.float32)
        graph = helper.make_graph(
            [
                helper.make_node("Conv", ["x", "kernel"], ["c"], pads=[1, 1, 1, 1]),
                helper.make_node("Relu", ["c"], ["r"]),
                *nodes,
                helper.make_node("GlobalAveragePool", ["z"], ["p"]),
                helper.make_node("Flatten", ["p"], ["f"]),
                helper.make_node("MatMul", ["f", "head"], ["y"]),
            ],
            "budget",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 8, 8])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 5])],
            [
                numpy_helper.from_array(kernel, "kernel"),
                numpy_helper.from_array(head, "head"),
                *(
                    numpy_helper.from_array(np.asarray(v), name)
                    for name, v in dict(weights).items()
                ),
            ],
        )
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=9, functions=functions)
        onnx.save(model, tmp_path / "network.onnx")
        return tmp_path / "network.onnx"

    return write


def node(kind, inputs, output="z", **attributes):
    return helper.make_node(kind, inputs, [output], **attributes)


def chain(count, kind="Relu"):
    names = ["r", *(f"a{i}" for i in range(count - 1)), "z"]
    return [node(kind, [a], b) for a, b in itertools.pairwise(names)]


def doubling(count):
    """Functions that each call the one before twice, and a node that calls the last."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    bodies = [[node("Relu", ["x"], "y")]]
    for number in range(count):
        calls = (("x", "t"), ("t", "y"))
        bodies.append([node(f"f{number}", [a], b, domain="local") for a, b in calls])
    functions = [
        helper.make_function("local", f"f{i}", ["x"], ["y"], body, imports)
        for i, body in enumerate(bodies)
    ]
    return [node(f"f{count}", ["r"], domain="local")], functions


def looping(turns):
    """A loop, "" for no bound."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Identity", ["go"], "on"), node("Relu", ["s"], "t")],
        "body",
        [value("i", 7, []), value("go", 9, []), value("s", 1, None)],
        [value("on", 9, []), value("t", 1, None)],
    )
    return [node("Loop", [turns, "yes", "r"], body=body)]


def twice(kind, **attributes):
    """Nodes of which each makes twice as many images."""
    names = [f"b{number}" for number in range(24)]
    inputs = [[name, name if kind == "Concat" else "two"] for name in ["r", *names]]
    return added(*map(partial(node, kind, **attributes), inputs, [*names, "made"]))


def carrying(*made, carried="t", scanned=(), first="one"):
    """A loop of n turns that carries s on as t, and what of its body it lists."""
    value = helper.make_tensor_value_info
    outputs = [value("on", 9, []), value(carried, 1, None), *(value(v, 1, None) for v in scanned)]
    body = helper.make_graph(
        [node("Identity", ["go"], "on"), *made],
        "body",
        [value("i", 7, []), value("go", 9, []), value("s", 1, None)],
        outputs,
    )
    listed = [f"all_{name}" for name in scanned]
    loop = helper.make_node("Loop", ["n", "yes", first], ["made", *listed], body=body)
    last = [node("ReduceMax", [name], f"most_{name}", keepdims=0) for name in listed]
    return added(loop, *last)


def branching(*made):
    """A loop of n turns over r whose body makes t by ``made`` of s, in one branch of an ``If``."""
    value = helper.make_tensor_value_info
    branches = [
        helper.make_graph(nodes, "branch", [], [value("t", 1, None)])
        for nodes in (made, [node("Identity", ["s"], "t")])
    ]
    choice = node("If", ["go"], "u", then_branch=branches[0], else_branch=branches[1])
    body = helper.make_graph(
        [node("Identity", ["go"], "on"), choice],
        "body",
        [value("i", 7, []), value("go", 9, []), value("s", 1, None)],
        [value("on", 9, []), value("u", 1, None)],
    )
    return [node("Loop", ["n", "yes", "wide"], body=body)]


def nested(depth):
    """An ``If`` inside another, so many times."""

    def branch(kind, *inputs, **bodies):
        output = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
        return helper.make_graph([node(kind, inputs, "o", **bodies)], "branch", [], [output])

    leaf = inner = branch("Relu", "r")
    for _ in range(depth):
        inner = branch("If", "yes", then_branch=inner, else_branch=leaf)
    return [node("If", ["yes"], then_branch=inner, else_branch=leaf)]


def added(*nodes):
    """The last node's tensor is reduced to a number that is added."""
    return [*nodes, node("ReduceMax", ["made"], "most", keepdims=0), node("Add", ["r", "most"])]


YES, BIG = {"yes": np.array(True)}, {"big": np.array([10**6, 10**6])}
RANGE = {"low": np.float32(0), "high": np.float32(1e12), "step": np.float32(1)}
GROWING = {**YES, "n": np.array(29), "one": np.ones(1, np.float32), "big": np.array([1000])}
LONG = {**GROWING, "n": np.array(10_000), "one": np.ones((2, 1000), np.float32)}
POWER = {"base": np.array([10**6]), "two": np.array([2])}


@pytest.mark.parametrize(
    ("nodes", "weights", "said", "budget"),
    [
        (looping("n"), {**YES, "n": np.array(10**8)}, "takes 100,000,000 turns", "turns"),
        (looping(""), YES, "takes endlessly many turns", "turns"),
        (nested(20), YES, "nests subgraphs 21 deep", "levels"),
        (added(node("ConstantOfShape", ["big"], "made")), BIG, "1e\\+12 elements", "elements"),
        (added(node("Expand", ["step", "big"], "made")), BIG | RANGE, "1e\\+12", "elements"),
        (added(node("Range", ["low", "high", "step"], "made")), RANGE, "1e\\+12", "elements"),
        (
            added(node("Pow", ["base", "two"], "n"), node("ConstantOfShape", ["n"], "made")),
            POWER,
            "1e\\+12 elements",
            "elements",
        ),
        (
            added(node("ConstantOfShape", ["n"], "ones"), node("NonZero", ["ones"], "made")),
            {"n": np.array([8000, 8000])},
            "makes a tensor of 512,000,000 elements",
            "elements",
        ),
        (
            added(
                node("ConstantOfShape", ["n"], "ones"),
                node("Cast", ["ones"], "texts", to=TensorProto.STRING),
                node("Cast", ["texts"], "made", to=TensorProto.FLOAT),
            ),
            {"n": np.array([5000, 5000])},
            "makes a tensor of 800,000,000 elements",
            "elements",
        ),
        (
            added(node("ConstantOfShape", ["n"], "ones"), node("Unique", ["ones"], "made")),
            {"n": np.array([5000, 5000])},
            "makes a tensor of 800,000,000 elements",
            "elements",
        ),
        (
            added(node("GridSample", ["field", "grid"], "made", mode="bicubic")),
            {
                "field": np.ones((1, 64, 8, 8), np.float32),
                "grid": np.zeros((1, 128, 128, 2), np.float32),
            },
            "multiply-adds for what depends on no input",
            "constant-operations",
        ),
        (
            added(node("Unique", ["weights"], "made")),
            {"weights": np.zeros(1 << 20, np.float32)},
            "multiply-adds for what depends on no input \\(most of them in Unique",
            "constant-operations",
        ),
        (
            added(node("ConstantOfShape", ["n"], "made")),
            {"n": np.array([6000, 6000])},
            "makes tensors of 35,997,889 elements of constants alone",
            "constant-elements",
        ),
        (
            added(
                node("Expand", ["text", "n"], "texts"),
                node("Cast", ["texts"], "made", to=TensorProto.FLOAT),
            ),
            {"n": np.array([100, 100]), "text": np.array(["1" * 40_000], object)},
            "makes a tensor of 100,320,000 elements",
            "elements",
        ),
        (
            added(
                node("ConstantOfShape", ["n"], "ones"),
                node("SplitToSequence", ["ones", "two"], "pieces"),
                node("ConcatFromSequence", ["pieces"], "made", axis=0),
            ),
            {"n": np.array([400_000, 2]), "two": np.array(2)},
            "makes a tensor of 204,800,000 elements",
            "elements",
        ),
        (
            [node("Tile", ["r", "n"])],
            {"n": np.array([1, 1, 10**5, 10**5])},
            "for one image \\(z",
            "elements",
        ),
        (carrying(node("Concat", ["s"] * 2, "t", axis=0)), GROWING, "536,870,912", "elements"),
        (
            carrying(node("Concat", ["s"] * 2, "t", axis=0), first="r"),
            GROWING,
            "1.4e\\+11",
            "elements",
        ),
        (twice("Concat", axis=0), {}, "134,217,728 elements for one image \\(b18", "elements"),
        (twice("Tile"), {"two": np.array([2, 1, 1, 1])}, "134,217,728", "elements"),
        (carrying(node("Tile", ["s", "big"], "t")), GROWING, "1e\\+18", "elements"),
        (
            carrying(
                node("Concat", ["s"] * 2, "a0", axis=0),
                *(node("Relu", [f"a{i}"], f"a{i + 1}") for i in range(999)),
                carried="a999",
            ),
            GROWING,
            "536,870,912",
            "elements",
        ),
        (
            carrying(node("Concat", ["s", "one"], "t", axis=0)),
            LONG | {"one": np.ones((9000, 1))},
            "90,009,000",
            "elements",
        ),
        (
            carrying(
                node("Relu", ["s"], "t"), node("Concat", ["s"] * 50, "u", axis=1), scanned="u"
            ),
            LONG,
            "1e\\+09 elements",
            "elements",
        ),
        (
            carrying(
                node("Concat", ["s"] * 1500, "u", axis=0), node("Slice", ["u", "0", "1"], "t")
            ),
            LONG
            | {"one": np.ones((1, 50_000), np.float32), "0": np.array([0]), "1": np.array([1])},
            "75,000,000 elements for one image \\(u",
            "elements",
        ),
        (
            added(
                node("ConstantOfShape", ["n"], "image"),
                node("ConstantOfShape", ["two"], "weights"),
                helper.make_node("Conv", ["image", "weights"], ["made"], "long", pads=[99] * 4),
            ),
            {"n": np.array([1, 8, 500, 500]), "two": np.array([8, 8, 199, 199])},
            "6.3e\\+11 multiply-adds for what depends on no input \\(most of them in long\\)",
            "constant-operations",
        ),
        (
            added(
                node("Tile", ["r", "n"], "wide"),
                node("AveragePool", ["wide"], "made", kernel_shape=[1023] * 2, pads=[511] * 4),
            ),
            {"n": np.array([1, 1, 128, 128])},
            "2.8e\\+14 multiply-adds for one image \\(most of them in AveragePool\\)",
            "operations",
        ),
        (
            added(
                node("ConstantOfShape", ["n"], "s"),
                node("Slice", ["s", "0", "1"], "t"),
                node("Einsum", ["s", "s", "s", "t"], "made", equation="ab,bc,ca,db->"),
            ),
            {"n": np.array([1000, 1000]), "0": np.array([0]), "1": np.array([1])},
            "1e\\+09 elements for one image \\(made",
            "elements",
        ),
        (
            added(node("RoiAlign", ["r", "regions", "0"], "made", output_width=1, output_height=1)),
            {"regions": np.float32([[0, 0, 3e4, 3e4]]), "0": np.array([0])},
            "9e\\+09 elements for one image \\(made",
            "elements",
        ),
        (
            [
                node("Tile", ["r", "big"], "wide"),
                *branching(node("Conv", ["s", "weights"], "t", pads=[31] * 4)),
            ],
            {
                **YES,
                "n": np.array(9000),
                "big": np.array([1, 1, 32, 32]),
                "weights": np.ones((4, 4, 63, 63), np.float32),
            },
            "multiply-adds for one image \\(most of them in Loop",
            "operations",
        ),
        (
            carrying(node("MatMul", ["s", "s"], "t")),
            LONG | {"one": np.ones((300, 300), np.float32)},
            "3.1e\\+11 multiply-adds",
            "constant-operations",
        ),
        (
            carrying(node("Concat", ["s", "one"], "t", axis=0)),
            LONG,
            "multiply-adds",
            "constant-operations",
        ),
        ([node("Sum", ["r"] * 3000)], {}, "a node with 3,000 inputs", "inputs"),
        (nested(1) * 5000, YES, "has .* tensors in sight of its subgraphs", "scopes"),
    ],
)
def test_what_takes_too_much_is_refused(network, nodes, weights, said, budget):
    path = network(nodes, weights)
    with pytest.raises(ModelError, match=said) as refused:
        surgery.load_network(path)
    assert f"budget={budget}=" in str(refused.value)
    assert f"pass --budget {budget}=" in refused.value.for_command_line()


@pytest.mark.parametrize("count", [14, 40, 400])
def test_functions_that_double_are_refused_unexpanded(network, count):
    nodes, functions = doubling(count)
    with pytest.raises(ModelError, match=r"functions that add .* nodes when called"):
        surgery.load_network(network(nodes, functions=functions))


@pytest.mark.parametrize("functions", [1, 2000])
def test_many_calls_and_many_functions_take_no_square_of_their_number(network, functions):
    imports = [helper.make_opsetid("", 17)]
    made = [
        helper.make_function("local", f"f{i}", ["x"], ["y"], [node("Relu", ["x"], "y")], imports)
        for i in range(functions)
    ]
    calls = chain(2000)
    for number, call in enumerate(calls):
        call.op_type, call.domain = f"f{number % functions}", "local"
    began = time.process_time()
    surgery.load_network(network(calls, functions=made))
    assert time.process_time() - began < 3


def test_a_function_with_an_operators_name_is_refused(network):
    imports = [helper.make_opsetid("", 17)]
    relu = helper.make_function("", "Relu", ["x"], ["y"], [node("Neg", ["x"], "y")], imports)
    with pytest.raises(ModelError, match="the name of ONNX's operator Relu"):
        surgery.load_network(network(chain(1), functions=[relu]))


def test_texts_that_grow_in_a_loop_count_by_their_length(network):
    for joined, turns in ((["s", "s"], 40), (["s", "text"], 9000)):
        body = helper.make_graph(
            [node("Identity", ["go"], "on"), node("StringConcat", joined, "t")],
            "body",
            [
                helper.make_tensor_value_info(name, kind, [] if kind != 8 else [1])
                for name, kind in (("i", 7), ("go", 9), ("s", 8))
            ],
            [
                helper.make_tensor_value_info("on", 9, []),
                helper.make_tensor_value_info("t", 8, [1]),
            ],
        )
        loop = helper.make_node("Loop", ["n", "yes", "text"], ["texts"], body=body)
        nodes = added(loop, node("Cast", ["texts"], "made", to=TensorProto.FLOAT))
        text = np.array(["1" * 60_000], object)
        path = network(nodes, {**YES, "n": np.array(turns), "text": text})
        model = onnx.load(path)
        model.opset_import[0].version = 20
        onnx.save(model, path)
        with pytest.raises(ModelError, match="elements for one image"):
            surgery.load_network(path)


def test_texts_that_are_joined_count_by_their_length(network):
    nodes = added(
        node("StringConcat", ["text", "text"], "twice"),
        node("StringConcat", ["twice", "twice"], "texts"),
        node("Cast", ["texts"], "made", to=TensorProto.FLOAT),
    )
    path = network(nodes, {"text": np.array(["1" * 4_000] * 20_000, object)})
    model = onnx.load(path)
    model.opset_import[0].version = 20  # the first with this operator
    onnx.save(model, path)
    with pytest.raises(ModelError, match="makes a tensor of 80,640,000 elements"):
        surgery.load_network(path)


def test_functions_within_the_budget_are_expanded(network):
    nodes, functions = doubling(12)
    expanded = surgery.load_network(network(nodes, functions=functions))
    assert sum(node.op_type == "Relu" for node in expanded.model.graph) == 1 + 2**12


def test_a_function_that_calls_itself_is_refused(network):
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    body = [node("f", ["x"], "y", domain="local")]
    function = helper.make_function("local", "f", ["x"], ["y"], body, imports)
    path = network([node("f", ["r"], domain="local")], functions=[function])
    with pytest.raises(ModelError, match="function that calls itself"):
        surgery.load_network(path)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (10**7, "fixed to 10,000,000 images"),
        (2**40, "fixed to 1.1e\\+12 images"),
        (0, "\\[0, 3, 8, 8\\]"),
        (-1, "\\[-1, 3, 8, 8\\]"),
    ],
)
def test_batches_that_cannot_be(network, batch, said):
    with pytest.raises(ModelError, match=said):
        surgery.load_network(network(chain(1), batch=batch))


def test_a_loop_of_few_turns_and_a_batch_of_some_pass(network):
    surgery.load_network(network(looping("n"), {**YES, "n": np.array(100)}))
    surgery.load_network(network(chain(1), batch=64))
    surgery.load_network(network(nested(5), YES))
    began = time.process_time()
    short = LONG | {"one": np.ones((2, 100), np.float32)}
    surgery.load_network(network(carrying(node("Relu", ["s"], "t")), short))
    short = LONG | {"n": np.array(1000), "one": np.ones((2, 1), np.float32)}
    surgery.load_network(network(carrying(node("Concat", ["s", "one"], "t", axis=0)), short))
    assert time.process_time() - began < 5


def test_the_budget_is_raised_and_dropped(network):
    path = network(looping("n"), {**YES, "n": np.array(20_000)})
    with pytest.raises(ModelError, match=r"budget of 10,000 turns of loops.*budget=turns=20000"):
        surgery.load_network(path)
    for name, turns in (("turns", 20_000), ("turns", None), ("all", None)):
        surgery.load_network(path, budgets=DEFAULT_BUDGETS.raised([(name, turns)]))
    with pytest.raises(ModelError, match="budget of 15,000 turns"):
        surgery.load_network(path, budgets=Budgets(turns=15_000))


def test_names_in_braces_are_shown_as_they_are(network):
    tile = node("Tile", ["r", "n"], "{0.a}{b}")
    path = network([tile, node("Relu", ["{0.a}{b}"])], {"n": np.array([1, 1, 10**5, 10**5])})
    with pytest.raises(ModelError, match=r"for one image \(\{0\.a\}\{b\}\)"):
        surgery.load_network(path)


@pytest.mark.parametrize("kind", ["Identity", "Sigmoid"])
def test_time_is_in_proportion_to_the_nodes(network, kind):
    seconds = []
    for count in (1000, 8000):
        path = network(chain(count, kind))
        began = time.process_time()
        found = surgery.load_network(path)
        surgery.outline_network(found, surgery.find_site(found))
        seconds.append(time.process_time() - began)
    assert seconds[1] < 24 * seconds[0]  # eight times as many; 64 times the square


def test_time_is_in_proportion_to_the_initializers(network):
    seconds = []
    for count in (5000, 40_000):
        path = network(chain(1), {f"unused{i}": np.float32(i) for i in range(count)})
        began = time.process_time()
        surgery.load_network(path)
        seconds.append(time.process_time() - began)
    assert seconds[1] < 24 * seconds[0]


def test_images_that_a_network_makes_of_one_count_for_its_batches(network, tmp_path):
    """Of [1000, …] copies one is left, so that the answers are as many as the images."""
    more = [
        node("Tile", ["r", "n"], "many"),
        node("Reshape", ["many", "apart"], "parts"),
        node("ReduceMean", ["parts"], "z", axes=[0], keepdims=0),
    ]
    weights = {"n": np.array([1000, 1, 1, 1]), "apart": np.array([1000, -1, 4, 8, 8])}
    loaded = surgery.load_network(network(more, weights))
    assert loaded.largest == 1000 * 4 * 8 * 8  # the shape of "many" does not tell its images
    cut = surgery.cut_network(loaded, surgery.find_site(loaded, "r"), tmp_path)
    assert cut.largest_in_suffix == 1000 * 4 * 8 * 8
    assert cut.largest_in_prefix == 16 * 8 * 8  # channels are filled up
    assert surgery.load_network(network([node("Relu", ["r"])])).largest == 16 * 8 * 8
