"""Columns of a population's table: a number per network, and what all of them must be."""

import math
from collections.abc import Mapping

import numpy as np

from analyzer.errors import GapModelError

__all__ = [
    "AREA",
    "CURVE_FEATURES",
    "MARGIN_PREFIX",
    "SYMBOLS",
    "Range",
    "checked_columns",
    "is_feature",
    "number_or_none",
]

Range = tuple[float, float]
"""Least and greatest of a column."""

SYMBOLS = {"zeta": "ζ", "kappa": "κ"}
"""What sentences call a column, where that is not its name."""

CURVE_FEATURES = (
    "curve_n0",
    "curve_n0_r",
    "curve_area_descending",
    "curve_area_ascending",
    "score_q10",
    "score_q25",
    "score_q50",
    "score_q75",
    "score_q90",
)
"""More of the curves than ζ and κ, as :func:`analyzer.estimation.curve_features` gives it."""

AREA = "curve_area_ascending"
"""The one of them that follows the gap best by itself: the mean of E_r over n = 0…M."""

MARGIN_PREFIX = "margin_"


def is_feature(column: str) -> bool:
    """Whether a column holds a feature of the networks, measured like ζ and κ, not a recipe."""
    return column in CURVE_FEATURES or column.startswith(MARGIN_PREFIX)


def checked_columns(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns as float64 ndarrays of shape (N,), N at least 1.

    Raises:
        GapModelError: shapes that differ or are not (N,), or values that are not finite.
    """
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    shapes = {values.shape for values in arrays.values()}
    if len(shapes) != 1 or any(len(shape) != 1 or not shape[0] for shape in shapes):
        raise GapModelError(
            f"{', '.join(arrays)} have shapes {', '.join(str(v.shape) for v in arrays.values())}: "
            "give one number per network for each."
        )
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            network = int(np.flatnonzero(~np.isfinite(values))[0])
            raise GapModelError(
                f"The {SYMBOLS.get(name, name)} of network {network + 1} of {len(values)} is "
                f"{values[network]}: leave it out or measure it."
            )
    return arrays


def number_or_none(text: str) -> float | None:
    """The finite number that a cell holds; None where it holds none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
