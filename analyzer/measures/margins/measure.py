"""Margins as a measure: how far samples are from another class (Jiang et al. 2019)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.audit_record import AuditRecord
from analyzer.common_types import MarginGraph
from analyzer.errors import AuditFolderError, DataError, ModelError, parameter
from analyzer.files import RUN_AGAIN, array_of, read_arrays
from analyzer.measures.ablation.sample_scores import SAMPLES, SampleCounts, read_samples
from analyzer.measures.margins.distances import (
    LAYERS,
    MARGIN_FEATURES,
    compute_margin_features,
    margin_column,
    normalized_margins,
)
from analyzer.measures.measure import Check, Job, Measure, ReportSection, check, differing, same
from analyzer.output_files import write_arrays

if TYPE_CHECKING:
    from analyzer.audit_options import AuditRequest
    from analyzer.measures.margins.distances import MarginState

__all__ = ["MARGINS", "MarginLayerRecord", "Margins", "MarginsRecord", "MarginsResult"]

MARGINS = "margins.npz"
# Gradients round more than what they are made of; and of one sample, where a unit is all but off.
_CLOSE = (0.02, 0.25)


@dataclass(frozen=True, slots=True)
class MarginLayerRecord:
    """The distances to the nearest other class, seen from one layer: natural logarithms."""

    tensor: str
    operator: str  # that makes it; "input" for the images
    size: int  # numbers a sample
    total_variation: float  # sqrt(Σ_k Var_n[x_{n,k}]), by which distances are divided
    q1: float
    q2: float
    q3: float
    lower: float  # fences
    upper: float


@dataclass(frozen=True, slots=True)
class MarginsRecord:
    """The section ``margins`` of ``audit.json``."""

    layers: tuple[MarginLayerRecord, ...]  # the images first, then by depth
    samples: int  # classified correctly, whose distances are described
    seconds: float


@dataclass(frozen=True, slots=True)
class MarginsResult:
    """Distances of S samples to the nearest other class at L layers, and what describes them."""

    record: MarginsRecord
    distances: np.ndarray  # float64 (S, L), negative where a sample is classified wrongly
    total_variation: np.ndarray  # float64 (L,)


class Margins(Measure[MarginsResult]):
    """Distances to the nearest other class, by gradients on the ONNX graph itself."""

    name = "margins"
    features = tuple(
        margin_column(layer, feature) for layer in range(LAYERS) for feature in MARGIN_FEATURES
    )
    section = MarginsRecord
    files = (MARGINS,)

    def wanted(self, options: "AuditRequest") -> bool:
        """Whether ``margins`` is set."""
        return options.margins

    def settled(self, options: "AuditRequest", record: AuditRecord) -> bool:
        """Whether a finished audit has it; no option changes it."""
        return self.measured(record)

    def asked_for_by(self) -> dict[str, Any]:
        """``margins``."""
        return {"margins": True}

    def prepare(self, job: Job) -> None:
        """Make the gradient, so that a network without one is refused at once."""
        job.made["graph"] = _graph(job)

    def measure(self, job: Job) -> MarginsResult:
        """Measure the margins of all samples, or what is left of them."""
        from analyzer import runtime
        from analyzer.measures.margins.distances import MarginState, measure_margins

        request = job.request
        samples = job.subject.samples(skip_bad=request.skip_bad)
        graph = job.made.get("graph") or _graph(job)
        state = MarginState.start(len(samples.labels), graph)
        saved = job.saved()
        if saved is not None:
            state = state.resumed(saved)
            read = ~np.isnan(state.margin)
            job.subject.take_over(saved, samples.indices[read], state.digests[read])
        device, *_ = runtime.named_devices(request.device)
        while state.at < len(samples.labels):
            try:
                measure_margins(
                    graph,
                    samples,
                    state,
                    device=device,
                    threads=request.threads,
                    save=lambda state: job.save(state.arrays()),
                    progress=job.progress,
                )
            except runtime.OutOfMemory:
                tried = graph.batch
                graph = _graph(job, max(tried // 2, 1))
                if graph.batch == tried:
                    raise
        return _described(graph, state)

    def measured(self, record: AuditRecord) -> bool:
        """Whether the record has the section."""
        return self.name in record.sections

    def read(self, folder: Path, record: AuditRecord) -> MarginsResult:
        """The section and ``margins.npz``."""
        return MarginsResult(record.sections[self.name], *_read(folder))

    def write(self, folder: Path, result: MarginsResult) -> None:
        """Write ``margins.npz``: distances (S, L) and total variations (L,)."""
        write_arrays(
            folder / MARGINS,
            {"distance": result.distances, "total_variation": result.total_variation},
        )

    def fields(self, result: MarginsResult, job: Job) -> dict[str, Any]:
        """The section ``margins``.

        Raises:
            ModelError: a margin denies what the sweep found of its sample.
        """
        samples = job.found["ablation"].samples
        if len(against := samples.denied_by(result.distances)):
            raise ModelError(
                f"The margin of sample {samples.index[against[0]]} denies what was counted of it "
                "in a batch of another size, so there is no one answer. Export the network so that "
                "its answer for an image depends on nothing else."
            )
        return {"sections": {self.name: result.record}}

    def feature_values(self, record: AuditRecord) -> dict[str, float]:
        """Five numbers a layer."""
        if not self.measured(record):
            return {}
        return {
            margin_column(number, feature): getattr(layer, feature)
            for number, layer in enumerate(record.sections[self.name].layers)
            for feature in MARGIN_FEATURES
        }

    def summary(self, record: AuditRecord) -> Iterator[tuple[str, str]]:
        """The median at each layer."""
        if self.measured(record):
            layers = record.sections[self.name].layers
            medians = ", ".join(f"{layer.q2:.2f}" for layer in layers)
            yield self.name, f"log of the median distance at {len(layers)} layers: {medians}"

    def checks(self, folder: Path, record: AuditRecord) -> Iterator[Check]:
        """Whether the numbers of the record describe the distances of the file."""
        if self.measured(record):
            said: MarginsRecord = record.sections[self.name]
            right = f"The five numbers of {len(said.layers)} layers follow from {MARGINS}."
            distances, written = _read(folder)
            faults = _faults(said, distances, read_samples(folder))
            stated = [layer.total_variation for layer in said.layers]
            if len(written) != len(stated) or not all(map(same, stated, written.tolist())):
                faults.append(f"'total_variation' in audit.json is not that of {MARGINS}.")
            yield check(self.name, faults, right)

    measured_again = "Layers, distances and total variations"

    def differences(self, said: MarginsResult, found: MarginsResult) -> list[str]:
        """Other layers, or other distances."""
        layers = [
            [(layer.tensor, layer.operator, layer.size) for layer in one.record.layers]
            for one in (said, found)
        ]
        if layers[0] != layers[1] or said.distances.shape != found.distances.shape:
            return ["The layers of 'margins' in audit.json are not those of the network."]
        wrong = []
        stated = np.array([layer.total_variation for layer in said.record.layers])
        for there, values in ((MARGINS, said.total_variation), ("audit.json", stated)):
            if not np.allclose(values, found.total_variation, rtol=_CLOSE[0], atol=0):
                wrong.append(f"'total_variation' in {there} is not that of the network.")
        stated, again = said.distances, found.distances
        scale = np.median(np.abs(again), axis=0)
        near, similar = (np.abs(stated - again) <= much * (scale + abs(again)) for much in _CLOSE)
        wrong += differing(~near.all(axis=1), f"'distance' in {MARGINS}")
        if not wrong and not similar.all():
            place = np.argmin(similar.all(axis=1))
            wrong.append(
                f"'distance' of sample {place} in {MARGINS} is {stated[place].tolist()}, the "
                f"network gives {again[place].tolist()}."
            )
        return wrong

    def report(self, folder: Path, record: AuditRecord) -> ReportSection | None:
        """A table of the layers."""
        if not self.measured(record):
            return None
        return ReportSection(
            links=(("margins", "Margins"),),
            template=Path(__file__).parent / "margins.html.jinja",
            values={"margins": record.sections[self.name]},
        )


def _graph(job: Job, most: int | None = None) -> MarginGraph:
    """The network extended by margins, in batches that fit into memory, or of ``most`` images.

    Raises:
        AnalyzerError: its gradient is unavailable, or not one sample can be read.
    """
    from analyzer import surgery

    images = job.subject.samples(skip_bad=job.request.skip_bad).spread(1)
    if images is None:
        raise job.subject.nothing_read()
    return surgery.write_margin_graph(
        job.subject.network,
        job.scratch / "margins.onnx",
        images.shape[1:],
        output=job.request.output,
        **({"memory": job.request.memory} if most is None else {"most": most}),
    )


def _described(graph: MarginGraph, state: "MarginState") -> MarginsResult:
    variation = state.total_variation
    for layer, total in zip(graph.layers, variation, strict=True):
        if not total:
            raise ModelError(
                f"The tensor {layer.tensor!r} is the same for every sample, so distances there "
                "cannot be compared with anything. Audit the network without "
                f"{parameter('margins')}, and with a gap model that takes none (zoo:digits)."
            )
    read = ~np.isnan(state.margin)
    if not (state.margin[read] > 0).any():
        raise DataError(
            "Not one of the samples is classified as its label, so there are no margins to "
            "describe. Check the preprocessing and the order of the classes."
        )
    distances = normalized_margins(state.margin[read], state.squares[read], variation)
    layers = []
    for layer, total, seen in zip(graph.layers, variation, distances.T, strict=True):
        found = compute_margin_features(seen)
        layers.append(
            MarginLayerRecord(
                tensor=layer.tensor,
                operator=layer.operator,
                size=layer.size,
                total_variation=float(total),
                **{name: getattr(found, name) for name in MARGIN_FEATURES},
            )
        )
    described = MarginsRecord(
        layers=tuple(layers), samples=int((distances[:, 0] > 0).sum()), seconds=state.seconds
    )
    return MarginsResult(described, distances, variation)


def _read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The distances (S, L) of an audit folder, in the order of the data, and total variations (L,).

    Raises:
        AuditFolderError: ``margins.npz`` is missing, damaged or holds something else.
    """
    path = folder / MARGINS
    arrays = read_arrays(path, ("distance", "total_variation"))
    distances = array_of(path, arrays, "distance", np.float64, (None, None))
    if not np.isfinite(distances).all():
        raise AuditFolderError(f"{path}: 'distance' is not a table of finite numbers. {RUN_AGAIN}")
    return distances, array_of(path, arrays, "total_variation", np.float64, (None,))


def _faults(said: MarginsRecord, distances: np.ndarray, samples: SampleCounts) -> list[str]:
    """What the section says and the distances (S, L) do not, in sentences."""
    if distances.shape != (len(samples.label), len(said.layers)):
        return [
            f"{MARGINS} has distances of shape {distances.shape}, {SAMPLES} has "
            f"{len(samples.label)} samples and audit.json {len(said.layers)} layers."
        ]
    wrong = [
        f"'distance' of sample {place} in {MARGINS} denies 'correct' in {SAMPLES}."
        for place in samples.denied_by(distances)[:1]
    ]
    for number, layer in enumerate(said.layers):
        above = int((distances[:, number] > 0).sum())
        if above != said.samples:
            wrong.append(
                f"{above} samples have a distance above 0 at {layer.tensor!r} in {MARGINS}, "
                f"{said.samples} are classified correctly in audit.json."
            )
            continue
        found = compute_margin_features(distances[:, number])
        wrong += [
            f"'{name}' at {layer.tensor!r} is {getattr(layer, name)} in audit.json, "
            f"{MARGINS} gives {getattr(found, name)}."
            for name in MARGIN_FEATURES
            if not same(getattr(layer, name), getattr(found, name))
        ]
    return wrong
