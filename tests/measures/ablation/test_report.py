import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.measures.ablation.report import curve_figure, scatter_figure
from analyzer.measures.svg import Frame

FRAME = Frame(width=120, height=110, left=10, right=10, top=5, bottom=5)


def vertices(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", path)]


def figure_of(down, up, **options):
    options = {"chance": 0.1, "n0": 2, "n0_r": 2, "frame": FRAME} | options
    return curve_figure(np.array(down), np.array(up), **options)


def test_curves_span_the_frame_and_straight_stretches_need_two_points():
    figure = figure_of([1, 0.6, 0.2, 0.2, 0.2], [1, 1, 1, 0.5, 0.2])
    assert vertices(figure.descending) == [(10, 5), (60, 85), (110, 85)]
    assert vertices(figure.ascending) == [(10, 5), (60, 5), (85, 55), (110, 85)]
    assert figure.area.endswith("z")
    assert len(vertices(figure.area)) == 7


def test_turning_points_lie_on_their_curves_also_between_units():
    figure = figure_of([1, 0.6, 0.1, 0.1, 0.1], [1, 1, 1, 0.5, 0.1], n0=1.5, n0_r=2)
    assert (figure.n0.x, figure.n0.y) == (47.5, 70.0)
    assert (figure.n0_r.x, figure.n0_r.y) == (60.0, 5.0)
    assert figure.chance == 95.0


def test_a_site_of_one_channel_can_be_drawn():
    figure = figure_of([1, 0], [1, 0], n0=1, n0_r=0)
    assert vertices(figure.descending) == [(10, 5), (110, 105)]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30))
def test_scatter_holds_every_point_on_few_round_ticks(values):
    zeta, kappa = np.array(values).T
    figure = scatter_figure(
        zeta,
        kappa,
        mean=(zeta.mean(), kappa.mean()),
        titles=[""] * len(zeta),
        marked=np.zeros(len(zeta), bool),
        frame=FRAME,
    )
    for point in (*figure.points, figure.mean):
        assert 10 - 0.1 <= point.x <= 110 + 0.1
        assert 5 - 0.1 <= point.y <= 105 + 0.1
    for ticks in (figure.x_ticks, figure.y_ticks):
        assert 4 <= len(ticks) <= 8
        assert len({tick.label for tick in ticks}) == len(ticks)


@pytest.mark.parametrize("first", [True, False])
def test_marked_points_are_drawn_last(first):
    figure = scatter_figure(
        np.array([0.1, 0.9]),
        np.array([0.1, 0.9]),
        mean=(0.5, 0.5),
        titles=["a", "b"],
        marked=np.array([first, not first]),
        frame=FRAME,
    )
    assert [point.marked for point in figure.points] == [False, True]
