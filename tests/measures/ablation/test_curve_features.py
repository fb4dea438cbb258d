import numpy as np
import pytest

from analyzer.errors import DataError
from analyzer.measures.ablation import class_quantities, network_quantities
from analyzer.measures.ablation.curve_features import CURVE_FEATURES, compute_curve_features
from analyzer.records import ClassCurves, SampleCounts, SampleScores

# METHOD's tables worked by hand, as counts of ten samples; chance 0.1, M = 4.
BY_HAND = (
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
    curves, samples = make_audit(BY_HAND)
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
    curves, samples = make_audit(BY_HAND[:1] * 3)
    found = compute_curve_features(curves, samples, 0.1)
    zeta, kappa = network_quantities([class_quantities(curve, 0.1) for curve in curves])
    assert (found["curve_n0"] + 1 - found["curve_n0_r"]) / 2 == pytest.approx(zeta)
    # These curves never cross, so that κ is the area between them, over M instead of M + 1.
    between = found["curve_area_ascending"] - found["curve_area_descending"]
    assert between * 5 / 4 == pytest.approx(kappa)


def test_classes_count_alike_and_those_without_samples_not_at_all():
    (first, second), samples = make_audit(BY_HAND)
    larger = ClassCurves(1, 20, np.arange(4), second.descending * 2, second.ascending * 2)
    empty = ClassCurves(2, 0, np.arange(4), *np.zeros((2, 5), dtype=np.int64))
    found = compute_curve_features((first, larger, empty), samples, 0.1)
    assert found == compute_curve_features((first, second), samples, 0.1)
    with pytest.raises(DataError, match="No class has any samples"):
        compute_curve_features((empty,), samples, 0.1)
