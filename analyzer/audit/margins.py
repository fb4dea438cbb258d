"""From a network and its data to the features of the margin-based estimate."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyzer import ablation, estimation, surgery
from analyzer.audit import record
from analyzer.audit.checkpoint import Checkpoint
from analyzer.audit.counting import samples_of
from analyzer.audit.request import AuditRequest
from analyzer.audit.subject import Subject
from analyzer.errors import DataError, ModelError
from analyzer.records import MarginGraph, Progress

__all__ = ["Margins", "check_margins", "measure_margins"]


@dataclass(frozen=True, slots=True)
class Margins:
    """Distances of S samples to the nearest other class at L layers, and what describes them."""

    record: record.MarginsRecord
    distances: np.ndarray  # float64 (S, L), negative where a sample is classified wrongly
    total_variation: np.ndarray  # float64 (L,)


def check_margins(request: AuditRequest, subject: Subject) -> None:
    """Whether the network has margins that can be measured: asked before a long sweep.

    Raises:
        AnalyzerError: its gradient cannot be had, or no sample can be read.
    """
    _, images = samples_of(request, subject, 1)
    with tempfile.TemporaryDirectory() as scratch:
        _graph(request, subject, Path(scratch), images, most=1)


def measure_margins(
    request: AuditRequest, subject: Subject, checkpoint: Checkpoint, progress: Progress
) -> Margins:
    """Measures the margins of all samples, or what is left of them.

    Raises:
        AnalyzerError: the network's gradient cannot be had, not one sample is classified as its
            label, or anything about the data or the device.
    """
    kept = checkpoint.read(subject.key, "margins")
    checkpoint.prepare()
    samples, images = samples_of(request, subject, 1)
    graph = _graph(request, subject, checkpoint.folder, images, memory=request.memory)
    tally = ablation.MarginTally.start(len(samples.labels), graph)
    if kept is not None:
        tally.restore(kept)
    device, *_ = ablation.named_devices(request.device)
    while tally.at < len(samples.labels):
        try:
            ablation.measure_margins(
                graph,
                samples,
                tally,
                device=device,
                threads=request.threads,
                save=lambda tally: checkpoint.write(subject.key, tally.arrays(), "margins"),
                progress=progress,
            )
        except ablation.OutOfMemory:
            tried, most = graph.batch, max(graph.batch // 2, 1)
            graph = _graph(request, subject, checkpoint.folder, images, most=most)
            if graph.batch == tried:
                raise
    return _described(graph, tally)


def _graph(
    request: AuditRequest, subject: Subject, folder: Path, images: np.ndarray, **limits: int
) -> MarginGraph:
    return surgery.write_margins(
        subject.network,
        folder / "margins.onnx",
        images.shape[1:],
        output=request.output,
        **limits,
    )


def _described(graph: MarginGraph, tally: ablation.MarginTally) -> Margins:
    variation = tally.total_variation
    for layer, total in zip(graph.layers, variation, strict=True):
        if not total:
            raise ModelError(
                f"the tensor {layer.tensor!r} is the same for every sample, so distances there "
                "cannot be compared with anything; audit the network without --margins"
            )
    read = ~np.isnan(tally.margin)
    if not (tally.margin[read] > 0).any():
        raise DataError(
            "not one of the samples is classified as its label, so there are no margins to "
            "describe; check the preprocessing and the order of the classes"
        )
    distances = estimation.normalized_margins(tally.margin[read], tally.squares[read], variation)
    layers = []
    for layer, total, seen in zip(graph.layers, variation, distances.T, strict=True):
        found = estimation.margin_features(seen)
        numbers = {name: getattr(found, name) for name in estimation.MARGIN_FEATURES}
        layers.append(
            record.MarginLayerRecord(
                tensor=layer.tensor,
                operator=layer.operator,
                size=layer.size,
                total_variation=float(total),
                **numbers,
            )
        )
    described = record.MarginsRecord(
        layers=tuple(layers), samples=int((distances[:, 0] > 0).sum()), seconds=tally.seconds
    )
    return Margins(described, distances, variation)
