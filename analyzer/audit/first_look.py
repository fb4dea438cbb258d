"""A first look at a network and its data, before hours of counting: does it know them at all?

One pass over a part of the samples, balanced by class, with nothing removed. A network at chance,
or fed with its classes in another order, gives curves that mean nothing.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from analyzer import data, runtime
from analyzer.audit.first_look_verdict import KNOWS_ORDER, FirstLookFigures, judge_first_look
from analyzer.audit.verdict import limits_of
from analyzer.audit_options import AuditRequest
from analyzer.common_types import Progress
from analyzer.errors import AuditStopped, ModelError
from analyzer.measures.ablation.sample_scores import check_logits
from analyzer.measures.measure import Subject
from analyzer.measures.unmasked_predictions import predict_whole

__all__ = [
    "LOOKED_AT",
    "ClassOrder",
    "FirstLook",
    "find_class_order",
    "look_first",
]

LOOKED_AT = 2_000
"""Samples that are looked at, at most."""
_GAIN = 0.25  # of accuracy, that another order must bring on samples it was not found on


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
    if excess := request.budgets.excess("classes", found.classes):  # where shapes do not tell it
        raise ModelError(f"{subject.network.path} has {found.classes:,} classes, {excess}.")
    if not seen.finite:
        return  # the sweep names the sample
    if subject.answer.kind == "logit":
        check_logits(np.concatenate(seen.last))
    chance = request.chance_of(found.classes)
    order = find_class_order(found.label, found.named, found.classes)
    figures = FirstLookFigures(
        accuracy=found.accuracy,
        chance=chance,
        samples=len(found.label),
        whole=len(samples.indices) == len(subject.indices),
        order=(order.accuracy, order.named_as.tolist()) if order else None,
        names=[subject.source.class_name(i) for i in range(found.classes if order else 0)],
        by_name=subject.source.indexing != "labels",
        fed=(seen.low, seen.high),
        floating=subject.network.info.inputs[0].dtype.startswith("float"),
        undeclared=subject.preprocessing.origin is None,
        scale=subject.preprocessing.scale,
    )
    ending = judge_first_look(figures, limits_of(request.settings()), request.told)
    if ending is None:
        return
    look = FirstLook(found, chance, order, seen.low, seen.high)
    raise AuditStopped(ending.message, ending.verdict, found.accuracy, look)


def _part(subject: Subject, request: AuditRequest) -> data.Samples:
    samples = subject.samples(skip_bad=request.skip_bad)
    if len(samples.indices) <= LOOKED_AT:
        return samples
    per_class = max(1, LOOKED_AT // len(np.unique(samples.labels)))
    places = data.limit_per_class(samples.labels, per_class, request.seed)
    return data.Samples(samples.indices[places], samples.labels[places], samples.load)


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
    if (label == named).mean() >= KNOWS_ORDER:
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
