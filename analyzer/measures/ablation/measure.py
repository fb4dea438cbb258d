"""Cumulative unit ablation as a measure: curves per class, ζ and κ."""

from collections.abc import Iterator, Sequence
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
from analyzer.errors import ModelError
from analyzer.measures.ablation.class_curves import CURVES, ClassCurves, read_curves, write_curves
from analyzer.measures.ablation.curve_features import (
    CURVE_FEATURES,
    chance_fraction,
    class_quantities,
    compute_curve_features,
    network_quantities,
)
from analyzer.measures.ablation.sample_scores import (
    SAMPLES,
    SampleCounts,
    class_accuracies,
    read_samples,
    write_samples,
)
from analyzer.measures.measure import Check, Draw, Job, Measure, ReportSection, Subject

if TYPE_CHECKING:
    from analyzer.audit_options import AuditRequest
    from analyzer.data import Samples
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

    def settled(self, options: "AuditRequest", record: AuditRecord) -> bool:
        """Always: with other options its audit is another one."""
        return True

    def measure(self, job: Job) -> AblationResult:
        """Cut the network, check the cut, and run the sweep or what is left of it.

        Where there is no site, the network is run with nothing removed, and that is all.
        """
        from analyzer import data
        from analyzer.measures.ablation.compare_with_whole import open_checked
        from analyzer.measures.ablation.ranking_and_evaluations import Ranking
        from analyzer.measures.ablation.sweep import SweepOptions, split_into_shards, sweep_shards
        from analyzer.measures.ablation.sweep_state import SweepState

        request, subject = job.request, job.subject
        site = subject.site
        if site is None:
            return _nothing_removed(job)
        samples = subject.samples(skip_bad=request.skip_bad)
        images = samples.spread(_CHECKED_IMAGES)
        if images is None:
            raise subject.nothing_read()
        checked = open_checked(
            job,
            site,
            images,
            request,
            seed=request.seed,
            # Estimates look at a whole class at once, so its features come here.
            resident=False if request.tolerance else None,
        )
        classes, channels = checked.classes, site.channels
        data.check_classes(subject.source, classes)
        shards = split_into_shards(samples, len(checked.on_devices))
        networks = checked.on_devices[: len(shards)]
        states = _states(job, shards, classes, channels)
        tolerance = _tolerance(request, samples.labels, classes, channels)
        sweep_shards(
            networks,
            shards,
            states,
            SweepOptions(
                request.memory,
                tolerance,
                Ranking(request.rank, request.seed),
                names_classes=subject.answer.kind == "labels",
            ),
            save=job.save,
            progress=job.progress,
        )
        state = SweepState.joined(states)
        counts, digests = _samples_read(subject, samples, state)
        return AblationResult(
            curves=state.class_curves(),
            samples=counts,
            classes=classes,
            cut=checked.cut.tensor,
            device=",".join(network.prefix.device for network in networks),
            data_sha256=data.combine_digests(digests, counts.label),
            rows=RowsRecord(possible=state.possible, run=state.run),
            tolerance=_bounds(tolerance, state) if tolerance else None,
            prefix_seconds=state.prefix_seconds,
            sweep_seconds=state.sweep_seconds,
            skipped=tuple(state.skipped.tolist()),
            warnings=(
                *site.warnings,
                *checked.warnings,
                *subject.source.warnings,
                *subject.preprocessing.warnings,
                *_unnamed(state),
            ),
        )

    def measured(self, record: AuditRecord) -> bool:
        """Always."""
        return True

    def read(self, folder: Path, record: AuditRecord) -> AblationResult:
        """What a finished audit counted, by its record and the files beside it."""
        site = record.site
        return AblationResult(
            curves=() if site is None else read_curves(folder),
            samples=read_samples(folder),
            classes=len(record.classes) + len(record.empty_classes),
            cut="" if site is None else site.cut,
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
        """Write ``curves.npz``, if units were removed, and ``samples.npz``."""
        if result.curves:
            write_curves(folder, result.curves)
        channels = len(result.curves[0].order) if result.curves else 0
        write_samples(folder, result.samples, channels)

    def fields(self, result: AblationResult, job: Job) -> dict[str, Any]:
        """Site, ζ, κ, classes and features."""
        site, class_name = job.subject.site, job.subject.source.class_name
        chance = job.request.chance_of(result.classes)
        fields: dict[str, Any]
        if site is None:
            classes = class_accuracies(result.samples, class_name)
            fields = {"site": None, "zeta": None, "kappa": None, "features": {}}
        else:
            quantities = [class_quantities(curve, chance) for curve in result.curves]
            zeta, kappa = network_quantities(quantities)
            classes = tuple(
                _class_record(item, class_name(item.class_index)) for item in quantities
            )
            fields = {
                "site": SiteRecord(
                    tensor=site.tensor,
                    axis=site.axis,
                    channels=site.channels,
                    kind=site.kind,
                    cut=result.cut,
                    operator=site.operator,
                ),
                "zeta": zeta,
                "kappa": kappa,
                "features": compute_curve_features(result.curves, result.samples, chance),
            }
        filled = {item.index for item in classes}
        return {
            **fields,
            "chance": chance,
            "accuracy": float(result.samples.correct.mean()),
            "classes": classes,
            "empty_classes": tuple(
                EmptyClass(index=index, name=class_name(index))
                for index in range(result.classes)
                if index not in filled
            ),
            "rows": result.rows,
            "tolerance": result.tolerance,
        }

    def feature_values(self, record: AuditRecord) -> dict[str, float]:
        """ζ, κ and more of the same curves; none without a site."""
        if record.zeta is None or record.kappa is None:
            return {}
        return {"zeta": record.zeta, "kappa": record.kappa, **record.features}

    def summary(self, record: AuditRecord) -> Iterator[tuple[str, str]]:
        """ζ and κ, and what units were ranked by if not by activity."""
        if record.zeta is None or record.kappa is None:
            yield "ablation", "left out: the network has no site, so there is no ζ and no κ"
            return
        if record.rank != "l1":
            yield "ranking", f"units ranked by {record.rank}, not by activity as the method has it"
        yield "ζ", f"{record.zeta:.4f}"
        yield "κ", f"{record.kappa:.4f}"

    def checks(self, folder: Path, record: AuditRecord) -> Iterator[Check]:
        """Work out again what follows from the counts."""
        from analyzer.measures.ablation.checks import ablation_checks

        return ablation_checks(folder, record)

    def recount(self, folder: Path, record: AuditRecord, job: Job, draw: Draw) -> Iterator[Check]:
        """Run every sample, work out the unit orders, and count drawn cells and samples again."""
        from analyzer.measures.ablation.recount_for_verify import recount

        return recount(folder, record, job, draw)

    def report(self, folder: Path, record: AuditRecord) -> ReportSection:
        """The curves, the scatter of the classes and their table; without a site that alone."""
        from analyzer.measures.ablation.report import class_table_section, report_section

        if record.site is None:
            return class_table_section(record)
        return report_section(folder, record)


def _states(
    job: Job, shards: "Sequence[Samples]", classes: int, channels: int
) -> "list[SweepState]":
    """The state that the sweep of each shard begins with: empty, or what was saved of it."""
    from analyzer.measures.ablation.sweep import resumed_shards
    from analyzer.measures.ablation.sweep_state import SweepState

    states = [SweepState.start(len(shard.labels), classes, channels) for shard in shards]
    saved = job.saved()
    if saved is not None:
        states = resumed_shards(states, saved)
        for shard, state in zip(shards, states, strict=True):
            known = state.digests.any(axis=1)  # 0 of samples that were not read yet
            indices = shard.indices[shard.sequence()][known]
            job.subject.take_over(saved, indices, state.digests[known])
        swept = sum(state.swept for state in states)
        job.say(f"Resuming after {swept} of {sum(len(one.labels) for one in shards)} samples.")
    return states


def _samples_read(
    subject: Subject, samples: "Samples", state: "SweepState"
) -> tuple[SampleCounts, np.ndarray]:
    """What was counted of the samples that could be read, and their digests, uint8 (R, 32).

    Raises:
        ModelError: the sweep and the scores with nothing removed contradict each other.
        DataError: one of them is not what another reading found.
    """
    place = np.empty(len(samples.labels), dtype=np.int64)
    place[samples.sequence()] = np.arange(len(place))
    counts = state.sample_counts(samples.indices, samples.labels, place, subject.answer.kind)
    if len(against := counts.denied_by(counts.scores.margin)):
        raise ModelError(
            f"Sample {counts.index[against[0]]} is "
            f"{'' if counts.correct[against[0]] else 'not '}classified as its label in the sweep, "
            "and its scores in a batch of another size say otherwise, so there is no one answer to "
            "count. Export the network so that its answer for an image depends on nothing else."
        )
    digests = state.digests[place[state.read[place]]]
    subject.first_reading.take_over(counts.index, digests)  # what an interrupted run read, too
    return counts, digests


def _unnamed(state: "SweepState") -> Iterator[str]:
    """A warning where scores under the mask are not numbers."""
    if said := state.unnamed_sentence():
        yield (
            f"{said} Such scores name no class, so the images count as wrong there; at another "
            "site they may be numbers."
        )


def _nothing_removed(job: Job) -> AblationResult:
    """What the network names the samples, one run of each: all there is without a site."""
    from analyzer import data
    from analyzer.measures.ablation.sample_scores import keep_scores, sample_scores
    from analyzer.measures.unmasked_predictions import predict_whole

    request, subject = job.request, job.subject
    seen: list[np.ndarray] = []
    found = predict_whole(
        subject.network,
        subject.extra_inputs,
        subject.samples(skip_bad=request.skip_bad),
        request,
        output=subject.output,
        scratch=job.scratch,
        stage="network",
        progress=job.progress,
        look=lambda images, scores: seen.append(scores),
    )
    # Of a network that gives labels only the classes that were seen are known.
    data.check_classes(subject.source, found.classes, exact=subject.answer.kind != "labels")
    subject.first_reading.check(found.index, found.digests)
    kind = subject.answer.kind
    scores = np.concatenate(seen)
    if kind == "labels":
        scores = np.eye(found.classes, dtype=np.float32)[scores[:, 0].astype(np.int64)]
    correct = found.named == found.label
    return AblationResult(
        curves=(),
        samples=SampleCounts(
            label=found.label,
            correct=correct,
            descending=correct.astype(np.int32),
            ascending=correct.astype(np.int32),
            index=found.index,
            scores=sample_scores(
                keep_scores(scores, found.label, request.precision), found.label, kind
            ),
        ),
        classes=found.classes,
        cut="",
        device=found.device,
        data_sha256=data.combine_digests(found.digests, found.label),
        rows=RowsRecord(possible=0, run=0),
        tolerance=None,
        prefix_seconds=0.0,
        sweep_seconds=0.0,
        skipped=found.skipped,
        warnings=(*subject.source.warnings, *subject.preprocessing.warnings),
    )


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


def _tolerance(
    options: "AuditRequest", labels: np.ndarray, classes: int, channels: int
) -> "Tolerance | None":
    """How far ζ and κ may be off; None where all is counted."""
    from analyzer.measures.ablation.tolerance import Tolerance

    if not options.tolerance:
        return None
    return Tolerance(
        asked=options.tolerance,
        chance=chance_fraction(options.chance_of(classes)),
        seed=options.seed,
        classes=len(np.unique(labels)),
        samples=len(labels),
        channels=channels,
    )


def _bounds(tolerance: "Tolerance", state: "SweepState") -> ToleranceRecord:
    from analyzer.measures.ablation.tolerance import CONFIDENCE

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
