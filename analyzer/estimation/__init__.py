"""From correct counts to ζ and κ, and from those to an estimated generalization gap.

scipy and scikit-learn are imported only where a gap model is fitted or scored; measuring and
estimating need numpy alone. Whether the estimates hold is asked in
:mod:`analyzer.estimation.analysis`, a door of its own.
"""

from analyzer.estimation.circumstances import CIRCUMSTANCES, CircumstanceRanges, Circumstances
from analyzer.estimation.columns import AREA, CURVE_FEATURES, MARGIN_PREFIX
from analyzer.estimation.curve_features import curve_features
from analyzer.estimation.fitting import fit_gap_model, fit_population
from analyzer.estimation.gap_model import FittedOn, GapModel
from analyzer.estimation.gap_model_file import read_gap_model, write_gap_model
from analyzer.estimation.intervals import MeasuredCoverage, jackknife_plus, measure_coverage
from analyzer.estimation.least_squares import LinearFit, least_squares, ridge
from analyzer.estimation.margins import (
    MARGIN_FEATURES,
    MarginFeatures,
    margin_column,
    margin_features,
    normalized_margins,
)
from analyzer.estimation.population import (
    RANK,
    Population,
    read_population,
    write_population,
)
from analyzer.estimation.quantities import (
    chance_fraction,
    class_quantities,
    network_quantities,
)
from analyzer.estimation.scores import (
    FeatureScores,
    FitScores,
    draw_splits,
    fit_scores,
    out_of_fold_estimates,
    score_features,
)
from analyzer.estimation.suspicion import most_suspicious, ranks_within, suspicion

__all__ = [
    "AREA",
    "CIRCUMSTANCES",
    "CURVE_FEATURES",
    "MARGIN_FEATURES",
    "MARGIN_PREFIX",
    "RANK",
    "CircumstanceRanges",
    "Circumstances",
    "FeatureScores",
    "FitScores",
    "FittedOn",
    "GapModel",
    "LinearFit",
    "MarginFeatures",
    "MeasuredCoverage",
    "Population",
    "chance_fraction",
    "class_quantities",
    "curve_features",
    "draw_splits",
    "fit_gap_model",
    "fit_population",
    "fit_scores",
    "jackknife_plus",
    "least_squares",
    "margin_column",
    "margin_features",
    "measure_coverage",
    "most_suspicious",
    "network_quantities",
    "normalized_margins",
    "out_of_fold_estimates",
    "ranks_within",
    "read_gap_model",
    "read_population",
    "ridge",
    "score_features",
    "suspicion",
    "write_gap_model",
    "write_population",
]
