"""Which training samples look as if the network had memorised rather than learned them.

Two things speak against a label: that the network is not sure of it, and that its answer is lost
early as the least active units are removed. Where a network has learned most of its labels and not
yet memorised the wrong ones, the first tells more; where it has memorised them, the second.
"""

import numpy as np

from analyzer.records import SampleCounts

__all__ = ["most_suspicious", "ranks_within", "suspicion"]


def suspicion(samples: SampleCounts) -> np.ndarray:
    """How suspicious each sample is among those with its label.

    p is the share of the class whose label is no more probable, q the share that is lost no later
    as the least active units are removed. They are taken together as in Fisher's method, by their
    product: −log₁₀(p·q) of 4 would be one sample in about a thousand if the two were independent.

    Args:
        samples: S samples with their scores.

    Returns:
        float64 (S,), above 0.
    """
    p = ranks_within(samples.label, samples.scores.log_probability.astype(np.float64))
    q = ranks_within(samples.label, samples.ascending.astype(np.float64))
    return -np.log10(p * q)


def most_suspicious(samples: SampleCounts, count: int) -> np.ndarray:
    """The ``count`` most suspicious of S samples, most suspicious first, int64 (count,).

    Of equally suspicious ones, the less probable goes first.
    """
    order = np.lexsort((samples.scores.log_probability, -suspicion(samples)))
    return order[:count]


def ranks_within(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Each value's rank among those of its group, as a share: of lower ones, and half of equals.

    It lies above 0 and below 1; its mean over a group is ½.

    Args:
        group: int64 (S,).
        values: float64 (S,).

    Returns:
        float64 (S,).
    """
    order = np.lexsort((values, group))
    groups, values = group[order], values[order]
    starts = np.diff(groups, prepend=groups[:1] - 1) != 0
    first, size = _stretches(starts)
    rank, equals = _stretches(starts | (np.diff(values, prepend=values[:1]) != 0))
    shares = np.empty(len(order))
    shares[order] = (rank - first + equals / 2) / size
    return shares


def _stretches(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each element, where its stretch begins and how long it is; ``starts`` marks the first."""
    begin = np.flatnonzero(starts)
    length = np.diff(begin, append=len(starts))
    return np.repeat(begin, length), np.repeat(length, length)
