import numpy as np
import pytest
from scipy import stats

from analyzer.errors import GapModelError
from analyzer.estimation import fit_gap_model, jackknife_plus, measure_coverage
from analyzer.estimation.intervals import student_t_quantile
from analyzer.estimation.least_squares import least_squares


def make_population(networks, *, seed, noise=0.05):
    rng = np.random.default_rng(seed)
    features = rng.uniform(0, 1, (networks, 2))
    return features, features @ [0.7, -0.4] + 0.4 + rng.normal(0, noise, networks)


def student_t_interval(features, target, new, coverage):
    """The textbook's interval, with a column of ones."""
    design = np.column_stack([features, np.ones(len(target))])
    gram = np.linalg.inv(design.T @ design)
    coefficients = gram @ design.T @ target
    degrees = len(target) - design.shape[1]
    variance = np.sum((target - design @ coefficients) ** 2) / degrees
    point = np.append(new, 1.0)
    half = stats.t.ppf((1 + coverage) / 2, degrees) * np.sqrt(variance * (1 + point @ gram @ point))
    return point @ coefficients - half, point @ coefficients + half


def test_quantile_is_that_of_students_t():
    assert student_t_quantile(0.9, 1) == pytest.approx(6.313751514675)
    assert student_t_quantile(0.95, 30) == pytest.approx(stats.t.ppf(0.975, 30))


def test_student_t_interval_of_a_gap_model_is_the_textbooks():
    features, gap = make_population(15, seed=2)
    gap_model = fit_gap_model(*features.T, gap, name="m", data="d", architecture="a", coverage=0.95)
    found = gap_model.estimate({"zeta": 0.3, "kappa": 0.8})
    low, high = student_t_interval(features, gap, np.array([0.3, 0.8]), 0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.estimate == pytest.approx((low + high) / 2)
    assert found.coverage == 0.95


def test_student_t_coverage_is_that_of_fitting_again_without_each_network():
    features, gap = make_population(25, seed=3)
    held = 0
    for network in range(25):
        others = np.arange(25) != network
        low, high = student_t_interval(features[others], gap[others], features[network], 0.7)
        held += low <= gap[network] <= high
    assert 0 < held < 25
    assert measure_coverage(features, gap, 0.7).student_t == held / 25


def test_jackknife_plus_is_that_of_its_definition():
    features, gap = make_population(19, seed=4)
    new = np.array([[0.2, 0.4], [0.9, 0.1]])
    low, high = jackknife_plus(features, gap, new, 0.9)
    lows, highs = [], []
    for network in range(19):
        others = np.arange(19) != network
        fit = least_squares(features[others], gap[others])
        error = abs(gap[network] - fit.predict(features[network]))
        lows.append(fit.predict(new) - error)
        highs.append(fit.predict(new) + error)
    # N = 19, α = 0.1: second smallest of the lower ends, eighteenth of the upper ends.
    assert low == pytest.approx(np.sort(lows, axis=0)[1])
    assert high == pytest.approx(np.sort(highs, axis=0)[17])


def test_jackknife_plus_needs_enough_networks_for_its_coverage():
    features, gap = make_population(9, seed=5)
    low, high = jackknife_plus(features, gap, features, 0.9)
    assert np.isfinite([low, high]).all()
    with pytest.raises(GapModelError, match="finite from 9 networks on; there are 8"):
        jackknife_plus(features[:8], gap[:8], features, 0.9)


@pytest.mark.parametrize("coverage", [0.5, 0.7, 0.8, 0.9, 0.95, 0.99])
def test_jackknife_plus_is_finite_from_the_number_that_its_refusal_names(coverage):
    features, gap = make_population(120, seed=6)
    with pytest.raises(GapModelError) as caught:
        jackknife_plus(features[:0], gap[:0], features, coverage)
    fewest = int(str(caught.value).split(" networks on")[0].split()[-1])
    jackknife_plus(features[:fewest], gap[:fewest], features, coverage)
    with pytest.raises(GapModelError, match=f"there are {fewest - 1}"):
        jackknife_plus(features[: fewest - 1], gap[: fewest - 1], features, coverage)


def test_coverage_that_cannot_be_measured_is_none():
    features, gap = make_population(9, seed=7)
    assert measure_coverage(features, gap, 0.9).student_t is not None
    assert measure_coverage(features, gap, 0.9).jackknife_plus is None
    assert measure_coverage(features[:4], gap[:4], 0.9).student_t is None


def test_coverage_on_a_perfect_line_is_complete():
    features, gap = make_population(20, seed=8, noise=0)
    measured = measure_coverage(features, gap, 0.9)
    assert (measured.student_t, measured.jackknife_plus) == (1.0, 1.0)


def test_network_that_cannot_be_left_out_counts_as_not_held():
    features = np.column_stack([np.append(np.zeros(19), 1.0), np.arange(20) % 7 / 10])
    gap = np.append(np.arange(19) % 2 / 100, 0.9)
    assert measure_coverage(features, gap, 0.999).student_t == 19 / 20


def test_intervals_hold_new_networks_as_often_as_they_promise():
    trials, nominal, held = 1500, 0.8, np.zeros(2)
    for trial in range(trials):
        features, gap = make_population(11, seed=100 + trial)
        low, high = student_t_interval(features[:10], gap[:10], features[10], nominal)
        assert low < high
        held[0] += low <= gap[10] <= high
        low, high = jackknife_plus(features[:10], gap[:10], features[10:], nominal)
        held[1] += low[0] <= gap[10] <= high[0]
    error = 4 * np.sqrt(nominal * (1 - nominal) / trials)
    assert abs(held[0] / trials - nominal) < error
    assert 2 * nominal - 1 < held[1] / trials
    assert abs(held[1] / trials - nominal) < 0.1
