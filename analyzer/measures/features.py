"""The features that measures give a gap model: every name is registered once, in its own room."""

from analyzer.measures.ablation.quantities import CURVE_FEATURES
from analyzer.measures.margin_features import MARGIN_PREFIX

__all__ = ["SYMBOLS", "is_feature"]

SYMBOLS = {"zeta": "ζ", "kappa": "κ"}
"""What sentences call a column, where that is not its name."""


def is_feature(column: str) -> bool:
    """Whether a column holds a feature of the networks, measured like ζ and κ, not a recipe."""
    return column in CURVE_FEATURES or column.startswith(MARGIN_PREFIX)
