"""From a network and its data to the features of the margin-based estimate."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyzer import measures, runtime, surgery
from analyzer.audit import record
from analyzer.audit.checkpoint import Checkpoint
from analyzer.audit.counting import samples_of
from analyzer.audit.request import AuditRequest
from analyzer.audit.subject import Subject
from analyzer.errors import DataError, ModelError
from analyzer.records import MarginGraph, Progress

__all__ = ["Margins", "margin_graph", "measure_margins"]


@dataclass(frozen=True, slots=True)
class Margins:
    """Distances of S samples to the nearest other class at L layers, and what describes them."""

    record: record.MarginsRecord
    distances: np.ndarray  # float64 (S, L), negative where a sample is classified wrongly
    total_variation: np.ndarray  # float64 (L,)


def margin_graph(
    request: AuditRequest, subject: Subject, folder: Path, most: int | None = None
) -> MarginGraph:
    """The network extended by margins, in batches that fit into memory, or of ``most`` images.

    Raises:
        AnalyzerError: its gradient cannot be had, or not one sample can be read.
    """
    _, images = samples_of(request, subject, 1)
    return surgery.write_margin_graph(
        subject.network,
        folder / "margins.onnx",
        images.shape[1:],
        output=request.output,
        **({"memory": request.memory} if most is None else {"most": most}),
    )


def measure_margins(
    request: AuditRequest,
    subject: Subject,
    checkpoint: Checkpoint,
    graph: MarginGraph,
    progress: Progress,
) -> Margins:
    """Measures the margins of all samples, or what is left of them.

    Raises:
        AnalyzerError: not one sample is classified as its label, or anything about the network,
            the data or the device.
    """
    kept = checkpoint.read(subject.key, "margins")
    samples, _ = samples_of(request, subject, 1)
    tally = measures.MarginTally.start(len(samples.labels), graph)
    if kept is not None:
        tally.restore(kept)
    device, *_ = runtime.named_devices(request.device)
    while tally.at < len(samples.labels):
        try:
            measures.measure_margins(
                graph,
                samples,
                tally,
                device=device,
                threads=request.threads,
                save=lambda tally: checkpoint.write(subject.key, tally.arrays(), "margins"),
                progress=progress,
            )
        except runtime.OutOfMemory:
            tried = graph.batch
            graph = margin_graph(request, subject, checkpoint.folder, max(tried // 2, 1))
            if graph.batch == tried:
                raise
    return _described(graph, tally)


def _described(graph: MarginGraph, tally: measures.MarginTally) -> Margins:
    variation = tally.total_variation
    for layer, total in zip(graph.layers, variation, strict=True):
        if not total:
            raise ModelError(
                f"the tensor {layer.tensor!r} is the same for every sample, so distances there "
                "cannot be compared with anything; audit the network without --margins, and with a "
                "gap model that takes none (zoo:digits)"
            )
    read = ~np.isnan(tally.margin)
    if not (tally.margin[read] > 0).any():
        raise DataError(
            "not one of the samples is classified as its label, so there are no margins to "
            "describe; check the preprocessing and the order of the classes"
        )
    distances = measures.normalized_margins(tally.margin[read], tally.squares[read], variation)
    layers = []
    for layer, total, seen in zip(graph.layers, variation, distances.T, strict=True):
        found = measures.compute_margin_features(seen)
        numbers = {name: getattr(found, name) for name in measures.MARGIN_FEATURES}
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
