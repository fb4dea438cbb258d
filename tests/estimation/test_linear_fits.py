import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV
from sklearn.preprocessing import StandardScaler

from analyzer.estimation.linear_fits import PENALTIES, least_squares, ridge


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


def penalised_plainly(features, target, penalty, scale, centre):
    """Coefficients and intercept from the normal equations with an unpenalised column of ones."""
    design = np.column_stack([(features - centre) / scale, np.ones(len(target))])
    weights = np.diag([*np.full(features.shape[1], penalty), 0.0])
    solution = np.linalg.solve(design.T @ design + weights, design.T @ target)
    coefficients = solution[:-1] / scale
    return coefficients, solution[-1] - centre @ coefficients


def test_ridge_is_that_of_scikit_learn_on_standardised_features(sample):
    features, target = sample
    features = features * [1, 100] + [3, -7]
    fit = ridge(features, target, penalties=[0.1])
    assert fit.penalty == 0.1
    scale, centre = features.std(axis=0), features.mean(axis=0)
    theirs = Ridge(alpha=0.1 * 20).fit((features - centre) / scale, target)
    assert fit.coefficients * scale == pytest.approx(theirs.coef_)
    assert fit.predict(features) == pytest.approx(theirs.predict((features - centre) / scale))
    assert fit.residuals == pytest.approx(target - fit.predict(features))
    assert 0 < fit.rank < 2


@pytest.mark.parametrize(("networks", "count"), [(20, 2), (54, 9), (84, 29), (20, 29), (9, 9)])
@pytest.mark.parametrize("noise", [0.01, 1.0])
def test_ridge_chooses_and_fits_as_scikit_learn_does_by_leaving_one_out(networks, count, noise):
    rng = np.random.default_rng(count)
    features = rng.normal(3, [10.0 ** (k % 3) for k in range(count)], (networks, count))
    target = features[:, 0] + noise * rng.normal(size=networks)
    fit = ridge(features, target)
    scaler = StandardScaler().fit(features)
    alphas = np.sort(PENALTIES)[::-1] * networks  # α = N·λ; of equally good ones the largest
    theirs = RidgeCV(alphas).fit(scaler.transform(features), target)
    assert fit.penalty == pytest.approx(theirs.alpha_ / networks, rel=1e-12)
    np.testing.assert_allclose(fit.coefficients * scaler.scale_, theirs.coef_, rtol=0, atol=1e-9)
    new = rng.normal(3, 5, (4, count))
    np.testing.assert_allclose(
        fit.predict(new), theirs.predict(scaler.transform(new)), rtol=1e-9, atol=1e-9
    )


def test_ridge_of_no_penalty_is_ordinary_least_squares(sample):
    plain, fit = least_squares(*sample), ridge(*sample, penalties=[1e-14])
    assert fit.coefficients == pytest.approx(plain.coefficients)
    assert fit.inverse_scatter == pytest.approx(plain.inverse_scatter)
    assert fit.leverage == pytest.approx(plain.leverage)
    assert fit.rank == pytest.approx(2)


def test_ridges_without_one_point_are_those_of_fitting_again_with_the_same_penalty(sample):
    features, target = sample
    fit = ridge(features, target, penalties=[0.3])
    new = np.array([[0.1, 0.9], [2.0, -1.0]])
    predictions, residuals = fit.left_out_predictions(new), fit.left_out_residuals()
    for point in range(20):
        others = np.arange(20) != point
        coefficients, intercept = penalised_plainly(
            features[others], target[others], 0.3 * 20, features.std(axis=0), features.mean(axis=0)
        )
        assert predictions[:, point] == pytest.approx(new @ coefficients + intercept)
        own = target[point] - (features[point] @ coefficients + intercept)
        assert residuals[point] == pytest.approx(own)


def test_ridge_takes_the_penalty_that_predicts_left_out_points_best(sample):
    features, target = sample
    errors = {
        penalty: float((ridge(features, target, [penalty]).left_out_residuals() ** 2).sum())
        for penalty in PENALTIES
    }
    assert ridge(features, target).penalty == min(errors, key=errors.get)
    noise = np.random.default_rng(3).normal(size=20)
    assert ridge(features, noise).penalty > ridge(features, target).penalty


def test_ridge_takes_more_features_than_points_and_constant_ones():
    rng = np.random.default_rng(4)
    features = np.column_stack([rng.normal(size=(8, 11)), np.full(8, 0.1)])
    target = features[:, 0] + 0.1 * rng.normal(size=8)
    fit = ridge(features, target)
    assert abs(fit.coefficients[-1]) < 1e-12
    assert np.isfinite(fit.coefficients).all()
    assert np.isfinite(fit.left_out_residuals()).all()
    assert np.linalg.eigvalsh(fit.inverse_scatter).min() > 0
