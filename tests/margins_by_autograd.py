"""The margin-based estimate as PyTorch computes it: hooks and autograd, no ONNX."""

import numpy as np
import torch
from torch import nn


def module_of(tensor: str) -> str:
    """The module that a tensor belongs to, from the name that the older exporter gives it.

    ``/layers/layers.5/relu/Relu_output_0`` is the output of ``layers.5.relu``.
    """
    path: list[str] = []
    for scope in tensor.strip("/").split("/")[:-1]:
        if path and scope.startswith(f"{path[-1]}."):
            path.pop()
        path.append(scope)
    return ".".join(path)


def margins(network: nn.Module, modules: list[str], images: np.ndarray, labels: np.ndarray):
    """f_i − f_j (S,), squared gradient norms (S, L) and total variations (L,); float64.

    L counts the images and the outputs of the modules.
    """
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    kept = {}
    for name in modules:
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: kept.__setitem__(name, output)
        )
    x = torch.from_numpy(images).requires_grad_()
    scores = network(x).flatten(1)
    own = torch.nn.functional.one_hot(torch.from_numpy(labels), scores.shape[1]).bool()
    rival = scores.masked_fill(own, -torch.inf).argmax(1)
    margin = scores[own] - scores.gather(1, rival[:, None])[:, 0]
    layers = [x, *(kept[name] for name in modules)]
    gradients = torch.autograd.grad(margin.sum(), layers)
    squares = [g.double().flatten(1).square().sum(1).numpy() for g in gradients]
    variation = [v.detach().double().flatten(1).var(0, correction=0).sum() for v in layers]
    return (
        margin.detach().double().numpy(),
        np.stack(squares, axis=1),
        np.sqrt(np.array([float(v) for v in variation])),
    )


def features(distances: np.ndarray) -> list[float]:
    """log of Q1, Q2, Q3 and the two fences, by torch's own quantile."""
    correct = torch.from_numpy(distances[distances > 0])
    q1, q2, q3 = torch.quantile(correct, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    found = [q1, q2, q3, correct[correct >= low].min(), correct[correct <= high].max()]
    return [float(torch.log(value)) for value in found]
