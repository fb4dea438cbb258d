import numpy as np
import onnx
import onnxruntime
import pytest

from analyzer import surgery
from analyzer.errors import ModelError

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
