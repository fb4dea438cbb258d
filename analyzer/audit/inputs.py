"""What an audit is made from, found and checked before anything is counted or written.

First the options, the network and the data. Then, before hours of counting, a first look: does the
network know these samples at all? One pass over a part of them, balanced by class, with nothing
removed. A network at chance, or fed with its classes in another order, gives curves that mean
nothing.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analyzer import data, estimation, runtime, surgery
from analyzer.audit.folder import AUDIT
from analyzer.audit.provenance import installed_versions
from analyzer.audit.resume import key_of
from analyzer.audit.verdict import (
    FAIL,
    NOT_JUDGEABLE,
    at_chance,
    is_at_chance,
    limits_of,
    verdict_of,
)
from analyzer.audit_options import AuditRequest
from analyzer.audit_record import LimitRecord
from analyzer.common_types import ExtraInput, Progress, Site
from analyzer.errors import AnalyzerError, AuditStopped, DataError, SiteError, parameter
from analyzer.measures.ablation import chance_fraction
from analyzer.measures.measure import Subject
from analyzer.measures.training_images import SampleImages
from analyzer.measures.unmasked_predictions import predict_whole
from analyzer.option_declarations import identity_of, options_of, parse_part

__all__ = [
    "AuditInputs",
    "ClassOrder",
    "FirstLook",
    "find_class_order",
    "find_inputs",
    "look_first",
    "open_images",
    "open_network",
]


@dataclass(frozen=True, slots=True)
class AuditInputs:
    """What an audit is made from."""

    subject: Subject
    gap_model: estimation.GapModel | None


def find_inputs(request: AuditRequest, *, recorded: Mapping[str, Any] | None = None) -> AuditInputs:
    """Open and check everything that the request names, and write nothing.

    Args:
        request: what is asked for.
        recorded: what a record says of the preprocessing, to be used in place of the request's.

    Raises:
        AnalyzerError: something does not exist, is damaged, or does not fit.
    """
    _check_options(request)
    network, extra_inputs = open_network(request.model, request)
    site, no_site = _site(network, request)
    source = data.open_data(
        request.data, keys=request.keys, classes=request.classes, budgets=request.budgets
    )
    image = network.info.inputs[0]
    if recorded is None:
        preprocessing = data.resolve_preprocessing(source, image, request.preprocess)
    else:
        preprocessing = data.recorded_preprocessing(recorded, source, image, AUDIT)
    indices = np.arange(len(source))
    if request.limit_per_class is not None:
        indices = data.limit_per_class(source.labels, request.limit_per_class, request.seed)
    groups = None
    if request.groups is not None:
        groups = data.read_groups(
            request.groups, source, keys=request.keys, budgets=request.budgets
        )[indices]
    key = key_of(
        {
            **identity_of(request),
            **({} if groups is None else {"groups": groups.tolist()}),
            "model": network.info.sha256,
            "site": site and [site.tensor, site.axis],
            "inputs": {one.name: one.value.tolist() for one in extra_inputs},
            "data": source.fingerprint(),
            "preprocessing": preprocessing.to_dict(),
            "chance": request.chance if request.tolerance else None,  # estimates aim at it
            "versions": installed_versions(),
        }
    )
    first = data.FirstReading(len(source))
    subject = Subject(
        network, extra_inputs, site, source, preprocessing, indices, key, first, no_site, groups
    )
    gap_model = estimation.read_gap_model(request.gap_model) if request.gap_model else None
    return AuditInputs(subject, gap_model)


def open_images(
    request: AuditRequest, subject: Subject, progress: Progress
) -> Callable[[], SampleImages]:
    """The images of the samples, read when they are first asked for."""

    @functools.cache
    def opened() -> SampleImages:
        return SampleImages.open(
            subject.samples(skip_bad=request.skip_bad),
            memory=request.memory // 2,
            groups=subject.groups,
            progress=progress,
        )

    return opened


def _site(network: surgery.Network, request: AuditRequest) -> tuple[Site | None, str]:
    """The site, or why there is none, where nobody named one.

    Raises:
        ModelError, SiteError: see :func:`analyzer.surgery.find_site`.
    """
    try:
        site = surgery.find_site(
            network, request.site, at=request.at, axis=request.axis, output=request.output
        )
    except SiteError as error:
        if request.site is not None or request.needs_site:
            raise
        return None, str(error)
    return site, ""


def open_network(
    model: Path, options: AuditRequest
) -> tuple[surgery.Network, tuple[ExtraInput, ...]]:
    """The network in ``model`` with its extra inputs bound to the values they are given.

    Raises:
        DataError, ModelError: as :func:`analyzer.surgery.load_network` and
            :func:`analyzer.surgery.bind_inputs`.
    """
    network = surgery.load_network(model, custom_ops=options.custom_ops, budgets=options.budgets)
    given = {name: data.read_value(text, options.budgets) for name, text in options.inputs}
    return surgery.bind_inputs(network, given)


def _check_options(request: AuditRequest) -> None:
    """Refuse values outside the declared choices and bounds.

    Raises:
        DataError, DeviceError: the sentence names the option.
    """
    if request.chance is not None:
        chance_fraction(request.chance)
    if not 0 <= request.tolerance < 1:
        raise DataError(
            f"The {parameter('tolerance')} of ζ and κ is {request.tolerance}; give a number from 0 "
            "(exact) to below 1, for example 0.01."
        )
    for name, declared in options_of(AuditRequest).items():
        value = getattr(request, name)
        if declared.choices and value not in declared.choices:
            raise DataError(
                f"{parameter(name)} cannot be {value!r}; choose one of "
                f"{', '.join(declared.choices)}."
            )
        if isinstance(value, int | float) and value < declared.least:
            raise DataError(
                f"{parameter(name)} cannot be {value}; the least is {declared.least:g}."
            )
        if declared.parse is parse_part and isinstance(value, str) and value != "all":
            raise DataError(f"{parameter(name)} cannot be {value!r}; give a number or 'all'.")
    for place in (request.model, request.out):
        try:
            str(place.absolute()).encode()
        except UnicodeEncodeError:
            raise DataError(
                f"The path {place} is not UTF-8 text, and onnxruntime opens no other. Rename it."
            ) from None
    runtime.named_devices(request.device)


_MOST = 2_000  # samples that are looked at
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
    """What the network was fed, and whether it answers with numbers."""

    source: data.Source
    low: float = math.inf
    high: float = -math.inf
    finite: bool = True

    def look(self, images: np.ndarray, scores: np.ndarray) -> None:
        if scores.shape[1] > 1:  # else the network gives labels
            data.check_classes(self.source, scores.shape[1])
        self.finite = self.finite and bool(np.isfinite(images).all() and np.isfinite(scores).all())
        self.low = min(self.low, float(images.min()))
        self.high = max(self.high, float(images.max()))

    def suspicion(self, floating: bool) -> str:
        """What speaks for a wrong scaling, with a leading blank; "" if nothing does."""
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


def look_first(request: AuditRequest, subject: Subject, progress: Progress) -> None:
    """Run up to 2,000 samples through the network, and stop the audit if it does not know them.

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
        stage="first look",
        progress=progress,
        look=seen.look,
    )
    if not seen.finite:
        return  # the sweep names the sample
    chance, accuracy = request.chance_of(found.classes), found.accuracy
    order = find_class_order(found.label, found.named, found.classes)
    look = FirstLook(found, chance, order, seen.low, seen.high)
    if order is not None:
        names = [subject.source.class_name(index) for index in range(found.classes)]
        why = (
            f"{accuracy:.1%} of {len(found.label):,} training samples are named as labelled, and "
            f"{order.accuracy:.1%} would be with the classes in another order: "
            f"{describe_order(order.named_as, names, by_name=subject.source.indexing != 'labels')}"
        )
    elif is_at_chance(accuracy, chance, len(found.label)):
        why = at_chance(accuracy, chance, len(found.label)) + seen.suspicion(
            subject.network.info.inputs[0].dtype.startswith("float")
        )
    else:
        _check_accuracy(request, look, whole=len(samples.indices) == len(subject.indices))
        return
    limits = tuple(
        LimitRecord(name, limit, None, NOT_JUDGEABLE, _said(why, request))
        for name, limit in limits_of(request.settings()).items()
    )
    raise _stopped(request, why, NOT_JUDGEABLE, limits, look)


def _part(subject: Subject, request: AuditRequest) -> runtime.Samples:
    samples = subject.samples(skip_bad=request.skip_bad)
    if len(samples.indices) <= _MOST:
        return samples
    per_class = max(1, _MOST // len(np.unique(samples.labels)))
    places = data.limit_per_class(samples.labels, per_class, request.seed)
    return runtime.Samples(samples.indices[places], samples.labels[places], samples.load)


def _check_accuracy(request: AuditRequest, look: FirstLook, *, whole: bool) -> None:
    found = look.found
    limit, accuracy = request.min_accuracy, found.accuracy
    if limit is None:
        return
    # Of a part the accuracy is an estimate: three standard errors of it are its due.
    slack = 0.0 if whole else 3 * math.sqrt(max(accuracy * (1 - accuracy), 1e-4) / len(found.label))
    if accuracy + slack >= limit:
        return
    why = (
        f"The accuracy on the training data is {accuracy:.4f} on {len(found.label):,} samples, "
        f"under the limit {limit:g}."
    )
    unknown = "Nothing was counted, so this is not known."
    limits = [
        LimitRecord(name, asked, accuracy, FAIL, why)
        if name == "min_accuracy"
        else LimitRecord(name, asked, None, NOT_JUDGEABLE, unknown)
        for name, asked in limits_of(request.settings()).items()
    ]
    raise _stopped(request, why, FAIL, tuple(limits), look)


def _stopped(
    request: AuditRequest,
    why: str,
    outcome: str,
    limits: tuple[LimitRecord, ...],
    look: FirstLook,
) -> AuditStopped:
    verdict = verdict_of(limits, outcome=outcome, reason=_said(why, request))
    way_out = f" Nothing was counted; {parameter('anyway', True)} counts all the same."
    return AuditStopped(why + way_out, verdict, look.found.accuracy, look)


def _said(sentences: str, request: AuditRequest) -> str:
    """Sentences for a record, with parameters as whoever asked for the audit gives them."""
    said = AnalyzerError(sentences)
    return said.for_command_line() if request.command else str(said)


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
