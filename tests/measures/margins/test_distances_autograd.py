"""Margins of ten networks against PyTorch's autograd."""

import warnings

import numpy as np
import pytest

from analyzer import data, surgery
from analyzer.measures.margins.distances import (
    MARGIN_FEATURES,
    MarginState,
    compute_margin_features,
    measure_margins,
    normalized_margins,
)

torch = pytest.importorskip("torch")
from margins_by_autograd import features, margins, module_of  # noqa: E402
from torch import nn  # noqa: E402

S, K = 29, 7  # of no use to any batch size


def chain(*layers):
    return lambda: nn.Sequential(*(layer() for layer in layers), nn.Flatten(), nn.LazyLinear(K))


def conv(after, **options):
    return lambda: nn.LazyConv2d(after, 3, **{"padding": 1, **options})


class Residual(nn.Module):
    def __init__(self, width, stride=1):
        super().__init__()
        self.body = nn.Sequential(
            nn.LazyConv2d(width, 3, stride, 1, bias=False), nn.LazyBatchNorm2d(), nn.ReLU(),
            nn.LazyConv2d(width, 3, 1, 1, bias=False), nn.LazyBatchNorm2d(),
        )  # fmt: skip
        self.past = nn.Conv2d(width, width, 1, stride) if stride > 1 else nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.body(x) + self.past(x))


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.relu, self.conv = nn.LazyBatchNorm2d(), nn.ReLU(), conv(3)()

    def forward(self, x):
        return torch.cat([x, self.conv(self.relu(self.norm(x)))], 1)


class Excited(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width, 1))

    def forward(self, x):
        return nn.functional.hardsigmoid(self.gate(x)) * x


NETWORKS = {
    "vgg": chain(
        conv(4), nn.ReLU, conv(6), nn.ReLU, lambda: nn.MaxPool2d(2), conv(8), nn.ReLU,
        lambda: nn.MaxPool2d(2), nn.Flatten, lambda: nn.LazyLinear(11), nn.ReLU, nn.Dropout,
    ),
    "vgg with batch norm": chain(
        conv(4), nn.LazyBatchNorm2d, nn.ReLU, lambda: nn.MaxPool2d(2), conv(6),
        nn.LazyBatchNorm2d, nn.ReLU, conv(8), nn.LazyBatchNorm2d, nn.ReLU,
    ),
    "residual": chain(
        lambda: nn.LazyConv2d(4, 7, 2, 3), nn.LazyBatchNorm2d, nn.ReLU,
        lambda: nn.MaxPool2d(3, 2, 1), lambda: Residual(4), lambda: Residual(4, 2),
        lambda: Residual(4), lambda: nn.AdaptiveAvgPool2d(1),
    ),
    "depthwise": chain(
        conv(6, stride=2), nn.ReLU6, conv(6, groups=6), nn.LazyBatchNorm2d, nn.ReLU6,
        lambda: nn.Conv2d(6, 9, 1), conv(9, groups=9, stride=2), nn.ReLU6,
        lambda: nn.AdaptiveAvgPool2d(1),
    ),
    "dense": chain(
        conv(3), nn.ReLU, Dense, Dense, nn.LazyBatchNorm2d, nn.ReLU, lambda: nn.LazyConv2d(4, 1),
        lambda: nn.AvgPool2d(2), Dense, nn.LazyBatchNorm2d, nn.ReLU,
    ),
    "gates": chain(
        conv(6), nn.Hardswish, lambda: Excited(6), conv(6, groups=2), nn.SiLU, conv(5), nn.GELU,
        lambda: nn.AdaptiveAvgPool2d(1),
    ),
    "pools that overlap": chain(
        conv(4), nn.LeakyReLU, lambda: nn.MaxPool2d(3, 1, 1), conv(4), nn.ELU,
        lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), conv(4), nn.PReLU,
        lambda: nn.MaxPool2d(3, 2),
    ),
    "odd padding": chain(
        lambda: nn.ZeroPad2d((0, 1, 2, 0)), lambda: nn.LazyConv2d(4, 4, 3), nn.Tanh,
        lambda: nn.LazyConv2d(5, 3, padding=2, dilation=2), nn.Sigmoid,
        lambda: nn.LazyConv2d(4, 1, padding=1), nn.Softplus,
    ),
    "normalized": chain(
        conv(6), lambda: nn.GroupNorm(2, 6), nn.ReLU, conv(4, stride=2),
        lambda: nn.InstanceNorm2d(4, affine=True), nn.Mish, conv(3), nn.CELU,
    ),
    "a softmax behind": lambda: nn.Sequential(
        conv(4)(), nn.ReLU(), conv(4)(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(9), nn.ReLU(),
        nn.LazyLinear(K), nn.Softmax(1),
    ),
}  # fmt: skip


@pytest.fixture(params=NETWORKS)
def network(request):
    """A network whose batch norms have seen something, in evaluation mode."""
    torch.manual_seed(1)
    made = NETWORKS[request.param]()
    with torch.no_grad():
        for _ in range(3):
            made(torch.randn(16, 3, 12, 12) + 0.3)
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.3, 0.3)
    return made.eval()


def test_margins_and_features_are_those_of_autograd(network, tmp_path):
    random = np.random.default_rng(0)
    images = random.normal(size=(S, 3, 12, 12)).astype(np.float32)
    with torch.no_grad():
        labels = network(torch.from_numpy(images)).argmax(1).numpy()
    labels[::5] = random.integers(0, K, len(labels[::5]))  # some are classified wrongly
    path = tmp_path / "network.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (torch.from_numpy(images[:2]),), str(path), dynamo=False, opset_version=17,
            input_names=["image"], dynamic_axes={"image": {0: "N"}},
        )  # fmt: skip
    graph = surgery.write_margin_graph(
        surgery.load_network(path), tmp_path / "margins.onnx", images.shape[1:], most=8
    )
    assert len(graph.layers) == 4
    state = MarginState.start(S, graph)
    measure_margins(graph, in_memory(images, labels), state, device="cpu", threads=1)

    modules = [module_of(layer.tensor) for layer in graph.layers[1:]]
    if isinstance(network[-1], nn.Softmax):
        network = network[:-1]
    margin, squares, variation = margins(network, modules, images, labels)
    scale = np.abs(margin).max()
    np.testing.assert_allclose(state.margin, margin, rtol=1e-4, atol=1e-5 * scale)
    np.testing.assert_allclose(state.squares, squares, rtol=2e-4)
    np.testing.assert_allclose(state.total_variation, variation, rtol=1e-5)
    ours = normalized_margins(state.margin, state.squares, state.total_variation)
    theirs = margin[:, None] / np.sqrt(1e-6 + squares) / variation
    for layer in range(4):
        found = compute_margin_features(ours[:, layer])
        # Compared as distances, with the margins' own tolerance: the logarithm of one near zero
        # magnifies rounding.
        exact = np.exp(features(theirs[:, layer]))
        atol = 1e-5 * np.abs(theirs[:, layer]).max()
        np.testing.assert_allclose(np.exp(list(vars_of(found))), exact, rtol=2e-4, atol=atol)


def vars_of(found):
    return (getattr(found, name) for name in MARGIN_FEATURES)


def in_memory(images, labels):
    """Samples as the ablation reads them, from arrays."""

    class Batch:
        skipped = ()

        def __init__(self, indices):
            self.indices, self.images = indices, images[indices]
            self.digests = np.zeros((len(indices), 32), np.uint8)

    def load(indices, size):
        for start in range(0, len(indices), size):
            yield Batch(indices[start : start + size])

    return data.Samples(np.arange(len(labels)), labels, load)
