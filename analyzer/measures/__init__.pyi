from .margin_features import (
    MARGIN_FEATURES,
    MARGIN_PREFIX,
    MarginFeatures,
    compute_margin_features,
    margin_column,
    margin_obstacle,
    normalized_margins,
)
from .margin_pass import MarginTally, measure_margins

__all__ = [
    "MARGIN_FEATURES",
    "MARGIN_PREFIX",
    "MarginFeatures",
    "MarginTally",
    "compute_margin_features",
    "margin_column",
    "margin_obstacle",
    "measure_margins",
    "normalized_margins",
]
