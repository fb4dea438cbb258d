"""The measures that there are, in the order in which an audit takes them, and their features."""

from typing import Any

from analyzer.audit_record import AuditRecord
from analyzer.measures.ablation.measure import Ablation
from analyzer.measures.interpolation.measure import Interpolation
from analyzer.measures.margins.measure import Margins
from analyzer.measures.measure import Measure
from analyzer.measures.neighbors.measure import Neighbors
from analyzer.measures.test_data.measure import TestData

__all__ = ["FEATURES", "MEASURES", "SYMBOLS", "feature_values", "is_feature"]

MEASURES: tuple[Measure[Any], ...] = (
    Ablation(),
    Margins(),
    Interpolation(),
    Neighbors(),
    TestData(),
)

FEATURES: tuple[str, ...] = tuple(name for measure in MEASURES for name in measure.features)
"""The names of all features that a gap model can take."""

SYMBOLS = {"zeta": "ζ", "kappa": "κ"}
"""What sentences call a feature, where that is not its name."""


def is_feature(column: str) -> bool:
    """Whether a column holds a feature of the networks besides ζ and κ, not a recipe."""
    return column in FEATURES and column not in SYMBOLS


def feature_values(record: AuditRecord) -> dict[str, float]:
    """Every feature that an audit measured, by name."""
    return {
        name: value
        for measure in MEASURES
        for name, value in measure.feature_values(record).items()
    }
