"""Estimated curves: what is claimed of them is true, and T is kept.

Bounds on turning points are held against every curve that fits what is known; interpolated curves
are asked what they run, what they know, what they guess.
"""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from made_up_margins import KINDS, MadeUp

from analyzer.measures.ablation.curve_features import (
    ascending_turning_point,
    descending_turning_point,
    kappa,
    zeta,
)
from analyzer.measures.ablation.interpolated_curves import InterpolatedCurves, logit_margin
from analyzer.measures.ablation.ranking_and_evaluations import necessary_evaluations
from analyzer.measures.ablation.tolerance import (
    Tolerance,
    bound_ascending,
    bound_descending,
    estimate_class,
)


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(2, 5)),
        elements=st.sampled_from([np.nan, -np.inf, -1.0, 0.0, 1e-38, 1.0, 3e38, np.inf]),
    ),
    st.data(),
)
def test_margin_is_not_negative_exactly_where_the_label_is_named(scores, data):
    label = data.draw(st.integers(0, scores.shape[1] - 1))
    margin = logit_margin(scores, label)
    unnamed = np.isnan(scores).any(axis=1)
    assert np.isfinite(margin[~unnamed]).all()
    assert np.isnan(margin[unnamed]).all()
    named = np.where(unnamed, -1, scores.argmax(axis=1))
    np.testing.assert_array_equal(margin >= 0, named == label)


@pytest.mark.parametrize("active", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_all_that_is_wanted_is_run_once_and_then_known(kind, active):
    made = MadeUp(kind, samples=9, units=23, seed=3, active=active)
    curves = InterpolatedCurves(made.active, made.run, share_empty=True)
    curves.learn(curves.grid(4))
    curves.refine(1.0)
    assert (curves.right == made.right)[curves.known].all()
    curves.learn(np.ones_like(curves.known))
    np.testing.assert_array_equal(curves.guess, made.margin)
    assert curves.known.all()
    assert curves.evaluations == len(made.evaluations) == len(set(made.evaluations))
    assert curves.evaluations == len(necessary_evaluations(made.active, share_empty=True))


def test_straight_margins_are_guessed_from_their_ends():
    made = MadeUp("monotone", samples=5, units=40, seed=0)
    curves = InterpolatedCurves(made.active, made.run, share_empty=False)
    curves.learn(curves.grid(16))
    inner = ~curves.known[:, :, :-1] & (curves.guess != 0)[:, :, :-1]
    assert inner.any()
    curves.refine(0.0)
    assert (curves.right == made.right)[curves.known].all()
    changes = np.diff(curves.right, axis=2)
    # Both sides of every change are known.
    assert (curves.known[:, :, 1:] & curves.known[:, :, :-1])[changes].all()


def test_frozen_guesses_stay_until_they_are_run():
    made = MadeUp("noisy", samples=6, units=50, seed=1)
    curves = InterpolatedCurves(made.active, made.run, share_empty=True)
    curves.learn(curves.grid(16))
    curves.frozen = True
    before = curves.guess.copy()
    curves.learn(curves.grid(4))
    np.testing.assert_array_equal(curves.guess, np.where(curves.known, made.margin, before))


def quantities(right: np.ndarray, chance: Fraction) -> np.ndarray:
    """(ζ_j, κ_j) of a class."""
    samples, units = right.shape[1], right.shape[2] - 1
    descending, ascending = right.sum(axis=1)
    n0, _ = descending_turning_point(descending, samples, chance)
    return np.array(
        [
            zeta(n0, ascending_turning_point(ascending), units),
            kappa(descending, ascending, samples),
        ]
    )


def estimated(kinds, asked, *, samples, units, seed, chance=Fraction(1, 10), active=0.7):
    """Errors of ζ and κ, their bounds, share of the evaluations run; a class of each kind."""
    tolerance = Tolerance(asked, chance, seed, len(kinds), samples * len(kinds), units)
    off = cost = guessed = evaluations = 0
    errors = []
    for number, kind in enumerate(kinds, 1):
        made = MadeUp(kind, samples=samples, units=units, seed=1000 * seed + number, active=active)
        allowed = tolerance.allowance(number, cost)
        estimate = estimate_class(
            made.active, made.run, number, tolerance, allowed, share_empty=True
        )
        errors.append(quantities(estimate.right, chance) - quantities(made.right, chance))
        off += estimate.off
        cost += estimate.cost
        guessed += estimate.guessed
        evaluations += estimate.evaluations
        assert estimate.evaluations == len(set(made.evaluations))
        assert (estimate.guessed == 0) <= (estimate.right == made.right).all()
    bounds = tolerance.bounds(classes=len(kinds), off=off, cost=cost, guessed=guessed)
    possible = 2 * (units + 1) * samples * len(kinds)
    return np.abs(np.mean(errors, axis=0)), np.array(bounds), evaluations / possible


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_are_kept_and_true(kind):
    missed = 0
    for seed in range(40):
        error, bound, _ = estimated([kind] * 3, 0.02, samples=40, units=64, seed=seed)
        assert (bound <= 0.02).all()
        assert error[0] <= bound[0] + 1e-12  # for certain
        missed += error[1] > bound[1]
    assert missed <= 0.05 * 40


def test_smooth_margins_cost_a_fraction_of_the_evaluations():
    _, _, share = estimated(["monotone"] * 4, 0.01, samples=150, units=256, seed=0)
    assert share < 1 / 6


def test_the_smaller_the_tolerance_the_more_evaluations():
    shares = [
        estimated(["wandering"] * 2, asked, samples=60, units=128, seed=0)[2]
        for asked in (0.05, 0.01, 0.002)
    ]
    assert shares == sorted(shares)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tolerance_of_next_to_nothing_is_exact(kind):
    error, bound, _ = estimated([kind] * 2, 1e-7, samples=20, units=32, seed=0)
    assert not error.any()
    assert not bound.any()


@settings(max_examples=60)
@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4),
    asked=st.sampled_from([0.003, 0.01, 0.05, 0.3, 0.9]),
    samples=st.integers(1, 30),
    units=st.integers(1, 48),
    seed=st.integers(0, 10**6),
    active=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)
def test_any_class_is_estimated_within_the_tolerance(kinds, asked, samples, units, seed, active):
    error, bound, share = estimated(
        kinds, asked, samples=samples, units=units, seed=seed, active=active
    )
    assert (bound <= asked).all()
    assert error[0] <= bound[0] + 1e-12
    assert share <= 1


def test_the_same_seed_runs_the_same_evaluations():
    def evaluations(seed):
        made = MadeUp("wandering", samples=50, units=96, seed=0)
        tolerance = Tolerance(0.02, Fraction(1, 10), seed, 1, 50, 96)
        allowed = tolerance.allowance(1, 0.0)
        estimate_class(made.active, made.run, 0, tolerance, allowed, share_empty=True)
        return made.evaluations

    assert evaluations(1) == evaluations(1)
    assert evaluations(1) != evaluations(2)


def test_an_allowance_that_is_used_up_means_all_evaluations():
    made = MadeUp("monotone", samples=30, units=64, seed=0)
    tolerance = Tolerance(0.02, Fraction(1, 10), 0, 1, 30, 64)
    estimate = estimate_class(made.active, made.run, 0, tolerance, 0.0, share_empty=True)
    assert (estimate.guessed, estimate.off, estimate.cost) == (0, 0.0, 0.0)
    np.testing.assert_array_equal(estimate.right, made.right)


SAMPLES = 3


@st.composite
def partly_known(draw):
    length = draw(st.integers(2, 5))
    counts = st.lists(st.integers(0, SAMPLES), min_size=length, max_size=length)
    three = np.sort([draw(counts), draw(counts), draw(counts)], axis=0)
    low, count, high = three
    return count, low, high


def curves(low, high):
    between = (range(a, b + 1) for a, b in zip(low, high, strict=True))
    return [np.array(curve) for curve in product(*between)]


@given(known=partly_known(), most=st.integers(0, SAMPLES - 1), slack=st.integers(0, 2))
def test_descending_point_is_as_far_off_as_any_curve_says(known, most, slack):
    count, low, high = known
    found = bound_descending(count, low, high, most=most, slack=slack)

    def point(curve):
        return int(descending_turning_point(curve, SAMPLES, Fraction(most, SAMPLES))[0])

    assert found.point == point(count)
    assert found.error == max(abs(point(curve) - found.point) for curve in curves(low, high))


@given(known=partly_known(), slack=st.integers(0, 2))
def test_ascending_point_is_as_far_off_as_any_curve_says(known, slack):
    count, low, high = known
    found = bound_ascending(count, low, high, slack=slack)
    assert found.point == ascending_turning_point(count)
    worst = max(abs(int(ascending_turning_point(c)) - found.point) for c in curves(low, high))
    assert found.error == worst


@given(known=partly_known(), most=st.integers(0, SAMPLES - 1), slack=st.integers(0, 2))
def test_bounds_that_are_met_settle_the_point(known, most, slack):
    count, low, high = known
    for find in (
        lambda low, high: bound_descending(count, low, high, most=most, slack=slack),
        lambda low, high: bound_ascending(count, low, high, slack=slack),
    ):
        found = find(low, high)
        # What is asked for is possible if everything is as guessed, and is enough.
        assert (found.low <= np.maximum(count, low)).all()
        assert (found.high >= np.minimum(count, high)).all()
        assert find(np.maximum(low, found.low), np.minimum(high, found.high)).error <= slack
