"""The five architectures and MobileNetV3, as both PyTorch exporters write them.

The answers of PyTorch itself, with a forward hook that zeroes channels, are in expected.npz.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from analyzer import surgery
from analyzer.errors import SiteError

FOLDER = Path(__file__).resolve().parents[1] / "fixtures"
FILES = sorted(FOLDER.glob("*-*.onnx"))
SITES = {  # operator, M, operators of the suffix behind the mask
    "vgg16": ("Relu", 12, ["Gemm", "Relu", "Gemm", "Relu", "Gemm"]),
    "vgg16_bn": ("Relu", 12, ["Gemm", "Relu", "Gemm", "Relu", "Gemm"]),
    "resnet34": ("Relu", 12, ["Gemm"]),
    "mobilenetv2": ("Clip", 24, ["Gemm"]),
    "mobilenetv3": ("HardSwish", 16, ["Gemm", "HardSwish", "Gemm"]),
    "densenet121": ("Relu", 32, ["Gemm"]),
}

pytestmark = pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)


@pytest.fixture
def network(path):
    return surgery.load_network(path)


@pytest.fixture
def expected(path):
    name = path.stem.split("-")[0]
    with np.load(FOLDER / "expected.npz") as arrays:
        kinds = ("mask", "plain", "masked")
        return arrays["input"].astype(np.float32), *(arrays[f"{name}_{k}"] for k in kinds)


def test_default_site_is_the_last_activation_before_the_classifier(path, network):
    operator, channels, _ = SITES[path.stem.split("-")[0]]
    site = surgery.default_site(network)
    assert (site.operator, site.channels, site.axis) == (operator, channels, 1)
    assert (site.kind, site.warnings) == ("activation", ())
    assert len(site.shape) == 4
    assert site == surgery.candidates(network)[-1]


def test_default_site_is_reached_by_the_name_of_its_convolution(path, network):
    site = surgery.default_site(network)
    if path.stem.startswith("densenet121"):
        with pytest.raises(SiteError, match="goes into Concat"):
            surgery.named_site(network, site.convolution)
    else:
        assert surgery.named_site(network, site.convolution) == site


def test_suffix_holds_nothing_but_the_classifier(path, network, tmp_path):
    cut = surgery.cut_network(network, surgery.default_site(network), tmp_path)
    assert cut.skip_inputs == ()
    assert cut.batch is None
    assert cut.warnings == ()
    _, _, tail = SITES[path.stem.split("-")[0]]
    suffix = [node.op_type for node in onnx.load(cut.suffix).graph.node]
    assert suffix == ["Cast", "Where", *tail]


def test_cut_answers_as_pytorch_with_a_hook(path, network, expected, tmp_path, run):
    x, mask, plain, masked = expected
    cut = surgery.cut_network(network, surgery.default_site(network), tmp_path)
    made = run(cut.prefix, {"input": x})
    for rows, wanted in ((mask, masked), (np.ones_like(mask[:1]), plain)):
        scores = run(cut.suffix, {cut.features: made[cut.features], cut.mask: rows})[cut.scores]
        np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-5)


def test_masked_network_is_a_drop_in(path, network, expected, tmp_path, run):
    x, mask, _, masked = expected
    file = tmp_path / "masked.onnx"
    surgery.write_masked(network, surgery.default_site(network), file)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert [v.name for v in session.get_inputs()] == ["input"]
    for index in range(len(x)):
        image = {"input": x[index : index + 1]}
        assert np.array_equal(run(file, image)["logits"], run(path, image)["logits"])
        scores = run(file, {**image, "channel_mask": mask[index : index + 1]})["logits"]
        np.testing.assert_allclose(scores, masked[index : index + 1], rtol=1e-4, atol=1e-5)
