"""The figure of the response curves, as coordinates."""

from dataclasses import replace

from analyzer.measures.interpolation.measure import InterpolationRecord, report_section
from analyzer.measures.interpolation.mixing import MIXING_WEIGHTS

RECORD = InterpolationRecord(
    lambdas=MIXING_WEIGHTS,
    accuracy=0.8,
    same=(1.0, 0.9, 0.8, 0.7, 0.6),
    other=(1.0, 0.75, 0.5, 0.25, 0.0),
    third=(0.0, 0.1, 0.2, 0.3, 0.4),
    hold_mean=0.48,
    partners=8,
    samples=100,
    seconds=1.0,
)


def figure_of(record):
    return report_section(record).values["responses"]


def test_curves_go_from_nothing_mixed_to_half_of_another_image():
    figure = figure_of(RECORD)
    f = figure.frame
    same, other, third = figure.curves
    assert same.points[0][:2] == other.points[0][:2] == (f.x(0), f.y(1))
    assert other.points[-1][:2] == (f.x(1), f.y(0))
    assert third.points[0][0] == round(f.x(0.2), 1)  # of nothing mixed it says nothing
    assert [len(curve.points) for curve in figure.curves] == [6, 6, 5]
    assert [label for _, label in figure.x_ticks] == ["0", "10", "20", "30", "40", "50"]
    assert same.points[-1][2] == "50% mixed in: 0.600"


def test_a_curve_above_nothing_mixed_stays_in_the_frame():
    figure = figure_of(replace(RECORD, same=(1.0, 1.2, 1.6, 2.0, 3.0)))
    heights = [y for curve in figure.curves for _, y, _ in curve.points]
    assert min(heights) >= figure.frame.top
    assert max(heights) <= figure.frame.y(0)


def test_what_is_unknown_is_not_drawn():
    figure = figure_of(replace(RECORD, other=(None,) * 5, third=(None,) * 5))
    assert [len(curve.points) for curve in figure.curves] == [6, 1, 0]
    assert figure.curves[2].path == ""
    figure = figure_of(
        replace(
            RECORD, accuracy=None, same=(None,) * 5, other=(None,) * 5, third=(None,) * 5,
            hold_mean=None,
        )
    )  # fmt: skip
    assert not any(curve.points for curve in figure.curves)
