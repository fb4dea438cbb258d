"""The graph of margins and gradients: against closed forms and differences, and refusals."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from analyzer import surgery
from analyzer.errors import ModelError

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def margins_of(tmp_path, run):
    """(path, images, labels) → the graph's record, and its outputs by name; any images count."""

    def make(path, images, labels, **options):
        network = surgery.load_network(path)
        out = tmp_path / "margins.onnx"
        graph = surgery.write_margin_graph(
            network, out, images.shape[1:], **{"most": len(images), **options}
        )
        assert graph.batch == len(images)
        share = np.full(len(images), 1 / len(images), np.float32)
        feeds = {
            graph.image: images,
            graph.label: np.asarray(labels, np.int64),
            graph.weight: share,
        }
        return graph, run(out, feeds)

    return make


def normal(*shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


LINEAR = """
net (float[N,2,3,3] x) => (float[N,4] y)
<float[4,18] w, float[4] b>
{
    f = Flatten(x)
    y = Gemm<transB=1>(f, w, b)
}
"""


def test_of_a_linear_network_everything_is_known(write, margins_of):
    path = write(LINEAR)
    initializers = onnx.load(path).graph.initializer
    weights = {t.name: onnx.numpy_helper.to_array(t).astype(np.float64) for t in initializers}
    images, labels = normal(9, 2, 3, 3), np.arange(9) % 4
    graph, made = margins_of(path, images, labels)
    flat = images.reshape(9, -1).astype(np.float64)
    scores = flat @ weights["w"].T + weights["b"]
    others = scores.copy()
    others[np.arange(9), labels] = -np.inf
    rival = others.argmax(axis=1)
    margin = scores[np.arange(9), labels] - others.max(axis=1)
    np.testing.assert_allclose(made[graph.margin], margin, rtol=1e-5, atol=1e-6)
    (layer,) = graph.layers[:1]
    assert (layer.tensor, layer.operator, layer.size) == ("x", "input", 18)
    squares = ((weights["w"][labels] - weights["w"][rival]) ** 2).sum(axis=1)
    np.testing.assert_allclose(made[layer.squares], squares, rtol=1e-6)
    np.testing.assert_allclose(made[layer.mean], flat.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(made[layer.variance], flat.var(axis=0).sum(), rtol=1e-6)


def test_weights_in_a_file_beside_the_network_are_read_there(
    write, margins_of, tmp_path, monkeypatch
):
    path = write(
        LINEAR.replace("y = Gemm<transB=1>(f, w, b)", "g = Tanh(f)\ny = Gemm<transB=1>(g, w, b)")
    )
    images, labels = normal(9, 2, 3, 3), np.arange(9) % 4
    graph, expected = margins_of(path, images, labels)
    (tmp_path / "beside").mkdir()
    (tmp_path / "elsewhere").mkdir()
    beside = tmp_path / "beside" / "network.onnx"
    onnx.save(
        onnx.load(path), beside, save_as_external_data=True, location="weights", size_threshold=0
    )
    size = (beside.parent / "weights").stat().st_size
    (tmp_path / "elsewhere" / "weights").write_bytes(bytes(size))
    monkeypatch.chdir(tmp_path / "elsewhere")  # which holds others of that name
    _, made = margins_of(beside, images, labels)
    np.testing.assert_array_equal(made[graph.margin], expected[graph.margin])
    for layer in graph.layers:
        np.testing.assert_array_equal(made[layer.squares], expected[layer.squares])


def test_samples_that_do_not_count_have_no_part_in_the_moments(write, margins_of, run):
    path, images = write(LINEAR), normal(6, 2, 3, 3)
    graph, whole = margins_of(path, images[:4], [0, 1, 2, 3])
    graph, _ = margins_of(path, images, np.zeros(6))
    share = np.array([0.25] * 4 + [0, 0], np.float32)
    feeds = {graph.image: images, graph.label: np.arange(6) % 4, graph.weight: share}
    made = run(graph.path, feeds)
    layer = graph.layers[0]
    for name in (layer.mean, layer.variance):
        np.testing.assert_allclose(made[name], whole[name], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(made[layer.squares][:4], whole[layer.squares], rtol=1e-6)


def differences(path, image, label, step=1e-4):
    """‖∂(f_i − f_j)/∂x‖² by central differences in float64, the rival held fixed."""
    model = onnx.load(path)
    evaluate = onnx.reference.ReferenceEvaluator(model)
    (name,) = (v.name for v in model.graph.input)

    def scores(x):
        return evaluate.run(None, {name: x})[0].reshape(-1)

    others = scores(image).copy()
    others[label] = -np.inf
    rival = others.argmax()
    total = 0.0
    for place in np.ndindex(image.shape):
        apart = np.zeros_like(image)
        apart[place] = step
        up, down = scores(image + apart), scores(image - apart)
        total += (((up - down)[label] - (up - down)[rival]) / (2 * step)) ** 2
    return total


# Smooth, so that differences tell the gradient.
SMOOTH = """
net (float[N,2,7,6] x) => (float[N,3] y)
<float[4,2,3,3] w, float[4,1,3,2] d, float[3,4] v>
{
    c = Conv<FIRST>(x, w)
    t = Tanh(c)
    e = Conv<group=4, SECOND>(t, d)
    s = Sigmoid(e)
    p = AveragePool<kernel_shape=[2,2], POOL>(s)
    g = GlobalAveragePool(p)
    f = Flatten(g)
    y = Gemm<transB=1>(f, v)
}
"""
WINDOWS = {
    "pads of two sizes": ("pads=[0,2,1,0]", "pads=[2,0,0,1]", "strides=[1,1]"),
    "steps": ("strides=[2,3], pads=[1,0,0,2]", "pads=[1,1,1,1]", "strides=[1,1], pads=[0,1,1,0]"),
    "steps and gaps": (
        "strides=[2,1], dilations=[2,1]", "dilations=[1,2], pads=[1,1,1,1]", "strides=[1,1]"
    ),
    "padding beyond the kernel": ("pads=[3,3,3,3]", "strides=[2,2]", "strides=[2,2]"),
    "padding by size": (
        'auto_pad="SAME_UPPER", strides=[2,2]', 'auto_pad="SAME_LOWER", strides=[1,1]',
        'auto_pad="SAME_UPPER", strides=[2,2]',
    ),
}  # fmt: skip


@pytest.mark.parametrize("windows", WINDOWS)
def test_gradients_of_windows_are_those_of_differences(windows, write, margins_of):
    text = SMOOTH
    for word, window in zip(("FIRST", "SECOND", "POOL"), WINDOWS[windows], strict=True):
        text = text.replace(word, window)
    images = normal(2, 2, 7, 6)
    graph, made = margins_of(write(text), images, [0, 2])
    exact = write(text.replace("float", "double"), name="exact.onnx")
    for sample, label in enumerate([0, 2]):
        wanted = differences(exact, images[sample : sample + 1].astype(np.float64), label)
        assert made[graph.layers[0].squares][sample] == pytest.approx(wanted, rel=1e-4)


OVERLAPPING = """
net (float[N,8,40,40] x) => (float[N,3] y)
<float[3,8] v>
{
    p = MaxPool<kernel_shape=[5,5], strides=[1,1]>(x)
    g = GlobalAveragePool(p)
    f = Flatten(g)
    y = Gemm<transB=1>(f, v)
}
"""


def test_pools_that_overlap_add_up_on_several_threads(write, tmp_path):
    path, images = write(OVERLAPPING), normal(8, 8, 40, 40)
    graph = surgery.write_margin_graph(
        surgery.load_network(path), tmp_path / "m.onnx", images.shape[1:], most=8
    )
    share = np.full(8, 1 / 8, np.float32)
    feeds = {graph.image: images, graph.label: np.arange(8) % 3, graph.weight: share}
    found = []
    for threads in (1, 8, 8, 8, 8):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        session = ort.InferenceSession(graph.path, options, providers=["CPUExecutionProvider"])
        found.append(session.run([graph.layers[0].squares], feeds)[0])
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("network", "layers"),
    [
        ("vgg16-older-free", ["features.8", "features.18", "features.27"]),
        ("vgg16_bn-older-free", ["features.12", "features.26", "features.39"]),
        ("resnet34-older-free", ["layers.5/relu", "layers.9/relu", "layers.14/relu"]),
        ("mobilenetv2-older-free", ["features.2/body", "features.7/body", "features.17/body"]),
        ("densenet121-older-free", ["transitions.0", "transitions.1", "site"]),
    ],
)
def test_layers_are_activations_spread_over_the_depth(network, layers, tmp_path):
    loaded = surgery.load_network(FIXTURES / f"{network}.onnx")
    graph = surgery.write_margin_graph(loaded, tmp_path / "m.onnx", (3, 32, 32), most=2)
    assert (graph.layers[0].tensor, graph.layers[0].operator) == ("input", "input")
    assert len(graph.layers) == 4
    for layer, name in zip(graph.layers[1:], layers, strict=True):
        assert name in layer.tensor
        assert layer.operator in ("Relu", "Clip")


FEW = """
net (float[N,2,6,6] x) => (float[N,3] y)
<float[4,2,3,3] w, float[3,4] v>
{
    c = Conv(x, w)
    r = Relu(c)
    m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
    i = Identity(m)
    g = GlobalAveragePool(i)
    f = Flatten(g)
    y = Gemm<transB=1>(f, v)
}
"""


def test_a_network_of_few_activations_has_other_layers_in_their_place(write, margins_of):
    graph, _ = margins_of(write(FEW), normal(2, 2, 6, 6), [0, 1])
    assert [layer.tensor for layer in graph.layers] == ["x", "c", "m", "g"]


def test_networks_in_half_precision_have_margins_too(write, margins_of):
    images = normal(3, 2, 6, 6)
    _, exact = margins_of(write(FEW), images, [0, 1, 2])
    half = write(FEW.replace("float", "float16"), name="half.onnx")
    _, made = margins_of(half, images.astype(np.float16), [0, 1, 2])
    for found, wanted in zip(made.values(), exact.values(), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=0.02, atol=2e-3)


HEAD = """
net (float[N,2,6,6] x) => (OUTPUT)
<float[4,2,3,3] w, float[K,64] v>
{
    c = Conv(x, w)
    r = Relu(c)
    f = Flatten(r)
    z = Gemm<transB=1>(f, v)
    TAIL
}
"""
HEADS = {
    "softmax": (3, "float[N,3] y", "y = Softmax<axis=1>(z)"),
    "logarithm": (3, "float[N,3] y", "l = LogSoftmax(z)\n y = Identity(l)"),
    "independent": (3, "float[N,3] y", "y = Sigmoid(z)"),
    "labels": (3, "int64[N] y", "s = Softmax(z)\n y = ArgMax<axis=1, keepdims=0>(s)"),
}  # fmt: skip


@pytest.mark.parametrize("head", ["softmax", "logarithm", "independent", "labels"])
def test_scores_are_those_before_a_softmax_or_sigmoid(head, write, margins_of):
    classes, output, tail = HEADS[head]
    images, labels = normal(4, 2, 6, 6), [0, 1, 2, 0]
    text = HEAD.replace("K", str(classes))
    plain = text.replace("OUTPUT", "float[N,3] y").replace("TAIL", "y = Identity(z)")
    graph, wanted = margins_of(write(plain), images, labels)
    wanted = [wanted[graph.margin], *(wanted[layer.squares] for layer in graph.layers)]
    squashed = text.replace("OUTPUT", output).replace("TAIL", tail)
    graph, made = margins_of(write(squashed), images, labels)
    for name, value in zip([graph.margin, *(g.squares for g in graph.layers)], wanted, strict=True):
        np.testing.assert_allclose(made[name], value, rtol=1e-5)


@pytest.mark.parametrize("tail", ["y = Identity(z)", "y = Sigmoid(z)"])
def test_a_single_score_stands_against_its_threshold(tail, write, margins_of, run):
    text = HEAD.replace("K", "1").replace("OUTPUT", "float[N,1] y")
    images = normal(4, 2, 6, 6)
    logits = run(write(text.replace("TAIL", "y = Identity(z)")), {"x": images})["y"][:, 0]
    graph, made = margins_of(write(text.replace("TAIL", tail)), images, [0, 1, 0, 1])
    np.testing.assert_allclose(made[graph.margin], logits * [-1, 1, -1, 1], rtol=1e-5)
    assert (made[graph.layers[0].squares] > 0).all()


REFUSED = {
    "quantized": (
        "q = QuantizeLinear(z, s, p)\n y = DequantizeLinear(q, s, p)",
        "it is quantized (by QuantizeLinear), and steps have no gradient",
    ),
    "no rule": (
        "b = Unsqueeze(z, a)\n m = MaxRoiPool<pooled_shape=[1,1]>(c, o)\n k = Flatten(m)\n"
        "l = ReduceSum<keepdims=1>(k, a)\n y = Add(z, l)",
        "no reverse rule for MaxRoiPool",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_networks_without_a_gradient_are_refused_by_the_operator(why, write, tmp_path):
    tail, sentence = REFUSED[why]
    text = HEAD.replace("K", "3").replace("OUTPUT", "float[N,3] y").replace("TAIL", tail)
    constants = (
        "float[3,64] v, float s = {0.1}, uint8 p = {0}, int64[1] a = {1}, "
        "float[2,5] o = {0, 0, 0, 3, 3, 1, 0, 0, 3, 3}"
    )
    network = surgery.load_network(write(text.replace("float[3,64] v", constants)))
    with pytest.raises(ModelError, match=r"Margins need the gradient of .*network\.onnx") as raised:
        surgery.write_margin_graph(network, tmp_path / "m.onnx", (2, 6, 6), most=2)
    assert sentence in str(raised.value)
    assert str(raised.value).endswith("Audit it without margins.")


def test_whole_numbers_as_images_are_refused(write, tmp_path):
    text = LINEAR.replace("float[N,2,3,3] x", "uint8[N,2,3,3] p").replace(
        "f = Flatten(x)", "x = Cast<to=1>(p)\n f = Flatten(x)"
    )
    network = surgery.load_network(write(text))
    with pytest.raises(ModelError, match="its images are uint8, not floating-point numbers"):
        surgery.write_margin_graph(network, tmp_path / "m.onnx", (2, 3, 3))


def test_a_batch_takes_no_more_than_the_memory(write, tmp_path):
    network = surgery.load_network(write(FEW))
    batches = [
        surgery.write_margin_graph(network, tmp_path / "m.onnx", (2, 6, 6), memory=memory).batch
        for memory in (1, 20_000, 1 << 30)
    ]
    assert batches[0] == 1 < batches[1] < batches[2] == 128


@pytest.mark.parametrize("exporter", ["dynamo", "older"])
@pytest.mark.parametrize(
    "network", ["vgg16", "vgg16_bn", "resnet34", "mobilenetv2", "mobilenetv3", "densenet121"]
)
def test_a_batch_that_was_fixed_gives_the_same(network, exporter, tmp_path, run):
    images = normal(2, 3, 32, 32)
    found = []
    for kind in ("free", "fixed"):
        loaded = surgery.load_network(FIXTURES / f"{network}-{exporter}-{kind}.onnx")
        graph = surgery.write_margin_graph(loaded, tmp_path / "m.onnx", (3, 32, 32), most=2)
        share = np.full(2, 0.5, np.float32)
        feeds = {graph.image: images, graph.label: np.array([3, 4]), graph.weight: share}
        made = run(graph.path, feeds)
        found.append([made[graph.margin], *(made[layer.squares] for layer in graph.layers)])
    for free, fixed in zip(*found, strict=True):
        np.testing.assert_allclose(fixed, free, rtol=1e-4)
