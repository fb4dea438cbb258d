import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from analyzer.estimation.least_squares import least_squares


@pytest.fixture
def sample():
    rng = np.random.default_rng(1)
    features = rng.uniform(0, 1, (20, 2))
    return features, features @ [0.7, -0.4] + 0.2 + rng.normal(0, 0.05, 20)


def test_fit_is_that_of_the_normal_equations_and_of_scikit_learn(sample):
    features, target = sample
    fit = least_squares(features, target)
    design = np.column_stack([features, np.ones(len(target))])
    gram = np.linalg.inv(design.T @ design)
    a, b, c = gram @ design.T @ target
    assert fit.coefficients == pytest.approx([a, b])
    assert fit.intercept == pytest.approx(c)
    assert fit.leverage == pytest.approx(np.einsum("ni,ij,nj->n", design, gram, design))
    assert fit.inverse_scatter == pytest.approx(gram[:2, :2])
    residuals = target - design @ [a, b, c]
    assert fit.residuals == pytest.approx(residuals)
    assert (fit.rank, fit.degrees) == (2, 17)
    assert fit.residual_variance == pytest.approx(residuals @ residuals / 17)
    theirs = LinearRegression().fit(features, target)
    assert fit.coefficients == pytest.approx(theirs.coef_)
    assert fit.predict(features) == pytest.approx(theirs.predict(features))


def test_fits_without_one_point_are_those_of_fitting_again(sample):
    features, target = sample
    fit = least_squares(features, target)
    new = np.array([[0.1, 0.9], [0.5, 0.5], [2.0, -1.0]])
    predictions, residuals = fit.left_out_predictions(new), fit.left_out_residuals()
    for point in range(len(target)):
        others = np.arange(len(target)) != point
        again = least_squares(features[others], target[others])
        assert predictions[:, point] == pytest.approx(again.predict(new))
        assert residuals[point] == pytest.approx(target[point] - again.predict(features[point]))


def test_point_that_alone_decides_the_line_cannot_be_left_out():
    features = np.array([[0.0], [0.0], [0.0], [1.0]])
    fit = least_squares(features, np.array([0.1, 0.2, 0.3, 0.9]))
    assert np.isinf(fit.left_out_residuals()).tolist() == [False, False, False, True]
    predictions = fit.left_out_predictions(np.array([[0.5]]))
    assert np.isnan(predictions).tolist() == [[False, False, False, True]]


@pytest.mark.parametrize(
    "features",
    [
        np.column_stack([np.arange(6) / 10, 1 - np.arange(6) / 10]),
        np.column_stack([np.arange(6) / 10, np.full(6, 0.3)]),
    ],
)
def test_features_on_one_line_have_rank_one_and_still_predict(features):
    target = 0.5 * features[:, 0] + 0.1
    fit = least_squares(features, target)
    assert fit.rank == 1
    assert fit.predict(features) == pytest.approx(target)


def test_constant_features_predict_the_mean():
    fit = least_squares(np.full((4, 2), 0.1), np.array([0.0, 0.2, 0.4, 0.6]))
    assert fit.rank == 0
    assert fit.predict(np.array([[0.7, 0.2]])) == pytest.approx([0.3])
