"""Does the estimate hold, and where does it not? Scores over whole populations, from their tables.

Nothing here is needed to audit a network or to fit a gap model.
"""

from tools.evidence.analysis.agreement import (
    FEWEST,
    Agreement,
    agreement,
    agreement_by_level,
    agreement_within_levels,
    mean_agreement,
    r_interval,
)
from tools.evidence.analysis.classes import ClassScores, class_scores
from tools.evidence.analysis.conditional_information import (
    ConditionalInformation,
    SetInformation,
    conditional_information,
)
from tools.evidence.analysis.coverage import (
    CoveragePoint,
    IntervalCoverage,
    coverage_curve,
)
from tools.evidence.analysis.learning_curve import CurvePoint, learning_curve
from tools.evidence.analysis.transfer import (
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
