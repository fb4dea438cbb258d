"""Cumulative unit ablation as a measure: curves per class, ζ and κ."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.audit_record import (
    AuditRecord,
    ClassRecord,
    EmptyClass,
    RowsRecord,
    SiteRecord,
    ToleranceRecord,
)
from analyzer.measures.ablation.features import (
    CURVE_FEATURES,
    chance_fraction,
    class_quantities,
    compute_curve_features,
    network_quantities,
)
from analyzer.measures.ablation.result_files import (
    CURVES,
    SAMPLES,
    read_curves,
    read_samples,
    write_curves,
    write_samples,
)
from analyzer.measures.measure import Check, Job, Measure, ReportSection
from analyzer.records import ClassCurves, SampleCounts

if TYPE_CHECKING:
    from analyzer.audit_options import AuditRequest
    from analyzer.measures.ablation.sweep_state import SweepState
    from analyzer.measures.ablation.tolerance import Tolerance

__all__ = ["Ablation", "AblationResult"]

_CHECKED_IMAGES = 4  # on which the surgery is checked


@dataclass(frozen=True, slots=True)
class AblationResult:
    """What the ablation found, just now or in a finished audit."""

    curves: tuple[ClassCurves, ...]
    samples: SampleCounts
    classes: int  # K of the network
    cut: str  # tensor where the graph was cut
    device: str  # several are separated by commas
    data_sha256: str
    rows: RowsRecord
    tolerance: ToleranceRecord | None
    prefix_seconds: float
    sweep_seconds: float
    skipped: tuple[str, ...]
    warnings: tuple[str, ...]  # of the network, the data and the device


class Ablation(Measure[AblationResult]):
    """Units removed one after the other, for each class, in two orders."""

    name = "ablation"
    features = ("zeta", "kappa", *CURVE_FEATURES)
    files = (CURVES, SAMPLES)

    def wanted(self, options: "AuditRequest") -> bool:
        """Always: every other result stands beside its own."""
        return True

    def measure(self, job: Job) -> AblationResult:
        """Cut the network, check the cut, and run the sweep or what is left of it."""
        from analyzer import data, surgery
        from analyzer.measures import ablation
        from analyzer.measures.ablation.cut_network import open_checked

        request, subject = job.request, job.subject
        saved = job.saved()
        samples = subject.samples(skip_bad=request.skip_bad)
        images = samples.spread(_CHECKED_IMAGES)
        if images is None:
            raise subject.nothing_read()
        checked = open_checked(job, images)
        classes, channels = checked.classes, subject.site.channels
        data.check_classes(subject.source, classes)

        shards = ablation.split_into_shards(samples, len(checked.on_devices))
        networks = checked.on_devices[: len(shards)]
        states = [
            ablation.SweepState.start(len(shard.labels), classes, channels) for shard in shards
        ]
        if saved is not None:
            states = ablation.resumed_shards(states, saved)
            swept = sum(state.swept for state in states)
            job.say(f"Resuming after {swept} of {len(samples.labels)} samples")
        tolerance = None
        if request.tolerance:
            tolerance = ablation.Tolerance(
                asked=request.tolerance,
                chance=chance_fraction(request.chance_of(classes)),
                seed=request.seed,
                classes=len(np.unique(samples.labels)),
                samples=len(samples.labels),
                channels=channels,
            )
        ranking = ablation.Ranking(request.rank, request.seed)
        ablation.sweep_shards(
            networks,
            shards,
            states,
            ablation.SweepOptions(request.memory, tolerance, ranking),
            save=job.save,
            progress=job.progress,
        )
        state = ablation.SweepState.joined(states)
        place = np.empty(len(samples.labels), dtype=np.int64)
        place[samples.sequence()] = np.arange(len(place))
        answer = surgery.find_answer(subject.network, request.output)
        counts = state.sample_counts(samples.indices, samples.labels, place, answer.kind)
        read = place[state.read[place]]
        subject.first_reading.check(counts.index, state.digests[read])  # those of another run, too
        return AblationResult(
            curves=state.class_curves(),
            samples=counts,
            classes=classes,
            cut=checked.cut.tensor,
            device=",".join(network.prefix.device for network in networks),
            data_sha256=data.combine_digests(state.digests[read], counts.label),
            rows=RowsRecord(possible=state.possible, run=state.run),
            tolerance=_bounds(tolerance, state) if tolerance else None,
            prefix_seconds=state.prefix_seconds,
            sweep_seconds=state.sweep_seconds,
            skipped=tuple(state.skipped.tolist()),
            warnings=(
                *subject.site.warnings,
                *checked.warnings,
                *subject.source.warnings,
                *subject.preprocessing.warnings,
            ),
        )

    def measured(self, record: AuditRecord) -> bool:
        """Always."""
        return True

    def read(self, folder: Path, record: AuditRecord) -> AblationResult:
        """What a finished audit counted, by its record and the files beside it."""
        return AblationResult(
            curves=read_curves(folder),
            samples=read_samples(folder),
            classes=len(record.classes) + len(record.empty_classes),
            cut=record.site.cut,
            device=record.device.used,
            data_sha256=record.data.sha256,
            rows=record.rows,
            tolerance=record.tolerance,
            prefix_seconds=record.seconds.prefix,
            sweep_seconds=record.seconds.sweep,
            skipped=record.skipped,
            warnings=record.input_warnings,
        )

    def write(self, folder: Path, result: AblationResult) -> None:
        """Write ``curves.npz`` and ``samples.npz``."""
        write_curves(folder, result.curves)
        write_samples(folder, result.samples, len(result.curves[0].order))

    def fields(self, result: AblationResult, job: Job) -> dict[str, Any]:
        """Site, ζ, κ, classes and features."""
        site, class_name = job.subject.site, job.subject.source.class_name
        chance = job.request.chance_of(result.classes)
        quantities = [class_quantities(curve, chance) for curve in result.curves]
        zeta, kappa = network_quantities(quantities)
        filled = {item.class_index for item in quantities}
        return {
            "site": SiteRecord(
                tensor=site.tensor,
                axis=site.axis,
                channels=site.channels,
                kind=site.kind,
                cut=result.cut,
                operator=site.operator,
            ),
            "chance": chance,
            "accuracy": float(result.samples.correct.mean()),
            "zeta": zeta,
            "kappa": kappa,
            "classes": tuple(
                _class_record(item, class_name(item.class_index)) for item in quantities
            ),
            "empty_classes": tuple(
                EmptyClass(index=index, name=class_name(index))
                for index in range(result.classes)
                if index not in filled
            ),
            "rows": result.rows,
            "tolerance": result.tolerance,
            "features": compute_curve_features(result.curves, result.samples, chance),
        }

    def feature_values(self, record: AuditRecord) -> dict[str, float]:
        """ζ, κ and more of the same curves."""
        return {"zeta": record.zeta, "kappa": record.kappa, **record.features}

    def features_complete(self, record: AuditRecord) -> bool:
        """Whether no feature of the curves is missing, as in an audit of an earlier version."""
        return set(CURVE_FEATURES) <= set(record.features)

    def summary(self, record: AuditRecord) -> Iterator[tuple[str, str]]:
        """ζ and κ, and what units were ranked by if not by activity."""
        if record.rank != "l1":
            yield "ranking", f"units ranked by {record.rank}, not by activity as the method has it"
        yield "ζ", f"{record.zeta:.4f}"
        yield "κ", f"{record.kappa:.4f}"

    def checks(self, folder: Path, record: AuditRecord) -> Iterator[Check]:
        """Work out again what follows from the counts."""
        from analyzer.measures.ablation.result_files import ablation_checks

        return ablation_checks(folder, record)

    def report(self, folder: Path, record: AuditRecord) -> ReportSection:
        """The curves, the scatter of the classes and their table."""
        from analyzer.measures.ablation.report import report_section

        return report_section(folder, record)


def _class_record(item: Any, name: str) -> ClassRecord:
    """The record of a class that has samples, by its :class:`ClassQuantities`."""
    return ClassRecord(
        index=item.class_index,
        name=name,
        samples=item.samples,
        accuracy=item.accuracy,
        n0=item.n0,
        n0_r=item.n0_r,
        zeta=item.zeta,
        kappa=item.kappa,
        chance_reached=item.chance_reached,
        flags=item.flags,
    )


def _bounds(tolerance: "Tolerance", state: "SweepState") -> ToleranceRecord:
    from analyzer.measures.ablation import CONFIDENCE

    zeta, kappa = tolerance.bounds(
        classes=int(np.count_nonzero(state.samples)),
        off=state.off,
        cost=state.cost,
        guessed=state.guessed,
    )
    return ToleranceRecord(
        asked=tolerance.asked,
        zeta_bound=zeta,
        kappa_bound=kappa,
        confidence=CONFIDENCE,
        rows_audited=state.drawn,
    )
