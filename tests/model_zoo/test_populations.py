from collections import Counter
from dataclasses import replace

import pytest

from model_zoo.populations import CORRUPTIONS, POPULATIONS, labels_key, recipes

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


def test_labels_key():
    assert [labels_key(c) for c in CORRUPTIONS] == [
        "labels_c0", "labels_c20", "labels_c40", "labels_c60", "labels_c80", "labels_c100",
    ]  # fmt: skip
