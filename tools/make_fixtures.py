"""Rebuilds tests/fixtures: thin networks of well-known topologies, as PyTorch exports them.

    python tools/make_fixtures.py [NAME ...]

Every topology is the real one, with few channels, written by both exporters with a fixed and
with a free batch axis. ``expected.npz`` holds what PyTorch itself answers, plain and with a
forward hook that zeroes channels at the module whose output is the default site. Needs torch
and onnxscript; the tests need neither.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "fixtures"
CLASSES = 10
IMAGES = 3  # images of 3 × 32 × 32 in expected.npz
OPSETS = {"dynamo": 20, "older": 17}


def conv(before, after, kernel=1, stride=1, groups=1, activation=nn.ReLU):
    """Convolution, batch norm and, unless None, an activation."""
    layers = [
        nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class VGG16(nn.Module):
    """Five stages of convolutions, each with a pool, and three fully connected layers."""

    def __init__(self, batch_norm):
        super().__init__()
        layers, before = [], 3
        for stage in ((2, 2), (4, 4), (8, 8, 8), (12, 12, 12), (12, 12, 12)):
            for after in stage:
                layers.append(nn.Conv2d(before, after, 3, padding=1))
                layers.extend([nn.BatchNorm2d(after)] if batch_norm else [])
                layers.append(nn.ReLU(inplace=True))
                before = after
            self.site = layers[-1]
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(12, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 16), nn.ReLU(True),
            nn.Dropout(), nn.Linear(16, CLASSES),
        )  # fmt: skip

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class BasicBlock(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.body = nn.Sequential(
            conv(before, after, 3, stride), conv(after, after, 3, activation=None)
        )
        same = before == after and stride == 1
        self.shortcut = nn.Identity() if same else conv(before, after, 1, stride, activation=None)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.body(x) + self.shortcut(x))


class ResNet34(nn.Module):
    """Stages of 3, 4, 6 and 3 residual blocks."""

    def __init__(self):
        super().__init__()
        layers = [conv(3, 4, 7, 2), nn.MaxPool2d(3, 2, 1)]
        before = 4
        for after, blocks in ((4, 3), (6, 4), (8, 6), (12, 3)):
            for block in range(blocks):
                stride = 2 if block == 0 and after > 4 else 1
                layers.append(BasicBlock(before, after, stride))
                before = after
        self.layers = nn.Sequential(*layers)
        self.site = self.layers[-1].relu
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(self.layers(x), 1)
        return self.fc(x.view(x.size(0), -1))


class InvertedResidual(nn.Module):
    def __init__(self, before, after, stride, expansion):
        super().__init__()
        inner = before * expansion
        layers = [conv(before, inner, activation=nn.ReLU6)] if expansion > 1 else []
        layers.append(conv(inner, inner, 3, stride, inner, activation=nn.ReLU6))
        self.body = nn.Sequential(*layers, conv(inner, after, activation=None))
        self.residual = before == after and stride == 1

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


class MobileNetV2(nn.Module):
    """Inverted residuals with linear bottlenecks; ReLU6."""

    def __init__(self):
        super().__init__()
        layers, before = [conv(3, 4, 3, 2, activation=nn.ReLU6)], 4
        settings = ((1, 2, 1, 1), (6, 3, 2, 2), (6, 3, 3, 2), (6, 4, 4, 2), (6, 4, 3, 1),
                    (6, 6, 3, 2), (6, 8, 1, 1))  # fmt: skip
        for expansion, after, blocks, stride in settings:
            for block in range(blocks):
                step = stride if block == 0 else 1
                layers.append(InvertedResidual(before, after, step, expansion))
                before = after
        layers.append(conv(before, 24, activation=nn.ReLU6))
        self.features = nn.Sequential(*layers)
        self.site = self.features[-1][-1]
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(24, CLASSES))

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, 2, 1)
        self.fc2 = nn.Conv2d(2, channels, 1)

    def forward(self, x):
        scale = nn.functional.adaptive_avg_pool2d(x, 1)
        return nn.functional.hardsigmoid(self.fc2(torch.relu(self.fc1(scale)))) * x


class MobileNetV3(nn.Module):
    """Inverted residuals with squeeze-and-excitation; HardSwish."""

    class Block(nn.Module):
        def __init__(self, before, inner, after, kernel, stride, excite, activation):
            super().__init__()
            self.body = nn.Sequential(
                conv(before, inner, activation=activation),
                conv(inner, inner, kernel, stride, inner, activation=activation),
                SqueezeExcite(inner) if excite else nn.Identity(),
                conv(inner, after, activation=None),
            )
            self.residual = before == after and stride == 1

        def forward(self, x):
            return x + self.body(x) if self.residual else self.body(x)

    def __init__(self):
        super().__init__()
        swish = nn.Hardswish
        self.features = nn.Sequential(
            conv(3, 4, 3, 2, activation=swish),
            self.Block(4, 4, 4, 3, 2, True, nn.ReLU),
            self.Block(4, 8, 6, 3, 2, False, nn.ReLU),
            self.Block(6, 8, 6, 3, 1, False, nn.ReLU),
            self.Block(6, 12, 8, 5, 2, True, swish),
            self.Block(8, 12, 8, 5, 1, True, swish),
            conv(8, 16, activation=swish),
        )
        self.site = self.features[-1][-1]
        self.classifier = nn.Sequential(
            nn.Linear(16, 16), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(16, CLASSES)
        )

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(self.features(x), 1)
        return self.classifier(torch.flatten(x, 1))


class DenseLayer(nn.Module):
    def __init__(self, before, growth):
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(before), nn.ReLU(), nn.Conv2d(before, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth), nn.ReLU(),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )  # fmt: skip

    def forward(self, parts):
        return self.body(torch.cat(parts, 1))


class DenseNet121(nn.Module):
    """Blocks of 6, 12, 24 and 16 layers, each reading all before it."""

    def __init__(self, growth=1):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 2, 7, 2), nn.MaxPool2d(3, 2, 1))
        self.blocks, self.transitions = nn.ModuleList(), nn.ModuleList()
        width = 2
        for index, layers in enumerate((6, 12, 24, 16)):
            block = nn.ModuleList(DenseLayer(width + i * growth, growth) for i in range(layers))
            self.blocks.append(block)
            width += layers * growth
            if index < 3:
                half = nn.Conv2d(width, width // 2, 1, bias=False)
                layers = nn.BatchNorm2d(width), nn.ReLU(), half, nn.AvgPool2d(2)
                self.transitions.append(nn.Sequential(*layers))
                width //= 2
        self.norm, self.site = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.classifier = nn.Linear(width, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        for index, block in enumerate(self.blocks):
            parts = [x]
            for layer in block:
                parts.append(layer(parts))
            x = torch.cat(parts, 1)
            if index < 3:
                x = self.transitions[index](x)
        x = nn.functional.adaptive_avg_pool2d(self.site(self.norm(x)), (1, 1))
        return self.classifier(torch.flatten(x, 1))


NETWORKS = {
    "vgg16": lambda: VGG16(batch_norm=False),
    "vgg16_bn": lambda: VGG16(batch_norm=True),
    "resnet34": ResNet34,
    "mobilenetv2": MobileNetV2,
    "mobilenetv3": MobileNetV3,
    "densenet121": DenseNet121,
}


def build(name, seed=0):
    """A network whose logits differ between images, in evaluation mode."""
    torch.manual_seed(seed)
    network = NETWORKS[name]()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    network.train()
    with torch.no_grad():
        for _ in range(20):
            network(torch.randn(32, 3, 32, 32))
    return network.eval()


def export(network, path, exporter, batch):
    """Write the network as ONNX; ``batch`` None leaves the batch axis free."""
    size = 2 if batch is None else batch
    x = torch.randn(size, 3, 32, 32)
    options = {"input_names": ["input"], "output_names": ["logits"]}
    options["opset_version"] = OPSETS[exporter]
    if exporter == "dynamo":
        dynamic = {"x": {0: torch.export.Dim("batch")}} if batch is None else None
        torch.onnx.export(
            network, (x,), path, dynamo=True, dynamic_shapes=dynamic, external_data=False,
            verbose=False, **options,
        )  # fmt: skip
    else:
        axes = {"input": {0: "batch"}, "logits": {0: "batch"}} if batch is None else None
        torch.onnx.export(network, (x,), path, dynamo=False, dynamic_axes=axes, **options)
    _strip(path)


def _strip(path):
    """Drop stack traces and other notes that only make the file larger."""
    model = onnx.load(path)
    for part in [*model.graph.node, *model.graph.value_info, *model.graph.input,
                 *model.graph.output, *model.graph.initializer, model.graph, model]:  # fmt: skip
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    onnx.save(model, path)


def answers(network, x, mask):
    """Logits with nothing removed, and with the channels removed where ``mask`` is 0."""

    def remove(_module, _inputs, output):
        return torch.where(mask[:, :, None, None] != 0, output, 0)

    with torch.no_grad():
        plain = network(x)
        hook = network.site.register_forward_hook(remove)
        masked = network(x)
        hook.remove()
    return plain, masked


def main(names):
    warnings.simplefilter("ignore")
    FOLDER.mkdir(parents=True, exist_ok=True)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(IMAGES, 3, 32, 32)))
    x = x.to(torch.float16).to(torch.float32)  # half the digits, a smaller file
    expected = {"input": x.numpy().astype(np.float16)}
    known = FOLDER / "expected.npz"
    if known.exists():
        with np.load(known) as arrays:
            expected = {**arrays, **expected}
    for name in names or NETWORKS:
        network = build(name)
        channels = {}
        network.site.register_forward_hook(lambda *a, into=channels: into.update(m=a[2].shape[1]))
        network(x)
        mask = np.random.default_rng(1).integers(0, 2, (IMAGES, channels["m"])).astype(np.float32)
        plain, masked = answers(network, x, torch.from_numpy(mask))
        expected.update({f"{name}_mask": mask, f"{name}_plain": plain.numpy()})
        expected[f"{name}_masked"] = masked.numpy()
        for exporter in OPSETS:
            for batch in (None, 1):
                kind = "free" if batch is None else "fixed"
                export(network, FOLDER / f"{name}-{exporter}-{kind}.onnx", exporter, batch)
    np.savez_compressed(known, **expected)


if __name__ == "__main__":
    main(sys.argv[1:])
