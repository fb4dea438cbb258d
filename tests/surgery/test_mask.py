"""The masked network, and sinking: operators that are passed, and when they are not."""

import shutil

import numpy as np
import onnx
import onnxruntime
import pytest

from analyzer import surgery
from analyzer.errors import ModelError, OutputError
from analyzer.surgery import saving

TEXT = """
net (float[N,3,8,8] x) => (float[N,4] y, float[N,4,6,6] r)
<float[4,3,3,3] w>
{
    c = Conv(x, w)
    r = Relu(c)
    p = GlobalAveragePool(r)
    y = Flatten(p)
}
"""


@pytest.fixture
def masked(write, tmp_path):
    """(text) → original and masked file."""

    def make(text=TEXT):
        path = write(text)
        network = surgery.load_network(path)
        file = tmp_path / "masked.onnx"
        surgery.write_masked(network, surgery.named_site(network, "r"), file)
        return path, file

    return make


def image():
    return np.random.default_rng(3).normal(size=(3, 3, 8, 8)).astype(np.float32)


def test_mask_is_optional_and_keeps_names(masked, run):
    path, file = masked()
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert [v.name for v in session.get_inputs()] == ["x"]
    (extra,) = session.get_overridable_initializers()
    assert (extra.name, extra.shape) == ("channel_mask", ["mask_rows", 4])
    original, same = run(path, {"x": image()}), run(file, {"x": image()})
    assert list(original) == list(same) == ["y", "r"]
    for name, value in original.items():
        np.testing.assert_array_equal(same[name], value)


@pytest.mark.parametrize("rows", [1, 3])
def test_mask_removes_channels_for_one_or_all_samples(masked, run, rows):
    path, file = masked()
    mask = np.random.default_rng(0).integers(0, 2, (rows, 4)).astype(np.float32)
    original = run(path, {"x": image()})
    removed = run(file, {"x": image(), "channel_mask": mask})
    keep = np.broadcast_to(mask, (3, 4)) != 0
    np.testing.assert_array_equal(removed["y"], np.where(keep, original["y"], 0))
    maps = np.where(keep[:, :, None, None], original["r"], 0)
    np.testing.assert_array_equal(removed["r"], maps)


def test_removed_is_zero_even_where_the_channel_is_infinite(masked, run):
    _, file = masked()
    mask = np.array([[0, 1, 0.5, -1]], np.float32)
    x = np.full((1, 3, 8, 8), np.inf, np.float32)
    y = run(file, {"x": x, "channel_mask": mask})["y"]
    assert y[0, 0] == 0
    assert not np.any(y[0, 1:] == 0) or np.isnan(y[0, 1:]).any()


def test_masked_network_stays_valid_and_describes_itself(masked):
    _, file = masked()
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert [v.name for v in model.graph.input] == ["x", "channel_mask"]


def test_weights_beside_it_replace_only_its_own(write, tmp_path, monkeypatch, run):
    monkeypatch.setattr(saving, "_INLINE_LIMIT", 0)
    path = write(TEXT)
    network = surgery.load_network(path)
    site = surgery.named_site(network, "r")
    file, beside = tmp_path / "masked.onnx", tmp_path / "masked.onnx.data"
    for there in (None, path.read_bytes(), b"no network"):  # nothing, or what has no such weights
        if there is not None:
            file.write_bytes(there)
        beside.write_text("mine")
        with pytest.raises(OutputError, match=r"would replace .*masked.onnx.data"):
            surgery.write_masked(network, site, file)
        assert beside.read_text() == "mine"
        assert file.exists() == (there is not None)
    beside.unlink()
    for _ in range(2):  # its own
        surgery.write_masked(network, site, file)
        assert beside.stat().st_size == 4 * 3 * 3 * 3 * 4
    np.testing.assert_array_equal(run(file, {"x": image()})["y"], run(path, {"x": image()})["y"])


def test_weights_of_the_network_itself_are_not_replaced(write, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "_INLINE_LIMIT", 0)
    path = write(TEXT)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="m.onnx.data", size_threshold=0)
    shutil.copy(path, tmp_path / "m.onnx")  # it keeps its weights there, too
    before = (tmp_path / "m.onnx.data").read_bytes()
    network = surgery.load_network(path)
    site = surgery.named_site(network, "r")
    for name in ("m.onnx", "m.onnx.data"):
        with pytest.raises(ModelError, match=r"m.onnx.data is a part of"):
            surgery.write_masked(network, site, tmp_path / name)
        assert (tmp_path / "m.onnx.data").read_bytes() == before


def test_masking_twice_and_over_oneself_is_refused(masked, write):
    path, file = masked()
    network = surgery.load_network(file)
    site = surgery.named_site(network, "r")
    with pytest.raises(ModelError, match="already has a tensor called channel_mask"):
        surgery.write_masked(network, site, file.with_name("twice.onnx"))
    with pytest.raises(ModelError, match="is the network itself"):
        surgery.write_masked(network, site, file)
    with pytest.raises(ModelError, match="does not exist"):
        surgery.write_masked(surgery.load_network(path), site, file.parent / "no" / "masked.onnx")
    assert not list(file.parent.glob(".*"))


SINKING = """
net (float[N,3,12,12] x) => (float[N,K] y)
<float[4,3,3,3] w, float[4,2,3,3] grouped, float[4,1,3,3] depthwise, float[4] bias,
 float[1,4,1,1] scale, bool yes = {1}, float two = {2.0}, float zero = {0.0},
 float infinite = {inf}, float six = {6.0}, float one = {1.0},
 float[4] s, float[4] b, float[4] m, float[4] var,
 int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}, int64[1] three = {3}, int64[3] runs = {0, 4, -1}>
{
    c = Conv(x, w)
    r = Relu(c)
    BODY
    q = Sigmoid(a)
    g = GlobalMaxPool(q)
    h = Flatten(g)
    y = Identity(h)
}
"""
PASSED = [
    "a = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(r)",
    "a = MaxPool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(r)",
    "a = AveragePool<kernel_shape=[2,2], strides=[2,2]>(r)",
    "a = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(r)",
    "a = GlobalAveragePool(r)",
    "a = GlobalMaxPool(r)",
    "a = ReduceMean<axes=[2,3]>(r)",
    "a = ReduceMax<axes=[-1]>(r)",
    "t = ReduceL2<axes=[2], keepdims=0>(r) a = Unsqueeze(t, three)",
    "t = ReduceSum<keepdims=0>(r, three) a = Unsqueeze(t, three)",
    "a = LeakyRelu(r)",
    "a = Elu(r)",
    "a = Clip(r, zero, six)",
    "a = Mul(scale, r)",
    "a = Div(r, two)",
    "t = Cast<to=11>(r) a = Cast<to=1>(t)",
    "a = Dropout(r)",
    "a = Identity(r)",
    "a = Conv<group=4>(r, depthwise)",
    "p = Pad(r, pads) a = MaxPool<kernel_shape=[3,3], strides=[3,3]>(p)",
    "t = Reshape(r, runs) a = Unsqueeze(t, three)",
    "t = Transpose<perm=[0,2,3,1]>(r) a = ReduceMax<axes=[1,2]>(t)",
]
STOPPED = [
    "a = BatchNormalization(r, s, b, m, var)",
    "a = Sigmoid(r)",
    "t = Cast<to=13>(r) a = Cast<to=1>(t)",
    "a = Clip(r, one, six)",
    "a = Mul(r, infinite)",
    "a = Div(two, r)",
    "a = Add(r, two)",
    "e = Relu(r) a = If(yes) <then_branch = g1 () => (float[N,4,10,10] t) { t = Add(e, r) }, "
    "else_branch = g2 () => (float[N,4,10,10] u) { u = Neg(e) }>",
    "a = Conv<group=4>(r, depthwise, bias)",
    "a = Conv<group=2>(r, grouped)",
    "a = ReduceMean<axes=[1]>(r)",
    "a = Softmax<axis=1>(r)",
    "a = LRN<size=3>(r)",
    "a = Mul(r, r)",
    "e = Relu(r) d = MaxPool<kernel_shape=[2,2]>(r) f = GlobalMaxPool(d) a = Add(e, f)",
    "p, indices = MaxPool<kernel_shape=[2,2]>(r) i = Cast<to=1>(indices) a = Add(i, p)",
    "a = MaxPool<kernel_shape=[2,2], strides=[2,2], pads=[1,1,1,1], ceil_mode=1>(r)",
]


def network_passing(write, body):
    return surgery.load_network(write(SINKING.replace("BODY", body)))


def wide_image():
    return np.random.default_rng(5).normal(size=(3, 3, 12, 12)).astype(np.float32)


@pytest.mark.parametrize("body", PASSED)
def test_operator_is_passed(write, cut_and_compare, body):
    found = network_passing(write, body)
    cut = cut_and_compare(found, surgery.named_site(found, "r"), {"x": wide_image()})
    assert cut.tensor == "a"


@pytest.mark.parametrize("body", STOPPED)
def test_operator_that_mixes_or_moves_zeros_is_not_passed(write, cut_and_compare, body):
    found = network_passing(write, body)
    cut = cut_and_compare(found, surgery.named_site(found, "r"), {"x": wide_image()})
    assert cut.tensor == "r"


def test_cut_goes_back_to_the_smallest_tensor(write, cut_and_compare):
    body = "t = GlobalMaxPool(r) a = Pad(t, pads)"
    found = network_passing(write, body)
    cut = cut_and_compare(found, surgery.named_site(found, "r"), {"x": wide_image()})
    assert cut.tensor == "t"


@pytest.mark.parametrize(
    ("body", "mask"),
    [
        ("f = Flatten(r) y = MatMul(f, v)", ["Cast", "Reshape", "Expand", "Reshape", "Where"]),
        (
            "t = Transpose<perm=[0,2,3,1]>(r) f = Flatten(t) y = MatMul(f, v)",
            ["Cast", "Reshape", "Expand", "Reshape", "Where"],
        ),
        (
            "p = GlobalAveragePool(r) t = Transpose<perm=[0,2,3,1]>(p) f = Flatten(t) "
            "k = MatMul(f, u) y = Relu(k)",
            ["Cast", "Where"],
        ),
    ],
)
def test_flattened_channels(write, cut_and_compare, operators, body, mask):
    found = surgery.load_network(
        write(f"""
        net (float[N,3,12,12] x) => (float[N,5] y)
        <float[4,3,3,3] w, float[400,5] v, float[4,5] u>
        {{
            c = Conv(x, w)
            r = Relu(c)
            {body}
        }}
        """)
    )
    cut = cut_and_compare(found, surgery.default_site(found), {"x": wide_image()})
    assert cut.tensor == "f"
    assert operators(cut.suffix)[: len(mask)] == mask
