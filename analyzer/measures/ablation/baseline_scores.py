"""What the whole network says with nothing removed: its scores, and what they say of the labels.

A network's scores may be logits or, after a softmax, probabilities already; which, all samples
together tell for certain. So what either reading needs is kept first, and read in the end.
"""

from dataclasses import dataclass

import numpy as np

from analyzer.records import SampleScores

__all__ = ["BaselineScores", "keep_scores", "sample_scores"]

_SUM = 0.01  # by which the scores of a softmax may miss 1, for float16's sake
_LEAST = np.finfo(np.float32).tiny  # of probabilities, where a softmax has run out of numbers
_FAR = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class BaselineScores:
    """What is kept of the scores (C, K) of C samples with nothing removed."""

    own: np.ndarray  # float32 (C,): of the label
    best: np.ndarray  # float32 (C,): the highest other one
    other: np.ndarray  # int32 (C,): its class
    log_softmax: np.ndarray  # float32 (C,): of the label's score among all
    adds_up: np.ndarray  # bool (C,): the scores are not negative and add up to 1


def keep_scores(scores: np.ndarray, labels: np.ndarray) -> BaselineScores:
    """What is kept of scores (C, K), for samples with labels int64 (C,).

    What is not a number counts as the lowest score; infinity, as the largest number there is.
    """
    scores = np.nan_to_num(scores.astype(np.float64), nan=-_FAR, neginf=-_FAR, posinf=_FAR)
    everyone = np.arange(len(scores))
    own, others = scores[everyone, labels], scores.copy()
    others[everyone, labels] = -np.inf
    best = others.max(axis=1)
    top = np.maximum(own, best)
    log_softmax = own - top - np.log(np.exp(scores - top[:, None]).sum(axis=1))
    return BaselineScores(
        own=own.astype(np.float32),
        best=best.astype(np.float32),
        other=others.argmax(axis=1).astype(np.int32),
        log_softmax=log_softmax.clip(-_FAR, 0).astype(np.float32),
        adds_up=(scores >= 0).all(axis=1) & (np.abs(scores.sum(axis=1) - 1) < _SUM),
    )


def sample_scores(kept: BaselineScores, labels: np.ndarray, kind: str) -> SampleScores:
    """Log-probability and margin of the labels of all samples; all numbers are finite.

    The log-probability is the log softmax of the label's score, or the logarithm of that score
    where the scores of every sample are not negative and add up to 1.

    Args:
        kept: of all S samples.
        labels: int64 (S,).
        kind: how the network tells the class, see :class:`analyzer.records.Answer`.
    """
    log_probability = kept.log_softmax
    if kind == "probability":  # of class 1, held against ½
        log_probability = _log(np.where(labels == 1, kept.own, 1 - kept.best))
    elif kind != "logit" and kept.adds_up.all():
        log_probability = _log(kept.own)
    margin = (kept.own.astype(np.float64) - kept.best).clip(-_FAR, _FAR)
    return SampleScores(log_probability, margin.astype(np.float32), kept.other)


def _log(probability: np.ndarray) -> np.ndarray:
    return np.log(probability.clip(_LEAST, 1)).astype(np.float32)
