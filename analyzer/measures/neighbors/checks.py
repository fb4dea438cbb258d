"""Whether record and ``neighbors.npz`` follow from each other, and from a second measurement."""

import math
from dataclasses import fields

import numpy as np

from analyzer.measures.ablation.sample_scores import SAMPLES
from analyzer.measures.measure import differing, same
from analyzer.measures.neighbors.record import (
    NEIGHBORS_FILE,
    NeighborsRecord,
    TwinsRecord,
    layer_errors,
    twins_record,
)
from analyzer.measures.neighbors.votes import (
    LAYERS,
    FinishedSearch,
    NeighborVotes,
    count_votes,
)
from analyzer.measures.training_images import class_weights

__all__ = ["clear_differences", "section_faults", "vote_differences"]

_CLOSE = 1e-3  # similarities are sorted as rounded to a millionth, which is that of a distance
_FAR = 0.02  # no distance of images differs by more, whatever rounds
_KEPT = {"nearest": "two_thirds", "nearest_images": "images"}  # arrays by layer


def section_faults(
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
    if said.twins is None:
        return [*wrong, "'twins' of the neighbors is null in audit.json."]
    wrong += _twin_faults(said.twins, votes)
    wrong += _bound_faults(votes, labels, twins_kept=said.twins.kept)
    if not wrong:
        wrong += _vote_faults(votes, labels)
    return wrong + _weight_faults(votes, labels) + _error_faults(said, votes, labels, hold)


def vote_differences(said: NeighborVotes, found: NeighborVotes) -> list[str]:
    """What another measurement found that rounding alone cannot explain, in sentences."""
    wrong = [
        f"'{name}' in {NEIGHBORS_FILE} is not what the data give."
        for name in ("measured", "content", "group")
        if not np.array_equal(getattr(said, name), getattr(found, name))
    ]
    if wrong:
        return wrong
    for name in _KEPT:
        sets = np.sort(getattr(said, name)), np.sort(getattr(found, name))
        wrong += differing((sets[0] != sets[1]).any(axis=1), f"'{name}' in {NEIGHBORS_FILE}")
    wrong += differing(_twins_apart(said, found), f"'twins' in {NEIGHBORS_FILE}")
    votes = np.logical_or(*_votes_differ(said, found))
    wrong += differing(votes.any(axis=0), f"What {NEIGHBORS_FILE} says of the votes")
    near = np.isclose(said.distance_images, found.distance_images, atol=_CLOSE, equal_nan=True)
    wrong += differing(~near.all(axis=1), f"'distance_images' in {NEIGHBORS_FILE}")
    return wrong


def clear_differences(
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
    found = twins_record(votes, said.kept)
    names = [field.name for field in fields(TwinsRecord)]
    values = [(name, getattr(said, name), getattr(found, name)) for name in names]
    return [
        f"'twins.{name}' is {stated} in audit.json, {NEIGHBORS_FILE} gives {there}."
        for name, stated, there in values
        if stated != there and not (name == "share" and same(stated, there))
    ]


def _near_each_other(nearest: np.ndarray, measured: np.ndarray, things: np.ndarray) -> np.ndarray:
    """Whether each is −1 or another sample that was looked at, of one that was, bool (S, k).

    Another one shows another thing.
    """
    other = things[nearest] != things[:, None]
    return (nearest < 0) | (measured[:, None] & measured[nearest] & other)


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
    for layer, errors in zip(said.layers, layer_errors(votes, labels, hold), strict=True):
        for name, found in zip(("error", "trusted_error"), errors, strict=True):
            stated = getattr(layer, name)
            if not same(stated, found):
                wrong.append(
                    f"'{name}' at {layer.name!r} is {stated} in audit.json, "
                    f"{NEIGHBORS_FILE} gives {found}."
                )
    return wrong


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


def _votes_differ(one: NeighborVotes, other: NeighborVotes) -> tuple[np.ndarray, np.ndarray]:
    """Where agreement differs, and where majorities do, bool (5, S) each."""
    near = np.isclose(one.agreement, other.agreement, atol=_CLOSE, equal_nan=True)
    return ~near, np.asarray(one.majority != other.majority)
