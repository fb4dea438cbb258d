"""Options of an audit under which features are other quantities than with their defaults.

A population that was audited with such an option says so in a column of that name, which its gap
model keeps among the recipes. A gap model that does not was fitted on audits with the defaults.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from analyzer.audit_record import AuditRecord
from analyzer.estimation.applicability_domain import SAMPLES_FACTOR
from analyzer.measures.ablation.curve_features import CURVE_FEATURES
from analyzer.measures.interpolation.mixing import INTERPOLATION_FEATURES
from analyzer.measures.neighbors.votes import NEIGHBORS_FEATURES

__all__ = ["UNUSUAL", "outside_settings", "unusual_settings"]

_CHANCE = "chance"
_PARTS = {"interpolation": 1_000, "neighbors": 5_000}
"""Samples that a measure looks at by default where there are very many, at least."""

_OPTIONS = {"interpolation": "interpolation_samples", "neighbors": "neighbor_samples"}
_TOUCHED = {
    _CHANCE: ("zeta", *(name for name in CURVE_FEATURES if name.startswith("curve_n0"))),
    "interpolation_samples": (
        *INTERPOLATION_FEATURES,
        *(name for name in NEIGHBORS_FEATURES if name.endswith("_trusted")),
    ),
    "neighbor_samples": NEIGHBORS_FEATURES,
}


UNUSUAL = tuple(_TOUCHED)
"""Names of these options, and of their columns in a population's table."""


def unusual_settings(record: AuditRecord) -> dict[str, float]:
    """The options of an audit that are no default and change features, with what was asked for."""
    found = {}
    for measure, option in _OPTIONS.items():
        asked = record.settings.get(option)
        usual = min(record.data.samples, _PARTS[measure])
        if measure in record.sections and isinstance(asked, int) and asked * SAMPLES_FACTOR < usual:
            found[option] = float(asked)
    classes = len(record.classes) + len(record.empty_classes)
    if abs(record.chance * classes - 1) > 1e-9:
        found[_CHANCE] = record.chance
    return found


def outside_settings(
    unusual: Mapping[str, float],
    features: Collection[str],
    recipe: Mapping[str, Sequence[float] | Sequence[str]],
    gap_model: str,
) -> Iterator[str]:
    """A sentence for each unusual option that touches a feature of a gap model.

    Args:
        unusual: as :func:`unusual_settings` gives them.
        features: of the gap model.
        recipe: of its population, which says under which of these options it was audited.
        gap_model: its name.
    """
    for option, value in unusual.items():
        ends = [end for end in recipe.get(option, ()) if isinstance(end, float | int)]
        known = bool(ends) and min(ends) / SAMPLES_FACTOR <= value <= max(ends) * SAMPLES_FACTOR
        if known or not set(features) & set(_TOUCHED[option]):
            continue
        if option == _CHANCE:
            yield (
                f"The chance level was set to {value:g}, and the gap model {gap_model!r} was "
                "fitted with one that follows from the number of classes: ζ is another quantity."
            )
        else:
            what = "neighbors" if option == "neighbor_samples" else "interpolation"
            yield (
                f"For {what} only {value:.0f} samples were looked at, as was asked for, and the "
                f"gap model {gap_model!r} was fitted on audits of all or thousands of them: its "
                "features are not alike where samples are few."
            )
