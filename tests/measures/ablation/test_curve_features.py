from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.errors import DataError
from analyzer.measures.ablation.class_curves import ClassCurves
from analyzer.measures.ablation.curve_features import (
    CURVE_FEATURES,
    ascending_turning_point,
    chance_fraction,
    class_quantities,
    compute_curve_features,
    descending_turning_point,
    kappa,
    network_quantities,
    zeta,
)
from analyzer.measures.ablation.sample_scores import SampleCounts, SampleScores

WORKED = [  # E, E_r, n0, n0_r, ζ, κ: ten samples, chance 0.1, M = 4
    ([10, 6, 1, 1, 1], [10, 10, 10, 9, 1], 2, 2, 0.5, 0.525),
    ([10, 9, 8, 5, 0], [10, 9, 10, 4, 0], 4, 2, 0.75, 0.075),
    ([10, 10, 7, 4, 4], [10, 10, 9, 8, 4], 3, 1, 0.75, 0.15),
]


def make_curves(descending, ascending, samples=10, class_index=0):
    channels = len(descending) - 1
    return ClassCurves(
        class_index=class_index,
        samples=samples,
        order=np.arange(channels),
        descending=np.array(descending, dtype=np.int64),
        ascending=np.array(ascending, dtype=np.int64),
    )


@st.composite
def curves_and_chance(draw):
    channels = draw(st.integers(1, 12))
    samples = draw(st.integers(1, 40))
    counts = st.integers(0, samples)
    inner = st.lists(counts, min_size=channels - 1, max_size=channels - 1)
    first, last = draw(counts), draw(counts)
    return (
        make_curves([first, *draw(inner), last], [first, *draw(inner), last], samples),
        Fraction(1, draw(st.integers(2, 40))),
    )


@pytest.mark.parametrize(("descending", "ascending", "n0", "n0_r", "zeta_j", "kappa_j"), WORKED)
@pytest.mark.parametrize("chance", [0.1, Fraction(1, 10)])
def test_worked_rows(descending, ascending, n0, n0_r, zeta_j, kappa_j, chance):
    found = class_quantities(make_curves(descending, ascending), chance)
    assert (found.n0, found.n0_r) == (n0, n0_r)
    assert (found.zeta, found.kappa) == (zeta_j, kappa_j)
    assert found.accuracy == 1.0
    assert found.chance_reached == (min(descending) <= 1)


def test_worked_rows_all_at_once():
    descending = np.array([row[0] for row in WORKED])
    ascending = np.array([row[1] for row in WORKED])
    samples = np.array([10, 10, 10])
    n0, reached = descending_turning_point(descending, samples, 0.1)
    n0_r = ascending_turning_point(ascending)
    assert n0.tolist() == [2, 4, 3]
    assert reached.tolist() == [True, True, False]
    assert n0_r.tolist() == [2, 2, 1]
    assert zeta(n0, n0_r, 4).tolist() == [0.5, 0.75, 0.75]
    assert kappa(descending, ascending, samples).tolist() == [0.525, 0.075, 0.15]


def test_curve_stays_apart_from_chance_by_one_sample():
    curves = make_curves([30, 11, 10, 0], [30, 30, 30, 0], samples=30)
    assert class_quantities(curves, 1 / 3).n0 == 2
    curves = make_curves([30, 11, 11, 0], [30, 30, 30, 0], samples=30)
    assert class_quantities(curves, 1 / 3).n0 == 3


@given(st.integers(2, 10_000), st.integers(1, 100))
def test_chance_of_k_classes_is_met_exactly(classes, hits):
    samples = np.array(classes * hits)
    curve = np.array([samples, hits + 1, hits, 0])
    n0, reached = descending_turning_point(curve, samples, 1 / classes)
    assert (n0, reached) == (2, True)


def test_chance_float_is_its_nearest_simple_fraction():
    assert chance_fraction(1 / 3) == Fraction(1, 3)
    assert chance_fraction(0.05) == Fraction(1, 20)
    assert chance_fraction(np.float32(0.25)) == Fraction(1, 4)
    assert chance_fraction(0) == 0


@pytest.mark.parametrize("chance", [1, 1.5, -0.1, float("nan"), 10])
def test_chance_outside_its_range_is_refused(chance):
    with pytest.raises(DataError, match="chance level"):
        class_quantities(make_curves([1, 0], [1, 0], 1), chance)


def test_chance_never_reached_takes_the_first_least_and_says_so():
    found = class_quantities(make_curves([10, 5, 4, 4, 6], [10, 9, 9, 8, 6]), 0.1)
    assert found.n0 == 2
    assert not found.chance_reached
    assert any("never falls to chance (0.1)" in flag and "0.4" in flag for flag in found.flags)


def test_accuracy_at_chance_with_nothing_removed_is_flagged():
    found = class_quantities(make_curves([1, 5, 0], [1, 2, 0]), 0.1)
    assert found.n0 == 0
    assert found.chance_reached
    assert any("already at or below chance" in flag for flag in found.flags)


def test_empty_network_that_names_the_class_is_flagged():
    found = class_quantities(make_curves([10, 0, 10], [10, 10, 10]), 0.1)
    assert (found.n0, found.n0_r) == (1, 1)
    assert found.chance_reached
    assert found.flags == ("The network with every unit removed still names this class.",)


def test_healthy_class_has_no_flags():
    assert class_quantities(make_curves([10, 1, 0], [10, 10, 0]), 0.1).flags == ()


def test_class_without_samples_is_flagged_and_has_no_quantities():
    found = class_quantities(make_curves([0, 0, 0], [0, 0, 0], samples=0, class_index=7), 0.1)
    assert found.class_index == 7
    assert found.samples == 0
    assert (found.accuracy, found.n0, found.n0_r, found.zeta, found.kappa) == (None,) * 5
    assert not found.chance_reached
    assert len(found.flags) == 1
    assert found.flags[0].startswith("No samples")


def test_ascending_ties_go_to_fewer_active_units_and_one_stays():
    assert ascending_turning_point(np.array([5, 7, 3, 7, 7])) == 3
    assert ascending_turning_point(np.array([5, 5, 5, 5, 9])) == 3
    assert ascending_turning_point(np.array([5, 1])) == 0


def test_one_channel():
    found = class_quantities(make_curves([10, 0], [10, 0]), 0.1)
    assert (found.n0, found.n0_r, found.zeta, found.kappa) == (1, 0, 1.0, 0.0)


def test_network_is_the_plain_average_over_classes_with_samples():
    worked = [class_quantities(make_curves(*row[:2]), 0.1) for row in WORKED]
    empty = class_quantities(make_curves([0] * 5, [0] * 5, samples=0), 0.1)
    large = class_quantities(
        make_curves([1000, 0, 0, 0, 0], [1000, 1000, 1000, 1000, 0], samples=1000), 0.1
    )
    assert network_quantities([*worked, empty]) == pytest.approx((2 / 3, 0.25))
    assert network_quantities([worked[0], large]) == pytest.approx(
        ((0.5 + large.zeta) / 2, (0.525 + large.kappa) / 2)
    )


def test_network_without_samples_is_refused():
    empty = class_quantities(make_curves([0, 0], [0, 0], samples=0), 0.1)
    with pytest.raises(DataError, match="No class has any samples"):
        network_quantities([empty])


@pytest.mark.parametrize(
    ("descending", "ascending", "message"),
    [
        ([10, 5, 0], [9, 5, 0], "nothing removed"),
        ([10, 5, 0], [10, 5, 1], "every unit removed"),
        ([11, 5, 0], [11, 5, 0], "runs from 0 to 11"),
        ([10, -1, 0], [10, 5, 0], "runs from -1 to 10"),
        ([10, 5, 0], [10, 0], "shapes"),
        ([10], [10], "at least one channel"),
    ],
)
def test_curves_of_no_class_are_refused_by_name(descending, ascending, message):
    with pytest.raises(DataError, match=message) as caught:
        class_quantities(make_curves(descending, ascending), 0.1, name="cat")
    assert "class 'cat'" in str(caught.value)


def test_accuracies_instead_of_counts_are_refused():
    curves = ClassCurves(3, 10, np.arange(1), np.array([1.0, 0.0]), np.array([1, 0]))
    with pytest.raises(DataError, match="descending curve of class 3 is of type float64"):
        class_quantities(curves, 0.1)


def test_unsigned_counts_are_read_as_they_are():
    curves = make_curves([10, 0, 0], [10, 10, 0])
    unsigned = ClassCurves(
        0, 10, curves.order, curves.descending.astype(np.uint8), curves.ascending.astype(np.uint8)
    )
    assert class_quantities(unsigned, 0.1) == class_quantities(curves, 0.1)


@given(curves_and_chance())
def test_quantities_are_those_of_the_definition(case):
    curves, chance = case
    found = class_quantities(curves, chance)
    channels = len(curves.descending) - 1
    e = [Fraction(int(count), curves.samples) for count in curves.descending]
    e_r = [Fraction(int(count), curves.samples) for count in curves.ascending]
    at_chance = [n for n, accuracy in enumerate(e) if accuracy <= chance]
    n0 = at_chance[0] if at_chance else e.index(min(e))
    n0_r = max(n for n in range(channels) if e_r[n] == max(e_r[:-1]))
    assert (found.n0, found.n0_r, found.chance_reached) == (n0, n0_r, bool(at_chance))
    assert found.zeta == float(Fraction(n0 + channels - n0_r, 2 * channels))
    area = sum((abs(a - b) for a, b in zip(e, e_r, strict=True)), Fraction(0))
    assert found.kappa == float(area / channels)


@given(curves_and_chance())
def test_quantities_stay_in_their_bounds(case):
    curves, chance = case
    found = class_quantities(curves, chance)
    channels = len(curves.descending) - 1
    assert 0 <= found.zeta <= 1
    assert 0 <= found.kappa <= 1
    assert 0 <= found.n0 <= channels
    assert 0 <= found.n0_r <= channels - 1


@given(curves_and_chance(), st.integers(1, 7))
def test_quantities_do_not_change_when_every_sample_is_repeated(case, times):
    curves, chance = case
    once = class_quantities(curves, chance)
    again = class_quantities(
        make_curves(curves.descending * times, curves.ascending * times, curves.samples * times),
        chance,
    )
    assert (again.n0, again.n0_r) == (once.n0, once.n0_r)
    assert (again.zeta, again.kappa) == (once.zeta, once.kappa)


@given(st.lists(curves_and_chance(), min_size=1, max_size=6), st.randoms())
def test_network_does_not_depend_on_the_order_of_classes(cases, random):
    classes = [class_quantities(*case) for case in cases]
    shuffled = random.sample(classes, len(classes))
    assert network_quantities(shuffled) == network_quantities(classes)


# METHOD's tables worked by hand for the features, as counts of ten samples; chance 0.1, M = 4.
FEATURES_BY_HAND = (
    ([10, 6, 1, 1, 1], [10, 10, 10, 9, 1]),  # n0 2, n0_r 2
    ([10, 9, 8, 5, 0], [10, 9, 10, 4, 0]),  # n0 4, n0_r 2
)


def make_audit(pairs, samples=10):
    """Curves, and samples of which the first few are right at each n."""
    curves = tuple(
        ClassCurves(j, samples, np.arange(4), np.array(down), np.array(up))
        for j, (down, up) in enumerate(pairs)
    )
    hits = [
        [np.array([sum(count > i for count in row) for i in range(samples)]) for row in pair]
        for pair in pairs
    ]
    down, up = (np.concatenate([hit[order] for hit in hits]) for order in (0, 1))
    label = np.repeat(np.arange(len(pairs)), samples)
    nothing = np.zeros(len(label), dtype=np.float32)
    counts = SampleCounts(
        label=label,
        correct=down > 0,
        descending=down.astype(np.int32),
        ascending=up.astype(np.int32),
        index=np.arange(len(label)),
        scores=SampleScores(nothing, nothing, nothing.astype(np.int32)),
    )
    return curves, counts


def test_features_are_those_worked_out_by_hand():
    curves, samples = make_audit(FEATURES_BY_HAND)
    found = compute_curve_features(curves, samples, 0.1)
    assert tuple(found) == CURVE_FEATURES
    assert found["curve_n0"] == pytest.approx((2 + 4) / 2 / 4)
    assert found["curve_n0_r"] == pytest.approx((2 + 2) / 2 / 4)
    assert found["curve_area_descending"] == pytest.approx((1.9 / 5 + 3.2 / 5) / 2)
    assert found["curve_area_ascending"] == pytest.approx((4.0 / 5 + 3.3 / 5) / 2)
    score = (samples.ascending - samples.descending) / 5
    assert found["score_q50"] == pytest.approx(np.median(score))
    assert found["score_q10"] == pytest.approx(np.quantile(score, 0.1))
    assert all(type(value) is float for value in found.values())


def test_features_hold_the_methods_quantities():
    curves, samples = make_audit(FEATURES_BY_HAND[:1] * 3)
    found = compute_curve_features(curves, samples, 0.1)
    zeta, kappa = network_quantities([class_quantities(curve, 0.1) for curve in curves])
    assert (found["curve_n0"] + 1 - found["curve_n0_r"]) / 2 == pytest.approx(zeta)
    # These curves never cross, so that κ is the area between them, over M instead of M + 1.
    between = found["curve_area_ascending"] - found["curve_area_descending"]
    assert between * 5 / 4 == pytest.approx(kappa)


def test_classes_count_alike_and_those_without_samples_not_at_all():
    (first, second), samples = make_audit(FEATURES_BY_HAND)
    larger = ClassCurves(1, 20, np.arange(4), second.descending * 2, second.ascending * 2)
    empty = ClassCurves(2, 0, np.arange(4), *np.zeros((2, 5), dtype=np.int64))
    found = compute_curve_features((first, larger, empty), samples, 0.1)
    assert found == compute_curve_features((first, second), samples, 0.1)
    with pytest.raises(DataError, match="No class has any samples"):
        compute_curve_features((empty,), samples, 0.1)
