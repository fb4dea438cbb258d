"""What scores say of labels, whatever the scores are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from analyzer.errors import ModelError
from analyzer.measures.ablation.sample_scores import keep_scores, sample_scores
from analyzer.runtime.predictions import scores_of


def found(scores, labels, kind="scores"):
    labels = np.asarray(labels)
    return sample_scores(keep_scores(np.asarray(scores, np.float32), labels), labels, kind)


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_by_hand():
    scores = np.log([[1, 3, 4], [1, 3, 4]])
    said = found(scores, [2, 0])
    np.testing.assert_allclose(np.exp(said.log_probability), [1 / 2, 1 / 8], rtol=1e-6)
    np.testing.assert_allclose(np.exp(said.margin), [4 / 3, 1 / 4], rtol=1e-6)
    np.testing.assert_array_equal(said.other, [1, 2])


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(2, 5)),
        elements=st.sampled_from([-np.inf, -3e38, -50.0, 0.0, 0.5, 1.0, 7.0, 3e38, np.inf]),
    ),
    st.data(),
)
def test_all_numbers_are_finite_and_agree_with_the_class_named(scores, data):
    labels = data.draw(arrays.arrays(np.int64, len(scores), elements=st.integers(0, 1)))
    said = found(scores, labels)
    assert np.isfinite(said.log_probability).all()
    assert np.isfinite(said.margin).all()
    assert (said.log_probability <= 0).all()
    assert (said.other != labels).all()
    for row, label, margin in zip(scores, labels, said.margin, strict=True):
        if np.isfinite(row.max()) and (row == row.max()).sum() == 1:
            assert (margin > 0) == (row.argmax() == label)


def test_a_score_that_is_not_a_number_is_refused():
    scores = np.array([[0.0, 1.0, 2.0], [0.0, np.inf, np.nan]], np.float32)
    with pytest.raises(ModelError, match="The score of class 2 is not a number"):
        keep_scores(scores, np.zeros(2, np.int64))


def test_probabilities_are_read_as_such():
    scores = np.random.default_rng(0).normal(0, 5, (50, 10)).astype(np.float32)
    labels = np.arange(50) % 10
    logits, probabilities = found(scores, labels), found(softmax(scores), labels)
    np.testing.assert_allclose(
        probabilities.log_probability, logits.log_probability, rtol=1e-5, atol=1e-5
    )
    half = found(softmax(scores).astype(np.float16), labels)
    normal = logits.log_probability > -9  # below, half precision runs out of digits
    np.testing.assert_allclose(
        half.log_probability[normal], logits.log_probability[normal], atol=0.01
    )


def test_one_sample_of_all_tells_that_scores_are_no_probabilities():
    scores = np.array([[0.2, 0.8], [0.3, 0.7], [0.5, 0.6]])
    said = found(scores, [0, 0, 0])
    np.testing.assert_allclose(said.log_probability, np.log(softmax(scores))[:, 0], rtol=1e-6)


def test_a_probability_of_nought_has_a_logarithm():
    said = found([[1.0, 0.0], [0.0, 1.0]], [1, 1])
    assert -88 < said.log_probability[0] < -87
    assert said.log_probability[1] == 0


@pytest.mark.parametrize("kind", ["logit", "probability"])
def test_a_single_score_is_that_of_class_one(kind):
    probability = np.array([0.9, 0.4, 0.6], np.float32)
    score = probability if kind == "probability" else np.log(probability / (1 - probability))
    said = found(scores_of(score, kind), [1, 1, 0], kind)
    np.testing.assert_allclose(np.exp(said.log_probability), [0.9, 0.4, 0.4], rtol=1e-5)
    np.testing.assert_array_equal(said.margin > 0, [True, False, False])
    np.testing.assert_array_equal(said.other, [0, 0, 1])
