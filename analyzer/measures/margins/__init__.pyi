from .distances import (
    LAYERS,
    MARGIN_FEATURES,
    MARGIN_PREFIX,
    MarginFeatures,
    MarginState,
    compute_margin_features,
    margin_column,
    margin_obstacle,
    measure_margins,
    normalized_margins,
)
from .measure import MarginLayerRecord, Margins, MarginsRecord, MarginsResult

__all__ = [
    "LAYERS",
    "MARGIN_FEATURES",
    "MARGIN_PREFIX",
    "MarginFeatures",
    "MarginLayerRecord",
    "MarginState",
    "Margins",
    "MarginsRecord",
    "MarginsResult",
    "compute_margin_features",
    "margin_column",
    "margin_obstacle",
    "measure_margins",
    "normalized_margins",
]
