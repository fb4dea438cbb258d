"""Interpolated curves of a class: what they run, what they know, what they guess."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from made_up_margins import KINDS, MadeUp

from analyzer.measures.ablation import necessary_evaluations
from analyzer.measures.ablation.interpolated_curves import InterpolatedCurves, logit_margin


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(2, 5)),
        elements=st.sampled_from([-np.inf, -1.0, 0.0, 1e-38, 1.0, 3e38, np.inf]),
    ),
    st.data(),
)
def test_margin_is_not_negative_exactly_where_the_label_is_named(scores, data):
    label = data.draw(st.integers(0, scores.shape[1] - 1))
    margin = logit_margin(scores, label)
    assert np.isfinite(margin).all()
    np.testing.assert_array_equal(margin >= 0, scores.argmax(axis=1) == label)


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
