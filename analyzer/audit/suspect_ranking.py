"""How suspicious each sample's label is, from what the measures found of it.

With interpolation and neighbors: the logarithm of the odds that the label is wrong, a line through
three numbers: how many of the sample's neighbors have its label (the mean of four depths), whether
the label holds half way to others of it, and at how many of the depths most neighbors have one and
the same other label. The line was fitted on networks whose wrong labels are known, two data sets
out of three; docs/SUSPECTS.md shows what it does on the third.

Without them two things speak against a label: that the network is not sure of it, and that its
answer is lost early as the least active units are removed. Where a network has learned most of its
labels and not yet memorized the wrong ones, the first tells more; where it has memorized them, the
second.
"""

from dataclasses import dataclass, replace

import numpy as np

from analyzer.measures.ablation.sample_scores import SampleCounts
from analyzer.measures.neighbors.votes import LAYERS

__all__ = [
    "DEPTHS",
    "DOUBT",
    "DoubtLine",
    "LabelDoubt",
    "ablation_suspicion",
    "doubt_labels",
    "doubt_terms",
    "likely_labels",
    "most_suspicious",
    "place_without_neighbors",
    "ranks_within",
]

DEPTHS = LAYERS[:-1]
"""Where neighbors are asked: in the last activation wrong labels are memorized already."""

_SOFT = 0.1  # added to shares before their logarithm
_UNKNOWN = 0.5  # stands for a share that was not measured
_PULL = 0.8  # from the middle, how far the odds go of samples without neighbors
_DIGITS = 9  # of the odds, so that what is equal ties


@dataclass(frozen=True, slots=True)
class DoubtLine:
    """Log-odds that a label is wrong, of a sample's terms (:func:`doubt_terms`)."""

    agreement: float
    hold: float
    depths: float
    intercept: float


DOUBT = DoubtLine(agreement=-2.440, hold=-0.769, depths=4.413, intercept=-7.929)
"""Fitted by ``python -m tools.suspects_study`` on digits and glyphs, on networks with 0 to 20 % of
wrong labels."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelDoubt:
    """What hold and neighbors say against the labels of S samples."""

    log_odds: np.ndarray  # float64 (S,): that the label is wrong
    probability: np.ndarray  # float64 (S,): the same; NaN where the sample has no neighbors
    likely: np.ndarray  # int64 (S,): the other label that most neighbors have; −1 without one
    depths: np.ndarray  # int64 (S,): at how many of the four depths they have it


def doubt_labels(
    labels: np.ndarray,
    hold: np.ndarray,
    agreement: np.ndarray,
    majority: np.ndarray,
    line: DoubtLine = DOUBT,
) -> LabelDoubt:
    """How likely each label is wrong.

    Args:
        labels: int64 (S,).
        hold: float (S,), NaN where a sample has no partner or was not looked at.
        agreement: float (5, S), by layer: share of neighbors with its label, NaN without any.
        majority: int64 (5, S), by layer: the label that most neighbors have, −1 without any.
        line: weights of the terms.
    """
    likely, depths = likely_labels(labels, majority)
    terms = doubt_terms(labels, hold, agreement, majority)
    weights = np.array([line.agreement, line.hold, line.depths])
    log_odds = np.round((terms * weights).sum(axis=1) + line.intercept, _DIGITS)
    known = (majority[: len(DEPTHS)] >= 0).any(axis=0)
    return LabelDoubt(
        log_odds=log_odds,
        probability=np.where(known, 1 / (1 + np.exp(-log_odds)), np.nan),
        likely=likely,
        depths=depths,
    )


def place_without_neighbors(doubt: LabelDoubt, samples: SampleCounts) -> LabelDoubt:
    """The same, samples that have no neighbors among those that have some.

    Those without neighbors keep the order in which ablation and log-probability suspect them
    (:func:`ablation_suspicion`). Where a share of them is more suspicious than a sample, it stands
    where as large a share is of those with neighbors, but a fifth nearer to their middle, since
    less is known of it.
    """
    known = ~np.isnan(doubt.probability)
    if known.all() or not known.any():
        return doubt
    among = doubt.log_odds[known]
    share = ranks_within(np.zeros((~known).sum(), np.int64), ablation_suspicion(samples)[~known])
    middle, log_odds = np.median(among), doubt.log_odds.copy()
    log_odds[~known] = middle + _PULL * (np.quantile(among, share) - middle)
    return replace(doubt, log_odds=np.round(log_odds, _DIGITS))


def doubt_terms(
    labels: np.ndarray, hold: np.ndarray, agreement: np.ndarray, majority: np.ndarray
) -> np.ndarray:
    """log(agreement + 0.1), log(hold + 0.1) and the share of depths, float64 (S, 3).

    What was not measured of a sample counts as ½. Arguments as for :func:`doubt_labels`.
    """
    # What a forger wrote can be no share; the checks of the measures say so.
    mean = np.nan_to_num(agreement[: len(DEPTHS)], nan=_UNKNOWN).clip(0, 1).mean(axis=0)
    held = np.nan_to_num(np.asarray(hold, np.float64), nan=_UNKNOWN).clip(0, 1)
    _, depths = likely_labels(labels, majority)
    return np.stack([np.log(mean + _SOFT), np.log(held + _SOFT), depths / len(DEPTHS)], axis=1)


def likely_labels(labels: np.ndarray, majority: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The other label that most neighbors have, and at how many depths, int64 (S,) each.

    The one that they have at most depths, and of several the one at the greatest depth; −1 and 0
    where they outvote the label nowhere. Arguments as for :func:`doubt_labels`.
    """
    named = majority[: len(DEPTHS)]
    other = (named >= 0) & (named != labels)  # (4, S)
    times = ((named[:, None] == named[None]) & other[:, None] & other[None]).sum(axis=0)
    depth = np.arange(len(DEPTHS))[:, None]
    best = np.where(other, times * len(DEPTHS) + depth, -1).argmax(axis=0)[None]
    depths = np.take_along_axis(times, best, axis=0)[0]
    return np.where(depths > 0, np.take_along_axis(named, best, axis=0)[0], -1), depths


def ablation_suspicion(samples: SampleCounts) -> np.ndarray:
    """How suspicious each sample is among those with its label, without neighbors and hold.

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


def most_suspicious(
    samples: SampleCounts, count: int, doubt: LabelDoubt | None = None
) -> np.ndarray:
    """The ``count`` most suspicious of S samples, most suspicious first, int64 (count,).

    By the odds that the label is wrong, where they are known; of equally suspicious ones those
    first that ablation and log-probability find more suspicious, then the less probable.
    """
    keys = [samples.scores.log_probability, -ablation_suspicion(samples)]
    if doubt is not None:
        keys.append(-doubt.log_odds)
    return np.lexsort(keys)[:count]


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
