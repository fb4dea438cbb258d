"""Whether an audit's margins are described by the numbers that its record says."""

import numpy as np

from analyzer.audit.checks import same
from analyzer.audit.folder import MARGINS
from analyzer.audit.record import AuditRecord
from analyzer.measures.margin_features import MARGIN_FEATURES, compute_margin_features

__all__ = ["margin_faults"]


def margin_faults(record: AuditRecord, distances: np.ndarray) -> list[str]:
    """What is wrong, in sentences.

    Args:
        record: of an audit with margins.
        distances: float64 (S, L), as ``margins.npz`` has them.
    """
    said = record.margins
    if distances.shape != (record.data.samples, len(said.layers)):
        return [
            f"{MARGINS} has distances of shape {distances.shape}, audit.json names "
            f"{record.data.samples} samples and {len(said.layers)} layers."
        ]
    wrong = []
    for number, layer in enumerate(said.layers):
        correct = int((distances[:, number] > 0).sum())
        if correct != said.samples:
            wrong.append(
                f"{correct} samples have a distance above 0 at {layer.tensor!r} in {MARGINS}, "
                f"{said.samples} are classified correctly in audit.json."
            )
            continue
        found = compute_margin_features(distances[:, number])
        wrong += [
            f"'{name}' at {layer.tensor!r} is {getattr(layer, name)} in audit.json, "
            f"{MARGINS} gives {getattr(found, name)}."
            for name in MARGIN_FEATURES
            if not same(getattr(layer, name), getattr(found, name))
        ]
    return wrong
