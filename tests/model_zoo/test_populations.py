from collections import Counter
from dataclasses import replace

import pytest

from model_zoo.populations import POPULATIONS
from model_zoo.recipes import CORRUPTIONS, images_key, labels_key, recipes

PLAIN = {"batch_norm": False, "dropout": 0.0, "momentum": 0.9, "weight_decay": 0.0}


@pytest.mark.parametrize("population", POPULATIONS.values(), ids=POPULATIONS)
def test_recipes_balance_the_corruption_levels(population):
    drawn = recipes(population)
    assert len(drawn) == population.networks
    assert len({recipe.name for recipe in drawn}) == len(drawn)
    assert len({recipe.seed for recipe in drawn}) == len(drawn)
    counts = Counter(recipe.corruption for recipe in drawn)
    assert set(counts) == set(population.corruptions)
    assert len(set(counts.values())) == 1


def test_recipes_cover_the_grid():
    drawn = recipes(POPULATIONS["digits"])
    assert len(drawn) >= 48
    for field, choices in {
        "batch_norm": {False, True},
        "dropout": {0.0, 0.3, 0.5},
        "momentum": {0.0, 0.5, 0.9},
        "weight_decay": {0.0, 1e-4},
        "batch_size": {32, 64, 128},
        "augmentation": {False, True},
        "width": {32, 40, 48, 56, 64},
    }.items():
        assert {getattr(recipe, field) for recipe in drawn} == choices


def test_first_recipe_of_each_level_is_the_same_plain_one():
    first = recipes(POPULATIONS["digits"])[: len(CORRUPTIONS)]
    assert [recipe.corruption for recipe in first] == list(CORRUPTIONS)
    alike = {replace(recipe, name="", corruption=0.0, seed=0) for recipe in first}
    assert len(alike) == 1
    assert {field: getattr(first[0], field) for field in PLAIN} == PLAIN


def test_levels_begin_with_their_plain_recipes():
    population = POPULATIONS["glyphs-labels"]
    drawn = recipes(population)
    levels = len(population.corruptions)
    for turn, batch_norm in enumerate(population.plain):
        same = drawn[turn * levels : (turn + 1) * levels]
        assert [recipe.corruption for recipe in same] == list(population.corruptions)
        alike = {replace(recipe, name="", corruption=0.0, seed=0) for recipe in same}
        assert len(alike) == 1
        wanted = PLAIN | {"batch_norm": batch_norm}
        assert {field: getattr(same[0], field) for field in PLAIN} == wanted


def test_first_recipes_do_not_depend_on_how_many_follow():
    population = POPULATIONS["digits"]
    more = replace(population, networks=population.networks + 12)
    assert recipes(more)[: population.networks] == recipes(population)


DESIGNED = [population for population in POPULATIONS.values() if population.designed]
CLEAN = ("digits-clean", "fashion-clean", "glyphs-clean")


@pytest.mark.parametrize("population", DESIGNED, ids=lambda population: population.name)
def test_a_design_is_of_all_networks_and_names_them_apart(population):
    assert len(population.designed) == population.networks
    assert len({own["name"] for own in population.designed}) == population.networks
    fewer = replace(population, networks=5)
    assert recipes(fewer) == recipes(population)[:5]


@pytest.mark.parametrize("name", CLEAN)
def test_clean_populations_have_few_images_and_many_alike(name):
    population = POPULATIONS[name]
    drawn = recipes(population)
    counts = Counter(recipe.train_samples for recipe in drawn)
    assert len(set(counts.values())) == 1
    assert tuple(sorted(counts)) == population.train_sizes
    assert population.train_sizes[-1] == population.train_samples
    assert population.train_sizes[0] == 3 * population.data_set.classes
    assert {recipe.corruption for recipe in drawn} == {0.0}
    assert {recipe.enough for recipe in drawn} == {0.85, 0.97}
    for field, number in {
        "batch_norm": 2, "dropout": 3, "weight_decay": 3, "augmentation": 2, "late": 2,
        "architecture": 3, "width": 3, "batch_size": 3,
    }.items():  # fmt: skip
        assert len({getattr(recipe, field) for recipe in drawn}) == number


def test_there_are_a_hundred_clean_networks():
    assert sum(POPULATIONS[name].networks for name in CLEAN) >= 100


def test_task_8_is_a_whole_grid():
    drawn = recipes(POPULATIONS["fashion-task8"])
    fields = ("width", "dropout", "architecture", "step", "batch_size")
    values = [sorted({getattr(recipe, field) for recipe in drawn}) for field in fields]
    assert values[:3] == [[256, 512], [0.0, 0.5], ["blocks1", "blocks3"]]
    assert values[3] == pytest.approx([0.01, 0.1])  # rates of 0.001 and 0.01 at a momentum of 0.9
    assert values[4] == [32, 512]
    points = {tuple(getattr(recipe, field) for field in fields) for recipe in drawn}
    assert len(points) == len(drawn) == 32


def test_names_in_train_npz_of_several_sizes():
    assert [images_key(samples, 1000) for samples in (1000, 30)] == ["images", "images_n30"]
    assert labels_key(0.0, 1000, 1000) == labels_key(0.0) == "labels_c0"
    assert labels_key(0.2, 30, 1000) == "labels_c20_n30"


def test_labels_key():
    assert [labels_key(c) for c in CORRUPTIONS] == [
        "labels_c0", "labels_c20", "labels_c40", "labels_c60", "labels_c80", "labels_c100",
    ]  # fmt: skip
