"""Features of a network beyond ζ and κ: more of the same curves.

ζ adds up both turning points and κ the area between the curves. Kept apart they say more: which of
the two points moved, how high each curve runs. The sample score says which samples the most active
units carry: it is low for those that the network memorised.
"""

from collections.abc import Iterable
from fractions import Fraction
from math import fsum

import numpy as np

from analyzer.errors import DataError
from analyzer.measures.ablation.quantities import ascending_turning_point, descending_turning_point
from analyzer.records import ClassCurves, SampleCounts

__all__ = ["AREA", "CURVE_FEATURES", "compute_curve_features"]

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

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def compute_curve_features(
    curves: Iterable[ClassCurves], samples: SampleCounts, chance: Fraction | float
) -> dict[str, float]:
    """The features of one network, by their names in ``CURVE_FEATURES``.

    ``curve_n0`` and ``curve_n0_r`` are n0 / M and n0_r / M (Eq. 2, 3), ``curve_area_descending``
    and ``curve_area_ascending`` the means of E and E_r over n = 0…M; all four are plain averages
    over the classes with samples, like ζ and κ (Eq. 6). ``score_q10`` … ``score_q90`` are quantiles
    over all samples of (ascending − descending) / (M + 1).

    Args:
        curves: of all classes, checked (:func:`analyzer.measures.ablation.class_quantities`).
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
        fsum(descending.sum(axis=1) / (count * values)) / len(measured),
        fsum(ascending.sum(axis=1) / (count * values)) / len(measured),
        *(float(quantile) for quantile in np.quantile(score, QUANTILES)),
    )
    return dict(zip(CURVE_FEATURES, features, strict=True))
