import numpy as np
import pytest

from analyzer.estimation import draw_splits, fit_scores, score_features
from analyzer.measures.margins import (
    MARGIN_FEATURES,
    compute_margin_features,
    margin_column,
    normalized_margins,
)
from analyzer.measures.margins.margin_features import margin_obstacle


def test_distances_by_hand():
    found = normalized_margins(
        np.array([3.0, -1.0]), np.array([[9.0, 0.0], [0.25, 4.0]]), np.array([2.0, 0.5])
    )
    wanted = [
        [3 / np.sqrt(9 + 1e-6) / 2, 3 / 1e-3 / 0.5],
        [-1 / np.sqrt(0.25 + 1e-6) / 2, -1 / np.sqrt(4 + 1e-6) / 0.5],
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_five_numbers_by_hand():
    # Above 0: 1 2 2 3 3 4 7 50. Q1 = 2 and Q3 = 4.75, so the fences lie within −2.125 and 8.875.
    found = compute_margin_features(np.array([1.0, 2, 3, 4, 7, -5, 0, 3, 2, 50]))
    assert MARGIN_FEATURES == ("q1", "q2", "q3", "lower", "upper")
    wanted = np.log([2.0, 3.0, 4.75, 1.0, 7.0])
    assert [getattr(found, name) for name in MARGIN_FEATURES] == pytest.approx(list(wanted))


def test_a_single_sample_is_all_five_numbers():
    found = compute_margin_features(np.array([-1.0, np.e]))
    assert [getattr(found, name) for name in MARGIN_FEATURES] == pytest.approx([1.0] * 5)


@pytest.fixture
def columns():
    """Features of 60 networks at two layers, the first of which tells the gap."""
    rng = np.random.default_rng(0)
    names = [margin_column(layer, name) for layer in range(2) for name in MARGIN_FEATURES]
    return {name: rng.normal(size=60) for name in names}


def test_the_estimate_is_scored_on_the_splits_of_the_others(columns):
    assert next(iter(columns)) == "margin_0_q1"
    rng = np.random.default_rng(1)
    gap = 0.4 + 0.1 * columns["margin_0_q1"] + 0.01 * rng.normal(size=60)
    paper = dict(zip(("zeta", "kappa"), rng.random((2, 60)), strict=True))
    scores = fit_scores({**paper, **columns}, gap, splits=10, seed=3)
    assert scores["margins"] == score_features(columns, gap, draw_splits(60, splits=10, seed=3))
    assert scores["margins"].out_of_fold_r > 0.98 > scores["paper"].out_of_fold_r
    assert scores.to_dict()["margins"]["features"] == list(columns)
    assert fit_scores(paper, gap).by_features["margins"] is None
    few = {name: values[:11] for name, values in {**paper, **columns}.items()}
    scores = fit_scores(few, gap[:11])
    assert scores.by_features["margins"] is None
    assert "10 features need more than the 9 networks" in scores.obstacles["margins"]


def test_features_that_are_missing_are_named(columns):
    assert margin_obstacle(columns, 11) == ""
    columns["margin_1_upper"][:2] = np.nan
    assert "2 networks have no margin_1_upper" in margin_obstacle(columns, 54)
