"""The evaluations that are run stand for all: a made-up network is asked both ways."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analyzer.measures.ablation import SweepState, necessary_evaluations


def kept(order: str, n: int, units: int) -> np.ndarray:
    """Mask by rank with n units removed, as METHOD.md words it."""
    mask = np.ones(units, dtype=bool)
    if order == "descending":
        mask[:n] = False
    else:
        mask[units - n :] = False
    return mask


def answer(active: np.ndarray, mask: np.ndarray, weights: np.ndarray, skip: int) -> int:
    """A class that depends on every active unit that is kept, and on the sample's skip input."""
    return int((weights * (active & mask)).sum() * 31 + skip) % 3


@st.composite
def activity(draw):
    samples = draw(st.integers(1, 6))
    units = draw(st.integers(1, 9))
    bits = draw(
        st.lists(st.booleans(), min_size=samples * units, max_size=samples * units).map(np.array)
    )
    return bits.reshape(samples, units)


@given(active=activity(), share_empty=st.booleans(), seed=st.integers(0, 1000))
def test_necessary_evaluations_give_the_counts_of_all(active, share_empty, seed):
    samples, units = active.shape
    random = np.random.default_rng(seed)
    weights = random.integers(1, 100, (samples, units))
    skip = np.zeros(samples, int) if share_empty else random.integers(0, 3, samples)
    labels = random.integers(0, 3, samples)

    evaluations = necessary_evaluations(active, share_empty=share_empty)
    masks = (np.arange(units) >= evaluations.low[:, None]) & (
        np.arange(units) < evaluations.high[:, None]
    )
    predicted = np.array(
        [
            answer(active[s], mask, weights[s], skip[s])
            for s, mask in zip(evaluations.sample, masks, strict=True)
        ]
    )
    state = SweepState.start(samples, 3, units)
    state.add(np.arange(samples), labels, evaluations, predicted)

    for number, order in enumerate(["descending", "ascending"]):
        right = np.array(
            [
                [
                    answer(active[s], kept(order, n, units), weights[s], skip[s]) == labels[s]
                    for n in range(units + 1)
                ]
                for s in range(samples)
            ]
        )
        for label in range(3):
            assert (state.curves[number, label] == right[labels == label].sum(axis=0)).all()
        assert (state.hits[number] == right.sum(axis=1)).all()
        assert (state.correct == right[:, 0]).all()
    assert state.possible == 2 * (units + 1) * samples


def test_necessary_evaluations_are_no_more_than_needed():
    active = np.array([[True, False, True, True], [False] * 4])
    evaluations = necessary_evaluations(active, share_empty=True)
    # Three active units: the whole, two steps in each order, and the empty network; a sample
    # without active units has one answer.
    assert len(evaluations) == 1 + 2 * 2 + 1 + 1


def test_necessary_evaluations_without_sharing_run_the_empty_network_per_sample():
    active = np.ones((3, 2), dtype=bool)
    assert len(necessary_evaluations(active, share_empty=False)) == len(
        necessary_evaluations(active, share_empty=True)
    ) + (3 - 1)
