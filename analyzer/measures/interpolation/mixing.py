"""Same-label interpolation: how far a network's answer carries from a sample towards others.

For sample i and a partner j, x_λ = λ·x_i + (1 − λ)·x_j in the network's own input space. Of a
partner with the same given label, a network that learned the class names it half way as well;
one that memorized sample i names its label for i and hardly ever half way to the class's others.
Forward passes alone, of the whole network: no site, no gradient.

Partners come from rings. The distinct contents of a class lie on a ring in a seeded order that
their digests decide; the partners of a sample are the R/2 before and the R/2 after it, so x_½ of
two neighbors on the ring is run once and counts for both, and samples that follow one another
share the images that have to be read. The partner with another label is the next such one on a
ring of all samples. Samples that are said to show the same thing are no partners; on a ring they
lie apart, as far as there are others to lie between.

Sources: label-wise mixup (Natekar & Sharma 2020); perturbation response curves (Schiff et al.
2021).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from analyzer.common_types import Progress
from analyzer.errors import AuditFolderError
from analyzer.measures.checkpoint import Checkpoint
from analyzer.measures.training_images import (
    PartSize,
    SampleImages,
    balanced_part,
    class_weights,
    content_numbers,
    content_ranks,
    seeded_keys,
)

__all__ = [
    "INTERPOLATION_FEATURES",
    "MIXING_WEIGHTS",
    "PARTNERS",
    "InterpolationState",
    "MixedAnswers",
    "MixingPlan",
    "ResponseCurves",
    "interpolation_features",
    "measure_interpolation",
    "mix",
    "plan_mixing",
    "read_interpolation",
    "response_curves",
]

MIXING_WEIGHTS = (0.9, 0.8, 0.7, 0.6, 0.5)
"""λ: what part of a mixed image is the sample's own."""

PARTNERS = 8
"""R: partners with the same label that a sample is mixed with at λ = ½."""

_MANY = 20_000  # samples; from here on the evaluations are no more than one pass
_UNASKED = np.iinfo(np.int32).min
_OTHERS = 1  # purpose of pseudorandom keys; 0 orders rings and parts
_CURVE = len(MIXING_WEIGHTS)

INTERPOLATION_FEATURES = {
    "interpolation_same_50": "A_same(½) / A(1): named their label half way to another of the label",
    "interpolation_other_80": "A_other(0.8) / A(1): named their label with a fifth of another one",
    "interpolation_third_50": "third(½) / A(1): half way to another label, named neither",
    "interpolation_hold_mean": "mean of hold: A_same(½) as it is",
}
"""The features of a network by name, and what they are."""


@dataclass(frozen=True, slots=True, eq=False)
class MixingPlan:
    """Which images are mixed with which: I distinct contents, C images to run for each.

    Columns: the content alone; then λ = 0.9 to 0.6 with the next of its ring; then λ = ½ with the
    next R/2 of its ring; then λ = 0.9 to 0.5 with one of another label. All in an order that only
    contents, labels and the seed decide.
    """

    content_of: np.ndarray  # int64 (S,): the content of each sample; −1 where it is not looked at
    place: np.ndarray  # int64 (I,): of one sample with this content
    label: np.ndarray  # int64 (I,)
    partner: np.ndarray  # int32 (I, C): a content; −1 where there is nothing to run
    weight: np.ndarray  # float64 (C,): λ
    sample_weight: np.ndarray  # float64 (S,): samples of its class that a sample stands for

    @property
    def rows(self) -> np.ndarray:
        """int64 (T,): what has to be run, as places in the flattened ``partner``."""
        return np.flatnonzero(self.partner.ravel() >= 0)

    @property
    def halves(self) -> slice:
        """The columns of λ = ½ with the same label."""
        return slice(_CURVE, self.partner.shape[1] - _CURVE)


@dataclass(slots=True)
class InterpolationState:
    """What the network answered so far: all that a resumed run needs."""

    named: np.ndarray  # int32 (I, C): the class that was named
    at: int = 0  # rows of the plan that are done
    seconds: float = 0.0

    @classmethod
    def start(cls, plan: MixingPlan) -> "InterpolationState":
        """Nothing asked yet."""
        return cls(np.full(plan.partner.shape, _UNASKED, np.int32))

    def arrays(self) -> dict[str, np.ndarray]:
        """What :meth:`resumed` takes."""
        return {
            "named": self.named,
            "at": np.array(self.at),
            "seconds": np.array(self.seconds),
        }

    def resumed(self, arrays: Mapping[str, np.ndarray]) -> "InterpolationState":
        """The state in which :meth:`arrays` was called, for the same plan.

        Raises:
            AuditFolderError: it is of another size.
        """
        if not {"named", "at", "seconds"} <= set(arrays) or (
            arrays["named"].shape != self.named.shape or arrays["named"].dtype != self.named.dtype
        ):
            raise AuditFolderError(
                "The unfinished interpolation is of other samples or other settings. Start again."
            )
        return InterpolationState(
            arrays["named"].copy(), int(arrays["at"]), float(arrays["seconds"])
        )


@dataclass(frozen=True, slots=True, eq=False)
class MixedAnswers:
    """What was found of S samples; counts are of partners, 0 of 0 where there was none."""

    measured: np.ndarray  # bool (S,): False where a sample was not looked at, or not read
    correct: np.ndarray  # bool (S,): with nothing mixed
    same: np.ndarray  # uint8 (S, 5): partners with the same label for which y_i was named, by λ
    same_asked: np.ndarray  # uint8 (S, 5)
    other: np.ndarray  # uint8 (S, 5): the same with a partner of another label
    third: np.ndarray  # uint8 (S, 5): neither y_i nor y_j was named
    other_asked: np.ndarray  # uint8 (S, 5)
    weight: np.ndarray  # float64 (S,): samples of its class that a sample stands for

    @property
    def hold(self) -> np.ndarray:
        """float64 (S,): share of partners for which y_i is named at λ = ½; NaN without any."""
        return _share(self.same[:, -1], self.same_asked[:, -1])


@dataclass(frozen=True, slots=True, eq=False)
class ResponseCurves:
    """Of a network, by λ; NaN where no sample has such a partner, or none is named its label."""

    accuracy: float  # A(1), nothing mixed
    same: np.ndarray  # float64 (5,): A_same(λ) / A(1)
    other: np.ndarray  # float64 (5,): A_other(λ) / A(1)
    third: np.ndarray  # float64 (5,): third(λ) / A(1)
    hold_mean: float  # A_same(½)


def plan_mixing(
    images: SampleImages,
    *,
    samples: PartSize = None,
    partners: int = PARTNERS,
    seed: int = 0,
) -> MixingPlan:
    """Choose the samples to look at and their partners.

    Partners are chosen from all samples that were read, so the values of a sample do not depend
    on the part. Samples of equal bytes and label are one content; equal bytes never are partners,
    nor are samples of one group.

    Args:
        images: the samples.
        samples: how many of them; by default all, and from 20,000 on a class-balanced part small
            enough for the evaluations to be no more than one pass over the data.
        partners: R, an even number.
        seed: of rings and part.
    """
    if partners < 2 or partners % 2:
        raise ValueError(f"partners must be even and above 0, got {partners}")
    labels, digests, read = images.labels, images.digests, images.read
    columns = 1 + (_CURVE - 1) + partners // 2 + _CURVE
    total = int(read.sum())
    if samples is None:
        # Without a neighbor of the part on its ring, a content takes all R halves itself.
        samples = total if total < _MANY else total // (columns + partners // 2)
    count = total if samples == "all" else samples
    part = balanced_part(labels, digests, read, count, seed) if count else np.zeros_like(read)

    order = np.flatnonzero(read)
    keys = seeded_keys(digests, seed)
    ranks = content_ranks(digests, labels)
    order = order[np.lexsort((ranks[order], keys[order], labels[order]))]
    if images.groups is not None:
        order = order[_spread(images.things()[order], digests[order], labels[order])]
    number = content_numbers(digests[order], labels[order])
    first = np.diff(number, prepend=-1) != 0
    place, content = order[first], np.cumsum(first) - 1
    chosen = np.zeros(len(place), bool)
    chosen[content[part[order]]] = True
    content_of = np.full(len(labels), -1, np.int64)
    content_of[order] = content
    content_of[~part] = -1
    label, thing = labels[place], images.things()[place]
    return MixingPlan(
        content_of=content_of,
        place=place,
        label=label,
        partner=_partners(
            label, thing, chosen, _others(digests[place], label, thing, seed), partners
        ),
        weight=np.array(
            [1.0, *MIXING_WEIGHTS[:-1], *[MIXING_WEIGHTS[-1]] * (partners // 2), *MIXING_WEIGHTS]
        ),
        sample_weight=class_weights(labels, read, part),
    )


def _spread(thing: np.ndarray, digests: np.ndarray, label: np.ndarray) -> np.ndarray:
    """An order of samples, sorted by label, in which those of one thing do not lie together.

    First comes one content of each thing, in the order given, then a second one of each that has
    one, and so on.

    Args:
        thing: int64 (S,).
        digests: uint8 (S, 32).
        label: int64 (S,), ascending.
    """
    content = content_numbers(digests, label)
    _, first = np.unique(content, return_index=True)  # in the order given: of its kind
    contents = np.sort(first)
    by_thing = contents[np.lexsort((contents, thing[contents], label[contents]))]
    new = np.diff(label[by_thing], prepend=-1) != 0
    new |= np.diff(thing[by_thing], prepend=-1) != 0
    here = np.arange(len(by_thing))
    within = np.empty(len(first), np.int64)  # of its thing, by content
    within[content[by_thing]] = here - np.maximum.accumulate(np.where(new, here, 0))
    return np.lexsort((np.arange(len(label)), within[content], label))


def _partners(
    label: np.ndarray, thing: np.ndarray, chosen: np.ndarray, other: np.ndarray, partners: int
) -> np.ndarray:
    """What each content (sorted by label) is mixed with, int32 (I, C), see MixingPlan."""
    here = np.arange(len(label))
    _, starts, sizes = np.unique(label, return_index=True, return_counts=True)
    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    following = np.full(len(label), -1)
    halves = []
    for shift in range(1, partners // 2 + 1):
        for sign in (1, -1):  # the nearest one of another thing
            to = start + (here - start + sign * shift) % size
            following = np.where((following < 0) & (thing[to] != thing), to, following)
        to = start + (here - start + shift) % size
        # Across a ring of 2·shift the second half would meet the first once more.
        once = (2 * shift < size) | ((2 * shift == size) & (here - start < shift))
        halves.append(np.where(once & (thing[to] != thing) & (chosen | chosen[to]), to, -1))
    columns = [here, *[following] * (_CURVE - 1), *[other] * _CURVE]
    columns = [np.where(chosen, column, -1) for column in columns]
    columns[_CURVE:_CURVE] = halves
    return np.stack(columns, axis=1).astype(np.int32)


def _others(digests: np.ndarray, label: np.ndarray, thing: np.ndarray, seed: int) -> np.ndarray:
    """For each content the next on a ring of all that has another label and shows another thing.

    int64 (I,); −1 where there is none.
    """
    count = len(label)
    order = np.lexsort((content_ranks(digests, label), seeded_keys(digests, seed, _OTHERS)))
    thing, label = thing[order], label[order]
    twice = np.concatenate([label, label])
    ends = np.append(np.flatnonzero(twice[1:] != twice[:-1]) + 1, 2 * count)
    if len(ends) == 1:
        return np.full(count, -1, np.int64)
    # Where the run of equal labels that a position lies in ends.
    run_end = np.repeat(ends, np.diff(ends, prepend=0))
    found = np.full(count, -1, np.int64)
    here = np.arange(count)
    position = run_end[here]
    open_ = here
    while len(open_):
        # A whole round without success: there is nothing but copies of it.
        within = position - open_ < count
        open_, position = open_[within], position[within]
        fits = thing[position % count] != thing[open_]
        found[open_[fits]] = position[fits] % count
        open_, position = open_[~fits], position[~fits] + 1
        own = label[open_] == label[position % count]
        position = np.where(own, position - position % count + run_end[position % count], position)
    result = np.full(count, -1, np.int64)
    result[order] = np.where(found >= 0, order[found], -1)
    return result


def mix(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """λ·first + (1 − λ)·second, of the images' own type.

    In float32, or float64 where the type has more digits than float32 holds; rounded to the
    nearest and into range where the network takes whole numbers.

    Args:
        first, second: images (B, …).
        weight: float64 (B,), λ.
    """
    dtype = first.dtype
    working = np.result_type(dtype, np.float32)
    shape = (-1, *[1] * (first.ndim - 1))
    mixed = weight.astype(working).reshape(shape) * first.astype(working)
    mixed += (1 - weight).astype(working).reshape(shape) * second.astype(working)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        mixed = np.rint(mixed).clip(limits.min, limits.max)
    return mixed.astype(dtype)


def measure_interpolation(
    plan: MixingPlan,
    images: SampleImages,
    state: InterpolationState,
    predict: Callable[[np.ndarray], np.ndarray],
    *,
    batch: int,
    memory: int = 1 << 30,
    save: Callable[[InterpolationState], None] = lambda state: None,
    progress: Progress = lambda stage, done, total: None,
) -> None:
    """Run what is left of the plan, changing ``state`` in place.

    Args:
        predict: the classes, int (B,), of up to ``batch`` images (B, …).
        batch: images in one run of the network.
        memory: bytes for the images that are read ahead, where they are not held already.
        save: called with the state now and then, and at the end; a later call can resume from it.
        progress: called with the stage "interpolation", in images run.
    """
    rows = plan.rows
    columns = plan.partner.shape[1]
    partner, named = plan.partner.ravel(), state.named.reshape(-1)
    checkpoint = Checkpoint(save)
    while state.at < len(rows):
        stop = _block(plan, rows, state.at, images, memory)
        needed = np.unique(
            np.concatenate([rows[state.at : stop] // columns, partner[rows[state.at : stop]]])
        )
        block = None if images.held is not None else images.take(plan.place[needed])
        while state.at < stop:
            began = time.perf_counter()
            part = rows[state.at : min(state.at + batch, stop)]
            pair = part // columns, partner[part]
            if block is None:
                first, second = (images.take(plan.place[one]) for one in pair)
            else:
                first, second = (block[np.searchsorted(needed, one)] for one in pair)
            named[part] = predict(mix(first, second, plan.weight[part % columns]))
            state.at += len(part)
            state.seconds += time.perf_counter() - began
            progress("interpolation", state.at, len(rows))
            checkpoint(state)
    save(state)


def _block(plan: MixingPlan, rows: np.ndarray, at: int, images: SampleImages, memory: int) -> int:
    """The row before which all from ``at`` on need no more images than fit into memory."""
    if images.held is not None:
        return len(rows)
    columns = plan.partner.shape[1]
    image = images.take(plan.place[rows[at : at + 1] // columns])
    most = max(memory // max(image.nbytes, 1), 2)
    ahead = rows[at : at + most * columns]
    needed = np.stack([ahead // columns, plan.partner.ravel()[ahead]], axis=1)
    _, first = np.unique(needed.ravel(), return_index=True)
    return at + (len(ahead) if len(first) <= most else int(np.sort(first)[most]) // 2)


def read_interpolation(plan: MixingPlan, state: InterpolationState) -> MixedAnswers:
    """What the answers say of each sample, of a plan that has been run to its end."""
    if state.at < len(plan.rows):
        raise ValueError("the interpolation has not been run to its end")
    named, partner, label = state.named, plan.partner, plan.label
    own = named == label[:, None]
    asked = partner >= 0
    neither = asked & ~own & (named != label[partner])
    contents = len(label)
    same, same_asked = own[:, 1:_CURVE], asked[:, 1:_CURVE]
    held, met = np.zeros(contents, np.int64), np.zeros(contents, np.int64)
    for column in range(plan.halves.start, plan.halves.stop):
        here = np.flatnonzero(asked[:, column])
        answers = own[here, column]
        for end in (here, partner[here, column]):  # the label is that of both
            held += np.bincount(end, weights=answers, minlength=contents).astype(np.int64)
            met += np.bincount(end, minlength=contents)
    same = np.column_stack([same & same_asked, held])
    same_asked = np.column_stack([same_asked, met])
    others = slice(plan.halves.stop, None)

    measured = plan.content_of >= 0
    where = np.where(measured, plan.content_of, 0)

    def of_samples(values: np.ndarray) -> np.ndarray:
        spread = values.astype(np.uint8)[where]
        spread[~measured] = 0
        return spread

    return MixedAnswers(
        measured=measured,
        correct=own[where, 0] & measured,
        same=of_samples(same),
        same_asked=of_samples(same_asked),
        other=of_samples(own[:, others] & asked[:, others]),
        third=of_samples(neither[:, others]),
        other_asked=of_samples(asked[:, others]),
        weight=plan.sample_weight,
    )


def response_curves(found: MixedAnswers) -> ResponseCurves:
    """A_same, A_other and third of the network, each divided by A(1).

    Means over the samples that have such a partner; a sample of a class-balanced part counts for
    as many as it stands for. A(1) is that of the same samples.
    """
    weight = found.weight

    def relative(counts: np.ndarray, asked: np.ndarray) -> np.ndarray:
        values = []
        for count, of in zip(counts.T, asked.T, strict=True):
            accuracy = _mean(found.correct, weight * (of > 0))
            values.append(_mean(_share(count, of), weight) / accuracy if accuracy else np.nan)
        return np.array(values)

    return ResponseCurves(
        accuracy=_mean(found.correct, weight),
        same=relative(found.same, found.same_asked),
        other=relative(found.other, found.other_asked),
        third=relative(found.third, found.other_asked),
        hold_mean=_mean(found.hold, weight),
    )


def interpolation_features(curves: ResponseCurves) -> dict[str, float]:
    """The features of :data:`INTERPOLATION_FEATURES` by name."""
    values = (
        curves.same[MIXING_WEIGHTS.index(0.5)],
        curves.other[MIXING_WEIGHTS.index(0.8)],
        curves.third[MIXING_WEIGHTS.index(0.5)],
        curves.hold_mean,
    )
    return dict(zip(INTERPOLATION_FEATURES, map(float, values), strict=True))


def _share(counts: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """counts / asked, float64; NaN where nothing was asked."""
    return np.where(asked > 0, counts / np.maximum(asked, 1), np.nan)


def _mean(values: np.ndarray, weight: np.ndarray) -> float:
    """The weighted mean of the values that are numbers; NaN where there is none.

    Summed in ascending order, so that it does not depend on the order of the samples.
    """
    values = np.asarray(values, np.float64)
    counts = (weight > 0) & ~np.isnan(values)
    total = np.sort(weight[counts]).sum()
    return float(np.sort((values * weight)[counts]).sum() / total) if total else np.nan
