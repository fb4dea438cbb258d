"""What the curves say of a class and of a network, from correct counts.

The sparsity quantities (Eq. 2 to 6), and further features of the same curves.

Every comparison and every sum is made on integers; ζ and κ are one division each, so that equal
counts give equal quantities to the bit. The functions on arrays take any leading axes, so the
curves of all classes can be handed over at once.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from analyzer.errors import DataError
from analyzer.measures.ablation.class_curves import ClassCurves
from analyzer.measures.ablation.sample_scores import SampleCounts

__all__ = [
    "AREA",
    "CURVE_FEATURES",
    "ClassQuantities",
    "ascending_turning_point",
    "chance_fraction",
    "class_quantities",
    "compute_curve_features",
    "descending_turning_point",
    "kappa",
    "network_quantities",
    "zeta",
]

MAX_DENOMINATOR = 10**6

# Features beyond ζ and κ. ζ adds up both turning points and κ the area between the curves. Kept
# apart they say more: which of the two points moved, how high each curve runs. The sample score
# says which samples the most active units carry: it is low for those that the network memorized.
CURVE_FEATURES = (
    "curve_n0",
    "curve_n0_r",
    "curve_area_descending",
    "curve_area_ascending",
    "score_q10",
    "score_q25",
    "score_q50",
    "score_q75",
    "score_q90",
)
"""More of the curves than ζ and κ, as :func:`compute_curve_features` gives it."""

AREA = "curve_area_ascending"
"""The one of them that follows the gap best by itself: the mean of E_r over n = 0…M."""

_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True, slots=True)
class ClassQuantities:
    """The sparsity quantities of one class (Eq. 2 to 5); None for a class without samples."""

    class_index: int
    samples: int
    accuracy: float | None  # with nothing removed
    n0: int | None
    n0_r: int | None
    zeta: float | None
    kappa: float | None
    chance_reached: bool
    flags: tuple[str, ...] = ()  # sentences for the reader of the result


def chance_fraction(chance: Fraction | float) -> Fraction:
    """The chance level as an exact fraction.

    A float becomes the nearest fraction with a denominator up to a million: ``1 / 3`` is a third
    and ``0.1`` a tenth. No accuracy over a million samples or fewer lies between the two, so
    this decides ties, and nothing else, in favor of equality.

    Raises:
        DataError: the chance level is not in [0, 1).
    """
    if not 0 <= chance < 1:  # also turns away NaN
        raise DataError(
            f"The chance level is {chance}: give the accuracy of guessing as a fraction, "
            "at least 0 and below 1, for example 0.1 with ten classes."
        )
    if isinstance(chance, Fraction):
        return chance
    return Fraction(float(chance)).limit_denominator(MAX_DENOMINATOR)


def descending_turning_point(
    descending: np.ndarray, samples: np.ndarray | int, chance: Fraction | float
) -> tuple[np.ndarray, np.ndarray]:
    """n0, the fewest of the most active units whose removal destroys the class (Eq. 2).

    Args:
        descending: int ndarray of shape (..., M + 1), correct counts with the n most active
            units removed.
        samples: int ndarray of shape (...), samples of each class.
        chance: accuracy of guessing.

    Returns:
        (n0, reached), int64 and bool ndarrays of shape (...): the smallest n with
        count / samples <= chance; where there is none, the first n with the least count, and
        ``reached`` is False.

    Raises:
        DataError: the chance level is not in [0, 1).
    """
    level = chance_fraction(chance)
    most = np.asarray(samples, dtype=np.int64) * level.numerator // level.denominator
    at_chance: np.ndarray = descending <= most[..., np.newaxis]
    reached = np.any(at_chance, axis=-1)
    return np.where(reached, at_chance.argmax(axis=-1), descending.argmin(axis=-1)), reached


def ascending_turning_point(ascending: np.ndarray) -> np.ndarray:
    """n0_r, the most of the least active units whose removal leaves the best accuracy (Eq. 3).

    Args:
        ascending: int ndarray of shape (..., M + 1), correct counts with the n least active
            units removed.

    Returns:
        int64 ndarray of shape (...): the largest n in 0…M−1 at which the curve is at its maximum
        over 0…M−1. At least one unit stays.
    """
    backwards = ascending[..., -2::-1]
    return ascending.shape[-1] - 2 - backwards.argmax(axis=-1)


def zeta(n0: np.ndarray | int, n0_r: np.ndarray | int, channels: int) -> np.ndarray | float:
    """ζ, float of the shape of ``n0``, in [0, 1] (Eq. 4)."""
    return (n0 + channels - n0_r) / (2 * channels)


def kappa(
    descending: np.ndarray, ascending: np.ndarray, samples: np.ndarray | int
) -> np.ndarray | float:
    """κ, the area between the two curves (Eq. 5).

    Args:
        descending: int ndarray of shape (..., M + 1).
        ascending: int ndarray of shape (..., M + 1).
        samples: int ndarray of shape (...), at least 1.

    Returns:
        float of shape (...), in [0, 1] for curves that share both ends.
    """
    channels = descending.shape[-1] - 1
    between = np.abs(np.subtract(ascending, descending, dtype=np.int64)).sum(axis=-1)
    return between / (channels * np.asarray(samples))


def class_quantities(
    curves: ClassCurves, chance: Fraction | float, *, name: str | None = None
) -> ClassQuantities:
    """The quantities of one class, with a flag for all that a reader must be able to see.

    Args:
        curves: correct counts of the class; a class without samples is flagged and has None
            for each quantity.
        chance: accuracy of guessing.
        name: what errors call the class; its index when None.

    Raises:
        DataError: the chance level is not in [0, 1), or the curves are not those of one class
            and one network (shape, counts beyond the samples, ends that differ).
    """
    level = chance_fraction(chance)
    _check(curves, str(curves.class_index) if name is None else repr(name))
    samples = curves.samples
    if samples == 0:
        return ClassQuantities(
            class_index=curves.class_index,
            samples=0,
            accuracy=None,
            n0=None,
            n0_r=None,
            zeta=None,
            kappa=None,
            chance_reached=False,
            flags=("No samples: left out of the network's averages.",),
        )
    n0, reached = descending_turning_point(curves.descending, samples, level)
    n0_r = ascending_turning_point(curves.ascending)
    return ClassQuantities(
        class_index=curves.class_index,
        samples=samples,
        accuracy=int(curves.descending[0]) / samples,
        n0=int(n0),
        n0_r=int(n0_r),
        zeta=float(zeta(n0, n0_r, curves.descending.size - 1)),
        kappa=float(kappa(curves.descending, curves.ascending, samples)),
        chance_reached=bool(reached),
        flags=_flags(curves, int(n0), bool(reached), level),
    )


def network_quantities(classes: Iterable[ClassQuantities]) -> tuple[float, float]:
    """(ζ, κ) of the network: plain averages over its classes with samples (Eq. 6).

    The order of the classes does not matter, to the bit.

    Raises:
        DataError: no class has samples.
    """
    measured = list(classes)
    zetas = [one.zeta for one in measured if one.zeta is not None]
    kappas = [one.kappa for one in measured if one.kappa is not None]
    if not zetas:
        raise DataError("No class has any samples: the data are empty or all samples were skipped.")
    return math.fsum(zetas) / len(zetas), math.fsum(kappas) / len(kappas)


def compute_curve_features(
    curves: Iterable[ClassCurves], samples: SampleCounts, chance: Fraction | float
) -> dict[str, float]:
    """The features of one network, by their names in ``CURVE_FEATURES``.

    ``curve_n0`` and ``curve_n0_r`` are n0 / M and n0_r / M (Eq. 2, 3), ``curve_area_descending``
    and ``curve_area_ascending`` the means of E and E_r over n = 0…M; all four are plain averages
    over the classes with samples, like ζ and κ (Eq. 6). ``score_q10`` … ``score_q90`` are quantiles
    over all samples of (ascending − descending) / (M + 1).

    Args:
        curves: of all classes, checked (:func:`class_quantities`).
        samples: of the same audit.
        chance: accuracy of guessing.

    Raises:
        DataError: no class has samples, or the chance level is not in [0, 1).
    """
    measured = [curve for curve in curves if curve.samples]
    if not measured:
        raise DataError("No class has any samples: the data are empty or all samples were skipped.")
    count = np.array([curve.samples for curve in measured])
    descending = np.stack([curve.descending for curve in measured])  # (K, M + 1)
    ascending = np.stack([curve.ascending for curve in measured])
    values = descending.shape[1]
    n0, _ = descending_turning_point(descending, count, chance)
    n0_r = ascending_turning_point(ascending)
    score = (samples.ascending.astype(np.float64) - samples.descending) / values
    features = (
        int(n0.sum()) / (len(measured) * (values - 1)),
        int(n0_r.sum()) / (len(measured) * (values - 1)),
        math.fsum(descending.sum(axis=1) / (count * values)) / len(measured),
        math.fsum(ascending.sum(axis=1) / (count * values)) / len(measured),
        *(float(quantile) for quantile in np.quantile(score, _QUANTILES)),
    )
    return dict(zip(CURVE_FEATURES, features, strict=True))


def _check(curves: ClassCurves, name: str) -> None:
    descending, ascending, samples = curves.descending, curves.ascending, curves.samples
    if descending.ndim != 1 or descending.shape != ascending.shape or descending.size < 2:
        raise DataError(
            f"The curves of class {name} have shapes {descending.shape} and {ascending.shape}: "
            "both need M + 1 counts, for a site of at least one channel."
        )
    for order, counts in (("descending", descending), ("ascending", ascending)):
        if counts.dtype.kind not in "iu":
            raise DataError(
                f"The {order} curve of class {name} is of type {counts.dtype}: "
                "give counts of correct samples, not accuracies."
            )
        if counts.min() < 0 or counts.max() > samples:
            raise DataError(
                f"The {order} curve of class {name} runs from {counts.min()} to {counts.max()}, "
                f"but the class has {samples} samples: the counts belong to other data."
            )
    for n, removed in ((0, "nothing"), (-1, "every unit")):
        if descending[n] != ascending[n]:
            raise DataError(
                f"The curves of class {name} differ with {removed} removed ({descending[n]} and "
                f"{ascending[n]} correct): they were not measured on one network that answers "
                "the same each time, or its scores are so close that rounding decides. Measure "
                "both again, or name another site."
            )


def _flags(curves: ClassCurves, n0: int, reached: bool, chance: Fraction) -> tuple[str, ...]:
    intact, empty = int(curves.descending[0]), int(curves.descending[-1])
    samples, level = curves.samples, float(chance)
    flags = []
    if reached and n0 == 0:
        flags.append(
            f"The accuracy with nothing removed, {intact / samples:.3g}, is already at or below "
            f"chance ({level:.3g})."
        )
    if not reached:
        flags.append(
            f"The accuracy never falls to chance ({level:.3g}): n0 is where it is least, "
            f"{int(curves.descending[n0]) / samples:.3g}."
        )
    if empty == samples:
        flags.append("The network with every unit removed still names this class.")
    return tuple(flags)
