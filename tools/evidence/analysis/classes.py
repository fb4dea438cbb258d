"""Do a class's own ζ_j and κ_j tell its own gap? Across networks, and within each.

Classes of one network are alike, so an estimate of a class is by lines that saw no class of its
network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analyzer.errors import GapModelError
from analyzer.estimation.cross_validation import draw_splits
from analyzer.estimation.feature_sets import checked_features
from analyzer.estimation.regression import least_squares
from tools.evidence.analysis.agreement import (
    Agreement,
    agreement,
    agreement_within_levels,
)

__all__ = ["ClassScores", "class_scores"]


@dataclass(frozen=True, slots=True)
class ClassScores:
    """How the gaps of C classes follow "zeta", "kappa" and the "estimate" made from both."""

    networks: int  # that the classes belong to
    estimate: tuple[float, ...]  # (C,), out of fold, mean over the repetitions
    across: Mapping[str, Agreement]  # over all classes
    within: Mapping[str, Agreement | None]  # with each network's means taken out


def class_scores(
    zeta: np.ndarray,
    kappa: np.ndarray,
    gap: np.ndarray,
    network: Sequence[str],
    *,
    seed: int = 0,
) -> ClassScores:
    """Score ζ_j and κ_j over the classes of all networks.

    Args:
        zeta: float ndarray of shape (C,).
        kappa: float ndarray of shape (C,).
        gap: float ndarray of shape (C,), training − test accuracy of each class itself.
        network: C names.
        seed: of the folds of networks.

    Raises:
        GapModelError: shapes that differ, values that are not finite, a column that is the same
            for all classes, or fewer than two networks.
    """
    measures = {"zeta": zeta, "kappa": kappa}
    features, target = checked_features(measures, gap)
    names, index = np.unique(np.array(network, dtype=str), return_inverse=True)
    if len(index) != len(target) or len(names) < 2:
        raise GapModelError(
            f"{len(target)} classes come with the names of {len(index)} networks, {len(names)} of "
            "them different: name the network of each class, of two networks at least."
        )
    repetitions = draw_splits(len(names), splits=1, seed=seed).folds
    estimates = np.empty((len(repetitions), len(target)))
    for repetition, folds in enumerate(repetitions):
        for fitted, tested in folds:
            known, asked = np.isin(index, fitted), np.isin(index, tested)
            line = least_squares(features[known], target[known])
            estimates[repetition, asked] = line.predict(features[asked])
    measures["estimate"] = estimates.mean(axis=0)
    return ClassScores(
        networks=len(names),
        estimate=tuple(measures["estimate"].tolist()),
        across={name: agreement(values, target) for name, values in measures.items()},
        within={
            name: agreement_within_levels(values, target, network)
            for name, values in measures.items()
        },
    )
