"""Does the estimate hold, and where does it not? Scores over whole populations, from their tables.

Nothing here is needed to audit a network or to fit a gap model, so that the door of
:mod:`analyzer.estimation` does not open this one.
"""

from analyzer.estimation.analysis.agreement import (
    FEWEST,
    Agreement,
    agreement,
    agreement_by_level,
    agreement_within_levels,
    mean_agreement,
    r_interval,
)
from analyzer.estimation.analysis.classes import ClassScores, class_scores
from analyzer.estimation.analysis.conditional_information import (
    ConditionalInformation,
    SetInformation,
    conditional_information,
)
from analyzer.estimation.analysis.coverage import (
    CoveragePoint,
    IntervalCoverage,
    coverage_curve,
)
from analyzer.estimation.analysis.learning_curve import CurvePoint, learning_curve
from analyzer.estimation.analysis.transfer import (
    Flags,
    OffsetPoint,
    Transfer,
    transfer,
    transfer_matrix,
)

__all__ = [
    "FEWEST",
    "Agreement",
    "ClassScores",
    "ConditionalInformation",
    "CoveragePoint",
    "CurvePoint",
    "Flags",
    "IntervalCoverage",
    "OffsetPoint",
    "SetInformation",
    "Transfer",
    "agreement",
    "agreement_by_level",
    "agreement_within_levels",
    "class_scores",
    "conditional_information",
    "coverage_curve",
    "learning_curve",
    "mean_agreement",
    "r_interval",
    "transfer",
    "transfer_matrix",
]
