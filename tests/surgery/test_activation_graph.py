"""Which activations a copy of a network gives, and that they are the network's own."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from analyzer import surgery

FIXTURES = Path(__file__).parents[1] / "fixtures"
NAMES = ["images", "first", "third", "two_thirds", "last"]


def normal(*shape):
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def chain(activations, tail="y = Gemm<transB=1>(f, v)", output="float[N,3] y"):
    """A network of that many activations, r1, r2, … and a head of 4 numbers."""
    steps = "".join(
        f"c{i} = Conv<pads=[1,1,1,1]>({f'r{i - 1}' if i > 1 else 'x'}, w)\nr{i} = Relu(c{i})\n"
        for i in range(1, activations + 1)
    )
    last = f"r{activations}" if activations else "x"
    return f"""
net (float[N,4,5,5] x) => ({output})
<float[4,4,3,3] w, float[3,4] v, float[1,4] one, float[3] bias>
{{
    {steps} p = GlobalAveragePool({last})
    f = Flatten(p)
    {tail}
}}
"""


@pytest.fixture
def activations_of(tmp_path, run):
    """(path, images) → the graph's record, and its outputs by name."""

    def make(path, images, **options):
        out = tmp_path / "activations.onnx"
        graph = surgery.write_activation_outputs(
            surgery.load_network(path), out, images.shape[1:], **options
        )
        assert [layer.name for layer in graph.layers] == NAMES
        return graph, run(out, {graph.image: images})

    return make


@pytest.mark.parametrize(
    ("count", "chosen"),
    [(3, [1, 1, 3, 3]), (4, [1, 2, 3, 4]), (5, [1, 2, 4, 5]), (8, [1, 3, 6, 8]),
     (11, [1, 4, 8, 11])],
)  # fmt: skip
def test_depths_are_the_first_the_last_and_the_nearest_to_thirds(
    count, chosen, write, activations_of
):
    graph, made = activations_of(write(chain(count)), normal(2, 4, 5, 5))
    assert [layer.tensor for layer in graph.layers] == ["x", *(f"r{i}" for i in chosen)]
    assert [layer.operator for layer in graph.layers] == ["input", *["Relu"] * 4]
    assert (graph.layers[0].output, graph.batch) == (None, None)
    assert set(made) == {layer.output for layer in graph.layers[1:]}


@pytest.mark.parametrize(
    "name",
    ["vgg16_bn-dynamo-free", "resnet34-older-free", "mobilenetv3-older-fixed",
     "densenet121-dynamo-fixed"],
)  # fmt: skip
def test_activations_are_those_of_the_whole_network(name, activations_of, tmp_path, run):
    path, images = FIXTURES / f"{name}.onnx", normal(2, 3, 32, 32)
    graph, made = activations_of(path, images)
    model = onnx.load(path)
    for layer in graph.layers[1:]:
        model.graph.output.append(onnx.ValueInfoProto(name=layer.tensor))
    onnx.save(model, tmp_path / "whole.onnx")
    size = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 2
    if size == 1:
        whole = [run(tmp_path / "whole.onnx", {graph.image: one[None]}) for one in images]
        whole = {key: np.concatenate([one[key] for one in whole]) for key in whole[0]}
    else:
        fed = np.concatenate([images, np.repeat(images[-1:], size - 2, axis=0)])
        whole = {key: v[:2] for key, v in run(tmp_path / "whole.onnx", {graph.image: fed}).items()}
    for layer in graph.layers[1:]:
        np.testing.assert_allclose(made[layer.output], whole[layer.tensor], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet34-older-free", "mobilenetv3-older-fixed"])
def test_sizes_and_operations_are_those_of_an_image(name, activations_of):
    path, images = FIXTURES / f"{name}.onnx", normal(2, 3, 32, 32)
    graph, made = activations_of(path, images)
    sizes = {output: values[0].size for output, values in made.items()}
    sizes[None] = images[0].size
    assert [layer.size for layer in graph.layers] == [sizes[one.output] for one in graph.layers]
    network = surgery.load_network(path)
    outline = surgery.outline_network(network, surgery.default_site(network))
    assert graph.operations == outline.prefix_operations + outline.suffix_operations


def test_what_leads_to_no_activation_is_left_out(write, activations_of, operators, tmp_path):
    activations_of(write(chain(4)), normal(1, 4, 5, 5))
    assert operators(tmp_path / "activations.onnx") == ["Conv", "Relu"] * 4


TAILS = {
    "logits": ("y = Gemm<transB=1>(f, v)", "float[N,3] y"),
    "a bias apart": ("t = Transpose(v)\nm = MatMul(f, t)\ny = Add(m, bias)", "float[N,3] y"),
    "softmax": ("z = Gemm<transB=1>(f, v)\ny = Softmax(z)", "float[N,3] y"),
    "labels": ("z = Gemm<transB=1>(f, v)\ny = ArgMax<axis=1, keepdims=0>(z)", "int64[N] y"),
    "a single score": ("y = Gemm<transB=1>(f, one)", "float[N,1] y"),
    "a single probability": ("z = Gemm<transB=1>(f, one)\ny = Sigmoid(z)", "float[N,1] y"),
}


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("count", [1, 4])
def test_the_last_lies_before_the_scores_however_they_are_told(count, tail, write, activations_of):
    graph, _ = activations_of(write(chain(count, *TAILS[tail])), normal(2, 4, 5, 5))
    # Of one activation alone, any tensors take the place: convolution, activation, pool.
    wanted = ["x", "r1", "r2", "r3", "r4"] if count == 4 else ["x", "c1", "c1", "p", "p"]
    assert [layer.tensor for layer in graph.layers] == wanted


def test_a_network_without_layers_is_seen_by_its_images(write, activations_of):
    text = """
net (float[N,6] x) => (float[N,3] y)
<float[3,6] v>
{
    y = Gemm<transB=1>(x, v)
}
"""
    graph, _ = activations_of(write(text), normal(2, 6))
    assert {layer.tensor for layer in graph.layers} == {"x"}
    assert {layer.output for layer in graph.layers} == {None}


def test_activations_in_half_precision_come_in_float32(write, activations_of):
    images = normal(2, 4, 5, 5)
    _, exact = activations_of(write(chain(4)), images)
    half = write(chain(4).replace("float", "float16"), name="half.onnx")
    graph, made = activations_of(half, images.astype(np.float16))
    for layer, wanted in zip(graph.layers[1:], exact.values(), strict=True):
        assert made[layer.output].dtype == np.float32
        np.testing.assert_allclose(made[layer.output], wanted, rtol=0.02, atol=2e-3)


QUANTIZED = """
net (uint8[N,4,5,5] p) => (float[N,3] y)
<float s = {0.5}, uint8 z = {128}, uint8[4,4,3,3] w, float[3,4] v>
{
    c = QLinearConv(p, s, z, w, s, z, s, z)
    d = QLinearConv(c, s, z, w, s, z, s, z)
    x = DequantizeLinear(d, s, z)
    g = GlobalAveragePool(x)
    f = Flatten(g)
    y = Gemm<transB=1>(f, v)
}
"""


def test_a_quantized_network_has_activations_in_float32_too(write, activations_of):
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 5)).astype(np.uint8)
    graph, made = activations_of(write(QUANTIZED), images)
    assert [layer.tensor for layer in graph.layers] == ["p", "c", "d", "x", "g"]
    assert {values.dtype for values in made.values()} == {np.dtype(np.float32)}
    d, x = (made[graph.layers[number].output] for number in (2, 3))
    np.testing.assert_array_equal(x, d / 2)  # less the zero point


def test_the_network_is_not_changed(write, tmp_path):
    network = surgery.load_network(write(chain(4)))
    before = [v.name for v in network.model.graph.outputs], len(network.model.graph)
    surgery.write_activation_outputs(network, tmp_path / "a.onnx", (4, 5, 5))
    assert ([v.name for v in network.model.graph.outputs], len(network.model.graph)) == before


@pytest.mark.parametrize(
    "turned", ["t = Transpose<perm=[1,0,2,3]>(r3)\nu = Relu(t)\nr4 = Transpose<perm=[1,0,2,3]>(u)",
               "s = SplitToSequence<axis=0>(r3, at)\nr4 = ConcatFromSequence<axis=0>(s)"],
)  # fmt: skip
def test_a_tensor_without_a_row_for_each_image_is_no_layer(turned, write, activations_of):
    text = chain(3).replace("GlobalAveragePool(r3)", "GlobalAveragePool(r4)")
    text = text.replace(" p = ", f"{turned}\n p = ").replace("float[3] bias", "int64 at = {1}")
    graph, made = activations_of(write(text), normal(6, 4, 5, 5))
    assert {layer.tensor for layer in graph.layers} == {"x", "r1", "r3"}
    assert all(len(values) == 6 for values in made.values())
