"""Scores that rank training samples by suspicion, and how well a ranking finds wrong labels.

All are made from one network and its answers on the very samples it was trained on; all are higher
for more suspicious samples.

================================  ===============================================================
``ablation``                      − (ascending − descending), the ``score`` of an audit
``ascending``                     − how long it survives as the least active units go first
``descending``                    how long it survives as the most active units go first
``survival``                      − (ascending + descending)
``log_probability``               − log p of the label: the loss, and cleanlab's self-confidence
``margin``                        − (the label's score less the best other)
``self_confidence``               cleanlab's label quality scores, turned round
``normalized_margin``
``confidence_weighted_entropy``
``entropy / p``                   the last but for rounding: entropy of the probabilities over p
``A, by class``                   its rank among the samples with the same label
``A + B``                         the sum of both ranks among all samples
``A + B, by class``               the sum of both ranks among the samples with the same label
``A × B, by class``               the product of the shares of those that are more suspicious
``suspicion``                     what ``onnx-gap audit`` lists suspects by without neighbors and
                                  hold: the same, of ``ascending`` and ``log_probability``
================================  ===============================================================
"""

import importlib.util
from collections.abc import Mapping

import numpy as np
from sklearn.metrics import roc_auc_score

from analyzer.audit.suspicion import most_suspicious, ranks_within
from analyzer.records import SampleCounts

__all__ = ["CLEANLAB", "SHARES", "has_cleanlab", "measured", "suspicions"]

CLEANLAB = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
SHARES = (0.01, 0.05)  # of the samples, the most suspicious
_SINGLE = ("ablation", "ascending", "log_probability", "margin")
_PAIRS = (("ablation", "log_probability"), ("ascending", "log_probability"))


def has_cleanlab() -> bool:
    """Whether cleanlab, which is no part of any extra, is installed."""
    return importlib.util.find_spec("cleanlab") is not None


def suspicions(samples: SampleCounts, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Every score by its name, float64 (S,) each; cleanlab's only where it is installed.

    Args:
        samples: of an audit, S.
        scores: (S, K), the network's logits.
    """
    ascending, descending = (
        counts.astype(np.float64) for counts in (samples.ascending, samples.descending)
    )
    found = {
        "ablation": descending - ascending,
        "ascending": -ascending,
        "descending": descending,
        "survival": -ascending - descending,
        "log_probability": -samples.scores.log_probability.astype(np.float64),
        "margin": -samples.scores.margin.astype(np.float64),
    }
    all_samples = np.zeros(len(ascending), np.int64)
    by_class = {name: ranks_within(samples.label, found[name]) for name in _SINGLE}
    combined = {"entropy / p": _entropy_by_probability(scores, samples.label)}
    combined |= {f"{name}, by class": by_class[name] for name in _SINGLE}
    for a, b in _PAIRS:
        among_all = (ranks_within(all_samples, found[name]) for name in (a, b))
        combined[f"{a} + {b}"] = sum(among_all)
        combined[f"{a} + {b}, by class"] = by_class[a] + by_class[b]
    a, b = (by_class[name] for name in _PAIRS[0])
    combined["ablation × log_probability, by class"] = -np.log((1 - a) * (1 - b))
    place = most_suspicious(samples, len(ascending))
    suspicion = np.empty(len(place))
    suspicion[place] = np.arange(len(place), 0, -1)
    return found | _cleanlab(samples.label, scores) | combined | {"suspicion": suspicion}


def measured(
    suspicion: np.ndarray, wrong: np.ndarray, better: np.ndarray
) -> dict[str, float | None]:
    """How well a score finds wrong labels.

    Args:
        suspicion: float64 (S,).
        wrong: bool (S,), samples whose label is not their class.
        better: bool (S,), samples of which the best class but the label is the right one.

    Returns:
        ``auc``, the area under the ROC curve; ``precision_N``, the share of wrong labels among the
        N % most suspicious, and ``other_N``, the share of those for which the best other class is
        the right one (None where there are none). Equal suspicions count by their share.
    """
    found: dict[str, float | None] = {"auc": float(roc_auc_score(wrong, suspicion))}
    for share in SHARES:
        weight = _among_the_first(suspicion, max(round(share * len(wrong)), 1))
        caught = float(weight[wrong].sum())
        percent = round(100 * share)
        found[f"precision_{percent}"] = caught / weight.sum()
        found[f"other_{percent}"] = float(weight[wrong & better].sum()) / caught if caught else None
    return found


def _among_the_first(suspicion: np.ndarray, count: int) -> np.ndarray:
    """How much of each sample is among the ``count`` most suspicious, where equal ones share."""
    limit = np.partition(suspicion, -count)[-count]
    above, level = suspicion > limit, suspicion == limit
    return above + level * (count - above.sum()) / level.sum()


def _entropy_by_probability(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What cleanlab's confidence-weighted entropy ranks by, but for rounding.

    Its quality log(1 + x) / x falls as x = entropy / p grows. Where a network is so sure that 1 + x
    is 1 in floating point, the quality comes out as 0: the surest samples rank as the worst.
    """
    logarithms = scores - scores.max(axis=1, keepdims=True).astype(np.float64)
    logarithms -= np.log(np.exp(logarithms).sum(axis=1, keepdims=True))
    entropy = -(np.exp(logarithms) * logarithms).sum(axis=1)
    own = logarithms[np.arange(len(labels)), labels]
    return np.log(np.maximum(entropy, np.finfo(np.float64).tiny)) - own


def _cleanlab(labels: np.ndarray, scores: np.ndarray) -> Mapping[str, np.ndarray]:
    if not has_cleanlab():
        return {}
    from cleanlab.rank import get_label_quality_scores

    powers = np.exp(scores - scores.max(axis=1, keepdims=True), dtype=np.float64)
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    return {
        name: -get_label_quality_scores(labels, probabilities, method=name) for name in CLEANLAB
    }
