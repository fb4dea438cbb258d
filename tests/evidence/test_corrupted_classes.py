import numpy as np
import pytest

from tools.evidence.corrupted_classes import confused, detections
from tools.evidence.tables import Table


def test_only_chosen_classes_get_wrong_samples():
    true = np.repeat(np.arange(6), 50)
    chosen = np.array([1, 4])
    given = confused(true, chosen, 0.4, np.random.default_rng(0))
    wrong = given != true
    assert set(true[wrong]) == set(given[wrong]) == {1, 4}
    assert 0.1 < wrong[np.isin(true, chosen)].mean() < 0.3  # half of the drawn stay what they were
    np.testing.assert_array_equal(confused(true, chosen, 0.0, np.random.default_rng(0)), true)


@pytest.fixture
def table():
    """Two networks of five classes, one or two of them corrupted."""
    columns = {
        "network": "a a a a a b b b b b",
        "batch_norm": "False False False False False True True True True True",
        "corrupted": "True False False False False True True False False False",
        "zeta": "0.9 0.1 0.2 0.3 0.4 0.1 0.5 0.2 0.3 0.4",
        "kappa": "0.5 0.5 0.5 0.5 0.5 0.5 0.5 0.5 0.5 0.5",
        "gap": "1 0 0 0 0 1 1 0 0 0",
    }
    return Table("made up", {name: tuple(cells.split()) for name, cells in columns.items()})


def test_classes_are_ranked_within_their_network(table):
    zeta, kappa, gap = detections(table)
    assert (zeta.quantity, zeta.networks, zeta.chance) == ("ζ", 2, 0.3)
    # a: 0.9 above all. b: 0.1 below all three clean classes, 0.5 above all.
    assert zeta.auc == pytest.approx((1 + 0.5) / 2)
    assert zeta.found == pytest.approx((1 + 0.5) / 2)
    assert kappa.auc == 0.5  # all tied
    assert gap.auc == gap.found == 1
    assert detections(table, batch_norm=False)[0].auc == 1
