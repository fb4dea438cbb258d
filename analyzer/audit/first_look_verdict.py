"""What stops an audit after a first look, and its verdict: from figures alone.

An audit judges what it saw by this, and verification what a record says that it saw.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from analyzer.audit.verdict import (
    FAIL,
    NOT_JUDGEABLE,
    at_chance,
    exceeds,
    is_at_chance,
    told_apart,
    verdict_of,
)
from analyzer.audit_record import LimitRecord, VerdictRecord
from analyzer.errors import AnalyzerError, parameter

__all__ = [
    "KNOWS_ORDER",
    "Ending",
    "FirstLookFigures",
    "describe_order",
    "inverse_order",
    "judge_first_look",
]

KNOWS_ORDER = 0.8
"""From this accuracy on nobody looks for another order of the classes."""
_NAMED = 5  # classes, of an order without a rule
_LISTED = 20  # classes, of a list in the network's order
_USUAL = 20.0  # values that networks are fed are mostly smaller


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLookFigures:
    """All that the verdict on a first look follows from."""

    accuracy: float
    chance: float
    samples: int  # that were looked at
    whole: bool  # whether they are all that there are
    order: tuple[float, Sequence[int]] | None  # accuracy, and what samples of each label are named
    names: Sequence[str]  # of the classes; needed with an order alone
    by_name: bool  # whether labels come from names, so that a list of names can set their order
    fed: tuple[float, float]  # the least and the greatest value that the network was given
    floating: bool  # whether the network takes floating point numbers
    undeclared: bool  # whether nobody declared a preprocessing
    scale: float  # that pixels were multiplied by


@dataclass(frozen=True, slots=True)
class Ending:
    """Why an audit ends after its first look."""

    message: str  # sentences with parameters marked: what was found, and how to go on
    verdict: VerdictRecord


def judge_first_look(
    figures: FirstLookFigures, limits: Mapping[str, float], told: Callable[[AnalyzerError], str]
) -> Ending | None:
    """Why an audit ends, with the verdict; None where it goes on.

    Args:
        figures: of what was seen.
        limits: that were asked for, by the name of the option.
        told: what a record says of an error.
    """
    unmet = _under_limit(figures, limits.get("min_accuracy"))
    named = f"{figures.samples:,} training samples are named as labeled"
    if figures.order is not None:
        accuracy, named_as = figures.order
        why = (
            f"{figures.accuracy:.1%} of {named}, and {accuracy:.1%} would be with the classes in "
            f"another order: {describe_order(named_as, figures.names, by_name=figures.by_name)}"
        )
    elif is_at_chance(figures.accuracy, figures.chance, figures.samples):
        why = at_chance(figures.accuracy, figures.chance, figures.samples)
        why += _suspicion(figures) or _undeclared(figures)
    elif unmet is not None:
        why = unmet.sentence
    else:
        return None
    said = told(AnalyzerError(why))
    unknown = said if unmet is None else "Nothing was counted, so this is not known."
    judged = tuple(
        unmet
        if unmet is not None and name == unmet.name
        else LimitRecord(name, limit, None, NOT_JUDGEABLE, unknown)
        for name, limit in limits.items()
    )
    outcome = NOT_JUDGEABLE if unmet is None else FAIL
    verdict = verdict_of(judged, outcome=outcome, reason=said)
    assert verdict is not None, "an outcome is given"
    way_out = f" Nothing was counted; {parameter('anyway', True)} counts all the same."
    return Ending(why + way_out, verdict)


def _under_limit(figures: FirstLookFigures, limit: float | None) -> LimitRecord | None:
    """The limit of the accuracy, where the samples that were looked at fall short of it."""
    accuracy = figures.accuracy
    if limit is None:
        return None
    # The accuracy of a part is an estimate: it may be low by three standard errors.
    spread = max(accuracy * (1 - accuracy), 1e-4)
    slack = 0.0 if figures.whole else 3 * math.sqrt(spread / figures.samples)
    if not exceeds(limit, accuracy + slack):
        return None
    told, bound = told_apart(accuracy, limit)
    why = (
        f"The accuracy on the training data is {told} on {figures.samples:,} samples, "
        f"under the limit {bound}."
    )
    return LimitRecord("min_accuracy", limit, accuracy, FAIL, why)


def _suspicion(figures: FirstLookFigures) -> str:
    """What suggests that the scaling is wrong, after a blank; "" if nothing does."""
    if not figures.floating:
        return ""
    low, high = figures.fed
    said = f" The network is fed values from {low:.4g} to {high:.4g}:"
    if max(-low, high) > _USUAL:
        return (
            f"{said} most are trained on values of about -3 to 3, so {parameter('mean')} and "
            f"{parameter('std')}, or {parameter('scale')}, are probably missing."
        )
    if high - low < 1 / _USUAL:
        return f"{said} they are probably scaled twice; see {parameter('scale')}."
    return ""


def _undeclared(figures: FirstLookFigures) -> str:
    """What was done to the pixels without being asked for, after a blank; "" if nothing was."""
    if not figures.undeclared or figures.scale == 1:
        return ""
    return (
        " No preprocessing was declared, so pixels of 0 to 255 were scaled by "
        f"1/{1 / figures.scale:g}: a network that scales them itself takes "
        f"{parameter('preprocess', 'none')}."
    )


def describe_order(named_as: Sequence[int], names: Sequence[str], *, by_name: bool) -> str:
    """Sentences: by what rule the classes are in another order, if by one, and the way out.

    Args:
        named_as: what samples of each of the K labels are named; a permutation.
        names: of the K classes.
        by_name: whether labels come from names, so that a list of names can set their order.
    """
    classes = len(named_as)
    as_texts = sorted(range(classes), key=str)
    shift = named_as[0]
    if list(named_as) == as_texts:
        rule = "the data sort them as texts (0, 1, 10, 11, …, 2), the network as numbers."
    elif list(named_as) == inverse_order(as_texts):
        rule = "the data sort them as numbers, the network as texts (0, 1, 10, 11, …, 2)."
    elif shift and list(named_as) == [(label + shift) % classes for label in range(classes)]:
        rule = f"the network counts them from {shift} on where the data begin with 0."
    else:
        moved = [label for label, named in enumerate(named_as) if label != named]
        some = ", ".join(f"{names[one]} as {names[named_as[one]]}" for one in moved[:_NAMED])
        rule = f"{some}{', …' if len(moved) > _NAMED else ''}."
    if not by_name:
        return f"{rule} Number the labels in the network's order."
    if classes > _LISTED:
        return f"{rule} List them in the network's order with {parameter('classes', 'FILE')}."
    in_order = ", ".join(names[place] for place in inverse_order(named_as))
    return (
        f"{rule} List them in the network's order with {parameter('classes', 'FILE')}: {in_order}."
    )


def inverse_order(order: Sequence[int]) -> list[int]:
    """Where each number stands in a permutation."""
    return sorted(range(len(order)), key=order.__getitem__)
