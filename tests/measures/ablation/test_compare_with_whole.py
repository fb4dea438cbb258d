"""How far the cut network may differ from the whole one."""

import warnings

import numpy as np
import pytest

from analyzer.errors import ModelError
from analyzer.measures.ablation.compare_with_whole import _LAST_PLACES, _compare, _epsilon

SCORES = np.array([[1.0, 3.0, 2.0], [0.5, -4.0, 0.0]], np.float32)


def test_rounding_is_let_pass():
    _compare(SCORES, SCORES * (1 + 1e-6), "scores", "case")


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_scores_that_are_all_zero_must_stay_so(dtype):
    zero = np.zeros((2, 3), dtype)
    _compare(zero, zero, "scores", "case")
    with pytest.raises(ModelError, match=r"class 1 scores 0\.5 instead of 0"):
        _compare(zero, np.array([[0, 0, 0], [0, 0.5, 0]], dtype), "scores", "case")


def test_both_numbers_are_shown():
    wrong = SCORES.copy()
    wrong[1, 1] = -4.5
    with pytest.raises(ModelError, match=r"case.*class 1 scores -4\.5 instead of -4"):
        _compare(SCORES, wrong, "scores", "case")


def test_a_number_that_is_none_is_found():
    wrong = SCORES.copy()
    wrong[0, 2] = np.nan
    with pytest.raises(ModelError, match="class 2 scores nan instead of 2"):
        _compare(SCORES, wrong, "scores", "case")
    _compare(wrong, wrong, "scores", "case")


def test_infinite_scores_may_be_repeated():
    high = np.array([[np.inf, 1.0, 2.0]], np.float16)
    _compare(high, high, "scores", "case")
    with warnings.catch_warnings(action="error"):
        _compare(np.full((2, 3), np.inf), np.full((2, 3), np.inf), "scores", "case")


def test_another_shape_is_a_defect():
    with pytest.raises(ModelError, match="shape"):
        _compare(SCORES, SCORES[:, :2], "scores", "case")


def test_sixteen_bits_round_more():
    rounded = SCORES * (1 + np.array([[2, -5, 3], [-4, 5, 1]]) * np.finfo(np.float16).eps)
    with pytest.raises(ModelError, match="does not repeat"):
        _compare(SCORES, rounded, "scores", "case")
    _compare(SCORES, rounded, "scores", "case", _LAST_PLACES * _epsilon(np.zeros(1, np.float16)))
    with pytest.raises(ModelError, match="does not repeat"):
        _compare(SCORES, SCORES[:, ::-1], "scores", "case", 0.1)
    assert _epsilon(np.zeros(1, np.uint8)) == 0
