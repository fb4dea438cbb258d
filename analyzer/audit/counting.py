"""From a network and its data to counts, just now or in a finished audit."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyzer import data, runtime, surgery
from analyzer.audit import folder, record
from analyzer.audit.checkpoint import Checkpoint
from analyzer.audit.opening import open_checked
from analyzer.audit.request import AuditRequest
from analyzer.audit.subject import Subject
from analyzer.errors import DataError
from analyzer.measures import ablation
from analyzer.records import ClassCurves, Progress, SampleCounts

__all__ = ["Counted", "count", "counted_before", "samples_of"]

_CHECKED_IMAGES = 4  # on which the surgery is checked


@dataclass(frozen=True, slots=True)
class Counted:
    """What the ablation found, just now or in a finished audit."""

    curves: tuple[ClassCurves, ...]
    samples: SampleCounts
    classes: int  # K of the network
    cut: str  # tensor where the graph was cut
    device: str  # several are separated by commas
    data_sha256: str
    rows: record.RowsRecord
    tolerance: record.ToleranceRecord | None
    prefix_seconds: float
    sweep_seconds: float
    skipped: tuple[str, ...]
    warnings: tuple[str, ...]  # of the network, the data and the device


def counted_before(out: Path, found: record.AuditRecord) -> Counted:
    """What a finished audit counted, by its record and the files beside it.

    Raises:
        AuditFolderError: the files are damaged.
    """
    return Counted(
        curves=folder.read_curves(out),
        samples=folder.read_samples(out),
        classes=len(found.classes) + len(found.empty_classes),
        cut=found.site.cut,
        device=found.device.used,
        data_sha256=found.data.sha256,
        rows=found.rows,
        tolerance=found.tolerance,
        prefix_seconds=found.seconds.prefix,
        sweep_seconds=found.seconds.sweep,
        skipped=found.skipped,
        warnings=found.input_warnings,
    )


def count(
    request: AuditRequest,
    subject: Subject,
    checkpoint: Checkpoint,
    progress: Progress,
    say: Callable[[str], None],
) -> Counted:
    """Cuts the network, checks the cut, and runs the ablation or what is left of it.

    The checkpoint's folder takes the files.

    Raises:
        AnalyzerError: anything about the network, the data or the device.
    """
    arrays = checkpoint.read(subject.key)
    samples, images = samples_of(request, subject, _CHECKED_IMAGES)
    opened = open_checked(request, subject, checkpoint.folder, images, say)
    classes = opened.classes
    data.check_classes(subject.source, classes)

    shards = ablation.split_into_shards(samples, len(opened.networks))
    networks = opened.networks[: len(shards)]
    states = [
        ablation.SweepState.start(len(shard.labels), classes, subject.site.channels)
        for shard in shards
    ]
    if arrays is not None:
        states = ablation.resumed_shards(states, arrays)
        swept = sum(state.swept for state in states)
        say(f"going on after {swept} of {len(samples.labels)} samples")
    tolerance = None
    if request.tolerance:
        tolerance = ablation.Tolerance(
            asked=request.tolerance,
            chance=ablation.chance_fraction(request.chance_of(classes)),
            seed=request.seed,
            classes=len(np.unique(samples.labels)),
            samples=len(samples.labels),
            channels=subject.site.channels,
        )
    ranking = ablation.Ranking(request.rank, request.seed)
    ablation.sweep_shards(
        networks,
        shards,
        states,
        ablation.SweepOptions(request.memory, tolerance, ranking),
        save=lambda arrays: checkpoint.write(subject.key, arrays),
        progress=progress,
    )
    state = ablation.SweepState.joined(states)
    place = np.empty(len(samples.labels), dtype=np.int64)
    place[samples.sequence()] = np.arange(len(place))
    answer = surgery.answer(subject.network, request.output)
    counts = state.sample_counts(samples.indices, samples.labels, place, answer.kind)
    read = place[state.read[place]]
    return Counted(
        curves=state.class_curves(),
        samples=counts,
        classes=classes,
        cut=opened.cut.tensor,
        device=",".join(network.prefix.device for network in networks),
        data_sha256=data.combine_digests(state.digests[read], counts.label),
        rows=record.RowsRecord(possible=state.possible, run=state.run),
        tolerance=tolerance and _kept_to(tolerance, state),
        prefix_seconds=state.prefix_seconds,
        sweep_seconds=state.sweep_seconds,
        skipped=tuple(state.skipped.tolist()),
        warnings=(
            *subject.site.warnings,
            *opened.warnings,
            *subject.source.warnings,
            *subject.preprocessing.warnings,
        ),
    )


def samples_of(
    request: AuditRequest, subject: Subject, few: int
) -> tuple[runtime.Samples, np.ndarray]:
    """The samples as the network takes them, and up to ``few`` images (B, …) of them.

    Raises:
        DataError: not one of them can be read.
    """
    samples = runtime.Samples(
        indices=subject.indices,
        labels=subject.labels,
        load=lambda indices, size: data.batches(
            subject.source, subject.preprocessing, indices, size, skip_bad=request.skip_bad
        ),
    )
    images = samples.spread(few)
    if images is None:
        first = subject.source.names[int(subject.indices[0])]
        raise DataError(
            f"not one of the samples of {subject.source.source} can be read, {first} among them"
        )
    return samples, images


def _kept_to(tolerance: ablation.Tolerance, state: ablation.SweepState) -> record.ToleranceRecord:
    zeta, kappa = tolerance.bounds(
        classes=int(np.count_nonzero(state.samples)),
        off=state.off,
        cost=state.cost,
        guessed=state.guessed,
    )
    return record.ToleranceRecord(
        asked=tolerance.asked,
        zeta_bound=zeta,
        kappa_bound=kappa,
        confidence=ablation.CONFIDENCE,
        rows_audited=state.drawn,
    )
