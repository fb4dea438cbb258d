"""Reading the class from what a network answers."""

import numpy as np

__all__ = ["classes_of", "scores_of"]

_THRESHOLDS = {"logit": 0.0, "probability": 0.5}


def scores_of(answers: np.ndarray, kind: str) -> np.ndarray:
    """Scores (N, K) of which the highest is the class, or labels (N, 1) as they are.

    Args:
        answers: an output of the network, its first axis the samples.
        kind: how it tells the class, see :class:`analyzer.records.Answer`.
    """
    columns = answers.reshape(len(answers), -1)
    if kind not in _THRESHOLDS:
        return columns
    return np.concatenate([np.full_like(columns, _THRESHOLDS[kind]), columns], axis=1)


def classes_of(answers: np.ndarray, kind: str) -> np.ndarray:
    """The class that each answer tells, int64 (N,); of equally high scores the first."""
    scores = scores_of(answers, kind)
    return scores[:, 0].astype(np.int64) if kind == "labels" else scores.argmax(axis=1)
