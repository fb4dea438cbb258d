"""From what the measures found to the record: estimated gaps, of classes too, and warnings."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from analyzer import data, estimation
from analyzer.audit.first_look import FirstLook
from analyzer.audit.inputs import AuditInputs
from analyzer.audit.provenance import installed_versions
from analyzer.audit.suspects import how_many
from analyzer.audit.verdict import at_chance, classes_at_chance, is_at_chance, judge
from analyzer.audit_options import AuditRequest
from analyzer.audit_record import (
    AuditRecord,
    ClassRecord,
    DataRecord,
    DeviceRecord,
    GapRecord,
    MadeRecord,
    ModelRecord,
    OrderRecord,
    SecondsRecord,
    StoppedRecord,
)
from analyzer.errors import AuditStopped, GapModelError, parameter
from analyzer.estimation.class_gaps import LEAST, TENTHS
from analyzer.measures.ablation.class_curves import CURVES
from analyzer.measures.ablation.measure import AblationResult
from analyzer.measures.ablation.sample_scores import SAMPLES, SampleCounts
from analyzer.measures.measure import Subject, same
from analyzer.measures.neighbors.votes import LAYERS, NeighborVotes
from analyzer.measures.registry import MEASURES, feature_values
from analyzer.measures.test_data.measure import count_pairs

__all__ = [
    "class_gap_faults",
    "has_class_gaps",
    "lacks_gap_model",
    "make_record",
    "make_stopped_record",
    "some_of",
    "warnings_of",
    "with_class_gaps",
    "with_sureness",
]

_GAP = ("gap", "gap_low", "gap_high")
_MEASURES = ("interpolation", "neighbors")


def make_record(
    request: AuditRequest,
    inputs: AuditInputs,
    ablation: AblationResult,
    fields: Mapping[str, Any],
    seconds: float,
    finished: AuditRecord | None = None,
) -> AuditRecord:
    """The record of an audit.

    Args:
        request: what was asked for.
        inputs: what it was made from.
        ablation: what the ablation found.
        fields: of the record, as the measures give them.
        seconds: the audit took in all.
        finished: the same audit as an earlier run left it.
    """
    subject = inputs.subject
    found = AuditRecord(
        model=_model_record(request, subject),
        data=_data_record(request, subject, len(ablation.samples.label), ablation.data_sha256),
        settings=request.settings(),
        gap=None,
        device=_device_record(request, ablation.device),
        versions=installed_versions(*(["onnx-ad"] if "margins" in fields["sections"] else [])),
        seconds=SecondsRecord(
            prefix=ablation.prefix_seconds, sweep=ablation.sweep_seconds, total=seconds
        ),
        input_warnings=ablation.warnings,
        skipped=ablation.skipped,
        created=_now(),
        suspects=how_many(request.suspects, ablation.samples),
        key=subject.key,
        made=_made_record(request),
        **fields,
    )
    found = replace(found, warnings=warnings_of(found, ablation))
    found = _with_gap(found, request, inputs, finished)
    return replace(found, verdict=judge(found))


def make_stopped_record(
    request: AuditRequest, subject: Subject, stopped: AuditStopped
) -> StoppedRecord:
    """The record of an audit that a first look stopped."""
    look: FirstLook = stopped.look
    found = look.found
    names = tuple(subject.source.class_name(index) for index in range(found.classes))
    digest = data.combine_digests(found.digests, found.label)
    return StoppedRecord(
        model=_model_record(request, subject),
        data=_data_record(request, subject, len(found.label), digest),
        settings=request.settings(),
        chance=float(look.chance),
        accuracy=found.accuracy,
        reason=request.told(stopped),
        verdict=stopped.verdict,
        classes=names,
        confusions=count_pairs(found.label, found.named),
        order=_order(look, names, by_name=subject.source.indexing != "labels"),
        fed=(look.low, look.high),
        device=_device_record(request, found.device),
        versions=installed_versions(),
        skipped=found.skipped,
        created=_now(),
        made=_made_record(request),
    )


def _order(look: FirstLook, names: tuple[str, ...], *, by_name: bool) -> OrderRecord | None:
    if look.order is None:
        return None
    named_as = tuple(map(int, look.order.named_as))
    in_order = tuple(names[place] for place in np.argsort(look.order.named_as))
    return OrderRecord(look.order.accuracy, named_as, in_order, by_name)


def _model_record(request: AuditRequest, subject: Subject) -> ModelRecord:
    info = subject.network.info
    return ModelRecord(
        path=request.model_name or str(request.model),
        sha256=info.sha256,
        bytes=info.bytes,
        producer=info.producer,
        opset=info.opset,
    )


def _data_record(request: AuditRequest, subject: Subject, samples: int, digest: str) -> DataRecord:
    return DataRecord(
        source=request.data_name or subject.source.source,
        samples=samples,
        sha256=digest,
        preprocessing=subject.preprocessing.to_dict(),
        given=len(subject.source),
        files=subject.files,
    )


def _device_record(request: AuditRequest, used: str) -> DeviceRecord:
    return DeviceRecord(requested=request.device, used=used, precision=request.precision)


def _made_record(request: AuditRequest) -> MadeRecord:
    return MadeRecord(request.command, platform.node(), request.auditor)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def warnings_of(record: AuditRecord, ablation: AblationResult) -> tuple[str, ...]:
    """The warnings that follow from a record and what the ablation counted."""
    found = _warnings(record, ablation)
    of_measures = (sentence for measure in MEASURES for sentence in measure.warnings(record))
    return (*ablation.warnings, *found, *_unmeasured(record.unmeasured), *of_measures)


def _unmeasured(reasons: Mapping[str, str]) -> list[str]:
    return [f"{name.capitalize()} could not be measured. {why}" for name, why in reasons.items()]


def _with_gap(
    found: AuditRecord, request: AuditRequest, inputs: AuditInputs, finished: AuditRecord | None
) -> AuditRecord:
    """The record with an estimated gap, or with why there is none."""
    if inputs.gap_model is None:
        if finished is None or request.gap_model_named or not request.gap_model_name:
            return found
        if _estimated_from(found) == _estimated_from(finished):
            return _keep_class_gaps(replace(found, gap=finished.gap), finished)
        return replace(found, no_gap=request.told(_gone(request.gap_model_name)))
    try:
        estimated = replace(found, gap=_gap(request, inputs.gap_model, found))
        return with_class_gaps(estimated, inputs.gap_model)
    except GapModelError as error:
        return replace(found, no_gap=request.told(error))


def _estimated_from(record: AuditRecord) -> tuple[Any, ...]:
    """All of a record that an estimated gap depends on, that of a class, too."""
    return (
        feature_values(record),
        record.rank,
        estimation.conditions_of(record),
        estimation.unusual_settings(record),
        [(one.index, one.samples, one.accuracy, one.sureness) for one in record.classes],
    )


def _gone(gap_model: str) -> GapModelError:
    return GapModelError(
        f"The gap model {gap_model} is not there any more, and what it needs has been measured "
        f"again since; name one with {parameter('gap_model')}."
    )


def lacks_gap_model(record: AuditRecord) -> bool:
    """Whether there is no estimated gap because the gap model was gone."""
    why = _gone(str(record.settings.get("gap_model")))
    return record.no_gap in (str(why), why.for_command_line())


def _gap(request: AuditRequest, gap_model: estimation.GapModel, found: AuditRecord) -> GapRecord:
    estimate = gap_model.estimate(
        feature_values(found),
        rank=request.rank,
        conditions=estimation.conditions_of(found),
        unusual=estimation.unusual_settings(found),
    )
    return GapRecord(
        estimate=estimate.estimate,
        low=estimate.low,
        high=estimate.high,
        coverage=estimate.coverage,
        gap_model=gap_model.sha256,
        inside_range=estimate.inside_range,
        warnings=estimate.warnings,
        gap_model_name=request.gap_model_name or str(request.gap_model),
        fitted_on=str(gap_model.fitted_on),
    )


def _warnings(record: AuditRecord, ablation: AblationResult) -> list[str]:
    found = []
    accuracy, chance = record.accuracy, record.chance
    classes, empty = record.classes, record.empty_classes
    samples = len(ablation.samples.label)
    if is_at_chance(accuracy, chance, samples):
        sentence = at_chance(accuracy, chance, samples)
        found.append(f"{sentence} None of the quantities means anything then.")
    elif unlearned := classes_at_chance(classes, chance):
        found.append(
            f"{unlearned}, {accuracy:.1%} of all samples are right: if this is not the training "
            "accuracy that you know, the preprocessing or the order of the classes is wrong, and "
            "none of the quantities means anything."
        )
    kept_to = ablation.tolerance
    if kept_to is not None and (kept_to.zeta_bound or kept_to.kappa_bound):
        found.append(
            f"ζ, κ and the counts in {CURVES} and {SAMPLES} are estimates (tolerance "
            f"{kept_to.asked:g}): ζ is off by at most {kept_to.zeta_bound:.2g}, and κ, with "
            f"{kept_to.confidence:.0%} probability, by at most {kept_to.kappa_bound:.2g}; nothing "
            "of this is in the interval of an estimated gap."
        )
    if empty:
        found.append(
            f"{len(empty)} of the network's {ablation.classes} classes have no samples and are "
            f"left out of every average: {some_of([item.name for item in empty])}."
        )
    if ablation.skipped:
        found.append(
            f"Left out, because they could not be read ({len(ablation.skipped)}): "
            f"{some_of(ablation.skipped)}."
        )
    return found


def with_sureness(
    classes: Sequence[ClassRecord],
    samples: SampleCounts,
    votes: NeighborVotes | None,
    hold: np.ndarray | None,
) -> tuple[ClassRecord, ...]:
    """The classes with how many of their samples lie in each tenth of the order of sureness.

    Args:
        classes: of the S samples.
        samples: with their scores.
        votes: of their neighbors; None where they were not measured, and then nothing is added.
        hold: float (S,); likewise.
    """
    if votes is None or hold is None:
        return tuple(classes)
    profiles = estimation.class_profiles(
        samples.label,
        samples.scores.margin,
        votes.agreement[LAYERS.index("two_thirds")],
        hold,
        {one.index: one.accuracy for one in classes},
    )
    counts = dict(zip(profiles.index.tolist(), profiles.counts.tolist(), strict=True))
    return tuple(replace(one, sureness=tuple(counts.get(one.index, ()))) for one in classes)


def with_class_gaps(record: AuditRecord, gap_model: estimation.GapModel) -> AuditRecord:
    """The record with the estimated gaps of its classes, or with why there are none.

    Args:
        record: with the estimated gap of the network.
        gap_model: that it was estimated with.
    """
    classes, reason = _estimated(record, gap_model)
    return replace(record, classes=classes, no_class_gaps=reason)


def _keep_class_gaps(record: AuditRecord, finished: AuditRecord) -> AuditRecord:
    """The record with the classes' gaps as an earlier run of the same audit estimated them."""
    classes = tuple(
        replace(one, **{name: getattr(known, name) for name in _GAP})
        for one, known in zip(record.classes, finished.classes, strict=True)
    )
    return replace(record, classes=classes, no_class_gaps=finished.no_class_gaps)


def has_class_gaps(record: AuditRecord) -> bool:
    """Whether the record has the gaps of classes, or says why not."""
    return bool(record.no_class_gaps) or any(one.gap is not None for one in record.classes)


def class_gap_faults(record: AuditRecord, gap_model: estimation.GapModel) -> list[str]:
    """What the record says of the classes' gaps and the gap model does not, in sentences."""
    classes, reason = _estimated(record, gap_model)
    wrong = [
        f"The {name} of the class {one.name} is {getattr(one, name)} in audit.json, the gap model "
        f"gives {getattr(again, name)}."
        for one, again in zip(record.classes, classes, strict=True)
        for name in _GAP
        if not _agree(getattr(one, name), getattr(again, name))
    ]
    if record.no_class_gaps != reason:
        wrong.append("What audit.json says of classes without a gap is not what follows.")
    return wrong


def _agree(one: float | None, other: float | None) -> bool:
    return one is other if one is None or other is None else same(one, other)


def _estimated(
    record: AuditRecord, gap_model: estimation.GapModel
) -> tuple[tuple[ClassRecord, ...], str]:
    """The classes with their gaps, and why some or all of them have none; a sentence, or ""."""
    plain = tuple(replace(one, gap=None, gap_low=None, gap_high=None) for one in record.classes)
    if record.gap is None:
        return plain, ""  # ``no_gap`` says why
    if gap_model.class_line is None:
        return plain, f"The gap model {gap_model.name!r} does not estimate single classes."
    lacking = [name for name in _MEASURES if name not in record.sections]
    if lacking:
        return plain, (
            "Single classes are estimated from interpolation and neighbors, and "
            f"{' and '.join(lacking)} {'was' if len(lacking) == 1 else 'were'} not measured."
        )
    told = [one for one in plain if _tells(one)]
    gaps: dict[int, tuple[float, float, float]] = {}
    if told:
        found = gap_model.class_line.estimate(
            estimation.ClassProfiles(
                index=np.array([one.index for one in told]),
                samples=np.array([one.samples for one in told]),
                accuracy=np.array([one.accuracy for one in told]),
                counts=np.array([one.sureness for one in told]),
            ),
            record.gap.estimate,
            inside=record.gap.inside_range,
        )
        rows = zip(found.estimate.tolist(), found.low.tolist(), found.high.tolist(), strict=True)
        gaps = {one.index: row for one, row in zip(told, rows, strict=True)}
    classes = []
    for one in plain:
        gap, low, high = gaps.get(one.index, (None, None, None))
        classes.append(replace(one, gap=gap, gap_low=low, gap_high=high))
    return tuple(classes), _untold([one for one in classes if one.gap is None])


def _tells(one: ClassRecord) -> bool:
    """Whether a class says how sure the network is of it, and can be such."""
    told = one.sureness
    return (
        len(told) == TENTHS
        and min(told) >= 0
        and LEAST <= sum(told) <= one.samples
        and 0 <= one.accuracy <= 1
    )


def _untold(classes: Sequence[ClassRecord]) -> str:
    if not classes:
        return ""
    named = some_of([one.name for one in classes])
    return (
        f"A class needs {LEAST} samples that interpolation and neighbors looked at; no gap is "
        f"estimated for {named}."
    )


def some_of(names: Sequence[str], limit: int = 8) -> str:
    """The first names, and how many more there are."""
    listed = "; ".join(names[:limit])
    return listed if len(names) <= limit else f"{listed}; and {len(names) - limit} more"
