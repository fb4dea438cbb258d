"""What interpolation and neighbors say of single classes."""

from collections.abc import Mapping

import numpy as np

__all__ = ["CLASS_VALUES", "class_values"]

CLASS_VALUES = ("hold_mean", "neighbors_error_third")
"""Means over the samples of a class: of hold, and of being outvoted at a third of the depth."""

_THIRD = 2  # of the layers of the neighbors
_TRUSTED = 0.5  # hold from which a label is


def class_values(
    label: np.ndarray, interpolation: Mapping[str, np.ndarray], neighbors: Mapping[str, np.ndarray]
) -> dict[str, dict[int, float]]:
    """By name of :data:`CLASS_VALUES`, the value of each class that has one.

    The neighbors' error is over samples with hold ≥ ½, or over all of a class that has none.

    Args:
        label: int64 (S,), of each sample.
        interpolation: ``hold`` float32 (S,) and ``measured`` bool (S,), as ``interpolation.npz``.
        neighbors: ``majority`` int32 (5, S) and ``measured`` bool (S,), as ``neighbors.npz``.
    """
    hold = np.asarray(interpolation["hold"], np.float64)
    held = np.asarray(interpolation["measured"], bool) & np.isfinite(hold)
    majority = neighbors["majority"][_THIRD]
    voted = np.asarray(neighbors["measured"], bool) & (majority >= 0)
    found: dict[str, dict[int, float]] = {name: {} for name in CLASS_VALUES}
    for index in np.unique(label).tolist():
        own = label == index
        if (own & held).any():
            found["hold_mean"][index] = float(hold[own & held].mean())
        trusted = own & voted & held & (hold >= _TRUSTED)
        chosen = trusted if trusted.any() else own & voted
        if chosen.any():
            found["neighbors_error_third"][index] = float((majority[chosen] != index).mean())
    return found
