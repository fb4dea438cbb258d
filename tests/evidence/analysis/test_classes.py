import numpy as np
import pytest
from scipy.stats import pearsonr

from analyzer.errors import GapModelError
from analyzer.estimation import draw_splits, least_squares
from tools.evidence.analysis import class_scores


def make_classes(networks=12, classes=10, *, between=0.3, inside=0.0):
    """Gaps follow ζ between networks by one slope, within them by another."""
    rng = np.random.default_rng(0)
    names = np.repeat([f"n{i}" for i in range(networks)], classes)
    own = np.repeat(rng.normal(0, 1, networks), classes)
    each = rng.normal(0, 1, networks * classes)
    zeta = 0.5 + 0.1 * own + 0.05 * each
    kappa = rng.uniform(0.4, 0.6, len(zeta))
    noise = rng.normal(0, 0.03, len(zeta))
    return zeta, kappa, 0.4 + between * own + inside * each + noise, names.tolist()


def test_gaps_that_follow_only_between_networks_are_told_apart():
    found = class_scores(*make_classes())
    assert (found.networks, len(found.estimate)) == (12, 120)
    assert found.across["zeta"].r > 0.8
    assert abs(found.within["zeta"].r) < 0.2
    assert found.across["estimate"].r > 0.8
    assert list(found.across) == list(found.within) == ["zeta", "kappa", "estimate"]


def test_gaps_that_follow_within_networks_are_found():
    zeta, kappa, gap, names = make_classes(between=0, inside=-0.1)
    found = class_scores(zeta, kappa, gap, names)
    assert found.within["zeta"].r < -0.9
    assert found.across["zeta"].r == pytest.approx(pearsonr(zeta, gap).statistic)


def test_estimates_are_by_lines_that_saw_no_class_of_the_network():
    zeta, kappa, gap, names = make_classes(5, 4)
    features = np.column_stack([zeta, kappa])
    distinct = np.unique(names)
    estimates = []
    for folds in draw_splits(5, splits=1, seed=3).folds:
        row = np.empty(20)
        for fitted, tested in folds:
            known, asked = np.isin(names, distinct[fitted]), np.isin(names, distinct[tested])
            row[asked] = least_squares(features[known], gap[known]).predict(features[asked])
        estimates.append(row)
    found = class_scores(zeta, kappa, gap, names, seed=3)
    assert found.estimate == pytest.approx(np.mean(estimates, axis=0))


def test_classes_that_cannot_be_scored_are_refused():
    zeta, kappa, gap, names = make_classes(3, 4)
    with pytest.raises(GapModelError, match="12 classes come with the names of 11 networks"):
        class_scores(zeta, kappa, gap, names[:-1])
    with pytest.raises(GapModelError, match="two networks at least"):
        class_scores(zeta, kappa, gap, ["one"] * 12)
    with pytest.raises(GapModelError, match="gap of network 3 of 12 is nan"):
        class_scores(zeta, kappa, np.where(np.arange(12) == 2, np.nan, gap), names)
