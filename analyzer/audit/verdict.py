"""The verdict: does a network keep the limits that were asked for, or can that not be told?

A limit of the gap is judged only where the estimate means something: of a network that has learned
its data, inside the applicability domain of the gap model. What is not judgeable never passes.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from analyzer.audit_record import AuditRecord, ClassRecord, LimitRecord, VerdictRecord

__all__ = [
    "FAIL",
    "NOT_JUDGEABLE",
    "PASS",
    "at_chance",
    "classes_at_chance",
    "doubt_of",
    "exceeds",
    "is_at_chance",
    "is_too_few",
    "judge",
    "limits_of",
    "mark_of",
    "told_apart",
    "verdict_of",
]

PASS, FAIL, NOT_JUDGEABLE = "pass", "fail", "not judgeable"
_LIMITS = ("min_accuracy", "max_gap", "max_suspects")
_LARGEST = 1e6  # of what is set against a limit
_DIGITS = 12  # behind the point that are compared: 0.8 - 0.7 is 0.1, and 1e-16 more in floats
_WORDS = {PASS: "Pass", FAIL: "Fail", NOT_JUDGEABLE: "Not judgeable"}


def judge(record: AuditRecord) -> VerdictRecord | None:
    """The verdict that follows from the other fields of a record; None without a limit.

    The limits are the record's settings: ``max_gap`` with ``gate``, ``min_accuracy`` and
    ``max_suspects``.
    """
    return verdict_of(tuple(_limits(record)))


def verdict_of(
    limits: tuple[LimitRecord, ...], *, outcome: str = "", reason: str = ""
) -> VerdictRecord | None:
    """One verdict of limits that were judged singly: one that fails decides; None without any.

    Args:
        limits: that were asked for.
        outcome, reason: where they are known without any limit.
    """
    if not limits and not outcome:
        return None
    outcomes = {outcome, *(one.outcome for one in limits)}
    outcome = next(one for one in (FAIL, NOT_JUDGEABLE, PASS) if one in outcomes)
    found = (one.sentence for one in limits if one.outcome == outcome)
    reasons = tuple(dict.fromkeys([*([reason] if reason else []), *found]))
    return VerdictRecord(
        outcome=outcome,
        sentence=f"{_WORDS[outcome]}: {reasons[0]}",
        reasons=reasons,
        limits=limits,
    )


def limits_of(settings: Mapping[str, Any]) -> dict[str, float]:
    """The limits that settings ask for, by the name of the option."""
    found = ((name, settings.get(name)) for name in _LIMITS)
    return {name: float(limit) for name, limit in found if limit is not None}


def exceeds(figure: float, limit: float) -> bool:
    """Whether ``figure`` is over ``limit``, by more than the floating point of differences is."""
    return round(float(figure), _DIGITS) > round(float(limit), _DIGITS)


_UNCERTAIN = " as far as these tell"  # above it, within three standard errors


def is_at_chance(accuracy: float, chance: float, samples: int) -> bool:
    """Whether an accuracy is within three standard errors of guessing's, or below."""
    return accuracy <= chance + 3 * math.sqrt(chance * (1 - chance) / samples)


def is_too_few(chance: float, samples: int) -> bool:
    """Whether so few samples, all of them right, would not tell a network from guessing."""
    return is_at_chance(1.0, chance, samples)


def at_chance(accuracy: float, chance: float, samples: int) -> str:
    """The sentence about a network that :func:`is_at_chance`."""
    are = "sample is" if samples == 1 else "samples are"
    named = f"{accuracy:.1%} of {samples:,} training {are} named as labeled"
    if accuracy > chance and is_too_few(chance, samples):
        return (
            f"{named}, and chance is {chance:.1%}: so few samples cannot tell the network from "
            "guessing. Audit it on more of its training data."
        )
    return (
        f"{named}, no better than chance ({chance:.1%}){_UNCERTAIN if accuracy > chance else ''}: "
        "the preprocessing or the order of the classes is probably wrong, or the network has "
        "learned nothing."
    )


def classes_at_chance(classes: Sequence[ClassRecord], chance: float) -> str:
    """The beginning of a sentence about classes that are no better than chance; "" for none."""
    unlearned = [item.name for item in classes if item.accuracy <= chance]
    if not unlearned:
        return ""
    are = "is" if len(unlearned) == 1 else "are"
    named = ", ".join(unlearned[:3]) + (", …" if len(unlearned) > 3 else "")
    return (
        f"{len(unlearned)} of {len(classes)} classes {are} no better than chance ({chance:.1%}) "
        f"with nothing removed ({named})"
    )


def _limits(record: AuditRecord) -> Iterator[LimitRecord]:
    for name, limit in limits_of(record.settings).items():
        if name == "min_accuracy":
            yield _accuracy(record, limit)
        elif name == "max_suspects":
            yield _suspects(record, limit)
        else:
            yield _gap(record, limit, str(record.settings.get("gate", "upper")))


def _accuracy(record: AuditRecord, limit: float) -> LimitRecord:
    figure = record.accuracy
    kept = not exceeds(limit, figure)
    word = "at least" if kept else "under"
    told, bound = told_apart(figure, limit)
    sentence = f"The accuracy on the training data is {told}, {word} the limit {bound}."
    return LimitRecord("min_accuracy", limit, figure, PASS if kept else FAIL, sentence)


def _suspects(record: AuditRecord, limit: float) -> LimitRecord:
    figure = record.doubtful_labels
    doubt = _meaningless(record)
    if figure is None and not doubt:
        doubt = (
            "Wrong labels are told by interpolation and neighbors together, and not both were "
            "measured."
        )
    if doubt or figure is None:
        return LimitRecord("max_suspects", limit, figure, NOT_JUDGEABLE, doubt)
    kept = not exceeds(figure, limit)
    told, bound = told_apart(figure, limit, percent=True)
    sentence = (
        f"{told} of the labels are more likely wrong than right, "
        f"{'within' if kept else 'over'} the limit {bound}."
    )
    return LimitRecord("max_suspects", limit, figure, PASS if kept else FAIL, sentence)


def _gap(record: AuditRecord, limit: float, gate: str) -> LimitRecord:
    gap, test = record.gap, record.sections.get("test")
    if gate == "measured":
        figure = None if test is None else test.gap
        doubt = _meaningless(record) or _unmeasured(test, limit)
    else:
        figure = None if gap is None else gap.high if gate == "upper" else gap.estimate
        doubt = doubt_of(record)
    if doubt or figure is None:
        return LimitRecord("max_gap", limit, figure, NOT_JUDGEABLE, doubt)
    kept = not exceeds(figure, limit)
    told, bound = told_apart(figure, limit)
    if gate == "upper" and gap is not None:
        end = f"upper end of the {gap.coverage:.0%} interval"
        what = f"The gap may be as large as {told} ({end})"
    else:
        what = f"The {'measured' if gate == 'measured' else 'estimated'} gap is {told}"
    where = "within" if kept else "over"
    sentence = f"{what}, {where} the limit {bound}."
    if gate == "measured" and test is not None and test.in_training:
        sentence += (
            f" {test.in_training:,} of the {test.samples:,} test samples are training samples, too."
        )
    return LimitRecord("max_gap", limit, figure, PASS if kept else FAIL, sentence)


def _unmeasured(test: Any, limit: float) -> str:
    """Why test data do not tell whether the gap keeps the limit; "" where they do.

    Of samples that are training samples, too, the network says what it says of these: the gap is
    that of the others.
    """
    if test is None:
        return "No test data measured the gap."
    if test.in_training is None:
        return (
            ""
            if exceeds(test.gap, limit)
            else "It is not known how many of the test samples are training samples, too. Run the "
            "audit again with the same test data."
        )
    others = test.samples - test.in_training
    if others == 0:
        return "All test samples are training samples, too, so that no gap was measured."
    gap = test.gap * test.samples / others
    if exceeds(test.gap, limit) or not exceeds(gap, limit):
        return ""
    without, bound = told_apart(gap, limit)
    return (
        f"The measured gap is {test.gap:z.4f}, but {test.in_training:,} of the {test.samples:,} "
        f"test samples are training samples, too: without them it is about {without}, over the "
        f"limit {bound}. Take them out of the test data."
    )


def told_apart(figure: float, limit: float, *, percent: bool = False) -> tuple[str, str]:
    """Both as texts, the limit exact, and the figure as far over or under it as it is.

    The figure has four digits, or one in percent, and more only where it would else seem to be on
    the other side of the limit, or on it.
    """
    sign = "%" if percent else ""
    if not max(abs(figure), abs(limit)) < _LARGEST:  # of a record that no audit wrote
        return f"{figure:z.4{sign or 'f'}}", f"{limit:g}"
    shift, digits = (2, 1) if percent else (0, 4)
    exact, bound = (
        Decimal(repr(round(float(one), _DIGITS))).scaleb(shift) for one in (figure, limit)
    )
    while (shown := round(exact, digits)).compare(bound) != exact.compare(bound):
        digits += 1
    least = max(shift - 1, 0)  # digits of the limit
    decimals = max(least, -int(bound.normalize().as_tuple().exponent))
    return f"{shown:z.{digits}f}{sign}", f"{bound:.{decimals}f}{sign}"


def doubt_of(record: AuditRecord) -> str:
    """Why the estimated gap of a record cannot be relied on; "" where it can."""
    meaningless = _meaningless(record)
    if meaningless:
        return meaningless
    unlearned = classes_at_chance(record.classes, record.chance)
    if unlearned:
        return f"{unlearned}: no estimate holds for such a network."
    gap = record.gap
    if gap is None:
        return record.no_gap or "No gap model was asked for, so there is no estimated gap."
    if not gap.inside_range:
        said = " ".join(gap.warnings[1:2])  # the first is the caution of every estimate
        return f"The network is unlike those that the gap model was fitted on. {said}".rstrip()
    return ""


def mark_of(record: AuditRecord) -> str:
    """What is written behind the estimates of a record that cannot be relied on; "" for others."""
    return "; not dependable" if doubt_of(record) else ""


def _meaningless(record: AuditRecord) -> str:
    """Why none of the quantities means anything; "" where they do."""
    if is_at_chance(record.accuracy, record.chance, record.data.samples):
        return at_chance(record.accuracy, record.chance, record.data.samples)
    return ""
