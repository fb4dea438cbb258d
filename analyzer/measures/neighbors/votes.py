"""Neighbors: whether the samples that a network sees alike have the same label.

At a layer a sample's vector is its activation, flattened; beyond 1,024 numbers a count sketch of
it. By cosine similarity the k nearest other samples are found, exactly, at the images and at four
depths of the network. The share of samples that their neighbors outvote is a layer's leave-one-out
error; over samples whose label holds under interpolation alone, its trusted error.

Samples that show the same thing never are neighbors: those of the same bytes, those that are said
to be of one group, and twins, which are recognized (:mod:`analyzer.measures.neighbors.twins`).

Nothing depends on batch sizes, blocks or the order of the samples: similarities are computed in
float64 where it matters, rounded to a millionth, and ties go by the samples' contents.

Sources: Drory et al. 2018; Bahri et al. 2020 (Deep k-NN); Zhu et al. 2022 (SimiFeat).
"""

import bisect
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from analyzer import runtime
from analyzer.common_types import ActivationGraph, Progress
from analyzer.errors import AuditFolderError, ModelError, parameter
from analyzer.measures.checkpoint import Checkpoint
from analyzer.measures.neighbors.pictures import PICTURE, gray_pictures
from analyzer.measures.neighbors.twins import find_twins
from analyzer.measures.neighbors.vector_search import (
    SKETCH,
    VectorSearch,
    nearest_neighbors,
    no_neighbors,
    unit_vectors,
)
from analyzer.measures.training_images import (
    PartSize,
    SampleImages,
    balanced_part,
    class_weights,
    content_numbers,
    content_ranks,
    joined_numbers,
    pairs_of,
)
from analyzer.runtime.batch_size import images_at_once, in_pieces, padded, that_memory_holds, within

__all__ = [
    "LAYERS",
    "NEIGHBORS",
    "NEIGHBORS_FEATURES",
    "FinishedSearch",
    "NeighborState",
    "NeighborVotes",
    "affordable_samples",
    "choose_part",
    "count_of_part",
    "count_votes",
    "finished_search",
    "measure_neighbors",
    "neighbors_features",
    "read_neighbors",
]

LAYERS = ("images", "first", "third", "two_thirds", "last")
"""What neighbors are looked for at: the images, and activations by depth."""

NEIGHBORS = 10
"""k."""

NEIGHBORS_FEATURES = {
    f"neighbors_error_{layer}{suffix}": f"leave-one-out error at {layer.replace('_', ' ')}{words}"
    for suffix, words in (("", ""), ("_trusted", ", over samples with hold ≥ ½"))
    for layer in LAYERS
}
"""The features of a network by name, and what they are."""

_KEPT = ("images", "two_thirds")  # layers whose neighbors are named
_MANY = 20_000  # samples; from here on the search takes no longer than one pass,
_FEWEST = 5_000  # samples at least,
_MOST = 20_000  # and at most, unless told otherwise
_LATER = ("found", "similar", "twins", "twin_distance", "chosen")  # of a state, once known
_REACH = 32  # of the search: neighbors beyond k stand in for twins
_BLOCK = 1024  # rows that are compared with as many others at once, at least,
_MOST_ROWS = 8192  # and at most
_HELD = 8  # the part of the memory that their similarities may take, of one
_TIED = 1e-4  # similarities nearer than this may change places, on another machine
_AT_ONCE = 128  # rows whose distances are found at once
_EACH = 4 * (SKETCH * len(LAYERS) + PICTURE**2)  # bytes of a sample's vectors and picture


@dataclass(slots=True)
class NeighborState:
    """What was found so far of N samples at L tensors: all that a resumed run needs."""

    samples: int  # N
    vectors: list[np.ndarray] = field(default_factory=list)  # L of float32 (N, D_l), unit length
    at: int = 0  # samples that have their vectors
    pictures: np.ndarray | None = None  # float32 (N, h, w), see :func:`gray_pictures`
    found: np.ndarray | None = None  # int32 (L, N, 32): the nearest, in order; −1 for none
    similar: np.ndarray | None = None  # float32 (N, 32): how, at the layer that is searched
    searched: int = 0  # rows that were compared with each other, layer after layer
    twins: np.ndarray | None = None  # int64 (P, 2): pairs of rows
    twin_distance: np.ndarray | None = None  # float64 (P,)
    chosen: np.ndarray | None = None  # int32 (L, N, k): neighbors, without twins; −1 for none
    seconds: float = 0.0

    def arrays(self) -> dict[str, np.ndarray]:
        """What :meth:`resumed` takes."""
        later = {name: getattr(self, name) for name in _LATER}
        return {
            **{f"vectors_{i}": rows[: self.at] for i, rows in enumerate(self.vectors)},
            **({} if self.pictures is None else {"pictures": self.pictures[: self.at]}),
            **{name: array for name, array in later.items() if array is not None},
            "counts": np.array([self.samples, self.at, self.searched]),
            "seconds": np.array(self.seconds),
        }

    def resumed(self, arrays: Mapping[str, np.ndarray]) -> "NeighborState":
        """The state in which :meth:`arrays` was called, for the same samples.

        Raises:
            AuditFolderError: it is of another number of samples.
        """
        samples, at, searched = (int(count) for count in arrays.get("counts", (-1, 0, 0)))
        if samples != self.samples:
            raise AuditFolderError(
                "The unfinished search for neighbors is of other samples or other settings. "
                "Start again."
            )
        vectors: list[np.ndarray] = []
        while (kept := arrays.get(f"vectors_{len(vectors)}")) is not None:
            vectors.append(np.zeros((samples, kept.shape[1]), np.float32))
            vectors[-1][:at] = kept
        pictures = None
        if (shown := arrays.get("pictures")) is not None:
            pictures = np.zeros((samples, *shown.shape[1:]), np.float32)
            pictures[:at] = shown
        found, similar = arrays.get("found"), arrays.get("similar")
        if similar is None and samples:  # nothing is known of a layer that was not finished
            searched -= searched % samples
        return NeighborState(
            samples=samples,
            vectors=vectors,
            at=at,
            pictures=pictures,
            found=None if found is None else found.copy(),
            similar=None if similar is None else similar.copy(),
            searched=searched,
            twins=arrays.get("twins"),
            twin_distance=arrays.get("twin_distance"),
            chosen=arrays.get("chosen"),
            seconds=float(arrays["seconds"]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class NeighborVotes:
    """What was found of S samples at the five layers of :data:`LAYERS`."""

    measured: np.ndarray  # bool (S,): False where a sample was not looked at, or not read
    agreement: np.ndarray  # float64 (5, S): share of neighbors with the label y_i; NaN without any
    majority: np.ndarray  # int64 (5, S): the label that most neighbors have; −1 without any
    nearest: np.ndarray  # int64 (S, k): places of the neighbors at two thirds; −1 for none
    weight: np.ndarray  # float64 (S,): samples of its class that a sample stands for
    nearest_images: np.ndarray  # int64 (S, k): the same at the images
    distance_images: np.ndarray  # float64 (S, k): of their vectors of unit length; NaN for none
    content: np.ndarray  # int64 (S,): the same number where bytes are the same; −1 where unread
    group: np.ndarray  # int64 (S,): the group that each is said to be of; −1 for none
    twins: np.ndarray  # int64 (P, 2): places of two that show the same thing, the lower first
    twin_distance: np.ndarray  # float64 (P,): of their pictures, 0 to 1.4

    def things(self, *, with_twins: bool = True) -> np.ndarray:
        """A number for each sample, the same for those that show the same thing, int64 (S,).

        Of samples that were all read: those of the same bytes, of one group, and twins.
        """
        things = joined_numbers(self.content, pairs_of(self.group))
        return joined_numbers(things, self.twins) if with_twins else things


def affordable_samples(graph: ActivationGraph, total: int) -> int:
    """How many samples are looked at by default, where memory allows.

    All of fewer than 20,000. Else as many as can be compared with each other, in vectors of D_l
    numbers, by no more multiply-adds than the network takes for all samples: √(total · operations /
    Σ D_l), but at least 5,000, and at most 20,000. Counted, so the same on every machine; 5,000
    where the network's operations cannot be counted.

    Args:
        graph: the network's activations.
        total: samples that were read.
    """
    if total < _MANY:
        return total
    lengths = {layer.tensor: min(layer.size or SKETCH, SKETCH) for layer in graph.layers}
    affordable = math.isqrt(total * (graph.operations or 0) // sum(lengths.values()))
    return min(max(affordable, _FEWEST), _MOST)


def choose_part(
    images: SampleImages,
    *,
    samples: PartSize = None,
    most: int = _MOST,
    memory: int = 1 << 30,
    seed: int = 0,
) -> np.ndarray:
    """Places of the samples that are looked at, and looked for as neighbors, int64 (N,), ascending.

    Args:
        images: the samples.
        samples: how many of them; by default all, and beyond ``most``, or what ``memory`` holds
            the vectors of, a class-balanced part.
        most: by default; see :func:`affordable_samples`.
        memory: bytes.
        seed: of the part.
    """
    total = int(images.read.sum())
    if samples is None:
        samples = min(total, most, max(memory // _EACH, 1))
    if not samples:
        return np.empty(0, np.int64)
    return _part(images, total if samples == "all" else samples, seed)


def count_of_part(images: SampleImages, size: int, *, seed: int = 0) -> int:
    """How many samples to ask :func:`choose_part` for, so that with their copies they are ``size``.

    Of a size that no part has, as many as the next larger part.
    """

    def reached(count: int) -> int:
        return len(_part(images, count, seed))

    return bisect.bisect_left(range(size), size, key=reached)


def _part(images: SampleImages, count: int, seed: int) -> np.ndarray:
    part = balanced_part(images.labels, images.digests, images.read, count, seed)
    return np.flatnonzero(part)


def measure_neighbors(
    graph: ActivationGraph,
    images: SampleImages,
    part: np.ndarray,
    state: NeighborState,
    *,
    neighbors: int = NEIGHBORS,
    keep_twins: bool = False,
    size: tuple[int, int] | None = None,
    memory: int = 1 << 30,
    device: str = "auto",
    threads: int = 0,
    batch: int | None = None,
    save: Callable[[NeighborState], None] = lambda state: None,
    progress: Progress = lambda stage, done, total: None,
) -> str:
    """Gather the vectors of the samples and search them, or what is left, changing ``state``.

    Args:
        graph: the network's activations.
        images: the samples.
        part: int64 (N,), those that are looked at.
        neighbors: k.
        keep_twins: let twins be neighbors.
        size: height and width of images that the network takes as rows of numbers.
        memory: bytes, for vectors and similarities; 1,024 × 1,024 of these are held anyway.
        device, threads: as for :func:`analyzer.runtime.open_session`.
        batch: images in one run of the network; by default what suits the device.
        save: called with the state now and then; a later call can resume from it.
        progress: called with the stage "neighbors", in samples: each is read once and searched
            for at each layer.

    Returns:
        The device that the graph ran on.

    Raises:
        ModelError: the graph cannot be run, or an activation is not a finite number.
        OutOfMemory: not even one image fits.
    """
    session = runtime.open_session(graph.path, device, threads=threads, custom_ops=graph.custom_ops)
    checkpoint = Checkpoint(save)
    tensors = list(dict.fromkeys((layer.tensor, layer.output) for layer in graph.layers))
    total = len(part) * (1 + len(tensors))
    if len(part):
        at_once = graph.batch or batch or _batch_size(graph, images, part, session.device)
        for chunk in images.batches(part[state.at :], at_once):
            began = time.perf_counter()
            found = _activations(session, graph, tensors, chunk)
            rows = slice(state.at, state.at + len(chunk))
            for number, values in enumerate(found):
                vectors = unit_vectors(values.reshape(len(chunk), -1), tensors[number][0])
                if len(state.vectors) == number:
                    state.vectors.append(np.zeros((len(part), vectors.shape[1]), np.float32))
                state.vectors[number][rows] = vectors
            pictures = gray_pictures(chunk, size)
            if state.pictures is None:
                state.pictures = np.zeros((len(part), *pictures.shape[1:]), np.float32)
            state.pictures[rows] = pictures
            state.at = rows.stop
            state.seconds += time.perf_counter() - began
            progress("neighbors", state.at, total)
            checkpoint(state)
    reach = max(neighbors, _REACH)
    if state.found is None:
        state.found = np.full((len(tensors), len(part), reach), -1, np.int32)
    things, ranks = images.things()[part], content_ranks(images.digests[part], images.labels[part])
    square = max(memory - _EACH * len(part), 0) // (4 * _HELD)
    at_once = min(max(math.isqrt(square), _BLOCK), _MOST_ROWS)
    while state.searched < len(part) * len(tensors):
        began = time.perf_counter()
        number, start = divmod(state.searched, len(part))
        search = VectorSearch(state.vectors[number], things, ranks)
        if not start or state.similar is None:
            state.found[number], state.similar = no_neighbors(len(part), reach)
        rows = slice(start, min(start + at_once, len(part)))
        search.compare(rows, state.found[number], state.similar, at_once)
        state.searched += rows.stop - start
        state.seconds += time.perf_counter() - began
        progress("neighbors", len(part) + state.searched, total)
        checkpoint(state)
    state.similar = None
    if state.chosen is None:
        began = time.perf_counter()
        if state.pictures is None:
            state.twins, state.twin_distance = np.empty((0, 2), np.int64), np.empty(0)
        else:
            state.twins, state.twin_distance = find_twins(state.pictures, state.found, ranks)
        if not keep_twins:
            things = joined_numbers(things, state.twins)
        state.chosen = _without_twins(state.found, state.vectors, things, ranks, neighbors)
        state.seconds += time.perf_counter() - began
        checkpoint(state)
    return session.device


def _without_twins(
    found: np.ndarray, vectors: list[np.ndarray], things: np.ndarray, ranks: np.ndarray, count: int
) -> np.ndarray:
    """The nearest ``count`` at each layer that are of another thing, int32 (L, N, count).

    Where twins leave too few of those that were found, the row is searched again.
    """
    apart = (found >= 0) & (things[found] != things[None, :, None])
    first = np.argsort(~apart, axis=2, kind="stable")[:, :, :count]
    kept = np.take_along_axis(apart, first, axis=2)
    chosen = np.where(kept, np.take_along_axis(found, first, axis=2), -1).astype(np.int32)
    short = ~kept.all(axis=2) & (found[:, :, -1] >= 0)
    for number, rows in enumerate(map(np.flatnonzero, short)):
        for start in range(0, len(rows), _BLOCK):
            some = rows[start : start + _BLOCK]
            chosen[number, some] = nearest_neighbors(vectors[number], things, ranks, count, some)
    return chosen


def _batch_size(graph: ActivationGraph, images: SampleImages, part: np.ndarray, device: str) -> int:
    at_once = images_at_once(images.take(part[:1]).nbytes, device)
    return that_memory_holds(at_once, graph.largest)


def _activations(
    session: "runtime.Session",  # or this module would load onnxruntime
    graph: ActivationGraph,
    tensors: list[tuple[str, str | None]],
    images: np.ndarray,
) -> list[np.ndarray]:
    """What each tensor holds for these images, (B, …)."""
    wanted = [output for _, output in tensors if output is not None]
    if not wanted:
        return [images]

    def piece(rows: slice) -> list[np.ndarray]:
        some = images[rows]
        found = session.run({graph.image: padded(some, graph.batch)}, wanted)
        for name, values in zip(wanted, found, strict=True):
            if not isinstance(values, np.ndarray) or len(values) != (graph.batch or len(some)):
                raise ModelError(
                    f"The tensor {name!r} does not have a row for each image, so images cannot be "
                    f"compared by it. Pass {parameter('neighbor_samples', 0)}."
                )
        return [values[: len(some)] for values in found]

    def checked(rows: slice) -> list[np.ndarray]:
        found = piece(rows)
        session.checked.check(wanted[-1], found, within(rows, piece), scores=False)
        return found

    size = graph.batch or that_memory_holds(len(images), graph.largest)
    pieces = list(in_pieces(len(images), size, checked))
    whole = pieces[0] if len(pieces) == 1 else map(np.concatenate, zip(*pieces, strict=True))
    named = dict(zip(wanted, whole, strict=True))
    return [images if output is None else named[output] for _, output in tensors]


def read_neighbors(
    graph: ActivationGraph,
    images: SampleImages,
    part: np.ndarray,
    state: NeighborState,
) -> NeighborVotes:
    """What the neighbors say of each sample, of a search that has been run to its end."""
    if state.chosen is None or state.twins is None or state.twin_distance is None:
        raise ValueError("the search for neighbors has not been run to its end")
    total, labels = len(images.labels), images.labels[part]
    measured = np.zeros(total, bool)
    measured[part] = True
    agreement = np.full((len(LAYERS), total), np.nan)
    majority = np.full((len(LAYERS), total), -1, np.int64)
    nearest = {name: np.full((total, state.chosen.shape[2]), -1, np.int64) for name in _KEPT}
    distance = np.full((total, state.chosen.shape[2]), np.nan)
    tensors = list(dict.fromkeys(layer.tensor for layer in graph.layers))
    for number, layer in enumerate(graph.layers):
        tensor = tensors.index(layer.tensor)
        found = state.chosen[tensor]
        agreement[number, part], majority[number, part] = count_votes(found, labels)
        if layer.name in _KEPT and len(part):
            nearest[layer.name][part] = np.where(found < 0, -1, part[found])
        if layer.name == "images" and len(part):
            distance[part] = _distances(state.vectors[tensor], found)
    content = np.full(total, -1, np.int64)
    content[images.read] = content_numbers(images.digests[images.read])
    return NeighborVotes(
        measured=measured,
        agreement=agreement,
        majority=majority,
        nearest=nearest["two_thirds"],
        weight=class_weights(images.labels, images.read, measured),
        nearest_images=nearest["images"],
        distance_images=distance,
        content=content,
        group=np.full(total, -1) if images.groups is None else images.groups,
        twins=part[state.twins],
        twin_distance=state.twin_distance.astype(np.float32).astype(np.float64),
    )


@dataclass(frozen=True, slots=True, eq=False)
class FinishedSearch:
    """A search of N rows, to tell what rounding could have made of it."""

    vectors: tuple[np.ndarray, ...]  # of the five layers: float32 (N, D), of unit length
    found: tuple[np.ndarray, ...]  # likewise: int32 (N, R), the nearest and more; −1 for none
    things: np.ndarray  # int64 (N,): of one number never are neighbors
    row: np.ndarray  # int64 (S,): of samples that were read; −1 where not looked at
    count: int  # k

    def may_be_neighbors(self, layer: int, place: int, nearest: np.ndarray) -> bool:
        """Whether places (k,) could be the neighbors of the sample at ``place``, in this order."""
        row, rows = self.row[place], self.row[nearest[nearest >= 0]]
        if row < 0 or (rows < 0).any() or len(np.unique(rows)) < len(rows):
            return False
        likeness = self._likeness(layer, row, rows)
        best = self._best(layer, row)[: self.count]
        return (
            len(rows) == len(best)
            and bool((np.diff(likeness) <= _TIED).all())
            and bool((likeness >= best[-1:] - _TIED).all())
        )

    def may_vote(self, layer: int, place: int, *, others: bool) -> bool:
        """Whether the sample could have ``others`` for neighbors, or the same in another order."""
        row = self.row[place]
        best = self._best(layer, row)[: self.count + 1] if row >= 0 else np.empty(0)
        tied = np.diff(best) >= -_TIED
        return bool(tied[self.count - 1 :].any() if others else tied.any())

    def _best(self, layer: int, row: int) -> np.ndarray:
        """Similarities of the nearest rows that may be neighbors, descending."""
        found = np.unique(self.found[layer][row])
        there = found[(found >= 0) & (self.things[found] != self.things[row])]
        return -np.sort(-self._likeness(layer, row, there))

    def _likeness(self, layer: int, row: int, rows: np.ndarray) -> np.ndarray:
        vectors = self.vectors[layer]
        return vectors[rows].astype(np.float64) @ vectors[row].astype(np.float64)


def finished_search(
    graph: ActivationGraph,
    images: SampleImages,
    part: np.ndarray,
    state: NeighborState,
    keep_twins: bool,
) -> FinishedSearch:
    """What a search that has been run to its end found, by layer."""
    if state.found is None or state.chosen is None or state.twins is None:
        raise ValueError("the search for neighbors has not been run to its end")
    tensors = list(dict.fromkeys(layer.tensor for layer in graph.layers))
    places = [tensors.index(layer.tensor) for layer in graph.layers]
    things = images.things()[part]
    row = np.full(len(images.labels), -1)
    row[part] = np.arange(len(part))
    return FinishedSearch(
        vectors=tuple(state.vectors[place] for place in places if state.vectors),
        found=tuple(np.concatenate([state.found[p], state.chosen[p]], axis=1) for p in places),
        things=things if keep_twins else joined_numbers(things, state.twins),
        row=row[images.read],
        count=state.chosen.shape[2],
    )


def _distances(vectors: np.ndarray, found: np.ndarray) -> np.ndarray:
    """How far each row's neighbors are from it, rounded to float32, float64 (N, k); NaN for −1."""
    distance = np.full(found.shape, np.nan)
    for start in range(0, len(found), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        apart = vectors[found[rows]].astype(np.float64) - vectors[rows, None]
        distance[rows] = np.sqrt((apart**2).sum(axis=2))
    return np.where(found < 0, np.nan, distance.astype(np.float32)).astype(np.float64)


def count_votes(found: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Agreement and majority of each row, (N,); of labels equally often there, the nearest."""
    there = found >= 0
    voted = np.where(there, labels[found] if len(labels) else 0, -1)  # (N, k)
    count = there.sum(axis=1)
    own = ((voted == labels[:, None]) & there).sum(axis=1)
    agreement = np.where(count > 0, own / np.maximum(count, 1), np.nan)
    votes = (voted[:, :, None] == voted[:, None, :]).sum(axis=2) * there
    winner = np.take_along_axis(voted, votes.argmax(axis=1)[:, None], axis=1)[:, 0]
    return agreement, np.where(count > 0, winner, -1)


def neighbors_features(
    found: NeighborVotes, labels: np.ndarray, hold: np.ndarray
) -> dict[str, float]:
    """The features of :data:`NEIGHBORS_FEATURES` by name; NaN where no sample tells.

    A sample of a class-balanced part counts for as many as it stands for.

    Args:
        found: of S samples.
        labels: int64 (S,).
        hold: float (S,), see :attr:`MixedAnswers.hold`; NaN where a
            sample has none, which is not trusted.
    """
    has_neighbors = found.majority >= 0
    wrong = (found.majority != labels) & has_neighbors
    values = []
    for kept in (np.ones(len(labels), bool), np.nan_to_num(hold) >= 0.5):
        for layer in range(len(LAYERS)):
            weight = np.sort(found.weight[has_neighbors[layer] & kept]).sum()
            errors = np.sort(found.weight[wrong[layer] & kept]).sum()
            values.append(float(errors / weight) if weight else float("nan"))
    return dict(zip(NEIGHBORS_FEATURES, values, strict=True))
