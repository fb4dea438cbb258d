from dataclasses import replace

import numpy as np
import pytest

from model_zoo import population_training
from model_zoo.recipes import recipes


@pytest.fixture(scope="module")
def network_training(torch):
    """The module, which needs torch to be imported."""
    from model_zoo import network_training

    return network_training


@pytest.fixture(scope="module")
def train(tiny):
    """Images and clean labels of the population "tiny"."""
    return population_training.population_data(tiny).train(recipes(tiny)[0])


@pytest.mark.parametrize("cycle", [0, 3])
def test_watching_changes_no_bit_and_sees_every_epoch(torch, network_training, tiny, train, cycle):
    population = replace(tiny, cycle=cycle, enough=1.1, bfloat16=bool(cycle))
    recipe = replace(recipes(population)[0], batch_norm=True, dropout=0.3, augmentation=True)
    seen = []

    def watch(network):
        seen.append([weights.clone() for weights in network.state_dict().values()])
        network_training.accuracy(network, train)

    with population_training.one_thread():
        alone = network_training.train_network(population, recipe, train)
        watched = network_training.train_network(population, recipe, train, watch=watch)
    assert len(seen) == watched.epochs == alone.epochs > 1
    weights = alone.network.state_dict()
    for name, found in watched.network.state_dict().items():
        assert torch.equal(found, weights[name])
    assert all(map(torch.equal, seen[-1], weights.values()))
    assert not all(map(torch.equal, seen[0], weights.values()))


def test_epochs_of_a_beginning_that_was_given_up_are_watched_too(network_training, tiny, train):
    # At a step this small the network stays at chance, so that it starts again.
    population = replace(tiny, cycle=4, epochs=9, step=1e-9, gives_way=True)
    seen = []
    with population_training.one_thread():
        fit = network_training.train_network(
            population, recipes(population)[0], train, watch=seen.append
        )
    assert len(set(map(id, seen))) > 1
    assert len(seen) == fit.epochs


@pytest.mark.parametrize(("enough", "reached"), [(0.0, True), (1.1, False)])
def test_reached_is_what_the_recipe_asks_for(network_training, tiny, train, enough, reached):
    population = replace(tiny, cycle=2, epochs=2, enough=enough)
    with population_training.one_thread():
        fit = network_training.train_network(population, recipes(population)[0], train)
    assert fit.reached == reached


@pytest.mark.parametrize(("late", "epochs"), [(False, 1), (True, 4)])
def test_a_late_stop_is_at_the_end_of_the_cycle(network_training, tiny, train, late, epochs):
    recipe = replace(recipes(tiny)[0], cycle=4, most_epochs=4, enough=0.0, late=late)
    with population_training.one_thread():
        assert network_training.train_network(tiny, recipe, train).epochs == epochs


def test_adam_learns_too(network_training, tiny, train):
    recipe = replace(
        recipes(tiny)[0], optimizer="adam", step=0.1, cycle=20, most_epochs=20, width=32
    )
    with population_training.one_thread():
        fit = network_training.train_network(tiny, recipe, train)
    assert fit.train_accuracy > 0.6


def test_gray_and_color_images_are_fed_with_their_channels_first(network_training):
    gray = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    assert network_training.as_input(gray).shape == (2, 1, 3, 4)
    color = np.stack([gray, gray + 100, gray + 200], axis=3)
    fed = network_training.as_input(color)
    assert fed.shape == (2, 3, 3, 4)
    np.testing.assert_allclose(fed[:, 2].numpy(), (gray + 200) / 255, rtol=1e-6)
