"""Columns of a population's table: a number per network, and what all of them must be."""

import math
from collections.abc import Mapping

import numpy as np

from analyzer.errors import GapModelError
from analyzer.measures.registry import SYMBOLS

__all__ = [
    "Range",
    "checked_columns",
    "number_or_none",
]

Range = tuple[float, float]
"""Least and greatest of a column."""


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
