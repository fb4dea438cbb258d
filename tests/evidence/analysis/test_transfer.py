import numpy as np
import pytest

from analyzer.errors import GapModelError
from analyzer.estimation import PopulationTable, fit_population
from analyzer.measures.ablation.curve_features import CURVE_FEATURES
from tools.evidence.analysis import transfer, transfer_matrix
from tools.evidence.analysis.transfer import Flags


def make_population(networks=30, *, seed=0, slope=0.6, shift=0.0, noise=0.02, least=0.1, most=0.6):
    rng = np.random.default_rng(seed)
    zeta, kappa = rng.uniform(least, most, networks), rng.uniform(0.4, 0.8, networks)
    gap = slope * zeta - 0.3 * kappa + 0.4 + shift + rng.normal(0, noise, networks)
    features = {name: rng.uniform(0, 1, networks) for name in CURVE_FEATURES}
    features["curve_n0"], features["curve_n0_r"] = zeta, kappa
    unknown = np.full(networks, np.nan)
    return PopulationTable(
        name=tuple(map(str, range(networks))),
        zeta=zeta,
        kappa=kappa,
        train_accuracy=unknown,
        test_accuracy=unknown,
        gap=gap,
        further={},
        features=features,
    )


def fitted(population, **options):
    return fit_population(population, name="source", data="d", architecture="a", **options)


def test_gap_model_holds_where_the_line_is_the_same():
    found = transfer(fitted(make_population(60)), make_population(60, seed=1), name="target")
    assert (found.source, found.target) == ("source", "target")
    assert found.plain.r > 0.95
    assert found.plain.rmse == pytest.approx(0.02, rel=0.3)
    assert abs(found.offset) < 0.01
    assert found.flags.covered > 0.75
    assert len(found.estimate) == len(found.inside) == 60


def test_offset_mends_what_is_shifted_throughout():
    found = transfer(fitted(make_population(60)), make_population(60, seed=1, shift=0.2))
    assert found.plain.rmse > 0.19
    assert found.offset == pytest.approx(0.2, abs=0.01)
    assert found.offset == pytest.approx(-found.plain.bias)
    assert found.shifted_rmse == pytest.approx(0.02, rel=0.3)
    assert found.shifted_r2 > 0.9 > 0 > found.plain.r2
    assert found.flags.covered == 0
    sizes = {point.networks: point.quantile(0.5) for point in found.offsets}
    # An offset from n networks adds σ² / n to the variance.
    assert sizes[1] < 0.05
    assert sizes[12] == pytest.approx(0.02 * np.sqrt(1 + 1 / 12), rel=0.2)


def test_offset_is_that_of_all_the_other_networks():
    target = make_population(10, seed=2, slope=0.2)
    found = transfer(fitted(make_population(40)), target)
    error = target.gap - found.estimate
    left = [error[i] - np.delete(error, i).mean() for i in range(10)]
    assert found.shifted_rmse == pytest.approx(np.sqrt(np.mean(np.square(left))))


def test_networks_beyond_the_population_are_flagged_and_counted():
    target = make_population(40, seed=3, least=0.5, most=0.9, slope=0.1)
    gap_model = fitted(make_population(60))
    found = transfer(gap_model, target)
    estimates = [gap_model.estimate(target.values(row)) for row in range(40)]
    wrong = [not one.low <= gap <= one.high for one, gap in zip(estimates, target.gap, strict=True)]
    outside = [not one.inside_range for one in estimates]
    assert found.estimate == tuple(one.estimate for one in estimates)
    counted = {
        f"{'outside' if o else 'inside'}_{'wrong' if w else 'right'}": sum(
            pair == (o, w) for pair in zip(outside, wrong, strict=True)
        )
        for o in (True, False)
        for w in (True, False)
    }
    assert found.flags == Flags(**counted)
    assert found.flags.flagged == np.mean(outside) > 0.5
    assert found.flags.caught > 0.5


def test_shares_of_flags_are_those_of_their_counts():
    flags = Flags(outside_wrong=6, outside_right=2, inside_wrong=4, inside_right=8)
    assert (flags.flagged, flags.covered, flags.caught) == (0.4, 0.5, 0.6)
    assert (flags.covered_inside, flags.covered_outside) == (8 / 12, 0.25)
    right = Flags(outside_wrong=0, outside_right=0, inside_wrong=0, inside_right=3)
    assert (right.caught, right.covered_outside, right.covered_inside) == (None, None, 1.0)


def test_matrix_has_every_pair_and_its_diagonal_leaves_networks_out():
    populations = {"a": make_population(15), "b": make_population(12, seed=1, shift=0.1)}
    found = transfer_matrix(populations, repetitions=3)
    assert [(one.source, one.target) for one in found] == [
        ("a", "a"),
        ("a", "b"),
        ("b", "a"),
        ("b", "b"),
    ]
    assert found[1].offset == pytest.approx(0.1, abs=0.03)
    assert found[2].offset == pytest.approx(-0.1, abs=0.03)
    without_third = fitted(populations["a"].take([i for i in range(15) if i != 3]))
    estimate = without_third.estimate(populations["a"].values(3))
    assert found[0].estimate[3] == pytest.approx(estimate.estimate)
    assert found[0].inside[3] == estimate.inside_range


def test_extended_gap_models_are_tried_likewise():
    populations = {"a": make_population(20), "b": make_population(20, seed=1)}
    found = transfer_matrix(populations, features="extended", repetitions=3)
    gap_model = fitted(populations["a"], features="extended")
    assert found[1].estimate[0] == gap_model.estimate(populations["b"].values(0)).estimate
    assert found[1].plain.r > 0.8


def test_draws_depend_on_the_seed_alone():
    gap_model, target = fitted(make_population()), make_population(seed=1)
    first, again, other = (transfer(gap_model, target, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.offsets != other.offsets


def test_population_without_known_gaps_is_refused():
    target = make_population(5)
    target.gap[:] = np.nan
    with pytest.raises(GapModelError, match="'new' has no network whose gap is known"):
        transfer(fitted(make_population()), target, name="new")
