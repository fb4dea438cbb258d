"""From counts to the result: quantities, averages, estimated gap, warnings."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from analyzer import estimation
from analyzer.audit import folder, record
from analyzer.audit.counting import Counted
from analyzer.audit.request import AuditRequest
from analyzer.audit.subject import Subject
from analyzer.audit.suspecting import how_many
from analyzer.audit.versions import installed_versions
from analyzer.measures import ablation

__all__ = ["some_of", "summed_up"]


def summed_up(
    request: AuditRequest,
    subject: Subject,
    counted: Counted,
    margins: record.MarginsRecord | None,
    seconds: float,
) -> record.AuditRecord:
    """The record of an audit that took ``seconds`` in all."""
    chance = request.chance_of(counted.classes)
    class_name = subject.source.class_name
    quantities = [ablation.class_quantities(curve, chance) for curve in counted.curves]
    zeta, kappa = ablation.network_quantities(quantities)
    features = ablation.compute_curve_features(counted.curves, counted.samples, chance)
    accuracy = float(counted.samples.correct.mean())
    classes = tuple(
        record.ClassRecord(
            index=item.class_index,
            name=class_name(item.class_index),
            samples=item.samples,
            accuracy=item.accuracy,
            n0=item.n0,
            n0_r=item.n0_r,
            zeta=item.zeta,
            kappa=item.kappa,
            chance_reached=item.chance_reached,
            flags=item.flags,
        )
        for item in quantities
    )
    filled = {item.class_index for item in quantities}
    empty = tuple(
        record.EmptyClass(index=index, name=class_name(index))
        for index in range(counted.classes)
        if index not in filled
    )
    info, site = subject.info, subject.site
    found = record.AuditRecord(
        model=record.ModelRecord(
            path=request.model_name or str(request.model),
            sha256=info.sha256,
            bytes=info.bytes,
            producer=info.producer,
            opset=info.opset,
        ),
        data=record.DataRecord(
            source=request.data_name or subject.source.source,
            samples=len(counted.samples.label),
            sha256=counted.data_sha256,
            preprocessing=subject.preprocessing.to_dict(),
            given=len(subject.source),
        ),
        site=record.SiteRecord(
            tensor=site.tensor,
            axis=site.axis,
            channels=site.channels,
            kind=site.kind,
            cut=counted.cut,
            operator=site.operator,
        ),
        settings=request.settings(),
        chance=chance,
        accuracy=accuracy,
        zeta=zeta,
        kappa=kappa,
        classes=classes,
        gap=None,
        device=record.DeviceRecord(
            requested=request.device, used=counted.device, precision=request.precision
        ),
        versions=installed_versions(*(["onnx-ad"] if margins else [])),
        seconds=record.SecondsRecord(
            prefix=counted.prefix_seconds, sweep=counted.sweep_seconds, total=seconds
        ),
        rows=counted.rows,
        tolerance=counted.tolerance,
        margins=margins,
        warnings=(*counted.warnings, *_warnings(accuracy, chance, classes, counted, empty)),
        input_warnings=counted.warnings,
        empty_classes=empty,
        skipped=counted.skipped,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        features=features,
        suspects=how_many(request.suspects, counted.samples),
        key=subject.key,
    )
    if subject.gap_model is None:
        return found
    return replace(found, gap=_gap(request, subject.gap_model, found))


def _gap(
    request: AuditRequest, gap_model: estimation.GapModel, found: record.AuditRecord
) -> record.GapRecord:
    estimate = gap_model.estimate(found.values(), rank=request.rank, conditions=found.circumstances)
    return record.GapRecord(
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


def _warnings(
    accuracy: float,
    chance: float,
    classes: Sequence[record.ClassRecord],
    counted: Counted,
    empty: Sequence[record.EmptyClass],
) -> list[str]:
    found = []
    at_chance = [item.name for item in classes if item.accuracy <= chance]
    # Three standard errors of an accuracy at chance.
    if accuracy <= chance + 3 * (chance * (1 - chance) / len(counted.samples.label)) ** 0.5:
        found.append(
            f"The accuracy with nothing removed is {accuracy:.1%}, no better than chance "
            f"({chance:.1%}): the preprocessing or the order of the classes is probably wrong, "
            "and then none of the quantities means anything"
        )
    elif at_chance:
        found.append(
            f"{len(at_chance)} of {len(classes)} classes are no better than chance ({chance:.1%}) "
            f"with nothing removed, {accuracy:.1%} of all samples are right: if this is not the "
            "training accuracy that you know, the preprocessing or the order of the classes is "
            f"wrong, and then none of the quantities means anything ({some_of(at_chance)})"
        )
    kept_to = counted.tolerance
    if kept_to is not None and (kept_to.zeta_bound or kept_to.kappa_bound):
        found.append(
            f"ζ, κ and the counts in {folder.CURVES} and {folder.SAMPLES} are estimates (tolerance "
            f"{kept_to.asked:g}): ζ is off by at most {kept_to.zeta_bound:.2g}, and κ, with "
            f"{kept_to.confidence:.0%} probability, by at most {kept_to.kappa_bound:.2g}; nothing "
            "of this is in the interval of an estimated gap"
        )
    if empty:
        found.append(
            f"{len(empty)} of the network's {counted.classes} classes have no samples and are "
            f"left out of every average: {some_of([item.name for item in empty])}"
        )
    if counted.skipped:
        found.append(
            f"Left out, because they could not be read ({len(counted.skipped)}): "
            f"{some_of(counted.skipped)}"
        )
    return found


def some_of(names: Sequence[str], limit: int = 8) -> str:
    """The first names, and how many more there are."""
    listed = "; ".join(names[:limit])
    return listed if len(names) <= limit else f"{listed}; and {len(names) - limit} more"
