"""Lines of a class: what they run, what they know, what they guess."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from made_up_leads import KINDS, MadeUp

from analyzer.measures.ablation import necessary_rows
from analyzer.measures.ablation.interpolated_curves import Lines, lead_of


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(2, 5)),
        elements=st.sampled_from([-np.inf, -1.0, 0.0, 1e-38, 1.0, 3e38, np.inf]),
    ),
    st.data(),
)
def test_lead_is_not_negative_exactly_where_the_label_is_named(scores, data):
    label = data.draw(st.integers(0, scores.shape[1] - 1))
    lead = lead_of(scores, label)
    assert np.isfinite(lead).all()
    np.testing.assert_array_equal(lead >= 0, scores.argmax(axis=1) == label)


@pytest.mark.parametrize("active", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_all_that_is_wanted_is_run_once_and_then_known(kind, active):
    made = MadeUp(kind, samples=9, units=23, seed=3, active=active)
    lines = Lines(made.active, made.run, share_empty=True)
    lines.learn(lines.grid(4))
    lines.refine(1.0)
    assert (lines.right == made.right)[lines.known].all()
    lines.learn(np.ones_like(lines.known))
    np.testing.assert_array_equal(lines.guess, made.lead)
    assert lines.known.all()
    assert lines.rows == len(made.rows) == len(set(made.rows))
    assert lines.rows == len(necessary_rows(made.active, share_empty=True))


def test_straight_leads_are_guessed_from_their_ends():
    made = MadeUp("monotone", samples=5, units=40, seed=0)
    lines = Lines(made.active, made.run, share_empty=False)
    lines.learn(lines.grid(16))
    inner = ~lines.known[:, :, :-1] & (lines.guess != 0)[:, :, :-1]
    assert inner.any()
    lines.refine(0.0)
    assert (lines.right == made.right)[lines.known].all()
    changes = np.diff(lines.right, axis=2)
    # Both sides of every change are known.
    assert (lines.known[:, :, 1:] & lines.known[:, :, :-1])[changes].all()


def test_frozen_guesses_stay_until_they_are_run():
    made = MadeUp("noisy", samples=6, units=50, seed=1)
    lines = Lines(made.active, made.run, share_empty=True)
    lines.learn(lines.grid(16))
    lines.frozen = True
    before = lines.guess.copy()
    lines.learn(lines.grid(4))
    np.testing.assert_array_equal(lines.guess, np.where(lines.known, made.lead, before))
