"""Cross-validation: how well the gap is estimated over a population, by the paper's protocol and
out of fold.

The paper fits on 90 % of the networks and sums the squared errors on the other 10 %, over 100
random splits. Out-of-fold scores use every network: ten folds, ten times over, each network
estimated by a line that never saw it; a score is made per repetition and averaged. (Leaving one
out at a time would need no repetitions, but its r is strongly negative when features say nothing.)
All seeds are drawn before anything is fitted, and all features meet the same splits. A ridge
chooses its penalty again within the networks of each fit: those tested have no say in it.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.common_types import Progress
from analyzer.errors import GapModelError, parameter
from analyzer.estimation.feature_sets import (
    FEATURE_SETS,
    SCORED_SETS,
    checked_features,
    feature_set,
)
from analyzer.estimation.gap_model_fitting import correlation
from analyzer.estimation.regression import Fit, least_squares
from analyzer.json_codec import encode

__all__ = [
    "FeatureScores",
    "FitScores",
    "Splits",
    "draw_splits",
    "fit_scores",
    "out_of_fold_estimates",
    "score_features",
]

FOLDS = 10
REPETITIONS = 10
TEST_SHARE = 0.1
_MOST_SPLITS = 10_000  # all are drawn before the first is fitted
_CLEARLY = 0.9  # of the squared errors, that a clearly better feature set may have left

Split = tuple[np.ndarray, np.ndarray]  # indices to fit on, indices to test on


@dataclass(frozen=True, slots=True)
class Splits:
    """Which networks are fitted on and which are tested, each time."""

    random: tuple[Split, ...]  # the paper's splits
    folds: tuple[tuple[Split, ...], ...]  # per repetition: folds that cover every network once

    @property
    def fits(self) -> int:
        """How often a line is fitted on a part of the networks."""
        return len(self.random) + sum(map(len, self.folds))


@dataclass(frozen=True, slots=True)
class FeatureScores:
    """Scores of a line through one choice of features."""

    features: tuple[str, ...]
    fit_r: float  # Pearson, estimated and true gap, fitted on all networks
    split_r: tuple[float, ...]  # Pearson on the networks fitted on, per random split
    split_ssr: tuple[float, ...]  # Σ (ĝ − g)² over the networks held out, per random split
    out_of_fold_r: float  # Pearson
    out_of_fold_tau: float  # Kendall's τ-b
    out_of_fold_r2: float  # 1 is perfect, 0 no better than the mean, no lower bound
    out_of_fold: tuple[float, ...]  # estimate of each network, mean over the repetitions

    def to_dict(self) -> dict[str, Any]:
        """JSON values, with a summary of the splits."""
        ssr = np.array(self.split_ssr)
        summary = {
            "split_r_mean": float(np.mean(self.split_r)),
            "split_ssr_mean": float(ssr.mean()),
            "split_ssr_median": float(np.median(ssr)),
            "split_ssr_max": float(ssr.max()),
        }
        return {**encode(self, "scores"), **summary}


@dataclass(frozen=True, slots=True)
class FitScores:
    """Scores of Eq. 7 over a population, and of other features beside it."""

    networks: int  # N
    held_out: int  # networks tested in each random split
    seed: int
    zeta_r: float  # Pearson of ζ and the gap
    kappa_r: float  # Pearson of κ and the gap
    by_features: Mapping[str, FeatureScores | None]
    # by the names of SCORED_SETS, in that order; None where one was not measured or not asked for
    obstacles: Mapping[str, str]  # by the same names: why one was measured, but not scored

    def __getitem__(self, features: str) -> FeatureScores:
        """The scores of a feature set that was scored.

        Raises:
            KeyError: it was not.
        """
        found = self.by_features[features]
        if found is None:
            raise KeyError(features)
        return found

    def clearly_better(self, features: str, gap: np.ndarray) -> str:
        """The feature set that is clearly better out of fold than one, by name; "" if none is.

        Its squared errors are smaller, network by network, by more than two standard errors of
        their mean difference, and together by a tenth at least. Of several the best.

        Args:
            features: the name of a set that was scored.
            gap: float ndarray of shape (N,), of the same networks.
        """
        own = (np.array(self[features].out_of_fold) - gap) ** 2
        best, least = "", float(own.mean()) * _CLEARLY
        for name, found in self.by_features.items():
            if found is None or name == features or name not in FEATURE_SETS:
                continue
            error = (np.array(found.out_of_fold) - gap) ** 2
            saved = own - error
            sure = saved.mean() > 2 * saved.std(ddof=1) / math.sqrt(len(saved))
            if sure and error.mean() < least:
                best, least = name, float(error.mean())
        return best

    def to_dict(self) -> dict[str, Any]:
        """JSON values, a field for each feature set; "both" is the paper's."""
        scores = {
            {"paper": "both"}.get(name, name): found and found.to_dict()
            for name, found in self.by_features.items()
        }
        obstacles = {
            f"{name}_obstacle": self.obstacles.get(name, "")
            for name, declared in SCORED_SETS.items()
            if declared.obstacle
        }
        own = ("networks", "held_out", "seed", "zeta_r", "kappa_r")
        return {**{name: getattr(self, name) for name in own}, **scores, **obstacles}


def fit_scores(
    columns: Mapping[str, np.ndarray],
    gap: np.ndarray,
    *,
    features: str = "paper",
    everything: bool = False,
    splits: int = 100,
    seed: int = 0,
    progress: Progress = lambda stage, done, total: None,
) -> FitScores:
    """Score Eq. 7 over a population, and what else may estimate the gap beside it.

    Args:
        columns: feature -> float ndarray of shape (N,), NaN where it was not measured: "zeta",
            "kappa", and those of other feature sets.
        gap: float ndarray of shape (N,).
        features: a feature set that must be scored, by name. Of the others those are that are for
            comparison, where they were measured.
        everything: score all feature sets that were measured.
        splits: number of random splits.
        seed: of the splits and the folds.
        progress: called with "cross-validation", fits done and in all.

    Raises:
        GapModelError: as :func:`analyzer.estimation.fit_gap_model`, or ``splits`` is below 1 or
            above 10,000.
    """
    asked = feature_set(features)
    points, target = checked_features({name: columns[name] for name in ("zeta", "kappa")}, gap)
    drawn = draw_splits(len(target), splits=splits, seed=seed)
    scores: dict[str, FeatureScores | None] = dict.fromkeys(SCORED_SETS)
    obstacles: dict[str, str] = {}
    scored: dict[str, dict[str, np.ndarray]] = {}
    for name, declared in SCORED_SETS.items():
        beside = (declared.compared or everything) and declared.measured_in(columns)
        if declared is not asked and not beside:
            continue
        chosen = {feature: columns[feature] for feature in declared.names(columns)}
        if declared.obstacle and (why := declared.obstacle(chosen, len(drawn.random[0][0]))):
            obstacles[name] = why
        else:
            scored[name] = chosen
    fits = itertools.count(1)

    def fitted() -> None:
        progress("cross-validation", next(fits), len(scored) * drawn.fits)

    for name, chosen in scored.items():
        scores[name] = score_features(
            chosen, target, drawn, fit=SCORED_SETS[name].fit, fitted=fitted
        )
    return FitScores(
        networks=len(target),
        held_out=len(drawn.random[0][1]),
        seed=seed,
        zeta_r=correlation(points[:, 0], target),
        kappa_r=correlation(points[:, 1], target),
        by_features=scores,
        obstacles=obstacles,
    )


def draw_splits(networks: int, *, splits: int = 100, seed: int = 0) -> Splits:
    """Draw the random splits and the folds for ``networks`` networks, at least 2.

    A tenth is held out, rounded up; with fewer than ten networks a fold is one network.

    Raises:
        GapModelError: ``splits`` is below 1 or above 10,000.
    """
    if not 1 <= splits <= _MOST_SPLITS:
        raise GapModelError(
            f"{parameter('splits', splits)} is not a number of splits from 1 to {_MOST_SPLITS:,}."
        )
    from sklearn.model_selection import KFold, ShuffleSplit  # takes a second to import

    random_seed, *fold_seeds = np.random.SeedSequence(seed).generate_state(1 + REPETITIONS)
    indices = np.arange(networks)
    shuffle = ShuffleSplit(splits, test_size=TEST_SHARE, random_state=int(random_seed))
    folds = (
        KFold(min(FOLDS, networks), shuffle=True, random_state=int(fold_seed))
        for fold_seed in fold_seeds
    )
    return Splits(
        random=tuple(shuffle.split(indices)),
        folds=tuple(tuple(fold.split(indices)) for fold in folds),
    )


def score_features(
    columns: Mapping[str, np.ndarray],
    gap: np.ndarray,
    splits: Splits,
    *,
    fit: Fit = least_squares,
    fitted: Callable[[], None] = lambda: None,
) -> FeatureScores:
    """Score a line through any features.

    Args:
        columns: feature name -> float ndarray of shape (N,).
        gap: float ndarray of shape (N,).
        splits: drawn for N networks.
        fit: how a line is fitted.
        fitted: called after each fit on a part of the networks.

    Raises:
        GapModelError: the features or the gap cannot be fitted.
    """
    from scipy.stats import kendalltau
    from sklearn.metrics import r2_score

    features, target = checked_features(columns, gap, fit=fit)
    split_r, split_ssr = [], []
    for train, test in splits.random:
        line = fit(features[train], target[train])
        error = line.predict(features[test]) - target[test]
        split_r.append(correlation(line.predict(features[train]), target[train]))
        split_ssr.append(float(error @ error))
        fitted()
    estimates = out_of_fold_estimates(columns, target, splits, fit=fit, fitted=fitted)
    return FeatureScores(
        features=tuple(columns),
        fit_r=correlation(fit(features, target).predict(features), target),
        split_r=tuple(split_r),
        split_ssr=tuple(split_ssr),
        out_of_fold_r=float(np.mean([correlation(row, target) for row in estimates])),
        out_of_fold_tau=float(np.mean([kendalltau(row, target).statistic for row in estimates])),
        out_of_fold_r2=float(np.mean([r2_score(target, row) for row in estimates])),
        out_of_fold=tuple(float(value) for value in estimates.mean(axis=0)),
    )


def out_of_fold_estimates(
    columns: Mapping[str, np.ndarray],
    gap: np.ndarray,
    splits: Splits,
    *,
    fit: Fit = least_squares,
    fitted: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Each network's gap, estimated by lines that never saw it.

    Args:
        columns, gap, splits, fit, fitted: as of :func:`score_features`.

    Returns:
        float64 (R, N), a row for each repetition of the folds.

    Raises:
        GapModelError: the features or the gap cannot be fitted.
    """
    features, target = checked_features(columns, gap, fit=fit)
    estimates = np.empty((len(splits.folds), len(target)))
    for repetition, folds in enumerate(splits.folds):
        for train, test in folds:
            line = fit(features[train], target[train])
            estimates[repetition, test] = line.predict(features[test])
            fitted()
    return estimates
