from dataclasses import replace

import pytest

from model_zoo.populations import POPULATIONS
from model_zoo.recipes import recipes


@pytest.fixture(scope="module")
def networks(torch):
    from model_zoo import networks

    return networks


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("population", POPULATIONS.values(), ids=POPULATIONS)
def test_networks_score_every_class(networks, torch, population, batch_norm):
    recipe = replace(recipes(population)[0], batch_norm=batch_norm)
    data_set = population.data_set
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(0)
        network = networks.build(population, recipe).eval()
        scores = network(torch.rand(2, data_set.colors, data_set.size, data_set.size))
    assert scores.shape == (2, data_set.classes)
    assert scores.isfinite().all()
    kinds = {type(module) for module in network.modules()}
    assert (torch.nn.BatchNorm2d in kinds) == batch_norm


@pytest.mark.parametrize(
    ("population", "convolutions"),
    # ResNet34: 1, 16 blocks of 2, and 3 where a stage changes the size.
    [("glyphs-vgg", 6), ("glyphs-mobilenet", 1 + 13 * 2), ("glyphs-resnet", 1 + 16 * 2 + 3)],
)
def test_networks_have_the_depth_of_their_models(networks, torch, population, convolutions):
    declared = POPULATIONS[population]
    network = networks.build(declared, recipes(declared)[0])
    found = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(found) == convolutions
    assert found[-1 if population != "glyphs-resnet" else -2].out_channels >= 256
