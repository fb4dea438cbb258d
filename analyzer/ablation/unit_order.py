"""The order in which units are removed (Eq. 1)."""

import numpy as np

from analyzer.errors import ModelError

__all__ = ["unit_order"]


def unit_order(attribute: np.ndarray) -> np.ndarray:
    """Channels by descending unit attribute; of equal ones the lower channel first.

    The ascending order is the exact reverse of this one.

    Args:
        attribute: ndarray of shape (..., M), the unit attribute of each class. May be infinite.

    Returns:
        int64 ndarray of shape (..., M).

    Raises:
        ModelError: an attribute is not a number, so that there is no order.
    """
    attribute = np.asarray(attribute, dtype=np.float64)  # of unsigned integers, no negative exists
    if np.isnan(attribute).any():
        channel = int(np.argwhere(np.isnan(attribute))[0, -1])
        raise ModelError(
            f"The activity of channel {channel} is not a number: the network overflows on these "
            "samples. Check the preprocessing, or choose another site."
        )
    return np.argsort(-attribute, axis=-1, kind="stable").astype(np.int64, copy=False)
