import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.ablation.unit_order import unit_order
from analyzer.errors import ModelError


def test_order_descends_and_ties_go_to_the_lower_channel():
    order = unit_order(np.array([1.0, 3.0, 0.0, 3.0, 1.0, -0.0]))
    assert order.dtype == np.int64
    assert order.tolist() == [1, 3, 0, 4, 2, 5]


def test_order_of_all_classes_at_once():
    attribute = np.array([[1, 2, 3], [3, 3, 1], [0, 0, 0]], dtype=np.float32)
    assert unit_order(attribute).tolist() == [[2, 1, 0], [0, 1, 2], [0, 1, 2]]


def test_order_of_unsigned_and_infinite_attributes():
    assert unit_order(np.array([0, 255, 7], dtype=np.uint8)).tolist() == [1, 2, 0]
    assert unit_order(np.array([1.0, np.inf, 2.0, np.inf])).tolist() == [1, 3, 2, 0]


def test_order_of_nan_is_refused_by_channel():
    with pytest.raises(ModelError, match="channel 2 is not a number"):
        unit_order(np.array([[1.0, 2.0, 3.0], [1.0, 2.0, np.nan]]))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30, unique=True), st.randoms())
def test_order_follows_a_permutation_of_channels_without_ties(values, random):
    permutation = random.sample(range(len(values)), len(values))
    attribute = np.array(values)
    renamed = unit_order(attribute[permutation])
    assert np.array_equal(np.array(permutation)[renamed], unit_order(attribute))
