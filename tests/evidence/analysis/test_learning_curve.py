import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_squared_error

from analyzer.errors import GapModelError
from analyzer.estimation.regression import ridge
from tools.evidence.analysis import learning_curve


def make_population(networks=40, *, noise=0.05):
    rng = np.random.default_rng(0)
    features = rng.uniform(0, 1, (networks, 2))
    gap = features @ [0.7, -0.4] + 0.4 + rng.normal(0, noise, networks)
    return {"zeta": features[:, 0], "kappa": features[:, 1]}, gap


def test_perfect_line_is_found_from_three_networks_on():
    columns, gap = make_population(noise=0)
    curve = learning_curve(columns, gap, sizes=(3, 10), repetitions=20)
    assert [(point.networks, point.tested) for point in curve] == [(3, 37), (10, 30)]
    assert max(max(point.rmse) for point in curve) < 1e-9
    assert min(min(point.mean_rmse) for point in curve) > 0.1


def test_error_falls_to_that_of_the_noise():
    curve = learning_curve(*make_population(200), sizes=(4, 10, 100))
    medians = [point.quantile(0.5) for point in curve]
    assert medians == sorted(medians, reverse=True)
    assert medians[-1] == pytest.approx(0.05, rel=0.15)
    # p = 2 features and an intercept: σ² (1 + (p + 1) / n) roughly.
    assert medians[1] == pytest.approx(0.05 * np.sqrt(1.3), rel=0.15)
    assert curve[0].quantile(0.9) > curve[0].quantile(0.1)


def test_errors_are_those_of_scikit_learn_on_the_same_draws():
    columns, gap = make_population(20)
    features = np.column_stack(list(columns.values()))
    curve = learning_curve(columns, gap, sizes=(5, 12), repetitions=4, seed=3)
    generator = np.random.default_rng(3)
    orders = [generator.permutation(20) for _ in range(4)]
    for point in curve:
        for order, rmse, mean_rmse in zip(orders, point.rmse, point.mean_rmse, strict=True):
            fitted, tested = np.split(order, [point.networks])
            line = LinearRegression().fit(features[fitted], gap[fitted])
            wanted = mean_squared_error(gap[tested], line.predict(features[tested]))
            assert rmse == pytest.approx(np.sqrt(wanted))
            guess = np.full(len(tested), gap[fitted].mean())
            assert mean_rmse == pytest.approx(np.sqrt(mean_squared_error(gap[tested], guess)))


def test_line_through_noise_is_worse_than_the_mean():
    columns, _ = make_population(60)
    gap = np.random.default_rng(1).normal(size=60)
    (point,) = learning_curve(columns, gap, sizes=(6,))
    assert point.quantile(0.5) > np.median(point.mean_rmse)


def test_sizes_that_leave_too_few_to_test_are_left_out():
    columns, gap = make_population(20)
    assert [point.networks for point in learning_curve(columns, gap, sizes=(30, 16, 17, 4))] == [
        4,
        16,
    ]
    with pytest.raises(GapModelError, match="20 networks leaves fewer than 4"):
        learning_curve(columns, gap, sizes=(17, 20))


def test_draws_depend_on_the_seed_alone():
    first, again, other = (
        learning_curve(*make_population(), sizes=(8,), repetitions=5, seed=seed)
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_other_fits_can_be_scored():
    columns, gap = make_population(noise=0.4)
    plain, penalised = (
        learning_curve(columns, gap, sizes=(4,), repetitions=50, **options)[0]
        for options in ({}, {"fit": ridge})
    )
    assert penalised.quantile(0.9) < plain.quantile(0.9)
