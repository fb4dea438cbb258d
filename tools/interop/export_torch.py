"""PyTorch: torchvision's networks through both exporters, counted with forward hooks."""

import argparse
import contextlib
import io
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from cells import Cell, export_all, labels_for, own_counts, save_samples
from torch import library, nn

CLASSES = 10
IMAGES = 12
OPSETS = {"dynamo": 20, "older": 17}


def _torchvision():
    """torchvision's definitions, also where its compiled operators are missing."""
    register = library.register_fake

    def tolerant(name, *args, **kwargs):
        if isinstance(name, str) and name.startswith("torchvision::"):
            return lambda function: function
        return register(name, *args, **kwargs)

    library.register_fake = tolerant
    import torchvision.models

    library.register_fake = register
    return torchvision.models


models = _torchvision()


def vgg16(batch_norm):
    """A fourth of the width; the classifier reads one position instead of 7 × 7."""
    from torchvision.models.vgg import VGG, cfgs, make_layers

    thin = [v if v == "M" else v // 4 for v in cfgs["D"]]
    network = VGG(make_layers(thin, batch_norm=batch_norm), num_classes=CLASSES)
    network.avgpool = nn.AdaptiveAvgPool2d(1)
    network.classifier[0] = nn.Linear(128, 64)
    network.classifier[3] = nn.Linear(64, 64)
    network.classifier[6] = nn.Linear(64, CLASSES)
    return network, network.features[-2]


class Residual(nn.Module):
    """Small enough for a fixture: a residual block with squeeze-and-excitation, SiLU last."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish())
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Mish())
        self.excite = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Sigmoid())
        self.top = nn.Sequential(nn.Conv2d(8, 16, 1), nn.BatchNorm2d(16), nn.SiLU())
        self.head = nn.Sequential(nn.Dropout(), nn.Linear(16, CLASSES))

    def forward(self, x):
        x = self.stem(x)
        inner = self.body(x)
        x = self.top(x + inner * self.excite(inner))
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1).view(x.size(0), -1))


class Branches(nn.Module):
    """Small enough for a fixture: branches that end in a concatenation, and two dense layers."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.PReLU(8), nn.MaxPool2d(2))
        self.one = nn.Sequential(nn.Conv2d(8, 6, 1), nn.GELU())
        self.two = nn.Sequential(nn.Conv2d(8, 10, 3, padding=1), nn.ELU())
        self.join = nn.Identity()
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(256, 24), nn.ReLU(), nn.Linear(24, CLASSES)
        )

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.join(torch.cat([self.one(x), self.two(x)], 1)))


def own(network_type, site):
    network = network_type()
    return network, network.get_submodule(site)


def whole(name, site, **options):
    """A network of torchvision at its real width, its site by module path."""
    network = getattr(models, name)(weights=None, num_classes=CLASSES, **options)
    return network, network.get_submodule(site)


def densenet121():
    network = models.DenseNet(8, (6, 12, 24, 16), 16, num_classes=CLASSES)
    return network, network.features


def regnet():
    from torchvision.models.regnet import BlockParams

    parameters = BlockParams.from_init_params(
        depth=13, w_0=24, w_a=36, w_m=2.5, group_width=8, se_ratio=0.25
    )
    network = models.RegNet(parameters, num_classes=CLASSES)
    return network, network.trunk_output


def convnext_tiny():
    """A fourth of the width. The block's last tensors bypass every activation."""
    from torchvision.models.convnext import CNBlockConfig

    blocks = [
        CNBlockConfig(24, 48, 3), CNBlockConfig(48, 96, 3), CNBlockConfig(96, 192, 9),
        CNBlockConfig(192, None, 3),
    ]  # fmt: skip
    network = models.ConvNeXt(blocks, layer_scale=0.5, num_classes=CLASSES)
    return network, network.classifier[0]


def vit():
    """Named site: the GELU inside the last block, with the residual going around it."""
    network = models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=CLASSES)
    nn.init.normal_(network.heads.head.weight, std=0.2)
    return network, network.encoder.layers[-1].mlp[1]


NETWORKS = {  # name: (builder, size, operator of the site)
    "small residual CNN": (partial(own, Residual, "top"), 16, "SiLU"),
    "small branches": (partial(own, Branches, "join"), 16, "Concat"),
    "VGG16": (partial(vgg16, False), 32, "Relu"),
    "VGG16-BN": (partial(vgg16, True), 32, "Relu"),
    "ResNet34": (partial(whole, "resnet34", "layer4.2"), 64, "Relu"),
    "ResNet50": (partial(whole, "resnet50", "layer4.2"), 64, "Relu"),
    "MobileNetV2": (partial(whole, "mobilenet_v2", "features.18", width_mult=0.25), 64, "Clip"),
    "MobileNetV3-small": (
        partial(whole, "mobilenet_v3_small", "features.12", width_mult=0.25), 64, "HardSwish",
    ),
    "MobileNetV3-large": (
        partial(whole, "mobilenet_v3_large", "features.16"), 64, "HardSwish",
    ),
    "DenseNet121": (densenet121, 64, "Relu"),
    "EfficientNet-B0": (partial(whole, "efficientnet_b0", "features.8"), 64, "SiLU"),
    "SqueezeNet": (partial(whole, "squeezenet1_1", "classifier.2"), 64, "Relu"),
    "GoogLeNet": (
        partial(whole, "googlenet", "inception5b", aux_logits=False, init_weights=False), 64,
        "Concat",
    ),
    "Inception v3": (
        partial(whole, "inception_v3", "Mixed_7c", aux_logits=False, init_weights=False), 96,
        "Concat",
    ),
    "ConvNeXt-Tiny": (convnext_tiny, 32, "Transpose"),
    "RegNetY": (regnet, 64, "Relu"),
    "ViT": (vit, 32, "GELU"),
}  # fmt: skip


def calibrated(build, size):
    """A network in evaluation mode whose classes differ between images."""
    torch.manual_seed(0)
    network, site = build()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            module.momentum = None  # the plain average of all batches
        elif isinstance(module, nn.Dropout):
            module.p = 0.0
    network.train()
    with torch.no_grad():
        for _ in range(4):
            network(torch.randn(16, 3, size, size))
        network.eval()
        last = [m for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1]
        if isinstance(last, nn.Linear):  # else one class would win for every image
            last.bias -= network(torch.randn(64, 3, size, size)).mean(dim=0)
    return network, site


def counted(network, site, images, labels, *, after=None, bypassed=False):
    """The sweep by forward hooks.

    Where nothing goes around the site, its recorded output takes the place of what it makes of
    a single image, so that the layers above it run for one image only.
    """
    x = torch.from_numpy(images)
    kept = {}

    def record(_module, _inputs, output):
        kept["values"] = output if after is None else after(output)

    with torch.no_grad():
        handle = site.register_forward_hook(record)
        network(x)
        handle.remove()
        values = kept["values"]
        last = values.ndim == 3  # tokens × channels
        axis = 2 if last else 1

        def scores(samples, keep, cached=not bypassed):
            spread = [len(keep), *[1] * (values.ndim - 1)]
            spread[axis] = -1
            mask = torch.from_numpy(np.ascontiguousarray(keep)).reshape(spread)

            def remove(_module, _inputs, output):
                own = values[samples] if cached else output if after is None else after(output)
                return torch.where(mask, own, 0)

            handle = site.register_forward_hook(remove)
            answer = network(x[:1] if cached else x[samples]).numpy()
            handle.remove()
            return answer

        keep = np.random.default_rng(1).random((4, values.shape[axis])) < 0.5
        plain = scores(np.arange(4), keep, cached=False)
        np.testing.assert_allclose(scores(np.arange(4), keep), plain, rtol=1e-3, atol=1e-4)
        return own_counts(values.numpy(), labels, scores, axis=axis)


def exported(network, path, exporter, size):
    x = torch.randn(2, 3, size, size)
    options = {"input_names": ["input"], "output_names": ["logits"]}
    options["opset_version"] = OPSETS[exporter]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            torch.onnx.export(
                network, (x,), path, dynamo=True, external_data=False, verbose=False,
                dynamic_shapes=({0: torch.export.Dim("batch")},), **options,
            )  # fmt: skip
        else:
            axes = {"input": {0: "batch"}, "logits": {0: "batch"}}
            torch.onnx.export(network, (x,), path, dynamo=False, dynamic_axes=axes, **options)


def build(name, exporter, place):
    builder, size, operator = NETWORKS[name]
    network, site = calibrated(builder, size)
    images = np.random.default_rng(2).normal(size=(IMAGES, 3, size, size)).astype(np.float32)
    with torch.no_grad():
        labels = labels_for(network(torch.from_numpy(images)).numpy())
    exported(network, place / "network.onnx", exporter, size)
    after = torch.relu if name == "DenseNet121" else None
    own = counted(network, site, images, labels, after=after, bypassed=name == "ViT")
    save_samples(place, images, labels, own)
    return Cell(
        source="PyTorch",
        network=name,
        exporter=f"dynamo={exporter == 'dynamo'} {torch.__version__.split('+')[0]}",
        hidden=64 if name == "ViT" else None,
        expected=operator,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("wanted", nargs="*")
    arguments = parser.parse_args()
    cells = {
        f"torch {exporter} {name}": partial(build, name, exporter)
        for name in NETWORKS
        for exporter in OPSETS
    }
    failed = Cell("PyTorch", "", f"torch.onnx {torch.__version__.split('+')[0]}")
    export_all(arguments.folder, cells, arguments.wanted, failed)


if __name__ == "__main__":
    main()
