"""Neighbors as a measure: activations at four depths, and who lies near whom there."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.audit_record import AuditRecord
from analyzer.errors import AuditFolderError
from analyzer.files import RUN_AGAIN
from analyzer.measures.ablation.sample_scores import read_samples
from analyzer.measures.interpolation.measure import Interpolation, read_answers
from analyzer.measures.measure import Check, Draw, Job, Measure, ReportSection, check
from analyzer.measures.neighbors.checks import clear_differences, section_faults, vote_differences
from analyzer.measures.neighbors.record import (
    NEIGHBORS_FILE,
    NeighborLayerRecord,
    NeighborsRecord,
    layer_errors,
    read_votes,
    twins_record,
    write_votes,
)
from analyzer.measures.neighbors.twins import (
    conflict_faults,
    conflicts_record,
    find_conflicts,
)
from analyzer.measures.neighbors.votes import (
    LAYERS,
    NEIGHBORS_FEATURES,
    FinishedSearch,
    NeighborState,
    NeighborVotes,
    affordable_samples,
    choose_part,
    count_of_part,
    finished_search,
    measure_neighbors,
    read_neighbors,
)
from analyzer.measures.training_images import SampleImages

if TYPE_CHECKING:
    from analyzer.audit_options import AuditRequest

__all__ = ["Neighbors", "NeighborsResult"]

_MANY_TWINS = 0.05  # of the samples, from which a warning says so
_WORDS = {
    "images": "the images",
    "first": "first activation",
    "third": "a third of the way",
    "two_thirds": "two thirds of the way",
    "last": "last activation",
}


@dataclass(frozen=True, slots=True)
class NeighborsResult:
    """What was found of the S samples that were read, in the order of the data."""

    votes: NeighborVotes
    layers: tuple[tuple[str, str, str], ...]  # (name, tensor, operator)
    seconds: float


class Neighbors(Measure[NeighborsResult]):
    """Whether the samples that the network sees as most alike have the same label."""

    name = "neighbors"
    features = tuple(NEIGHBORS_FEATURES)
    section = NeighborsRecord
    files = (NEIGHBORS_FILE,)
    optional = True

    def wanted(self, options: "AuditRequest") -> bool:
        """Unless ``neighbor_samples`` is 0."""
        return options.neighbor_samples != 0

    def settled(self, options: "AuditRequest", record: AuditRecord) -> bool:
        """Whether the record tells of as many samples and of twins, or why they are unknown."""
        known = self.measured(record) and record.sections[self.name].twins is not None
        return (known or self.name in record.unmeasured) and all(
            record.settings.get(name) == getattr(options, name)
            for name in ("neighbor_samples", "keep_twins")
        )

    def asked_for_by(self) -> dict[str, Any]:
        """The default number of samples."""
        return {"neighbor_samples": None}

    def kept_by(self, record: AuditRecord) -> dict[str, Any]:
        """As many samples as the record says."""
        return {"neighbor_samples": record.settings["neighbor_samples"]}

    def measure(self, job: Job) -> NeighborsResult:
        """Gather the activations and search them, or what is left of them."""
        return self._searched(job)[0]

    def _searched(self, job: Job) -> tuple[NeighborsResult, FinishedSearch]:
        from analyzer import runtime, surgery

        request, images = job.request, job.images()
        image = images.take(np.flatnonzero(images.read)[:1])
        graph = surgery.write_activation_outputs(
            job.subject.network,
            job.scratch / "activations.onnx",
            image.shape[1:],
            output=request.output,
        )
        memory = request.memory - (0 if images.held is None else images.held.nbytes)
        part = choose_part(
            images,
            samples=request.neighbor_samples,
            most=affordable_samples(graph, int(images.read.sum())),
            memory=memory,
            seed=request.seed,
        )
        state, part_digest = NeighborState(len(part)), _digest(part, images)
        saved = job.saved()
        if saved is not None and str(saved.get("part")) == part_digest:
            state = state.resumed(saved)
        device, *_ = runtime.named_devices(request.device)
        measure_neighbors(
            graph,
            images,
            part,
            state,
            keep_twins=request.keep_twins,
            memory=memory,
            size=job.subject.preprocessing.size,
            device=device,
            threads=request.threads,
            save=lambda state: job.save({"part": np.array(part_digest), **state.arrays()}),
            progress=job.progress,
        )
        result = NeighborsResult(
            votes=_taken(read_neighbors(graph, images, part, state), images),
            layers=tuple((layer.name, layer.tensor, layer.operator) for layer in graph.layers),
            seconds=state.seconds,
        )
        return result, finished_search(graph, images, part, state, request.keep_twins)

    def measured(self, record: AuditRecord) -> bool:
        """Whether the record has the section."""
        return self.name in record.sections

    def read(self, folder: Path, record: AuditRecord) -> NeighborsResult:
        """The section and ``neighbors.npz``."""
        said: NeighborsRecord = record.sections[self.name]
        layers = tuple((layer.name, layer.tensor, layer.operator) for layer in said.layers)
        return NeighborsResult(read_votes(folder), layers, said.seconds)

    def write(self, folder: Path, result: NeighborsResult) -> None:
        """Write ``neighbors.npz``: votes by layer and sample, and the neighbors at two of them."""
        write_votes(folder, result.votes)

    def fields(self, result: NeighborsResult, job: Job) -> dict[str, Any]:
        """The section ``neighbors``; the trusted errors take hold from the interpolation."""
        samples, mixed = job.found["ablation"].samples, job.found.get(Interpolation.name)
        labels, source = samples.label, job.subject.source
        hold = np.full(len(labels), np.nan) if mixed is None else mixed.answers.hold
        errors = layer_errors(result.votes, labels, hold)
        record = NeighborsRecord(
            layers=tuple(
                NeighborLayerRecord(*layer, *found)
                for layer, found in zip(result.layers, errors, strict=True)
            ),
            k=result.votes.nearest.shape[1],
            samples=int(result.votes.measured.sum()),
            seconds=result.seconds,
            conflicts=conflicts_record(
                find_conflicts(result.votes, labels),
                labels,
                samples.index,
                sample_name=lambda index: str(source.names[index]),
                class_name=source.class_name,
            ),
            twins=twins_record(result.votes, job.request.keep_twins),
        )
        return {"sections": {self.name: record}}

    def feature_values(self, record: AuditRecord) -> dict[str, float]:
        """Two errors a layer, without those that are null.

        Raises:
            AuditFolderError: the record has another number of layers.
        """
        if not self.measured(record):
            return {}
        layers = record.sections[self.name].layers
        if len(layers) != len(LAYERS):
            raise AuditFolderError(
                f"audit.json: 'neighbors.layers' has {len(layers)} layers instead of "
                f"{len(LAYERS)}. {RUN_AGAIN}"
            )
        values = [layer.error for layer in layers] + [layer.trusted_error for layer in layers]
        named = zip(NEIGHBORS_FEATURES, values, strict=True)
        return {name: value for name, value in named if value is not None}

    def summary(self, record: AuditRecord) -> Iterator[tuple[str, str]]:
        """The error at the images and at the last activation."""
        if self.measured(record):
            said: NeighborsRecord = record.sections[self.name]
            first, last = said.layers[0].error, said.layers[-1].error
            if first is None or last is None:
                yield self.name, "no sample has another one near it"
            else:
                yield (
                    self.name,
                    f"most have another label for {first:.1%} of {said.samples:,} samples as "
                    f"images, {last:.1%} at the last activation",
                )

    def warnings(self, record: AuditRecord) -> Iterator[str]:
        """That many samples have a twin, and that groups are connected."""
        twins = record.sections[self.name].twins if self.measured(record) else None
        if twins is not None and twins.joined:
            yield (
                f"{twins.joined:,} of {twins.groups:,} groups share samples of the same bytes, or "
                "twins, with others, and count as one with these: their samples are no neighbors "
                "of each other. If that is not meant, leave such samples out."
            )
        if twins is not None and twins.share >= _MANY_TWINS:
            copies = f"{twins.samples:,} samples ({twins.share:.1%}) look like copies of others"
            if twins.kept:
                yield (
                    f"{copies}, and count as their neighbors all the same; if they are copies, the "
                    "estimated gap is too small."
                )
            else:
                yield (
                    f"{copies}, and do not count as their neighbors; there may be more copies: "
                    "--groups names the samples that show one thing."
                )

    def checks(self, folder: Path, record: AuditRecord) -> Iterator[Check]:
        """Whether votes are within bounds, and the errors follow from them."""
        if self.measured(record):
            said: NeighborsRecord = record.sections[self.name]
            samples, votes = read_samples(folder), read_votes(folder)
            hold = np.full(len(samples.label), np.nan)
            if Interpolation.name in record.sections:
                hold = read_answers(folder).hold
            wrong = section_faults(said, votes, samples.label, hold)
            if said.twins is not None and said.twins.kept is not record.settings.get("keep_twins"):
                wrong.append("'twins.kept' and 'settings.keep_twins' of audit.json differ.")
            if not wrong:
                wrong = conflict_faults(said.conflicts, votes, samples, record.class_names)
            right = f"The errors of {len(said.layers)} layers follow from {NEIGHBORS_FILE}."
            yield check(self.name, wrong, right)

    def recount(self, folder: Path, record: AuditRecord, job: Job, draw: Draw) -> Iterator[Check]:
        """As any measure, of as many samples as the record says, whatever the default is now."""
        if not self.measured(record):
            yield from super().recount(folder, record, job, draw)
            return
        if job.request.neighbor_samples is None:
            size = record.sections[self.name].samples
            count = count_of_part(job.images(), size, seed=job.request.seed)
            job = replace(job, request=replace(job.request, neighbor_samples=count))
        said, (found, search) = self.read(folder, record), self._searched(job)
        wrong = self.differences(said, found) or clear_differences(said.votes, found.votes, search)
        yield check(f"{self.name} measured again", wrong, f"{self.measured_again} agree.")

    measured_again = "Layers, neighbors and their votes"

    def differences(self, said: NeighborsResult, found: NeighborsResult) -> list[str]:
        """Other layers, or other neighbors."""
        if said.layers != found.layers:
            return ["The layers of 'neighbors' in audit.json are not those of the network."]
        return vote_differences(said.votes, found.votes)

    def report(self, folder: Path, record: AuditRecord) -> ReportSection | None:
        """A table of the errors by depth."""
        if not self.measured(record):
            return None
        said: NeighborsRecord = record.sections[self.name]
        return ReportSection(
            links=(("neighbors", "Neighbors"),),
            template=Path(__file__).parent / "neighbors.html.jinja",
            values={
                "neighbors": said,
                "twins": said.twins,
                "rows": tuple((_WORDS.get(one.name, one.name), one) for one in said.layers),
                "trusted": any(one.trusted_error is not None for one in said.layers),
            },
        )


def _digest(part: np.ndarray, images: SampleImages) -> str:
    """The identity of the samples of the part, bool (S,), as hex."""
    return hashlib.sha256(images.digests.tobytes() + part.tobytes()).hexdigest()


def _taken(votes: NeighborVotes, images: SampleImages) -> NeighborVotes:
    """The votes of the samples that were read, neighbors as places among those."""
    read = images.read
    place = np.cumsum(read) - 1

    def placed(nearest: np.ndarray) -> np.ndarray:
        return np.where(nearest < 0, -1, place[nearest])[read]

    return NeighborVotes(
        measured=votes.measured[read],
        agreement=votes.agreement[:, read],
        majority=votes.majority[:, read],
        nearest=placed(votes.nearest),
        weight=votes.weight[read],
        nearest_images=placed(votes.nearest_images),
        distance_images=votes.distance_images[read],
        content=votes.content[read],
        group=votes.group[read],
        twins=place[votes.twins],
        twin_distance=votes.twin_distance,
    )
