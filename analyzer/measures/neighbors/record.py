"""The section ``neighbors`` of ``audit.json``, and ``neighbors.npz``."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.files import array_of, check_places, read_arrays
from analyzer.measures.neighbors.twins import ConflictsRecord
from analyzer.measures.neighbors.votes import LAYERS, NeighborVotes, neighbors_features
from analyzer.output_files import write_arrays

__all__ = [
    "NEIGHBORS_FILE",
    "NeighborLayerRecord",
    "NeighborsRecord",
    "TwinsRecord",
    "layer_errors",
    "read_votes",
    "twins_record",
    "write_votes",
]

NEIGHBORS_FILE = "neighbors.npz"
_STORED: dict[str, type] = {
    "agreement": np.float32,
    "majority": np.int32,
    "nearest": np.int32,
    "measured": np.bool_,
    "weight": np.float64,
    "nearest_images": np.int32,
    "distance_images": np.float32,
    "content": np.int32,
    "group": np.int32,
    "twins": np.int32,
    "twin_distance": np.float32,
}
_COMPUTED = {  # the types of NeighborVotes, by those of the file
    np.float32: np.float64,
    np.int32: np.int64,
    np.bool_: np.bool_,
    np.float64: np.float64,
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
    groups: int = 0  # groups that samples were said to be of
    joined: int = 0  # groups of these that have samples of another one, too, or their twins


@dataclass(frozen=True, slots=True)
class NeighborsRecord:
    """The section ``neighbors`` of ``audit.json``."""

    layers: tuple[NeighborLayerRecord, ...]  # the images first, then by depth
    k: int  # neighbors of a sample
    samples: int  # that were looked at, and looked for
    seconds: float
    conflicts: ConflictsRecord = field(default_factory=lambda: ConflictsRecord(0, 0, ()))
    twins: TwinsRecord | None = None  # null in audits of earlier versions, which knew none


def twins_record(votes: NeighborVotes, kept: bool) -> TwinsRecord:
    """What ``audit.json`` says of twins."""
    have_one = np.unique(votes.twins)
    looked_at = int(votes.measured.sum())
    return TwinsRecord(
        kept=kept,
        samples=len(have_one),
        share=len(have_one) / looked_at if looked_at else 0.0,
        things=len(np.unique(votes.things()[have_one])),
        grouped=int((votes.group >= 0).sum()),
        groups=len(groups := np.unique(votes.group[votes.group >= 0])),
        joined=_joined(votes, groups, with_twins=not kept),
    )


def _joined(votes: NeighborVotes, groups: np.ndarray, *, with_twins: bool) -> int:
    """How many groups have samples that others have, too: the same bytes, or twins."""
    if not len(groups):
        return 0
    known = votes.group >= 0
    pairs = np.stack([votes.group[known], votes.things(with_twins=with_twins)[known]], axis=1)
    _, of_thing = np.unique(np.unique(pairs, axis=0)[:, 1], return_counts=True)
    return int(of_thing[of_thing > 1].sum())


def layer_errors(
    votes: NeighborVotes, labels: np.ndarray, hold: np.ndarray
) -> list[tuple[float | None, float | None]]:
    """Error and trusted error of each layer, None where no sample tells."""
    found = [
        None if math.isnan(value) else value
        for value in neighbors_features(votes, labels, hold).values()
    ]
    return list(zip(found[: len(LAYERS)], found[len(LAYERS) :], strict=True))


def read_votes(folder: Path) -> NeighborVotes:
    """What an audit folder says of its S samples.

    Raises:
        AuditFolderError: ``neighbors.npz`` is missing, damaged or holds something else.
    """
    path = folder / NEIGHBORS_FILE
    arrays = read_arrays(path, tuple(_STORED))
    samples = arrays["measured"].shape[:1]
    near, pairs = (*samples, *arrays["nearest"].shape[1:2]), arrays["twins"].shape[:1]
    shapes = dict.fromkeys(_STORED, samples)
    shapes |= dict.fromkeys(("agreement", "majority"), (len(LAYERS), *samples))
    shapes |= dict.fromkeys(("nearest", "nearest_images", "distance_images"), near)
    shapes |= {"twins": (*pairs, 2), "twin_distance": pairs}
    votes: dict[str, Any] = {
        name: array_of(path, arrays, name, dtype, shapes[name]).astype(_COMPUTED[dtype])
        for name, dtype in _STORED.items()
    }
    size = samples[0]
    bounds: dict[str, tuple[int, float]] = {"content": (0, size), "twins": (0, size)}
    bounds |= dict.fromkeys(("nearest", "nearest_images"), (-1, size))
    bounds |= dict.fromkeys(("majority", "group"), (-1, math.inf))
    check_places(path, votes, bounds)
    return NeighborVotes(**votes)


def write_votes(folder: Path, votes: NeighborVotes) -> None:
    """Write ``neighbors.npz``: votes by layer and sample, and the neighbors at two of them."""
    arrays = {name: getattr(votes, name).astype(dtype) for name, dtype in _STORED.items()}
    write_arrays(folder / NEIGHBORS_FILE, arrays)
