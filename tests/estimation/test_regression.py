import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from analyzer.errors import GapModelError
from analyzer.estimation import fit_gap_model, jackknife_plus, measure_coverage
from analyzer.estimation.regression import (
    PENALTIES,
    check_coverage,
    least_squares,
    left_out_jackknife_plus,
    ridge,
    student_t_quantile,
)


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


def penalised_plainly(features, target, penalty, scale, center):
    """Coefficients and intercept from the normal equations with an unpenalised column of ones."""
    design = np.column_stack([(features - center) / scale, np.ones(len(target))])
    weights = np.diag([*np.full(features.shape[1], penalty), 0.0])
    solution = np.linalg.solve(design.T @ design + weights, design.T @ target)
    coefficients = solution[:-1] / scale
    return coefficients, solution[-1] - center @ coefficients


def test_ridge_is_that_of_scikit_learn_on_standardised_features(sample):
    features, target = sample
    features = features * [1, 100] + [3, -7]
    fit = ridge(features, target, penalties=[0.1])
    assert fit.penalty == 0.1
    scale, center = features.std(axis=0), features.mean(axis=0)
    theirs = Ridge(alpha=0.1 * 20).fit((features - center) / scale, target)
    assert fit.coefficients * scale == pytest.approx(theirs.coef_)
    assert fit.predict(features) == pytest.approx(theirs.predict((features - center) / scale))
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


@pytest.mark.parametrize("coverage", [0, 1, 1 - 2**-53, float("nan")])
def test_a_coverage_without_a_finite_interval_is_refused(coverage):
    with pytest.raises(GapModelError, match="coverage of the interval"):
        check_coverage(coverage)


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


def jackknife_plus_plainly(fit, features, target, new, *coverages):
    """Barber et al. (2021), Section 2: every fit made again, its choices too."""
    ends = []
    for point in range(len(target)):
        others = np.arange(len(target)) != point
        predict = fit_by_scikit_learn(fit, features[others], target[others])
        error = abs(target[point] - predict(features[[point]])[0])
        ends.append([predict(new) - error, predict(new) + error])
    low, high = np.sort(ends, axis=0).transpose(1, 0, 2)  # (N, Q) each
    ranks = [int(np.ceil(round(coverage * (len(target) + 1), 9))) for coverage in coverages]
    return [(low[len(target) - rank], high[rank - 1]) for rank in ranks]


@pytest.mark.parametrize("fit", [least_squares, ridge])
@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_jackknife_plus_is_that_of_its_definition(fit, coverage):
    features, gap = make_population(19, seed=4)
    features = np.column_stack([features, np.random.default_rng(0).normal(size=(19, 4))])
    new = 1.3 * features[:2] - 0.2
    found = jackknife_plus(features, gap, new, coverage, fit=fit)
    (wanted,) = jackknife_plus_plainly(fit, features, gap, new, coverage)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("fit", [least_squares, ridge])
def test_intervals_of_networks_left_out_are_made_from_all_the_others(fit):
    features, gap = make_population(13, seed=9, noise=0.3)
    levels = (0.6, 0.99, 0.9)
    found = left_out_jackknife_plus(features, gap, levels, fit=fit)
    assert found[1] is None
    for network in range(13):
        others = np.arange(13) != network
        each = jackknife_plus_plainly(
            fit, features[others], gap[others], features[[network]], *levels[::2]
        )
        for ends, wanted in zip(found[::2], each, strict=True):
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
