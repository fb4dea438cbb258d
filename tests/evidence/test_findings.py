"""Slices of a made-up population, against the agreement of each part."""

import numpy as np
import pytest

from tools.evidence.analysis import agreement
from tools.evidence.findings import slices
from tools.evidence.tables import Table

N, REPETITIONS = 40, 3


@pytest.fixture
def networks():
    """Two corruption levels; gaps follow ζ between them and not within; all with batch norm."""
    random = np.random.default_rng(0)
    corruption = np.arange(N) % 2 * 0.4
    columns = {
        "corruption": corruption,
        "batch_norm": [True] * N,
        "augmentation": np.arange(N) < 25,
        "gap": 0.2 + corruption + random.normal(0, 0.05, N),
        "zeta": 0.5 + corruption + random.normal(0, 0.05, N),
        "kappa": random.uniform(0.2, 0.4, N),
    }
    return Table("made up", {name: tuple(map(str, values)) for name, values in columns.items()})


@pytest.fixture
def estimates(networks):
    noise = np.random.default_rng(1).normal(0, 0.1, (REPETITIONS, N))
    return {"both": networks.numbers("gap") + noise}


def test_parts_are_the_networks_of_a_level(networks, estimates):
    found = {one.name: one for one in slices(networks, estimates)}
    assert list(found) == [
        "all",
        "corruption 0 %",
        "corruption 40 %",
        "without augmentation",
        "with augmentation",
        "within corruption levels, pooled",
    ]  # batch norm, which all have, is no part
    gap, corruption = networks.numbers("gap"), networks.numbers("corruption")
    part = found["corruption 40 %"]
    chosen = corruption == 0.4
    assert part.zeta == agreement(networks.numbers("zeta")[chosen], gap[chosen])
    assert found["with augmentation"].kappa == agreement(networks.numbers("kappa")[:25], gap[:25])
    assert found["all"].zeta.r > 0.9
    assert abs(found["within corruption levels, pooled"].zeta.r) < 0.4
    assert [one.pooled for one in found.values()] == [False] * 5 + [True]


def test_estimates_are_scored_one_repetition_at_a_time(networks, estimates):
    everything = slices(networks, estimates)[0].estimates["both"]
    own = [agreement(row, networks.numbers("gap")) for row in estimates["both"]]
    assert everything.r == pytest.approx(np.mean([one.r for one in own]))
    assert everything.rmse == pytest.approx(np.sqrt(np.mean([one.rmse**2 for one in own])))
    together = agreement(estimates["both"].mean(axis=0), networks.numbers("gap"))
    assert together.rmse < 0.75 * everything.rmse  # the mean of several is better than any one
