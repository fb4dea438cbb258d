import json

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.linear_model import LinearRegression

from analyzer.errors import GapModelError
from analyzer.estimation import draw_splits, fit_scores, score_features


def make_population(networks=80, *, noise=0.03, signal=1.0):
    rng = np.random.default_rng(9)
    zeta, kappa = rng.uniform(0.1, 0.8, (2, networks))
    gap = signal * (0.7 * zeta - 0.3 * kappa) + 0.4 + rng.normal(0, noise, networks)
    return {"zeta": zeta, "kappa": kappa}, gap


def test_perfect_line_scores_perfectly():
    scores = fit_scores(*make_population(noise=0))
    assert (scores.networks, scores.held_out) == (80, 8)
    assert scores["paper"].fit_r == pytest.approx(1)
    assert scores["paper"].out_of_fold_r == pytest.approx(1)
    assert scores["paper"].out_of_fold_tau == pytest.approx(1)
    assert scores["paper"].out_of_fold_r2 == pytest.approx(1)
    assert max(scores["paper"].split_ssr) < 1e-20
    assert scores["paper"].split_r == pytest.approx([1] * 100)
    assert scores["zeta"].out_of_fold_r2 < 0.99


def test_progress_is_told_to_the_end():
    said = []
    fit_scores(*make_population(12), splits=3, progress=lambda *args: said.append(args))
    total = len(said)
    assert total >= 3 * (3 + 100)  # ζ and κ, and each alone; 10 folds ten times
    assert said == [("cross-validation", done, total) for done in range(1, total + 1)]


def test_noise_scores_nothing_out_of_fold():
    scores = fit_scores(*make_population(signal=0, noise=0.2))
    for features in (scores["paper"], scores["zeta"], scores["kappa"]):
        assert abs(features.out_of_fold_r) < 0.4
        assert features.out_of_fold_r2 < 0.05
    assert abs(scores.zeta_r) < 0.3


def test_scores_are_those_of_the_protocol_done_plainly():
    columns, gap = make_population()
    features = np.column_stack(list(columns.values()))
    scores = fit_scores(columns, gap, seed=5)
    splits = draw_splits(80, seed=5)
    ssr, r = [], []
    for train, test in splits.random:
        line = LinearRegression().fit(features[train], gap[train])
        ssr.append(np.sum((line.predict(features[test]) - gap[test]) ** 2))
        r.append(pearsonr(line.predict(features[train]), gap[train]).statistic)
    assert scores["paper"].split_ssr == pytest.approx(ssr)
    assert scores["paper"].split_r == pytest.approx(r)
    assert scores.zeta_r == pytest.approx(pearsonr(columns["zeta"], gap).statistic)
    assert scores.kappa_r == pytest.approx(pearsonr(columns["kappa"], gap).statistic)
    assert scores["zeta"].fit_r == pytest.approx(abs(scores.zeta_r))
    assert scores["kappa"].fit_r == pytest.approx(abs(scores.kappa_r))


def test_scores_depend_on_the_seed_alone():
    population = make_population(30)
    assert fit_scores(*population, seed=1) == fit_scores(*population, seed=1)
    other = fit_scores(*population, seed=2)
    assert fit_scores(*population, seed=1)["paper"].split_ssr != other["paper"].split_ssr


def test_splits_hold_out_a_tenth_and_folds_cover_every_network():
    splits = draw_splits(45, splits=7)
    assert [len(test) for _, test in splits.random] == [5] * 7
    assert len({tuple(test) for _, test in splits.random}) == 7
    for train, test in splits.random:
        assert sorted([*train, *test]) == list(range(45))
    assert len(splits.folds) == 10
    for folds in splits.folds:
        assert sorted(np.concatenate([test for _, test in folds])) == list(range(45))
        assert all(not set(train) & set(test) for train, test in folds)


@pytest.mark.parametrize("splits", [0, 10_001])
def test_splits_that_no_memory_holds_are_refused(splits):
    with pytest.raises(GapModelError, match=f"splits={splits} is not a number of splits from 1"):
        draw_splits(10, splits=splits)


def test_further_features_meet_the_same_splits():
    columns, gap = make_population(40)
    splits = draw_splits(40)
    scores = score_features({"margin": np.log(columns["zeta"]), **columns}, gap, splits)
    assert scores.features == ("margin", "zeta", "kappa")
    assert len(scores.out_of_fold) == 40
    assert len(scores.split_ssr) == 100


def test_small_population_is_scored_one_network_at_a_time():
    scores = fit_scores(*make_population(6))
    assert scores.held_out == 1
    assert np.isfinite(scores["paper"].out_of_fold).all()


def test_population_that_cannot_be_scored_is_refused():
    columns, gap = make_population(10)
    with pytest.raises(GapModelError, match="at least 4 networks"):
        fit_scores({name: values[:3] for name, values in columns.items()}, gap[:3])
    margin = np.where(np.arange(10) == 1, np.nan, columns["zeta"])
    with pytest.raises(GapModelError, match="margin of network 2 of 10 is nan"):
        score_features({"margin": margin}, gap, draw_splits(10))


def test_scores_are_json_values():
    scores = fit_scores(*make_population(20), splits=4)
    value = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert value["both"]["features"] == ["zeta", "kappa"]
    assert value["both"]["split_ssr_max"] == max(scores["paper"].split_ssr)
    assert len(value["kappa"]["split_r"]) == 4
