"""From what the measures found to the record: features, estimated gap, warnings."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from analyzer import estimation
from analyzer.audit.class_estimates import keep_class_gaps, with_class_gaps
from analyzer.audit.inputs import AuditInputs
from analyzer.audit.provenance import installed_versions
from analyzer.audit.suspects import how_many
from analyzer.audit.verdict import at_chance, classes_at_chance, is_at_chance, judge
from analyzer.audit_options import AuditRequest
from analyzer.audit_record import (
    AuditRecord,
    DataRecord,
    DeviceRecord,
    GapRecord,
    MadeRecord,
    ModelRecord,
    SecondsRecord,
)
from analyzer.errors import GapModelError, parameter
from analyzer.measures.ablation import AblationResult
from analyzer.measures.ablation.result_files import CURVES, SAMPLES
from analyzer.measures.measure import Subject
from analyzer.measures.registry import MEASURES, feature_values

__all__ = ["make_record", "model_record", "some_of", "warnings_of"]


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
        model=model_record(request, subject),
        data=DataRecord(
            source=request.data_name or subject.source.source,
            samples=len(ablation.samples.label),
            sha256=ablation.data_sha256,
            preprocessing=subject.preprocessing.to_dict(),
            given=len(subject.source),
        ),
        settings=request.settings(),
        gap=None,
        device=DeviceRecord(
            requested=request.device, used=ablation.device, precision=request.precision
        ),
        versions=installed_versions(*(["onnx-ad"] if "margins" in fields["sections"] else [])),
        seconds=SecondsRecord(
            prefix=ablation.prefix_seconds, sweep=ablation.sweep_seconds, total=seconds
        ),
        input_warnings=ablation.warnings,
        skipped=ablation.skipped,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        suspects=how_many(request.suspects, ablation.samples),
        key=subject.key,
        made=MadeRecord(request.command, platform.node(), request.auditor),
        **fields,
    )
    found = replace(found, warnings=warnings_of(found, ablation))
    found = _with_gap(found, request, inputs, finished)
    return replace(found, verdict=judge(found))


def model_record(request: AuditRequest, subject: Subject) -> ModelRecord:
    """What a record says of the network."""
    info = subject.network.info
    return ModelRecord(
        path=request.model_name or str(request.model),
        sha256=info.sha256,
        bytes=info.bytes,
        producer=info.producer,
        opset=info.opset,
    )


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
        if feature_values(found) == feature_values(finished):
            return keep_class_gaps(replace(found, gap=finished.gap), finished)
        return replace(found, no_gap=request.told(GapModelError(_gone(request))))
    try:
        estimated = replace(found, gap=_gap(request, inputs.gap_model, found))
        return with_class_gaps(estimated, inputs.gap_model)
    except GapModelError as error:
        return replace(found, no_gap=request.told(error))


def _gone(request: AuditRequest) -> str:
    return (
        f"The gap model {request.gap_model_name} is not there any more, and what it needs has been "
        f"measured again since; name one with {parameter('gap_model')}."
    )


def _gap(request: AuditRequest, gap_model: estimation.GapModel, found: AuditRecord) -> GapRecord:
    estimate = gap_model.estimate(
        feature_values(found), rank=request.rank, conditions=estimation.conditions_of(found)
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


def some_of(names: Sequence[str], limit: int = 8) -> str:
    """The first names, and how many more there are."""
    listed = "; ".join(names[:limit])
    return listed if len(names) <= limit else f"{listed}; and {len(names) - limit} more"
