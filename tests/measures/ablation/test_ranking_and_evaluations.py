"""The evaluations that are run stand for all: a made-up network is asked both ways.

And the order in which units are removed.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.errors import DataError, ModelError
from analyzer.measures.ablation.ranking_and_evaluations import (
    Ranking,
    class_selectivity,
    necessary_evaluations,
    order_units,
)
from analyzer.measures.ablation.sweep_state import SweepState


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


def test_order_descends_and_ties_go_to_the_lower_channel():
    order = order_units(np.array([1.0, 3.0, 0.0, 3.0, 1.0, -0.0]))
    assert order.dtype == np.int64
    assert order.tolist() == [1, 3, 0, 4, 2, 5]


def test_order_of_all_classes_at_once():
    activity = np.array([[1, 2, 3], [3, 3, 1], [0, 0, 0]], dtype=np.float32)
    assert order_units(activity).tolist() == [[2, 1, 0], [0, 1, 2], [0, 1, 2]]


def test_order_of_unsigned_and_infinite_activity():
    assert order_units(np.array([0, 255, 7], dtype=np.uint8)).tolist() == [1, 2, 0]
    assert order_units(np.array([1.0, np.inf, 2.0, np.inf])).tolist() == [1, 3, 2, 0]


def test_order_of_nan_is_refused_by_channel():
    with pytest.raises(ModelError, match="channel 2 is not a number"):
        order_units(np.array([[1.0, 2.0, 3.0], [1.0, 2.0, np.nan]]))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30, unique=True), st.randoms())
def test_order_follows_a_permutation_of_channels_without_ties(values, random):
    permutation = random.sample(range(len(values)), len(values))
    activity = np.array(values)
    renamed = order_units(activity[permutation])
    assert np.array_equal(np.array(permutation)[renamed], order_units(activity))


MEAN = np.array(
    [
        [4.0, 0.0, 0.0, 3.0, 1.0],
        [0.0, 2.0, 0.0, 3.0, 2.0],
        [0.0, 0.0, 0.0, 3.0, 6.0],
    ]
)


def test_selectivity_worked_by_hand():
    third = (1 - 4) / (1 + 4), (2 - 3.5) / (2 + 3.5), (6 - 1.5) / (6 + 1.5)
    np.testing.assert_allclose(
        class_selectivity(MEAN),
        [
            [1, -1, 0, 0, third[0]],
            [-1, 1, 0, 0, third[1]],
            [-1, -1, 0, 0, third[2]],
        ],
    )


def test_a_unit_of_one_class_alone_is_wholly_selective_whatever_the_sums():
    """Equal indices must be equal as floats, or ties would not go to the lower channel."""
    mean = np.zeros((3, 40))
    mean[1] = np.random.default_rng(0).random(40)
    assert class_selectivity(mean)[1].tolist() == [1.0] * 40
    assert class_selectivity(mean)[0].tolist() == [-1.0] * 40
    orders = Ranking("selectivity").orders(mean, np.array([2, 5, 7]))
    assert orders.tolist() == [list(range(40))] * 3


@given(
    st.integers(2, 6).flatmap(
        lambda classes: st.lists(
            st.lists(
                st.one_of(st.just(0.0), st.floats(1e-300, 1e6)), min_size=classes, max_size=classes
            ),
            min_size=1,
            max_size=8,
        )
    )
)
def test_selectivity_is_bounded_and_does_not_depend_on_the_scale_of_a_unit(columns):
    mean = np.array(columns).T
    found = class_selectivity(mean)
    assert (np.abs(found) <= 1).all()
    np.testing.assert_allclose(class_selectivity(mean * 4.0), found)
    # The class that excites a unit most is the one it is most selective for.
    excited = mean.max(axis=0) > 0
    best = np.take_along_axis(found, mean.argmax(axis=0)[None], axis=0)[0]
    np.testing.assert_allclose(best[excited], found.max(axis=0)[excited])


def test_orders_by_selectivity_and_by_activity_differ():
    classes = np.arange(3)
    assert Ranking().orders(MEAN, classes).tolist() == [
        [0, 3, 4, 1, 2],
        [3, 1, 4, 0, 2],
        [4, 3, 0, 1, 2],
    ]
    assert Ranking("selectivity").orders(MEAN, classes).tolist() == [
        [0, 2, 3, 4, 1],
        [1, 2, 3, 4, 0],
        [4, 2, 3, 0, 1],
    ]


def test_a_random_order_is_that_of_its_seed_and_class():
    mean, classes = np.ones((3, 20)), np.array([4, 0, 9])
    one = Ranking("random", seed=1).orders(mean, classes)
    assert one.dtype == np.int64
    assert (np.sort(one) == np.arange(20)).all()
    assert len({tuple(order) for order in one.tolist()}) == 3
    alone = Ranking("random", seed=1).orders(mean[:1], np.array([9]))
    assert alone[0].tolist() == one[2].tolist()
    assert Ranking("random", seed=2).orders(mean, classes).tolist() != one.tolist()
    assert Ranking("random").orders(mean[:0], classes[:0]).shape == (0, 20)


def test_selectivity_of_one_class_alone_is_refused():
    with pytest.raises(DataError, match="only one class has samples"):
        Ranking("selectivity").orders(np.ones((1, 4)), np.array([3]))
