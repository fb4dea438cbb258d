"""The features that a gap model may be fitted on: sets of them, each declared once.

A further set is one more :class:`FeatureSet` in the list below; fitting, scoring, figures and the
choices of the command line follow from it. Which features there are, the measures say.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from analyzer.errors import GapModelError
from analyzer.estimation.population_table import PopulationTable
from analyzer.estimation.regression import Fit, least_squares, ridge
from analyzer.measures.ablation.curve_features import AREA, CURVE_FEATURES
from analyzer.measures.margins.distances import MARGIN_PREFIX, margin_obstacle
from analyzer.measures.registry import SYMBOLS

__all__ = [
    "FEATURE_SETS",
    "LARGEST",
    "MOST_RIDGE_NETWORKS",
    "SCORED_SETS",
    "FeatureSet",
    "check_not_too_many",
    "checked_columns",
    "checked_features",
    "feature_set",
]

LARGEST = 1e100
"""No number is further from 0: what is squared and summed of such is finite."""

MIN_NETWORKS = 4  # three coefficients, and one network to tell how well they fit
MOST_NETWORKS = 5000  # intervals are held against every pair of networks
MOST_RIDGE_NETWORKS = 1000  # a ridge is fitted again without each pair


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSet:
    """Features that are taken together, and how a line is fitted through them."""

    name: str
    label: str  # what a table of scores calls it
    description: str = ""  # what people choose it by: continues "what estimates the gap: "
    fit: Fit
    needed: tuple[str, ...] = ()  # features without which it cannot be fitted
    also: Callable[[str], bool] | None = None  # which of the others are taken where measured
    fitted: bool = True  # whether gap models are fitted on it, or it is scored for comparison alone
    compared: bool = True  # whether it is scored wherever it was measured, or only when asked for
    obstacle: Callable[[Mapping[str, np.ndarray], int], str] | None = None
    # why its columns cannot be scored with so many networks in the smallest fit, or ""

    def names(self, measured: Iterable[str]) -> tuple[str, ...]:
        """The features that it takes of those that were measured.

        Raises:
            GapModelError: one that it needs is not among them; the message names it.
        """
        found = tuple(measured)
        for name in self.needed:
            if name not in found:
                raise GapModelError(
                    f"The population has no column {name}, which such a gap model needs: "
                    "audit it again with this version."
                )
        if self.also is None:
            return self.needed
        return tuple(name for name in found if name in self.needed or self.also(name))

    def columns(self, table: PopulationTable) -> dict[str, np.ndarray]:
        """The columns of a population that it takes, float64 (N,) each.

        Raises:
            GapModelError: one that it needs is missing, or one is not known of a network.
        """
        return table.complete(self.names(table.columns))

    def measured_in(self, columns: Mapping[str, np.ndarray]) -> bool:
        """Whether ``columns`` have what it takes, and what it needs of all networks."""
        return all(
            name in columns and np.isfinite(columns[name]).all() for name in self.needed
        ) and bool(self.names(columns))


_DECLARED = (
    FeatureSet(
        name="paper",
        label="ζ and κ",
        description="ζ and κ",
        needed=("zeta", "kappa"),
        fit=least_squares,
    ),
    FeatureSet(name="zeta", label="ζ alone", needed=("zeta",), fit=least_squares, fitted=False),
    FeatureSet(name="kappa", label="κ alone", needed=("kappa",), fit=least_squares, fitted=False),
    FeatureSet(
        name="area",
        label="area under E_r",
        description="the area under E_r",
        needed=(AREA,),
        fit=ridge,
    ),
    FeatureSet(
        name="extended",
        label="extended",
        description="all features of the curves that the table has, and of margins if any",
        needed=CURVE_FEATURES,
        also=lambda name: name.startswith(MARGIN_PREFIX),
        fit=ridge,
        compared=False,
    ),
    FeatureSet(
        name="measures",
        label="interpolation and neighbors",
        description="how labels hold half way between samples, with and without the accuracy, and "
        "the neighbors' trusted error at a third of the depth",
        needed=(
            "interpolation_same_50",
            "interpolation_hold_mean",
            "neighbors_error_third_trusted",
        ),
        fit=ridge,
        compared=False,
    ),
    FeatureSet(
        name="margins",
        label="margins",
        also=lambda name: name.startswith(MARGIN_PREFIX),
        fit=least_squares,
        fitted=False,
        obstacle=margin_obstacle,
    ),
)

FEATURE_SETS: Mapping[str, FeatureSet] = {
    declared.name: declared for declared in _DECLARED if declared.fitted
}
"""Those that gap models are fitted on, by name."""

SCORED_SETS: Mapping[str, FeatureSet] = {declared.name: declared for declared in _DECLARED}
"""Those that are scored, in the order in which scores are shown; all of them."""


def feature_set(name: str) -> FeatureSet:
    """The set of that name that gap models are fitted on.

    Raises:
        GapModelError: there is none.
    """
    if name not in FEATURE_SETS:
        raise GapModelError(f"The features are {name!r}: give {', '.join(FEATURE_SETS)}.")
    return FEATURE_SETS[name]


def checked_columns(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns as float64 ndarrays of shape (N,), N at least 1.

    Raises:
        GapModelError: shapes that differ or are not (N,), or values that are not finite, or so far
            from 0 that their squares are not.
    """
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    shapes = {values.shape for values in arrays.values()}
    if len(shapes) != 1 or any(len(shape) != 1 or not shape[0] for shape in shapes):
        raise GapModelError(
            f"{', '.join(arrays)} have shapes {', '.join(str(v.shape) for v in arrays.values())}: "
            "give one number per network for each."
        )
    for name, values in arrays.items():
        usable = np.abs(values) <= LARGEST
        if not usable.all():
            network = int(np.flatnonzero(~usable)[0])
            raise GapModelError(
                f"The {SYMBOLS.get(name, name)} of network {network + 1} of {len(values)} is "
                f"{values[network]}: leave it out or measure it."
            )
    return arrays


def check_not_too_many(networks: int, most: int, what: str = "a gap model") -> None:
    """Refuse a population whose fit would take hours, or more memory than there is.

    Raises:
        GapModelError: there are more networks than ``most``, for ``what``.
    """
    if networks > most:
        raise GapModelError(
            f"The population has {networks:,} networks with a known gap, {what} is fitted on "
            f"{most:,} at most: keep so many rows of the table, drawn at random."
        )


def checked_features(
    columns: Mapping[str, np.ndarray], gap: np.ndarray, *, fit: Fit = least_squares
) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, P) and targets (N,) in float64, once a line can be fitted to them.

    Args:
        columns: feature -> float ndarray of shape (N,).
        gap: float ndarray of shape (N,).
        fit: what they are for; a feature that is the same for all networks is no harm to a ridge.

    Raises:
        GapModelError: shapes that differ, fewer than four networks, values that are not finite, or
            a column that is the same for all networks.
    """
    arrays = checked_columns({**columns, "gap": gap})
    networks = len(arrays["gap"])
    if networks < MIN_NETWORKS:
        raise GapModelError(
            f"A gap model needs at least {MIN_NETWORKS} networks with a known gap, "
            f"there are {networks}: add networks, or test data for those that have none."
        )
    for key in arrays if fit is least_squares else ("gap",):
        values = arrays[key]
        if np.ptp(values) <= 1e-12:
            raise GapModelError(
                f"The {SYMBOLS.get(key, key)} of all {networks} networks is {values[0]:.4g}, so "
                "nothing can be fitted: add networks trained by other recipes."
            )
    return np.column_stack([arrays[key] for key in columns]), arrays["gap"]
