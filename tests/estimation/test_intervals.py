import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from analyzer.errors import GapModelError
from analyzer.estimation import fit_gap_model, jackknife_plus, measure_coverage
from analyzer.estimation.intervals import left_out_jackknife_plus, student_t_quantile
from analyzer.estimation.linear_fits import PENALTIES, least_squares, ridge


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
    columns = dict(zip(("zeta", "kappa"), features.T, strict=True))
    words = {"name": "m", "data": "d", "architecture": "a"}
    gap_model = fit_gap_model(columns, gap, coverage=0.95, **words)
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


def fit_by_scikit_learn(fit, features, target):
    """A line, or a ridge that scales and chooses its penalty on these points alone."""
    if fit is least_squares:
        return LinearRegression().fit(features, target).predict
    penalties = np.sort(PENALTIES)[::-1] * len(target)  # of equals the largest
    return make_pipeline(StandardScaler(), RidgeCV(penalties)).fit(features, target).predict


def jackknife_plus_plainly(fit, features, target, new, coverage):
    """Barber et al. (2021), Section 2: every fit made again, its choices too."""
    ends = []
    for point in range(len(target)):
        others = np.arange(len(target)) != point
        predict = fit_by_scikit_learn(fit, features[others], target[others])
        error = abs(target[point] - predict(features[[point]])[0])
        ends.append([predict(new) - error, predict(new) + error])
    low, high = np.sort(ends, axis=0).transpose(1, 0, 2)  # (N, Q) each
    rank = int(np.ceil(round(coverage * (len(target) + 1), 9)))
    return low[len(target) - rank], high[rank - 1]


@pytest.mark.parametrize("fit", [least_squares, ridge])
@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_jackknife_plus_is_that_of_its_definition(fit, coverage):
    features, gap = make_population(19, seed=4)
    features = np.column_stack([features, np.random.default_rng(0).normal(size=(19, 4))])
    new = 1.3 * features[:2] - 0.2
    found = jackknife_plus(features, gap, new, coverage, fit=fit)
    wanted = jackknife_plus_plainly(fit, features, gap, new, coverage)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("fit", [least_squares, ridge])
def test_intervals_of_networks_left_out_are_made_from_all_the_others(fit):
    features, gap = make_population(13, seed=9, noise=0.3)
    levels = (0.6, 0.99, 0.9)
    found = left_out_jackknife_plus(features, gap, levels, fit=fit)
    assert found[1] is None
    for level, ends in zip(levels[::2], found[::2], strict=True):
        for network in range(13):
            others = np.arange(13) != network
            wanted = jackknife_plus_plainly(
                fit, features[others], gap[others], features[[network]], level
            )
            assert (ends[0][network], ends[1][network]) == pytest.approx(
                (wanted[0][0], wanted[1][0]), rel=1e-6
            )


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
