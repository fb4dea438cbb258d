import dataclasses
import json

import numpy as np
import pytest

from analyzer.errors import GapModelError
from analyzer.estimation import (
    FEATURE_SETS,
    PopulationTable,
    draw_splits,
    fit_population,
    fit_scores,
    jackknife_plus,
    read_gap_model,
    ridge,
    score_features,
    write_gap_model,
)
from analyzer.measures.ablation.curve_features import CURVE_FEATURES

WORDS = {"name": "m", "data": "digits", "architecture": "CNN"}


def make_population(networks=40, *, seed=0, margins=False):
    rng = np.random.default_rng(seed)
    features = {name: rng.uniform(0, 1, networks) for name in CURVE_FEATURES}
    if margins:
        features["margin_0_q1"] = rng.normal(-3, 1, networks)
    n0, n0_r = features["curve_n0"], features["curve_n0_r"]
    gap = 0.4 * n0 - 0.1 * n0_r + 0.3 * features["score_q25"] + rng.normal(0, 0.02, networks)
    unknown = np.full(networks, np.nan)
    return PopulationTable(
        name=tuple(map(str, range(networks))),
        zeta=(n0 + 1 - n0_r) / 2,
        kappa=rng.uniform(0.2, 0.9, networks),
        train_accuracy=unknown,
        test_accuracy=unknown,
        gap=gap,
        further={},
        features=features,
    )


@pytest.fixture(scope="module")
def population():
    return make_population()


@pytest.fixture(scope="module")
def gap_model(population):
    return fit_population(population, features="extended", **WORDS)


def test_gap_model_is_the_ridge_on_all_features(gap_model, population):
    features = np.column_stack([population.features[name] for name in CURVE_FEATURES])
    line = ridge(features, population.gap)
    assert gap_model.features == CURVE_FEATURES
    assert gap_model.coefficients == pytest.approx(line.coefficients)
    assert gap_model.penalty == line.penalty > 0
    assert gap_model.feature_means == pytest.approx(features.mean(axis=0))
    assert gap_model.feature_scales == pytest.approx(features.std(axis=0))
    assert gap_model.t_quantile is None
    assert gap_model.coverage.student_t is None
    assert 0.7 < gap_model.coverage.jackknife_plus <= 1


def test_estimate_and_interval_are_those_of_jackknife_plus(gap_model, population):
    features = np.column_stack([population.features[name] for name in CURVE_FEATURES])
    new = make_population(5, seed=1)
    points = np.column_stack([new.features[name] for name in CURVE_FEATURES])
    low, high = jackknife_plus(features, population.gap, points, 0.9, fit=ridge)
    for row in range(5):
        found = gap_model.estimate(new.values(row))
        line = ridge(features, population.gap)
        assert found.estimate == pytest.approx(float(line.predict(points[row])))
        assert (found.low, found.high) == pytest.approx((low[row], high[row]))
        assert found.low < found.estimate < found.high
        assert found.coverage == 0.9


def test_every_network_of_the_population_is_inside_and_others_are_named(gap_model, population):
    assert all(gap_model.estimate(population.values(row)).inside_range for row in range(40))
    values = population.values(0) | {"score_q10": 1.5, "curve_n0": -0.25}
    found = gap_model.estimate(values)
    assert not found.inside_range
    assert found.warnings[1].startswith("The feature curve_n0 = -0.25 is outside the range")
    assert found.warnings[2].startswith("The feature score_q10 = 1.5 is outside the range")
    many = gap_model.estimate(dict.fromkeys(CURVE_FEATURES, 9.0)).warnings
    assert f"{len(CURVE_FEATURES)} of {len(CURVE_FEATURES)} features" in many[1]
    assert ", ".join(CURVE_FEATURES) in many[1]
    least = {
        name: low for name, (low, _) in zip(CURVE_FEATURES, gap_model.feature_ranges, strict=True)
    }
    (_, sentence, *_) = gap_model.estimate(least).warnings
    assert sentence.startswith("All features are within their ranges, but no network")


def test_gap_model_comes_back_as_it_was(gap_model, population, tmp_path):
    path = tmp_path / "gap_model.json"
    written = write_gap_model(gap_model, path)
    read = read_gap_model(path)
    assert read == written == gap_model
    values = population.values(7)
    assert read.estimate(values) == gap_model.estimate(values)
    content = json.loads(path.read_text())
    assert list(content["coefficients"]) == list(content["scales"]) == list(CURVE_FEATURES)
    assert len(content["interval"]["left_out"]["coefficients"]) == 40
    assert content["interval"]["t_quantile"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(features=["curve_n0", "curve_n0"]), "'features' must be names"),
        (lambda c: c.update(features=["curve_depth"]), "knows, not 'curve_depth'"),
        (lambda c: c.update(features=[]), "'features' must be names"),
        (lambda c: c["scales"].pop("curve_n0"), "has no field 'scales.curve_n0'"),
        (lambda c: c.update(penalty=-1), "'penalty' must be a number of at least 0"),
        (lambda c: c["interval"].update(left_out=None), "'interval.t_quantile' must be a number"),
        (
            lambda c: c["interval"]["left_out"]["coefficients"].pop(),
            "'interval.left_out.coefficients' must be 40 rows of 9 numbers",
        ),
        (
            lambda c: c["interval"]["left_out"].pop("intercepts"),
            "has no field 'interval.left_out.intercepts'",
        ),
        (
            lambda c: c["interval"]["left_out"]["residuals"].append(0),
            "'interval.left_out.residuals' must be 40 numbers",
        ),
        (
            lambda c: c["interval"].update(coverage=0.99),
            "'interval.coverage' must be what 40 networks can give",
        ),
    ],
)
def test_field_that_is_wrong_is_named(gap_model, tmp_path, change, message):
    path = tmp_path / "gap_model.json"
    write_gap_model(gap_model, path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(GapModelError, match=message):
        read_gap_model(path)


def test_gap_model_of_margins_asks_for_them(tmp_path):
    gap_model = fit_population(make_population(margins=True), features="extended", **WORDS)
    assert gap_model.features == (*CURVE_FEATURES, "margin_0_q1")
    assert any(name.startswith("margin_") for name in gap_model.features)
    paper = fit_population(make_population(margins=True), **WORDS)
    assert not any(name.startswith("margin_") for name in paper.features)
    with pytest.raises(GapModelError, match=r"needs margin_0_q1.*audit with margins"):
        gap_model.estimate(make_population().values(0))
    written = write_gap_model(gap_model, tmp_path / "gap_model.json")
    assert read_gap_model(tmp_path / "gap_model.json") == written


def test_constant_feature_is_no_harm(population):
    population = make_population()
    population.features["score_q90"][:] = 0.5
    gap_model = fit_population(population, features="extended", **WORDS)
    assert gap_model.coefficients[-1] == pytest.approx(0, abs=1e-12)
    changed = population.values(0) | {"score_q90": 0.6}
    assert gap_model.estimate(changed).warnings[1].startswith("The feature score_q90 = 0.6 is")


def test_extended_features_are_scored_beside_the_papers_on_the_same_splits(population):
    extended = FEATURE_SETS["extended"].columns(population)
    scores = fit_scores(population.columns, population.gap, features="extended", splits=9)
    splits = draw_splits(40, splits=9)
    assert scores["extended"] == score_features(extended, population.gap, splits, fit=ridge)
    assert scores["extended"].out_of_fold_r > 0.98 > scores["paper"].out_of_fold_r
    train, test = splits.random[3]
    columns = np.column_stack(list(extended.values()))
    line = ridge(columns[train], population.gap[train])
    error = line.predict(columns[test]) - population.gap[test]
    assert scores["extended"].split_ssr[3] == pytest.approx(error @ error)
    assert scores.to_dict()["extended"]["features"] == list(CURVE_FEATURES)
    plain = fit_scores(population.columns, population.gap, splits=9)
    assert plain.to_dict()["extended"] is None
    assert plain["paper"] == scores["paper"]


def test_gap_model_of_the_area_is_a_line_through_it(population):
    area = population.features["curve_area_ascending"]
    population = dataclasses.replace(population, gap=0.9 - 0.8 * area)
    gap_model = fit_population(population, features="area", **WORDS)
    assert gap_model.features == ("curve_area_ascending",)
    slope, intercept = np.polyfit(area, population.gap, 1)
    assert gap_model.coefficients[0] == pytest.approx(slope, rel=1e-3)
    estimate = gap_model.estimate({"curve_area_ascending": 0.3, "zeta": 7.0})
    assert estimate.estimate == pytest.approx(0.3 * slope + intercept, abs=1e-3)
    assert estimate.low <= estimate.estimate <= estimate.high


@pytest.mark.parametrize(
    ("networks", "options", "message"),
    [
        (8, {}, "needs 9 networks with a known gap; there are 8"),
        (20, {"coverage": 0.99}, "needs 99 networks"),
        (20, {"coverage": 1.5}, "between 0 and 1"),
        (20, {"features": "all"}, "'all': give paper, area, extended"),
    ],
)
def test_population_that_cannot_be_fitted_is_refused(networks, options, message):
    with pytest.raises(GapModelError, match=message):
        fit_population(make_population(networks), **{"features": "extended"} | options, **WORDS)
