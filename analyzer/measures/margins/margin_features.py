"""The margin-based estimate (Jiang et al. 2019), which the paper compares its own with.

Of a sample x with label i and the class j that scores highest of the others, at layer l:

    d_l(x) = (f_i − f_j) / sqrt(10⁻⁶ + ‖∇_{x^l}(f_i − f_j)‖²) / sqrt(Σ_k Var_n[x^l_{n,k}])

Five numbers describe how d_l is distributed over the training samples that are classified
correctly; their logarithms are the features of a linear model of the gap.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

__all__ = [
    "LAYERS",
    "MARGIN_FEATURES",
    "MARGIN_PREFIX",
    "MarginFeatures",
    "compute_margin_features",
    "margin_column",
    "margin_obstacle",
    "normalized_margins",
]

MARGIN_PREFIX = "margin_"
LAYERS = 4  # at most: the images, and three by depth

_FLOOR = 1e-6
_FENCE = 1.5  # interquartile ranges


@dataclass(frozen=True, slots=True)
class MarginFeatures:
    """Natural logarithms of five numbers of a distribution."""

    q1: float
    q2: float
    q3: float
    lower: float  # smallest value that is not below Q1 − 1.5 · (Q3 − Q1)
    upper: float  # largest value that is not above Q3 + 1.5 · (Q3 − Q1)


MARGIN_FEATURES = tuple(field.name for field in fields(MarginFeatures))


def normalized_margins(
    margin: np.ndarray, squares: np.ndarray, total_variation: np.ndarray
) -> np.ndarray:
    """d_l of every sample.

    Args:
        margin: float ndarray of shape (S,), f_i − f_j.
        squares: float ndarray of shape (S, L), ‖∇_{x^l}(f_i − f_j)‖².
        total_variation: float ndarray of shape (L,), sqrt(Σ_k Var_n[x^l_{n,k}]), above 0.

    Returns:
        float64 ndarray of shape (S, L); negative where another class scores higher than i.
    """
    margin, squares = np.asarray(margin, np.float64), np.asarray(squares, np.float64)
    return margin[:, None] / np.sqrt(_FLOOR + squares) / total_variation


def compute_margin_features(distances: np.ndarray) -> MarginFeatures:
    """The features of one layer.

    Quartiles are interpolated linearly between samples. A sample whose two classes score alike
    has no logarithm and is left out, like one that is classified wrongly.

    Args:
        distances: float ndarray of shape (S,), d_l; of at least one sample above 0.
    """
    correct = distances[distances > 0]
    q1, q2, q3 = np.quantile(correct, [0.25, 0.5, 0.75])
    reach = _FENCE * (q3 - q1)
    lower, upper = correct[correct >= q1 - reach].min(), correct[correct <= q3 + reach].max()
    return MarginFeatures(*(float(value) for value in np.log([q1, q2, q3, lower, upper])))


def margin_column(layer: int, feature: str) -> str:
    """What tables call a feature of the layer of that number; 0 is the images."""
    return f"{MARGIN_PREFIX}{layer}_{feature}"


def margin_obstacle(columns: Mapping[str, np.ndarray], networks: int) -> str:
    """Why the margin-based estimate cannot be fitted, in a sentence; "" where it can.

    Args:
        columns: its features, of all networks.
        networks: how many of them the smallest fit has.
    """
    missing = {name: int((~np.isfinite(values)).sum()) for name, values in columns.items()}
    name = max(missing, key=missing.__getitem__)
    if missing[name]:
        return (
            f"The margin-based estimate is not scored: {missing[name]} networks have no {name}. "
            "Audit all networks with --margins."
        )
    if networks <= len(columns):
        return (
            f"The margin-based estimate is not scored: its {len(columns)} features need more "
            f"than the {networks} networks that are fitted on in a split. Add networks."
        )
    return ""
