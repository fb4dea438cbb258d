from .applicability_domain import (
    CONDITION_COLUMNS,
    ApplicabilityDomain,
    AuditConditions,
    conditions_of,
)
from .changed_features import UNUSUAL, unusual_settings
from .class_gaps import ClassLine, ClassProfiles, class_profiles
from .class_gaps_fitting import (
    ClassesOfNetwork,
    LeftOutClasses,
    estimate_left_out_classes,
    fit_class_line,
    read_population_classes,
    write_population_classes,
)
from .cross_validation import (
    FeatureScores,
    FitScores,
    draw_splits,
    fit_scores,
    out_of_fold_estimates,
    score_features,
)
from .feature_sets import FEATURE_SETS, SCORED_SETS
from .gap_model import GapModel
from .gap_model_file import read_gap_model, write_gap_model
from .gap_model_fitting import (
    LeftOutEstimates,
    estimate_left_out_populations,
    fit_across_populations,
    fit_gap_model,
    fit_population,
)
from .population_table import (
    RANK,
    PopulationTable,
    read_population,
    write_population,
)
from .regression import (
    LinearFit,
    jackknife_plus,
    least_squares,
    measure_coverage,
    ridge,
    weighted_plane,
)

__all__ = [
    "CONDITION_COLUMNS",
    "FEATURE_SETS",
    "RANK",
    "SCORED_SETS",
    "UNUSUAL",
    "ApplicabilityDomain",
    "AuditConditions",
    "ClassLine",
    "ClassProfiles",
    "ClassesOfNetwork",
    "FeatureScores",
    "FitScores",
    "GapModel",
    "LeftOutClasses",
    "LeftOutEstimates",
    "LinearFit",
    "PopulationTable",
    "class_profiles",
    "conditions_of",
    "draw_splits",
    "estimate_left_out_classes",
    "estimate_left_out_populations",
    "fit_across_populations",
    "fit_class_line",
    "fit_gap_model",
    "fit_population",
    "fit_scores",
    "jackknife_plus",
    "least_squares",
    "measure_coverage",
    "out_of_fold_estimates",
    "read_gap_model",
    "read_population",
    "read_population_classes",
    "ridge",
    "score_features",
    "unusual_settings",
    "weighted_plane",
    "write_gap_model",
    "write_population",
    "write_population_classes",
]
