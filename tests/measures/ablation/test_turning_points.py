"""Bounds on turning points against every curve that fits what is known."""

from fractions import Fraction
from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analyzer.measures.ablation.quantities import ascending_turning_point, descending_turning_point
from analyzer.measures.ablation.turning_points import ascending_demand, descending_demand

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
    demand = descending_demand(count, low, high, most=most, slack=slack)

    def point(curve):
        return int(descending_turning_point(curve, SAMPLES, Fraction(most, SAMPLES))[0])

    assert demand.point == point(count)
    assert demand.error == max(abs(point(curve) - demand.point) for curve in curves(low, high))


@given(known=partly_known(), slack=st.integers(0, 2))
def test_ascending_point_is_as_far_off_as_any_curve_says(known, slack):
    count, low, high = known
    demand = ascending_demand(count, low, high, slack=slack)
    assert demand.point == ascending_turning_point(count)
    worst = max(abs(int(ascending_turning_point(c)) - demand.point) for c in curves(low, high))
    assert demand.error == worst


@given(known=partly_known(), most=st.integers(0, SAMPLES - 1), slack=st.integers(0, 2))
def test_a_demand_that_is_met_settles_the_point(known, most, slack):
    count, low, high = known
    for find in (
        lambda low, high: descending_demand(count, low, high, most=most, slack=slack),
        lambda low, high: ascending_demand(count, low, high, slack=slack),
    ):
        demand = find(low, high)
        # What is asked for can be had if everything is as guessed, and is enough.
        assert (demand.low <= np.maximum(count, low)).all()
        assert (demand.high >= np.minimum(count, high)).all()
        assert find(np.maximum(low, demand.low), np.minimum(high, demand.high)).error <= slack
