import numpy as np
import pytest
from scipy.stats import kendalltau, pearsonr
from sklearn.metrics import r2_score

from analyzer.errors import GapModelError
from tools.evidence.analysis import (
    FEWEST,
    agreement,
    agreement_by_level,
    agreement_within_levels,
    mean_agreement,
    r_interval,
)


@pytest.fixture
def population():
    rng = np.random.default_rng(0)
    gap = rng.uniform(0, 1, 30)
    return gap + rng.normal(0.05, 0.2, 30), gap


def test_agreement_is_that_of_the_textbooks(population):
    estimate, gap = population
    found = agreement(estimate, gap)
    assert found.networks == 30
    assert found.r == pytest.approx(pearsonr(estimate, gap).statistic)
    assert found.tau == pytest.approx(kendalltau(estimate, gap).statistic)
    assert found.r2 == pytest.approx(r2_score(gap, estimate))
    assert found.rmse == pytest.approx(np.sqrt(np.mean((estimate - gap) ** 2)))
    assert found.bias == pytest.approx(np.mean(estimate - gap))
    assert not found.too_few


def test_of_few_networks_only_errors_are_told():
    gap = np.linspace(0, 1, FEWEST - 1)
    found = agreement(gap + 0.1, gap)
    assert found.too_few
    assert (found.r, found.tau, found.r2) == (None, None, None)
    assert (found.rmse, found.bias) == (pytest.approx(0.1), pytest.approx(0.1))


def test_constant_side_has_no_correlation():
    gap = np.linspace(0, 1, 10)
    constant = agreement(np.full(10, 0.5), gap)
    assert (constant.r, constant.tau) == (None, None)
    assert constant.r2 == pytest.approx(0)
    assert agreement(gap, np.full(10, 0.5)).r2 is None


def test_levels_are_told_apart_in_natural_order():
    levels = ["10"] * 9 + ["2"] * 8 + ["none"] * 3
    gap = np.linspace(0, 1, 20)
    estimate = np.concatenate([gap[:9], -gap[9:17], gap[17:]])
    found = agreement_by_level(estimate, gap, levels)
    assert list(found) == ["2", "10", "none"]
    assert found["10"].r == pytest.approx(1)
    assert found["2"].r == pytest.approx(-1)
    assert found["none"].too_few
    assert sum(level.networks for level in found.values()) == 20


def test_pooled_agreement_that_is_only_between_levels_vanishes_within_them():
    levels = np.repeat(["0", "1"], 50)
    noise = np.random.default_rng(1).normal(0, 0.05, (2, 100))
    center = np.repeat([0.1, 0.9], 50)
    estimate, gap = center + noise[0], center + noise[1]
    assert agreement(estimate, gap).r > 0.98
    within = agreement_within_levels(estimate, gap, levels)
    assert abs(within.r) < 0.25
    assert within.bias == pytest.approx(0)


def test_agreement_within_levels_is_that_of_differences_to_their_means():
    estimate = np.array([0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.2, 0.4, 0.0])
    gap = np.array([0.0, 0.2, 0.9, 0.6, 0.8, 0.7, 0.3, 0.5, 0.4])
    levels = list("aaabbbccd")
    found = agreement_within_levels(estimate, gap, levels)
    own = [slice(0, 3), slice(3, 6), slice(6, 8)]
    plain = [np.concatenate([v[s] - v[s].mean() for s in own]) for v in (estimate, gap)]
    assert found.networks == 8
    assert found.r == pytest.approx(pearsonr(*plain).statistic)
    assert agreement_within_levels(estimate, gap, list("abcdefghi")) is None


def test_several_estimates_come_to_their_means(population):
    estimate, gap = population
    found = [agreement(estimate, gap), agreement(estimate**2, gap)]
    both = mean_agreement(found)
    assert both.networks == 30
    for name in ("r", "tau", "r2", "bias"):
        assert getattr(both, name) == pytest.approx(np.mean([getattr(one, name) for one in found]))
    squares = np.concatenate([estimate - gap, estimate**2 - gap]) ** 2
    assert both.rmse == pytest.approx(np.sqrt(squares.mean()))
    constant = mean_agreement([*found, agreement(np.full(30, 0.5), gap)])
    assert (constant.r, constant.tau) == (None, None)
    assert constant.r2 < both.r2


@pytest.mark.parametrize("coverage", [0.5, 0.95])
def test_interval_of_r_is_that_of_scipy(population, coverage):
    theirs = pearsonr(*population)
    wanted = theirs.confidence_interval(coverage)
    found = r_interval(theirs.statistic, 30, coverage)
    assert found == pytest.approx((wanted.low, wanted.high))


@pytest.mark.parametrize(
    ("estimate", "gap", "message"),
    [
        ([0.1, 0.2], [0.1], "one number per network"),
        ([], [], "one number per network"),
        ([0.1, np.nan], [0.1, 0.2], "estimate of network 2 of 2 is nan"),
        ([0.1, 0.2], [np.inf, 0.2], "gap of network 1 of 2 is inf"),
    ],
)
def test_what_cannot_be_compared_is_refused(estimate, gap, message):
    with pytest.raises(GapModelError, match=message):
        agreement(np.array(estimate), np.array(gap))


def test_levels_must_be_those_of_the_networks():
    with pytest.raises(GapModelError, match="3 levels for 2 networks"):
        agreement_by_level(np.array([0.1, 0.2]), np.array([0.1, 0.2]), ["a", "b", "c"])
