"""An audit from the ONNX file and the training data to the folder that people keep."""

import contextlib
import importlib.metadata
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from analyzer import ablation, data, estimation, surgery
from analyzer.audit import folder, record
from analyzer.audit.checkpoint import Checkpoint, key_of
from analyzer.audit.report import render_report
from analyzer.errors import AuditFolderError, DataError
from analyzer.records import ClassCurves, FurtherInput, NetworkInfo, Progress, SampleCounts, Site

__all__ = ["AuditRequest", "installed_versions", "open_network", "run_audit"]

_CHECKED_IMAGES = 4  # on which the surgery is checked
_MEMORY = 2 << 30
_PACKAGES = ("onnx-gap", "numpy", "onnx", "onnx-ir", "onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRequest:
    """Everything that an audit is asked for."""

    model: Path
    data: str
    out: Path
    model_name: str = ""  # how the record names the network; "" for its path
    data_name: str = ""  # likewise
    keys: tuple[str, str] | None = None  # names of images and labels in an .npz
    preprocess: data.PreprocessOptions = field(default_factory=lambda: data.PreprocessOptions())
    site: str | None = None  # node or tensor; None for the default site
    at: str = "activation"  # or "conv"
    axis: int | None = None
    output: str | None = None
    inputs: tuple[tuple[str, str], ...] = ()  # further ones: name, and a number or .npy file
    custom_ops: Path | None = None  # library of operators that the network uses
    classes: Path | None = None  # list of class names
    chance: float | None = None  # None: 1 / number of classes
    limit_per_class: int | None = None
    seed: int = 0  # of the limit per class
    skip_bad: bool = False
    device: str = "auto"
    memory: int = _MEMORY  # bytes that features may take
    threads: int = 0  # of one operator; 0: all cores
    gap_model: Path | None = None
    gap_model_name: str = ""
    tolerance: float = 0.0  # of ζ and κ; 0: exact counts
    fresh: bool = False  # drop what the folder holds


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is audited, found and checked before anything is written."""

    network: surgery.Network
    further: tuple[FurtherInput, ...]  # what its further inputs are fed
    site: Site
    source: data.Source
    preprocessing: data.Preprocessing
    indices: np.ndarray  # int64 (S,), in the order of the data
    gap_model: estimation.GapModel | None
    key: str  # of what is counted

    @property
    def info(self) -> NetworkInfo:
        return self.network.info

    @property
    def labels(self) -> np.ndarray:
        return self.source.labels[self.indices]


@dataclass(frozen=True, slots=True)
class _Counted:
    """What the ablation found, just now or in a finished audit."""

    curves: tuple[ClassCurves, ...]
    samples: SampleCounts
    classes: int  # K of the network
    cut: str  # tensor where the graph was cut
    device: str
    data_sha256: str
    rows: record.RowsRecord
    tolerance: record.ToleranceRecord | None
    prefix_seconds: float
    sweep_seconds: float
    skipped: tuple[str, ...]
    warnings: tuple[str, ...]


def run_audit(
    request: AuditRequest,
    *,
    progress: Progress = lambda stage, done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> record.AuditRecord:
    """Audits a network and leaves ``audit.json``, ``curves.npz``, ``samples.npz``, ``report.html``.

    An interrupted audit goes on where it was when it is asked for again; one that is finished
    is returned as it is.

    Args:
        progress: told of the stages "network" and "sweep", in samples.
        say: told in sentences what a person waiting would want to know.

    Raises:
        AnalyzerError: anything about the input, with the folder left as it was found.
    """
    began = time.perf_counter()
    subject = _find(request)
    checkpoint = Checkpoint(request.out)
    before = None if request.fresh else _finished(request, subject)
    going_on = bool(checkpoint) and not request.fresh
    made = [place for place in (request.out, *request.out.parents) if not place.exists()]
    try:
        folder.prepare_folder(request.out)
        if request.fresh:
            checkpoint.drop()
        if before is not None:
            say(f"{request.out} holds the counts of this audit already; --fresh counts anew")
            counted = before
        else:
            counted = _count(request, subject, checkpoint, progress, say)
        result = _record(request, subject, counted, time.perf_counter() - began)
        folder.write_curves(request.out, counted.curves)
        folder.write_samples(request.out, counted.samples, subject.site.channels)
        record.write_record(request.out, result)
        render_report(request.out)
        checkpoint.drop()
    except BaseException as error:
        # Mended data are other data: what was counted before they failed is of no use then.
        if not checkpoint or (isinstance(error, DataError) and not going_on):
            checkpoint.drop()
            for place in made:
                with contextlib.suppress(OSError):  # not empty: somebody else's
                    place.rmdir()
        raise
    return result


def open_network(
    model: Path, request: AuditRequest
) -> tuple[surgery.Network, tuple[FurtherInput, ...]]:
    """The network in ``model`` with its further inputs bound to what the request gives them.

    Raises:
        DataError, ModelError: as :func:`analyzer.surgery.load` and
            :func:`analyzer.surgery.bind_inputs`.
    """
    network = surgery.load(model, custom_ops=request.custom_ops)
    given = {name: data.read_value(text) for name, text in request.inputs}
    return surgery.bind_inputs(network, given)


def _find(request: AuditRequest) -> _Subject:
    if request.chance is not None:
        estimation.chance_fraction(request.chance)  # refused now rather than after the sweep
    if not 0 <= request.tolerance < 1:
        raise DataError(
            f"the tolerance of ζ and κ is {request.tolerance}; give a number from 0 (exact) to "
            "below 1, for example 0.01"
        )
    network, further = open_network(request.model, request)
    site = surgery.find_site(
        network, request.site, at=request.at, axis=request.axis, output=request.output
    )
    source = data.open_data(request.data, keys=request.keys, classes=request.classes)
    preprocessing = data.resolve_preprocessing(source, network.info.inputs[0], request.preprocess)
    indices = np.arange(len(source))
    if request.limit_per_class is not None:
        indices = data.limit_per_class(source.labels, request.limit_per_class, request.seed)
    gap_model = estimation.read_gap_model(request.gap_model) if request.gap_model else None
    key = key_of(
        {
            "model": network.info.sha256,
            "site": [site.tensor, site.axis],
            "output": request.output,
            "inputs": {one.name: one.value.tolist() for one in further},
            "data": source.fingerprint(),
            "preprocessing": preprocessing.to_dict(),
            "limit": [request.limit_per_class, request.seed],
            "skip_bad": request.skip_bad,
            "device": request.device,
            "versions": installed_versions(),
            **_estimation_key(request),
        }
    )
    return _Subject(network, further, site, source, preprocessing, indices, gap_model, key)


def _estimation_key(request: AuditRequest) -> dict[str, Any]:
    """What estimated counts hang on besides; nothing where they are exact."""
    if not request.tolerance:
        return {}
    return {"tolerance": [request.tolerance, request.chance, request.seed]}


def _finished(request: AuditRequest, subject: _Subject) -> _Counted | None:
    """The counts of a finished audit in the folder.

    Raises:
        AuditFolderError: the folder holds the audit of something else.
    """
    if not (request.out / folder.AUDIT).exists():
        return None
    found = record.read_record(request.out)
    if found.key != subject.key:
        raise AuditFolderError(
            f"{request.out} holds the audit of another network, other data or other settings; "
            "pass --fresh to replace it, or name another --out"
        )
    return _Counted(
        curves=folder.read_curves(request.out),
        samples=folder.read_samples(request.out),
        classes=len(found.classes) + len(found.empty_classes),
        cut=found.site.cut,
        device=found.device.used,
        data_sha256=found.data.sha256,
        rows=found.rows,
        tolerance=found.tolerance,
        prefix_seconds=found.seconds.prefix,
        sweep_seconds=found.seconds.sweep,
        skipped=found.skipped,
        warnings=found.warnings,
    )


def _count(
    request: AuditRequest,
    subject: _Subject,
    checkpoint: Checkpoint,
    progress: Progress,
    say: Callable[[str], None],
) -> _Counted:
    """Cuts the network, checks the cut, and runs the ablation or what is left of it."""
    arrays = checkpoint.read(subject.key)
    checkpoint.prepare()
    cut = surgery.cut(subject.network, subject.site, checkpoint.folder, output=request.output)
    masked = checkpoint.folder / "masked.onnx"
    surgery.write_masked(subject.network, subject.site, masked)
    image = subject.info.inputs[0].name
    network = ablation.open_network(
        cut,
        image,
        request.device,
        threads=request.threads,
        # Estimates look at a whole class at once, so its features come here.
        resident=False if request.tolerance else None,
    )
    if network.prefix.note:
        say(network.prefix.note)

    samples = ablation.Samples(
        indices=subject.indices,
        labels=subject.labels,
        load=lambda indices, size: data.batches(
            subject.source, subject.preprocessing, indices, size, skip_bad=request.skip_bad
        ),
    )
    images = samples.spread(_CHECKED_IMAGES)
    if images is None:
        first = subject.source.names[int(subject.indices[0])]
        raise DataError(
            f"none of the samples of {subject.source.source} that were tried first can be read, "
            f"{first} among them; mend or remove those that are damaged"
        )
    classes = ablation.check_surgery(
        network,
        request.model,
        masked,
        images,
        fixed=subject.info.inputs[0].fixed_batch,
        answer=surgery.answer(subject.network, request.output),
        further=subject.further,
        seed=request.seed,
    )
    data.check_classes(subject.source, classes)

    tally = ablation.Tally.start(len(samples.labels), classes, subject.site.channels)
    if arrays is not None:
        tally = tally.restored(arrays)
        say(f"going on after {tally.swept} of {len(samples.labels)} samples")
    tolerance = None
    if request.tolerance:
        tolerance = ablation.Tolerance(
            asked=request.tolerance,
            chance=estimation.chance_fraction(_chance(request, classes)),
            seed=request.seed,
            classes=len(np.unique(samples.labels)),
            samples=len(samples.labels),
            channels=subject.site.channels,
        )
    ablation.ablate(
        network,
        samples,
        tally,
        memory=request.memory,
        save=lambda tally: checkpoint.write(subject.key, tally.arrays()),
        progress=progress,
        tolerance=tolerance,
    )
    place = np.empty(len(samples.labels), dtype=np.int64)
    place[samples.sequence()] = np.arange(len(place))
    counts = tally.sample_counts(samples.labels, place)
    read = place[tally.read[place]]
    return _Counted(
        curves=tally.class_curves(),
        samples=counts,
        classes=classes,
        cut=cut.tensor,
        device=network.prefix.device,
        data_sha256=data.combine_digests(tally.digests[read], counts.label),
        rows=record.RowsRecord(possible=tally.possible, run=tally.run),
        tolerance=tolerance and _kept_to(tolerance, tally),
        prefix_seconds=tally.prefix_seconds,
        sweep_seconds=tally.sweep_seconds,
        skipped=tuple(tally.skipped.tolist()),
        warnings=(
            *subject.site.warnings,
            *cut.warnings,
            *subject.source.warnings,
            *subject.preprocessing.warnings,
            *([network.prefix.note] if network.prefix.note else ()),
        ),
    )


def _chance(request: AuditRequest, classes: int) -> float:
    return request.chance if request.chance is not None else 1 / classes


def _kept_to(tolerance: ablation.Tolerance, tally: ablation.Tally) -> record.ToleranceRecord:
    zeta, kappa = tolerance.bounds(
        classes=int(np.count_nonzero(tally.samples)),
        off=tally.off,
        cost=tally.cost,
        guessed=tally.guessed,
    )
    return record.ToleranceRecord(
        asked=tolerance.asked,
        zeta_bound=zeta,
        kappa_bound=kappa,
        confidence=ablation.CONFIDENCE,
        rows_audited=tally.drawn,
    )


def _record(
    request: AuditRequest, subject: _Subject, counted: _Counted, seconds: float
) -> record.AuditRecord:
    """From counts to the result: quantities, averages, estimated gap, warnings."""
    chance = _chance(request, counted.classes)
    names = subject.source.class_names or ()
    name = lambda index: names[index] if index < len(names) else str(index)  # noqa: E731
    quantities = [estimation.class_quantities(curve, chance) for curve in counted.curves]
    zeta, kappa = estimation.network_quantities(quantities)
    accuracy = float(counted.samples.correct.mean())
    filled = {item.class_index for item in quantities}
    empty = tuple(
        record.EmptyClass(index=index, name=name(index))
        for index in range(counted.classes)
        if index not in filled
    )
    info, site, gap_model = subject.info, subject.site, subject.gap_model
    gap = None
    if gap_model is not None:
        estimate = gap_model.estimate(zeta, kappa)
        gap = record.GapRecord(
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
    return record.AuditRecord(
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
        ),
        site=record.SiteRecord(
            tensor=site.tensor,
            axis=site.axis,
            channels=site.channels,
            kind=site.kind,
            cut=counted.cut,
            operator=site.operator,
        ),
        settings=_settings(request),
        chance=chance,
        accuracy=accuracy,
        zeta=zeta,
        kappa=kappa,
        classes=tuple(
            record.ClassRecord(
                index=item.class_index,
                name=name(item.class_index),
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
        ),
        gap=gap,
        device=record.DeviceRecord(requested=request.device, used=counted.device),
        versions=installed_versions(),
        seconds=record.SecondsRecord(
            prefix=counted.prefix_seconds, sweep=counted.sweep_seconds, total=seconds
        ),
        rows=counted.rows,
        tolerance=counted.tolerance,
        warnings=tuple(
            dict.fromkeys((*counted.warnings, *_warnings(accuracy, chance, counted, empty)))
        ),
        empty_classes=empty,
        skipped=counted.skipped,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        key=subject.key,
    )


def _warnings(
    accuracy: float, chance: float, counted: _Counted, empty: tuple[record.EmptyClass, ...]
) -> list[str]:
    found = []
    # Three standard errors of an accuracy at chance.
    if accuracy <= chance + 3 * (chance * (1 - chance) / len(counted.samples.label)) ** 0.5:
        found.append(
            f"the accuracy with nothing removed is {accuracy:.1%}, no better than chance "
            f"({chance:.1%}): the preprocessing or the order of the classes is probably wrong, "
            "and then none of the quantities means anything"
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
            f"left out of every average: {_some([item.name for item in empty])}"
        )
    if counted.skipped:
        found.append(
            f"left out, because they could not be read ({len(counted.skipped)}): "
            f"{_some(counted.skipped)}"
        )
    return found


def _some(names: Sequence[str], limit: int = 8) -> str:
    listed = "; ".join(names[:limit])
    return listed if len(names) <= limit else f"{listed}; and {len(names) - limit} more"


def _settings(request: AuditRequest) -> dict[str, Any]:
    """The options in force, as the command line names them."""
    return {
        "site": request.site,
        "at": request.at,
        "axis": request.axis,
        "output": request.output,
        "inputs": dict(request.inputs),
        "custom_ops": None if request.custom_ops is None else str(request.custom_ops),
        "classes": None if request.classes is None else str(request.classes),
        "chance": request.chance,
        "limit_per_class": request.limit_per_class,
        "seed": request.seed,
        "skip_bad": request.skip_bad,
        "device": request.device,
        "memory": request.memory,
        "tolerance": request.tolerance,
        "gap_model": request.gap_model_name or (request.gap_model and str(request.gap_model)),
    }


@cache
def installed_versions() -> Mapping[str, str]:
    """Of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
