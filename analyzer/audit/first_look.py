"""A first look at a network and its data, before hours of counting: does it know them at all?

One pass over a part of the samples, balanced by class, with nothing removed. A network at chance,
or fed with its classes in another order, gives curves that mean nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from analyzer import data, runtime
from analyzer.audit.verdict import (
    FAIL,
    NOT_JUDGEABLE,
    at_chance,
    exceeds,
    is_at_chance,
    limits_of,
    told_apart,
    verdict_of,
)
from analyzer.audit_options import AuditRequest
from analyzer.audit_record import LimitRecord
from analyzer.common_types import Progress
from analyzer.errors import AnalyzerError, AuditStopped, parameter
from analyzer.measures.ablation.sample_scores import check_logits
from analyzer.measures.measure import Subject
from analyzer.measures.unmasked_predictions import predict_whole

__all__ = [
    "LOOKED_AT",
    "ClassOrder",
    "FirstLook",
    "describe_order",
    "find_class_order",
    "look_first",
]

LOOKED_AT = 2_000
"""Samples that are looked at, at most."""
_KNOWS_ORDER = 0.8  # from this accuracy on nobody looks for another order
_GAIN = 0.25  # of accuracy, that another order must bring on samples it was not found on
_NAMED = 5  # classes, of an order without a rule
_LISTED = 20  # classes, of a list in the network's order
_USUAL = 20.0  # values that networks are fed are mostly smaller


@dataclass(frozen=True, eq=False, slots=True)
class FirstLook:
    """What a first look at a part of the samples found."""

    found: runtime.Predictions
    chance: float
    order: "ClassOrder | None"  # another one, under which most of them would be right
    low: float  # the least value that the network was given
    high: float  # the greatest


@dataclass
class _Seen:
    """What the network was fed, and what it answers."""

    source: data.Source
    low: float = math.inf
    high: float = -math.inf
    finite: bool = True
    last: list[np.ndarray] = field(default_factory=list)  # the scores of the last class

    def look(self, images: np.ndarray, scores: np.ndarray) -> None:
        if scores.shape[1] > 1:  # else the network gives labels
            data.check_classes(self.source, scores.shape[1])
        self.last.append(scores[:, -1])
        self.finite = self.finite and bool(np.isfinite(images).all() and np.isfinite(scores).all())
        self.low = min(self.low, float(images.min()))
        self.high = max(self.high, float(images.max()))

    def suspicion(self, floating: bool) -> str:
        """What suggests that the scaling is wrong, after a blank; "" if nothing does."""
        if not floating:
            return ""
        said = f" The network is fed values from {self.low:.4g} to {self.high:.4g}:"
        if max(-self.low, self.high) > _USUAL:
            return (
                f"{said} most are trained on values of about -3 to 3, so {parameter('mean')} and "
                f"{parameter('std')}, or {parameter('scale')}, are probably missing."
            )
        if self.high - self.low < 1 / _USUAL:
            return f"{said} they are probably scaled twice; see {parameter('scale')}."
        return ""


def look_first(request: AuditRequest, subject: Subject, scratch: Path, progress: Progress) -> None:
    """Run up to 2,000 samples through the network, and stop the audit if it does not know them.

    Args:
        request: what is asked for.
        subject: what is audited.
        scratch: folder for the files that are run.
        progress: called with the stage "first look", in samples.

    Raises:
        AuditStopped: the network is at chance, its classes come in another order than those of the
            data, or it does not have the accuracy that was asked for; with the verdict.
        AnalyzerError: the network cannot be run, or the data do not fit it.
    """
    samples = _part(subject, request)
    if samples.spread(1) is None:
        raise subject.nothing_read()
    seen = _Seen(subject.source)
    found = predict_whole(
        subject.network,
        subject.extra_inputs,
        samples,
        request,
        output=subject.output,
        scratch=scratch,
        stage="first look",
        progress=progress,
        look=seen.look,
    )
    if not seen.finite:
        return  # the sweep names the sample
    if subject.answer.kind == "logit":
        check_logits(np.concatenate(seen.last))
    chance, accuracy = request.chance_of(found.classes), found.accuracy
    order = find_class_order(found.label, found.named, found.classes)
    whole = len(samples.indices) == len(subject.indices)
    look = FirstLook(found, chance, order, seen.low, seen.high)
    if order is not None:
        names = [subject.source.class_name(index) for index in range(found.classes)]
        why = (
            f"{accuracy:.1%} of {len(found.label):,} training samples are named as labeled, and "
            f"{order.accuracy:.1%} would be with the classes in another order: "
            f"{describe_order(order.named_as, names, by_name=subject.source.indexing != 'labels')}"
        )
    elif is_at_chance(accuracy, chance, len(found.label)):
        floating = subject.network.info.inputs[0].dtype.startswith("float")
        why = at_chance(accuracy, chance, len(found.label))
        why += seen.suspicion(floating) or _undeclared(subject.preprocessing)
    else:
        unmet = _under_limit(request, look, whole=whole)
        if unmet is not None:
            raise _stopped(request, unmet.sentence, look, {"min_accuracy": unmet})
        return
    unmet = _under_limit(request, look, whole=whole)
    raise _stopped(request, why, look, {} if unmet is None else {"min_accuracy": unmet})


def _undeclared(done: data.Preprocessing) -> str:
    """What was done to the pixels without being asked for, after a blank; "" if nothing was."""
    if done.origin is not None or done.scale == 1:
        return ""
    return (
        " No preprocessing was declared, so pixels of 0 to 255 were scaled by "
        f"1/{1 / done.scale:g}: a network that scales them itself takes "
        f"{parameter('preprocess', 'none')}."
    )


def _part(subject: Subject, request: AuditRequest) -> data.Samples:
    samples = subject.samples(skip_bad=request.skip_bad)
    if len(samples.indices) <= LOOKED_AT:
        return samples
    per_class = max(1, LOOKED_AT // len(np.unique(samples.labels)))
    places = data.limit_per_class(samples.labels, per_class, request.seed)
    return data.Samples(samples.indices[places], samples.labels[places], samples.load)


def _under_limit(request: AuditRequest, look: FirstLook, *, whole: bool) -> LimitRecord | None:
    """The limit of the accuracy, where the samples that were looked at fall short of it."""
    found = look.found
    limit, accuracy = request.min_accuracy, found.accuracy
    if limit is None:
        return None
    # The accuracy of a part is an estimate: it may be low by three standard errors.
    slack = 0.0 if whole else 3 * math.sqrt(max(accuracy * (1 - accuracy), 1e-4) / len(found.label))
    if not exceeds(limit, accuracy + slack):
        return None
    told, bound = told_apart(accuracy, limit)
    why = (
        f"The accuracy on the training data is {told} on {len(found.label):,} samples, "
        f"under the limit {bound}."
    )
    return LimitRecord("min_accuracy", limit, accuracy, FAIL, why)


def _stopped(
    request: AuditRequest, why: str, look: FirstLook, judged: Mapping[str, LimitRecord]
) -> AuditStopped:
    """What stops an audit that ``why`` tells the reason of; the limits not judged are not known."""
    unknown = _said(why, request) if not judged else "Nothing was counted, so this is not known."
    limits = tuple(
        judged.get(name) or LimitRecord(name, limit, None, NOT_JUDGEABLE, unknown)
        for name, limit in limits_of(request.settings()).items()
    )
    outcome = FAIL if judged else NOT_JUDGEABLE
    verdict = verdict_of(limits, outcome=outcome, reason=_said(why, request))
    way_out = f" Nothing was counted; {parameter('anyway', True)} counts all the same."
    return AuditStopped(why + way_out, verdict, look.found.accuracy, look)


def _said(sentences: str, request: AuditRequest) -> str:
    """Sentences for a record, with parameters as whoever asked for the audit gives them."""
    said = AnalyzerError(sentences)
    return request.told(said)


@dataclass(frozen=True, slots=True)
class ClassOrder:
    """Another order of the classes under which a network names the samples right."""

    named_as: np.ndarray  # int64 (K,): what samples of each label are named
    accuracy: float  # under it, on samples that it was not found on


def find_class_order(label: np.ndarray, named: np.ndarray, classes: int) -> ClassOrder | None:
    """The order of classes that a network seems to have been trained with, if another than given.

    The order is found on one half of the samples of each class, by an assignment that makes most of
    them right, and tried on the other half.

    Args:
        label: int64 (S,), of each sample.
        named: int64 (S,), what the network names it.
        classes: K.
    """
    if (label == named).mean() >= _KNOWS_ORDER:
        return None
    sequence = np.argsort(label, kind="stable")
    first, second = sequence[::2], sequence[1::2]
    if not len(second):
        return None
    right = float((label[second] == named[second]).mean())
    elsewhere = _assigned(label[first], named[first], classes)[label[second]]
    accuracy = float((elsewhere == named[second]).mean())
    least = max(_GAIN, 3 / math.sqrt(len(second)))  # three standard errors of it, at most
    if accuracy < right + least or accuracy < 2 * right:
        return None
    return ClassOrder(_assigned(label, named, classes), accuracy)


def _assigned(label: np.ndarray, named: np.ndarray, classes: int) -> np.ndarray:
    """int64 (K,): the class for each label, one to one, that makes most samples right.

    Classes that are neither a sample's label nor named stay as they are, so the time does not grow
    with K.
    """
    from scipy.optimize import linear_sum_assignment

    seen, place = np.unique(np.concatenate([label, named]), return_inverse=True)
    counts = np.zeros((len(seen), len(seen)))
    np.add.at(counts, (place[: len(label)], place[len(label) :]), 1.0)
    counts[np.arange(len(seen)), np.arange(len(seen))] += 0.5  # where nothing tells: as it is
    _, found = linear_sum_assignment(counts, maximize=True)
    order = np.arange(classes)
    order[seen] = seen[found]
    return order


def describe_order(named_as: np.ndarray, names: Sequence[str], *, by_name: bool) -> str:
    """Sentences: by what rule the classes are in another order, if by one, and the way out.

    Args:
        named_as: int64 (K,), what samples of each label are named.
        names: of the K classes.
        by_name: whether labels come from names, so that a list of names can set their order.
    """
    classes = len(named_as)
    as_texts = np.array(sorted(range(classes), key=str))
    shift = int(named_as[0])
    if np.array_equal(named_as, as_texts):
        rule = "the data sort them as texts (0, 1, 10, 11, …, 2), the network as numbers."
    elif np.array_equal(named_as, np.argsort(as_texts)):
        rule = "the data sort them as numbers, the network as texts (0, 1, 10, 11, …, 2)."
    elif shift and np.array_equal(named_as, (np.arange(classes) + shift) % classes):
        rule = f"the network counts them from {shift} on where the data begin with 0."
    else:
        moved = np.flatnonzero(named_as != np.arange(classes))
        some = ", ".join(f"{names[one]} as {names[named_as[one]]}" for one in moved[:_NAMED])
        rule = f"{some}{', …' if len(moved) > _NAMED else ''}."
    if not by_name:
        return f"{rule} Number the labels in the network's order."
    if classes > _LISTED:
        return f"{rule} List them in the network's order with {parameter('classes', 'FILE')}."
    in_order = ", ".join(names[place] for place in np.argsort(named_as))
    return (
        f"{rule} List them in the network's order with {parameter('classes', 'FILE')}: {in_order}."
    )
