"""Gaps of single classes: how the gap that a network is estimated to have falls on its classes.

A network errs first on what it is least sure of. Its training samples are put in order of sureness,
the mean of three ranks: of the logit margin, of the neighbors' agreement two thirds of the way, and
of hold. If the network errs on a share e of new samples, the first part of that order, as large as
e, stands for them, and a class errs on about the share of its samples that lie there. What this
gives beyond the network's mean is shrunk, more so for a class of few samples, and added to the
network's estimate.

Slope and intervals are learned by leaving whole populations out, as those of the network's own
estimate are (:mod:`analyzer.estimation.class_gaps_fitting`). Applying the line needs numpy alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["ClassEstimates", "ClassLine", "ClassProfiles", "class_profiles"]

TENTHS = 10
"""Parts of the order of sureness in which samples are counted."""

LEAST = 2
"""Samples that a class needs: of one alone nothing can be compared."""

_FEW = 10.0  # samples at which half of what a class shows is believed
_FLOOR = 0.2  # classes may err by units of their estimate plus this, as networks may


@dataclass(frozen=True, slots=True, eq=False)
class ClassProfiles:
    """Where the samples of K classes lie in the order of sureness of their network."""

    index: np.ndarray  # int64 (K,), of the classes
    samples: np.ndarray  # int64 (K,): all of a class, with those that were not looked at
    accuracy: np.ndarray  # float64 (K,), on the training samples
    counts: np.ndarray  # int64 (K, 10): its samples in each tenth, the least sure first

    def deviations(self, gap: float) -> np.ndarray:
        """How much more a class would lose than the network, float64 (K,), shrunk.

        Args:
            gap: that of the network.
        """
        size = self.counts.sum(axis=1)
        share = self.counts / size[:, None]
        weight = self.samples / self.samples.sum()
        error = 1 - float(weight @ self.accuracy) + gap
        lost = share @ _first_part(weight @ share, error) - (1 - self.accuracy)
        return (lost - weight @ lost) * size / (size + _FEW)


@dataclass(frozen=True, slots=True, eq=False)
class ClassEstimates:
    """The estimated gaps of K classes, with their intervals."""

    estimate: np.ndarray  # float64 (K,)
    low: np.ndarray  # float64 (K,)
    high: np.ndarray  # float64 (K,)


@dataclass(frozen=True, slots=True)
class ClassLine:
    """What a gap model of several populations says of the classes of a network."""

    slope: float  # of a class's deviation
    half_width: float  # of the interval, in units of what a class may err by
    widest: float  # the same outside the gap model's domain: the greatest error that was seen
    coverage: float  # nominal, over the classes of populations to come
    measured: float | None  # share that the intervals held of populations left out whole
    populations: int  # that it was fitted on
    classes: int  # of all their networks together

    def estimate(self, profiles: ClassProfiles, gap: float, *, inside: bool) -> ClassEstimates:
        """The gaps of the classes, from 0 to their training accuracy.

        The lower end of an interval may be negative: by chance a class does better on new samples.

        Args:
            profiles: of the classes.
            gap: the estimate for the network.
            inside: whether the network lies inside the gap model's domain.
        """
        found = np.clip(gap + self.slope * profiles.deviations(gap), 0, profiles.accuracy)
        half = (self.half_width if inside else self.widest) * may_err(profiles, found)
        return ClassEstimates(
            estimate=found,
            low=np.maximum(found - half, profiles.accuracy - 1),
            high=np.minimum(found + half, profiles.accuracy),
        )


def may_err(profiles: ClassProfiles, estimates: np.ndarray) -> np.ndarray:
    """What an error of each class is measured in, float64 (K,): more for few samples."""
    return (estimates + _FLOOR) * np.sqrt(1 + _FEW / profiles.counts.sum(axis=1))


def class_profiles(
    labels: np.ndarray,
    margin: np.ndarray,
    agreement: np.ndarray,
    hold: np.ndarray,
    accuracy: Mapping[int, float],
) -> ClassProfiles:
    """The profiles of the classes with two samples or more that tell; none where none has.

    Args:
        labels: int64 (S,).
        margin: float (S,): the label's logit less the best other.
        agreement: float (S,), of the neighbors two thirds of the way; NaN where not measured.
        hold: float (S,); NaN where not measured.
        accuracy: on the training samples, by class.
    """
    # As files keep them, so that what is read says the same.
    margin, agreement, hold = (
        np.asarray(values, np.float32) for values in (margin, agreement, hold)
    )
    known = np.isfinite(margin) & np.isfinite(agreement) & np.isfinite(hold)
    classes, place_of, samples = np.unique(labels, return_inverse=True, return_counts=True)
    of_class = place_of[known]
    told = np.bincount(of_class, minlength=len(classes))
    # A sample stands for those of its class that were not looked at.
    weight = (samples / np.maximum(told, 1))[of_class]
    margin, agreement, hold = margin[known], agreement[known], hold[known]
    ranks = [_ranks(weight, *keys) for keys in ((margin,), (agreement, margin), (hold, margin))]
    # Sums that should be alike differ in the last bits.
    place = _ranks(weight, np.round(sum(ranks), 9), margin)
    tenth = np.minimum((place * TENTHS).astype(np.int64), TENTHS - 1)
    enough = told >= LEAST
    counts = np.zeros((len(classes), TENTHS), np.int64)
    np.add.at(counts, (of_class, tenth), 1)
    return ClassProfiles(
        index=classes[enough],
        samples=samples[enough],
        accuracy=np.array([accuracy[one] for one in classes[enough].tolist()], np.float64),
        counts=counts[enough],
    )


def _ranks(weight: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """Where each sample lies in the order, in (0, 1); samples alike in all keys lie together.

    Args:
        weight: float64 (N,).
        keys: float64 (N,) each; a later one decides where those before are alike.
    """
    order = np.lexsort(keys[::-1])
    changes = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
    group = np.concatenate([[0], np.cumsum(changes)]).astype(np.int64)[: len(order)]
    of_group = np.bincount(group, weight[order])
    middle = (np.cumsum(of_group) - of_group / 2) / max(weight.sum(), 1e-300)
    found = np.empty(len(order))
    found[order] = middle[group]
    return found


def _first_part(size: np.ndarray, share: float) -> np.ndarray:
    """How much of each tenth belongs to the first part of the order, float64 (10,).

    The part ends softly, over about a tenth to either side, because the order is rough.

    Args:
        size: float64 (10,), of the tenths, summing to 1.
        share: of all samples, that the part holds.
    """
    shares = _PARTS @ size  # rises from 0 to 1
    after = int(np.clip(np.searchsorted(shares, share), 1, len(shares) - 1))
    low, high = shares[after - 1 : after + 1]
    further = float(np.clip((share - low) / (high - low), 0, 1)) if high > low else 0.0
    return (1 - further) * _PARTS[after - 1] + further * _PARTS[after]


_ENDS = np.arange(-30, TENTHS + 30, 0.1)
_PARTS = 1 / (1 + np.exp(np.arange(TENTHS) + 0.5 - _ENDS[:, None]))  # by where the part ends
