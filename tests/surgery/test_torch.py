"""Against PyTorch itself: forward hooks on any module, both exporters. Needs torch."""

import numpy as np
import pytest

from analyzer import surgery

torch = pytest.importorskip("torch", reason="torch is not installed (extra zoo)")
pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra zoo)")

from torch import nn  # noqa: E402


class Residual(nn.Module):
    """Two residual blocks with different activations, and a view by size at the end."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.silu = nn.SiLU()
        self.conv1, self.norm1 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.gelu = nn.GELU()
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.mish = nn.Mish()
        self.fc = nn.Linear(6, 5)

    def forward(self, x):
        x = self.silu(self.stem(x))
        x = x + self.gelu(self.norm1(self.conv1(x)))
        x = self.mish(self.conv2(x) + x)
        x = nn.functional.adaptive_avg_pool2d(x, 1)
        return self.fc(x.view(x.size(0), -1))


SITES = {  # module → (index of its convolution, at), operator
    "stem": ((0, "conv"), "Conv"),
    "silu": ((0, "activation"), "SiLU"),
    "gelu": ((1, "activation"), ("GELU", "Gelu")),
    "conv2": ((2, "conv"), "Conv"),
    "mish": ((2, "activation"), "Mish"),
}


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return Residual().eval()


@pytest.fixture(scope="module", params=["dynamo", "dynamo-18", "older"])
def exported(request, module, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "network.onnx"
    x = torch.randn(2, 3, 8, 8)
    names = {"input_names": ["input"], "output_names": ["logits"]}
    if request.param == "older":
        axes = {"input": {0: "batch"}}
        torch.onnx.export(module, (x,), path, dynamo=False, dynamic_axes=axes, **names)
    else:
        version = 18 if request.param.endswith("18") else 20
        shapes = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(
            module, (x,), path, dynamo=True, dynamic_shapes=shapes, external_data=False,
            opset_version=version, verbose=False, **names,
        )  # fmt: skip
    return surgery.load_network(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SITES)
def test_masked_at_any_site_as_with_a_hook(exported, module, name, cut_and_compare, run):
    (index, at), operator = SITES[name]
    convolutions = [s for s in surgery.candidates(exported) if s.kind == "convolution"]
    site = surgery.named_site(exported, convolutions[index].convolution, at=at)
    assert site.operator in operator
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    cut = cut_and_compare(exported, site, {"input": x.numpy()})
    mask = np.random.default_rng(2).integers(0, 2, (4, 6)).astype(np.float32)
    keep = torch.from_numpy(mask)[:, :, None, None] != 0
    seen = []

    def remove(_module, _inputs, output):
        seen.append(output)
        return torch.where(keep, output, 0)

    hook = getattr(module, name).register_forward_hook(remove)
    with torch.no_grad():
        wanted = module(x).numpy()
    hook.remove()
    made = run(cut.prefix, {"input": x.numpy()})
    passed = {value: made[value] for value in (cut.features, *cut.skip_inputs)}
    scores = run(cut.suffix, {**passed, cut.mask: mask})[cut.scores]
    np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-6)
    attribute = seen[0].abs().sum((2, 3)).numpy()
    np.testing.assert_allclose(made[cut.activity], attribute, rtol=1e-4, atol=1e-5)


def test_default_site_is_the_last_activation(exported):
    assert surgery.default_site(exported).operator == "Mish"
