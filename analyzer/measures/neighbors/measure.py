"""Neighbors as a measure: activations at four depths, and who lies near whom there."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.audit_record import AuditRecord
from analyzer.errors import AuditFolderError
from analyzer.files import RUN_AGAIN, array_of, read_arrays, write_arrays
from analyzer.measures.ablation.sample_scores import SAMPLES, read_samples
from analyzer.measures.interpolation.measure import Interpolation, read_answers
from analyzer.measures.measure import (
    Check,
    Draw,
    Job,
    Measure,
    ReportSection,
    check,
    differing,
    same,
)
from analyzer.measures.neighbors.twins import (
    ConflictsRecord,
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
    count_votes,
    finished_search,
    measure_neighbors,
    neighbors_features,
    read_neighbors,
)
from analyzer.measures.training_images import SampleImages, class_weights

if TYPE_CHECKING:
    from analyzer.audit_options import AuditRequest

__all__ = [
    "NEIGHBORS_FILE",
    "NeighborLayerRecord",
    "Neighbors",
    "NeighborsRecord",
    "NeighborsResult",
    "TwinsRecord",
    "read_votes",
]

NEIGHBORS_FILE = "neighbors.npz"
_MANY_TWINS = 0.05  # of the samples, from which a warning says so
_CLOSE = 1e-3  # similarities are sorted as rounded to a millionth, which is that of a distance
_FAR = 0.02  # no distance of images differs by more, whatever rounds
_KEPT = {"nearest": "two_thirds", "nearest_images": "images"}  # arrays by layer
_WORDS = {
    "images": "the images",
    "first": "first activation",
    "third": "a third of the way",
    "two_thirds": "two thirds of the way",
    "last": "last activation",
}


@dataclass(frozen=True, slots=True)
class NeighborLayerRecord:
    """The share of samples that their neighbors outvote at one layer; null where none has any."""

    name: str  # one of LAYERS
    tensor: str
    operator: str  # that makes it; "input" for the images
    error: float | None
    trusted_error: float | None  # over samples with hold ≥ ½; null without interpolation


@dataclass(frozen=True, slots=True)
class TwinsRecord:
    """Samples that look as if they showed the same thing as another one, though bytes differ."""

    kept: bool  # they may be neighbors, because somebody asked for it
    samples: int  # that have a twin, of those that were looked at
    share: float  # of those that were looked at
    things: int  # that they show
    grouped: int  # samples that were said to be of a group


@dataclass(frozen=True, slots=True)
class NeighborsRecord:
    """The section ``neighbors`` of ``audit.json``."""

    layers: tuple[NeighborLayerRecord, ...]  # the images first, then by depth
    k: int  # neighbors of a sample
    samples: int  # that were looked at, and looked for
    seconds: float
    conflicts: ConflictsRecord = field(default_factory=lambda: ConflictsRecord(0, 0, ()))
    twins: TwinsRecord | None = None  # null in audits of earlier versions, which knew none


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
        votes = result.votes
        write_arrays(
            folder / NEIGHBORS_FILE,
            {
                "agreement": votes.agreement.astype(np.float32),
                "majority": votes.majority.astype(np.int32),
                "nearest": votes.nearest.astype(np.int32),
                "measured": votes.measured,
                "weight": votes.weight,
                "nearest_images": votes.nearest_images.astype(np.int32),
                "distance_images": votes.distance_images.astype(np.float32),
                "content": votes.content.astype(np.int32),
                "group": votes.group.astype(np.int32),
                "twins": votes.twins.astype(np.int32),
                "twin_distance": votes.twin_distance.astype(np.float32),
            },
        )

    def fields(self, result: NeighborsResult, job: Job) -> dict[str, Any]:
        """The section ``neighbors``; the trusted errors take hold from the interpolation."""
        samples, mixed = job.found["ablation"].samples, job.found.get(Interpolation.name)
        labels, source = samples.label, job.subject.source
        hold = np.full(len(labels), np.nan) if mixed is None else mixed.answers.hold
        errors = _errors(result.votes, labels, hold)
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
            twins=_twins_record(result.votes, job.request.keep_twins),
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
        """That many samples have a twin."""
        twins = record.sections[self.name].twins if self.measured(record) else None
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
            wrong = _faults(said, votes, samples.label, hold)
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
        wrong = self.differences(said, found) or _clear_differences(said.votes, found.votes, search)
        yield check(f"{self.name} measured again", wrong, f"{self.measured_again} agree.")

    measured_again = "Layers, neighbors and their votes"

    def differences(self, said: NeighborsResult, found: NeighborsResult) -> list[str]:
        """Other layers, or other neighbors."""
        one, other, wrong = said.votes, found.votes, []
        if said.layers != found.layers:
            wrong.append("The layers of 'neighbors' in audit.json are not those of the network.")
        wrong += [
            f"'{name}' in {NEIGHBORS_FILE} is not what the data give."
            for name in ("measured", "content", "group")
            if not np.array_equal(getattr(one, name), getattr(other, name))
        ]
        if wrong:
            return wrong
        for name in ("nearest", "nearest_images"):
            sets = np.sort(getattr(one, name)), np.sort(getattr(other, name))
            wrong += differing((sets[0] != sets[1]).any(axis=1), f"'{name}' in {NEIGHBORS_FILE}")
        apart = _twins_apart(one, other)
        wrong += differing(apart, f"'twins' in {NEIGHBORS_FILE}")
        votes = np.logical_or(*_votes_differ(one, other))
        wrong += differing(votes.any(axis=0), f"What {NEIGHBORS_FILE} says of the votes")
        near = np.isclose(one.distance_images, other.distance_images, atol=_CLOSE, equal_nan=True)
        wrong += differing(~near.all(axis=1), f"'distance_images' in {NEIGHBORS_FILE}")
        return wrong

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


def read_votes(folder: Path) -> NeighborVotes:
    """What an audit folder says of its S samples.

    Raises:
        AuditFolderError: ``neighbors.npz`` is missing, damaged or holds something else.
    """
    path = folder / NEIGHBORS_FILE
    wanted_by_name = tuple(one.name for one in fields(NeighborVotes))
    arrays = read_arrays(path, wanted_by_name)
    samples = arrays["measured"].shape[:1]
    near = (*samples, *arrays["nearest"].shape[1:2])
    wanted = {
        "agreement": (np.float32, (len(LAYERS), *samples)),
        "majority": (np.int32, (len(LAYERS), *samples)),
        "nearest": (np.int32, near),
        "measured": (np.bool_, samples),
        "weight": (np.float64, samples),
        "nearest_images": (np.int32, near),
        "distance_images": (np.float32, near),
        "content": (np.int32, samples),
        "group": (np.int32, samples),
        "twins": (np.int32, (len(arrays["twins"]), 2)),
        "twin_distance": (np.float32, arrays["twins"].shape[:1]),
    }
    for name, (dtype, shape) in wanted.items():
        array_of(path, arrays, name, dtype, shape)
    return NeighborVotes(
        measured=arrays["measured"],
        agreement=arrays["agreement"].astype(np.float64),
        majority=arrays["majority"].astype(np.int64),
        nearest=arrays["nearest"].astype(np.int64),
        weight=arrays["weight"],
        nearest_images=arrays["nearest_images"].astype(np.int64),
        distance_images=arrays["distance_images"].astype(np.float64),
        content=arrays["content"].astype(np.int64),
        group=arrays["group"].astype(np.int64),
        twins=arrays["twins"].astype(np.int64),
        twin_distance=arrays["twin_distance"].astype(np.float64),
    )


def _twins_record(votes: NeighborVotes, kept: bool) -> TwinsRecord:
    """What ``audit.json`` says of twins."""
    have_one = np.unique(votes.twins)
    looked_at = int(votes.measured.sum())
    return TwinsRecord(
        kept=kept,
        samples=len(have_one),
        share=len(have_one) / looked_at if looked_at else 0.0,
        things=len(np.unique(votes.things()[have_one])),
        grouped=int((votes.group >= 0).sum()),
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


def _twins_apart(one: NeighborVotes, other: NeighborVotes) -> np.ndarray:
    """Samples of a pair of twins that only one has, or at another distance, bool (S,)."""
    pairs = [
        dict(zip(map(tuple, votes.twins.tolist()), votes.twin_distance.tolist(), strict=True))
        for votes in (one, other)
    ]
    apart = np.zeros(len(one.measured), bool)
    for pair in pairs[0].keys() | pairs[1].keys():
        distances = [found.get(pair, math.inf) for found in pairs]
        apart[list(pair)] |= not abs(distances[0] - distances[1]) <= _CLOSE
    return apart


def _clear_differences(
    said: NeighborVotes, found: NeighborVotes, search: FinishedSearch
) -> list[str]:
    """Votes and neighbors of single samples that rounding cannot have made others."""
    if not np.array_equal(said.twins, found.twins):  # neighbors depend on them
        return []
    apart: dict[str, list[int]] = {}  # places of samples, by what is wrong
    arrays = {layer_name: array for array, layer_name in _KEPT.items()}
    for layer, name in enumerate(LAYERS):
        if name in arrays:  # the votes follow from the neighbors
            one, other = (getattr(votes, arrays[name]) for votes in (said, found))
            places = np.flatnonzero((one != other).any(axis=1)).tolist()
            apart[f"'{arrays[name]}'"] = [
                place for place in places if not search.may_be_neighbors(layer, place, one[place])
            ]
        else:
            shares, majorities = (differ[layer] for differ in _votes_differ(said, found))
            apart[f"The votes at {name}"] = [
                place
                for place in np.flatnonzero(shares | majorities).tolist()
                if not search.may_vote(layer, place, others=bool(shares[place]))
            ]
    distance = np.nan_to_num(np.abs(said.distance_images - found.distance_images))
    apart["'distance_images'"] = np.flatnonzero((distance > _FAR).any(axis=1)).tolist()
    return [
        f"{what} of sample {place} in {NEIGHBORS_FILE}: the network gives something else, which no "
        "rounding explains."
        for what, places in apart.items()
        for place in places
    ]


def _votes_differ(one: NeighborVotes, other: NeighborVotes) -> tuple[np.ndarray, np.ndarray]:
    """Where agreement differs, and where majorities do, bool (5, S) each."""
    near = np.isclose(one.agreement, other.agreement, atol=_CLOSE, equal_nan=True)
    return ~near, np.asarray(one.majority != other.majority)


def _near_each_other(nearest: np.ndarray, measured: np.ndarray, things: np.ndarray) -> np.ndarray:
    """Whether each is −1 or another sample that was looked at, of one that was, bool (S, k).

    Another one shows another thing.
    """
    within = (nearest >= -1) & (nearest < len(measured))
    place = np.clip(nearest, 0, len(measured) - 1)
    other = things[place] != things[:, None]
    return within & ((nearest < 0) | (measured[:, None] & measured[place] & other))


def _errors(
    votes: NeighborVotes, labels: np.ndarray, hold: np.ndarray
) -> list[tuple[float | None, float | None]]:
    """Error and trusted error of each layer, None where no sample tells."""
    found = [
        None if math.isnan(value) else value
        for value in neighbors_features(votes, labels, hold).values()
    ]
    return list(zip(found[: len(LAYERS)], found[len(LAYERS) :], strict=True))


def _faults(
    said: NeighborsRecord, votes: NeighborVotes, labels: np.ndarray, hold: np.ndarray
) -> list[str]:
    """What section and file say and the votes do not, in sentences."""
    samples = len(votes.measured)
    if samples != len(labels):
        return [f"{NEIGHBORS_FILE} has {samples} samples, {SAMPLES} has {len(labels)}."]
    if tuple(layer.name for layer in said.layers) != LAYERS:
        return [f"The layers in audit.json are not {', '.join(LAYERS)}."]
    if len(hold) != len(labels):
        return [f"hold is known of {len(hold)} samples, {SAMPLES} has {len(labels)}."]
    wrong = _count_faults(said, votes)
    if not ((votes.twins >= 0) & (votes.twins < samples)).all() or (votes.content < 0).any():
        return [*wrong, f"'twins' or 'content' in {NEIGHBORS_FILE} is out of bounds."]
    if said.twins is None:
        return [*wrong, "'twins' of the neighbors is null in audit.json."]
    wrong += _twin_faults(said.twins, votes)
    wrong += _bound_faults(votes, labels, twins_kept=said.twins.kept)
    if not wrong:
        wrong += _vote_faults(votes, labels)
    return wrong + _weight_faults(votes, labels) + _error_faults(said, votes, labels, hold)


def _count_faults(said: NeighborsRecord, votes: NeighborVotes) -> list[str]:
    return [
        f"'{name}' is {stated} in audit.json, {there} in {NEIGHBORS_FILE}."
        for name, stated, there in (
            ("samples", said.samples, int(votes.measured.sum())),
            ("k", said.k, votes.nearest.shape[1]),
        )
        if stated != there
    ]


def _twin_faults(said: TwinsRecord, votes: NeighborVotes) -> list[str]:
    found = _twins_record(votes, said.kept)
    if replace(said, share=found.share) == found and same(said.share, found.share):
        return []
    return [f"'twins' is {said} in audit.json, {NEIGHBORS_FILE} gives {found}."]


def _bound_faults(votes: NeighborVotes, labels: np.ndarray, *, twins_kept: bool) -> list[str]:
    """Values that no audit gives."""
    measured, twins = votes.measured, votes.twins
    alone = votes.majority < 0
    none, distance = votes.nearest_images < 0, votes.distance_images
    things = votes.things(with_twins=not twins_kept)
    bounds = {
        "agreement": (np.isnan(votes.agreement) == alone)
        & (alone | ((votes.agreement >= 0) & (votes.agreement <= 1))),
        "majority": (alone | measured) & (alone | np.isin(votes.majority, labels)),
        "distance_images": (np.isnan(distance) == none) & (none | (distance >= 0)),
        "content": votes.content < len(np.unique(votes.content)),
        "twins": (twins[:, 0] < twins[:, 1]) & measured[twins].all(axis=1),
        "twin_distance": (votes.twin_distance >= 0) & (votes.twin_distance <= 2),
    }
    bounds |= {name: _near_each_other(getattr(votes, name), measured, things) for name in _KEPT}
    wrong = [
        f"'{name}' in {NEIGHBORS_FILE} is out of bounds {int((~within).sum())} times."
        for name, within in bounds.items()
        if not within.all()
    ]
    if (np.diff(distance, axis=1) < -_CLOSE).any():
        wrong.append(f"'distance_images' in {NEIGHBORS_FILE} is not of the nearest first.")
    return wrong


def _vote_faults(votes: NeighborVotes, labels: np.ndarray) -> list[str]:
    """Votes at the layers whose neighbors are kept, against these."""
    wrong = []
    for array, layer_name in _KEPT.items():
        agreement, majority = count_votes(getattr(votes, array), labels)
        place = LAYERS.index(layer_name)
        if not (
            np.array_equal(votes.majority[place], majority)
            and np.allclose(votes.agreement[place], agreement, atol=1e-6, equal_nan=True)
        ):
            wrong.append(
                f"The votes at {layer_name} in {NEIGHBORS_FILE} do not follow from '{array}' and "
                f"the labels of {SAMPLES}."
            )
    return wrong


def _weight_faults(votes: NeighborVotes, labels: np.ndarray) -> list[str]:
    everyone = np.ones(len(labels), bool)
    if np.allclose(votes.weight, class_weights(labels, everyone, votes.measured), rtol=1e-9):
        return []
    return [f"'weight' in {NEIGHBORS_FILE} does not follow from the labels of {SAMPLES}."]


def _error_faults(
    said: NeighborsRecord, votes: NeighborVotes, labels: np.ndarray, hold: np.ndarray
) -> list[str]:
    """Errors of the layers, against the votes."""
    wrong = []
    for layer, errors in zip(said.layers, _errors(votes, labels, hold), strict=True):
        for name, found in zip(("error", "trusted_error"), errors, strict=True):
            stated = getattr(layer, name)
            if not same(stated, found):
                wrong.append(
                    f"'{name}' at {layer.name!r} is {stated} in audit.json, "
                    f"{NEIGHBORS_FILE} gives {found}."
                )
    return wrong
