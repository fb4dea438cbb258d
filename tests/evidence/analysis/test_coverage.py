import numpy as np
import pytest

from analyzer.errors import GapModelError
from analyzer.estimation import measure_coverage
from analyzer.estimation.regression import (
    left_out_jackknife_plus,
    left_out_student_t,
    ridge,
)
from tools.evidence.analysis import coverage_curve


def make_population(networks=40, *, seed=0, noise=0.05):
    rng = np.random.default_rng(seed)
    features = rng.uniform(0, 1, (networks, 2))
    gap = features @ [0.7, -0.4] + 0.4 + rng.normal(0, noise, networks)
    return {"zeta": features[:, 0], "kappa": features[:, 1]}, gap


def test_curve_is_the_coverage_that_gap_models_carry():
    columns, gap = make_population()
    features = np.column_stack(list(columns.values()))
    for point in coverage_curve(columns, gap):
        measured = measure_coverage(features, gap, point.nominal)
        assert point.student_t.measured == measured.student_t
        assert point.jackknife_plus.measured == measured.jackknife_plus
        assert np.mean(point.student_t.held) == point.student_t.measured
        low, high = left_out_student_t(features, gap, point.nominal)
        assert point.student_t.width == pytest.approx(np.mean(high - low))
        ((low, high),) = left_out_jackknife_plus(features, gap, [point.nominal])
        assert point.jackknife_plus.width == pytest.approx(np.mean(high - low))


def test_measured_coverage_is_near_nominal_where_errors_are_normal():
    columns, gap = make_population(300)
    for point in coverage_curve(columns, gap, nominal=(0.5, 0.8, 0.9)):
        for kind in (point.student_t, point.jackknife_plus):
            assert abs(kind.measured - point.nominal) < 3 * 0.03
            assert kind.error == pytest.approx(
                np.sqrt(kind.measured * (1 - kind.measured) / 300), abs=1e-12
            )


def test_wider_promises_are_wider_intervals():
    columns, gap = make_population()
    curve = coverage_curve(columns, gap)
    for kind in ("student_t", "jackknife_plus"):
        widths = [getattr(point, kind).width for point in curve]
        assert widths == sorted(widths)


def test_kinds_that_cannot_be_made_are_none():
    columns, gap = make_population(8)
    (point,) = coverage_curve(columns, gap, nominal=(0.9,))
    assert point.student_t is not None
    assert point.jackknife_plus is None
    columns, gap = make_population(20)
    (point,) = coverage_curve(columns, gap, nominal=(0.9,), fit=ridge)
    assert point.student_t is None
    assert point.jackknife_plus.measured > 0.6


@pytest.mark.parametrize("nominal", [0, 1, 90])
def test_level_outside_its_range_is_refused(nominal):
    with pytest.raises(GapModelError, match="between 0 and 1"):
        coverage_curve(*make_population(), nominal=(0.5, nominal))
