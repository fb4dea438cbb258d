"""From correct counts to ζ and κ, and from those to an estimated generalization gap.

scipy and scikit-learn are imported only where a gap model is fitted or scored; measuring and
estimating need numpy alone. Whether the estimates hold is asked in
:mod:`analyzer.estimation.analysis`, a door of its own.
"""

from analyzer.estimation.circumstances import (
    CIRCUMSTANCES,
    CircumstanceRanges,
    Circumstances,
    circumstances_of,
)
from analyzer.estimation.fitting import fit_gap_model, fit_population
from analyzer.estimation.gap_model import FittedOn, GapModel
from analyzer.estimation.gap_model_file import read_gap_model, write_gap_model
from analyzer.estimation.intervals import MeasuredCoverage, jackknife_plus, measure_coverage
from analyzer.estimation.least_squares import LinearFit, least_squares, ridge
from analyzer.estimation.population import (
    RANK,
    Population,
    read_population,
    write_population,
)
from analyzer.estimation.scores import (
    FeatureScores,
    FitScores,
    draw_splits,
    fit_scores,
    out_of_fold_estimates,
    score_features,
)

__all__ = [
    "CIRCUMSTANCES",
    "RANK",
    "CircumstanceRanges",
    "Circumstances",
    "FeatureScores",
    "FitScores",
    "FittedOn",
    "GapModel",
    "LinearFit",
    "MeasuredCoverage",
    "Population",
    "circumstances_of",
    "draw_splits",
    "fit_gap_model",
    "fit_population",
    "fit_scores",
    "jackknife_plus",
    "least_squares",
    "measure_coverage",
    "out_of_fold_estimates",
    "read_gap_model",
    "read_population",
    "ridge",
    "score_features",
    "write_gap_model",
    "write_population",
]
