"""Columns of a population's table: a number per network, and what all of them must be."""

from collections.abc import Mapping

import numpy as np

from analyzer.errors import GapModelError

__all__ = ["SYMBOLS", "checked_columns"]

SYMBOLS = {"zeta": "ζ", "kappa": "κ"}
"""What sentences call a column, where that is not its name."""


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
