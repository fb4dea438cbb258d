"""How much of the difference of two audits sampling noise explains, by a paired bootstrap.

Sampling noise is how far differences could owe to which samples the audits were made with. Both are
of the same samples. The samples of each class are drawn again, with replacement and as many as
there are, and each drawn sample counts in both. What varies is the difference that other training
samples of the same classes would have shown between the same two networks; what training the
networks again would change is not in it.

The counts of a sample add up to the accuracy, to the areas under the two curves and to the area
between them. That is κ unless the curves cross, and where they hardly do, κ varies as it does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from analyzer.audit_record import AuditRecord, quantity
from analyzer.common_types import Progress
from analyzer.errors import DataError, parameter
from analyzer.measures.ablation.sample_scores import SampleCounts

__all__ = [
    "CONFIDENCE",
    "NOISY",
    "ClassNoise",
    "Noise",
    "SamplingNoise",
    "draw_class_means",
    "measure_sampling_noise",
]

CONFIDENCE = 0.95
NOISY = ("accuracy", "kappa", "area_descending", "area_ascending")
"""Quantities whose sampling noise the counts of the samples tell."""

_FEWEST = 10  # samples of a class that is judged: fewer say too little of how they vary
_FEWEST_RESAMPLES = 100
_MOST_RESAMPLES = 100_000  # the quantities of every class are kept of each
_CROSSED = 0.05  # share of κ up to which the area between the curves stands for it
_CELLS = 1 << 22  # of a matrix of weights


@dataclass(frozen=True, slots=True)
class Noise:
    """A difference, after − before, and how other samples could have moved it."""

    difference: float
    standard_error: float
    low: float  # of the interval of CONFIDENCE
    high: float

    @property
    def beyond(self) -> bool:
        """Whether the difference is more than sampling noise: 0 lies outside the interval."""
        return not self.low <= 0 <= self.high

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "beyond": self.beyond}


@dataclass(frozen=True, slots=True)
class ClassNoise:
    """The same of one class, among all classes that are judged together."""

    difference: float
    standard_error: float
    beyond: bool  # with CONFIDENCE that none of the classes is called so by chance


@dataclass(frozen=True, slots=True)
class SamplingNoise:
    """What a bootstrap over the samples of both audits says of the differences."""

    resamples: int
    seed: int
    quantities: Mapping[str, Noise]  # by name, those of NOISY that can be judged
    classes: Mapping[int, Mapping[str, ClassNoise]]  # likewise, by the index of the class
    unjudged: tuple[str, ...]  # what cannot be judged, and why, in sentences
    paired: bool = True  # False: of different samples, so that none were drawn

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "resamples": self.resamples,
            "seed": self.seed,
            "confidence": CONFIDENCE,
            "quantities": {name: found.to_dict() for name, found in self.quantities.items()},
            "unjudged": list(self.unjudged),
        }


def measure_sampling_noise(
    before: tuple[AuditRecord, SampleCounts],
    after: tuple[AuditRecord, SampleCounts],
    *,
    resamples: int,
    seed: int,
    progress: Progress = lambda stage, done, total: None,
) -> SamplingNoise:
    """Hold the differences of two audits against sampling noise, where their samples are the same.

    Args:
        before: record and samples of an audit.
        after: of the other.
        resamples: drawings of the samples.
        seed: of these.
        progress: called with "drawing samples", classes done and in all.

    Raises:
        DataError: ``resamples`` is too low or too high.
    """
    if resamples < _FEWEST_RESAMPLES:
        raise DataError(
            f"{parameter('resamples', resamples)} are too few for an interval; "
            f"give {_FEWEST_RESAMPLES} or more."
        )
    if resamples > _MOST_RESAMPLES:
        raise DataError(
            f"{parameter('resamples', resamples)} are too many to be kept in memory; "
            f"give {_MOST_RESAMPLES:,} at most."
        )
    unpaired = _unpaired(*before, *after)
    if unpaired:
        return SamplingNoise(resamples, seed, {}, {}, (unpaired,), paired=False)
    pair = _Paired(*before, *after)
    network, classes = pair.judge(resamples, seed, progress)
    return SamplingNoise(resamples, seed, network, classes, tuple(pair.unjudged(network, classes)))


def draw_class_means(
    values: Sequence[np.ndarray],
    *,
    resamples: int,
    seed: int,
    progress: Progress = lambda stage, done, total: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Means of each class, and of ``resamples`` drawings of its samples.

    Args:
        values: per class a float64 ndarray of shape (its samples, Q): Q quantities of each sample.
        resamples: B.
        seed: of the drawings; they depend on the number of samples of each class, and on nothing
            else.
        progress: as of :func:`measure_sampling_noise`.

    Returns:
        float64 ndarrays of shape (K, Q) and (B, K, Q).
    """
    chance = np.random.default_rng(seed)
    drawn = np.empty((resamples, len(values), values[0].shape[1]))
    for place, own in enumerate(values):
        count = len(own)
        step = max(1, _CELLS // count)
        for start in range(0, resamples, step):
            rows = min(step, resamples - start)
            picked = chance.integers(count, size=(rows, count), dtype=np.int32)
            cells = picked + count * np.arange(rows)[:, np.newaxis]
            times = np.bincount(cells.ravel(), minlength=rows * count).reshape(rows, count)
            drawn[start : start + rows, place] = times @ own / count
        progress("drawing samples", place + 1, len(values))
    return np.stack([own.mean(axis=0) for own in values]), drawn


def _unpaired(a: AuditRecord, before: SampleCounts, b: AuditRecord, after: SampleCounts) -> str:
    """Why the samples cannot be held against each other one by one; "" where they can."""
    why = ""
    if a.data.sha256 != b.data.sha256:
        why = "the data are not the same"
    elif not np.array_equal(before.index, after.index):
        why = "other samples of the same data were audited"
    elif not np.array_equal(before.label, after.label):
        why = "the labels are not the same"
    if not why:
        return ""
    return f"No difference is held against sampling noise, which is not known: {why}."


class _Paired:
    """Two audits of the same samples."""

    def __init__(
        self, a: AuditRecord, before: SampleCounts, b: AuditRecord, after: SampleCounts
    ) -> None:
        self._records = a, b
        classes = [entry.index for entry in a.classes]
        order = np.argsort(before.label, kind="stable")
        starts = np.searchsorted(before.label[order], classes)
        ends = np.searchsorted(before.label[order], classes, side="right")
        self._counts = ends - starts
        values = _values(after, b.channels) - _values(before, a.channels)
        self._values = [values[order[i:j]] for i, j in zip(starts, ends, strict=True)]
        # Where the curves of a class cross, κ is more than what its samples' counts add up to.
        areas = [
            _class_means(_values(counts, record.channels)[:, 1], order, starts, ends)
            for counts, record in ((before, a), (after, b))
        ]
        self._kappas = [
            np.array([entry.kappa for entry in record.classes]) for record in self._records
        ]
        self._crossed = [kappa - area for kappa, area in zip(self._kappas, areas, strict=True)]

    def judge(
        self, resamples: int, seed: int, progress: Progress
    ) -> tuple[dict[str, Noise], dict[int, dict[str, ClassNoise]]]:
        """The noise of each quantity, of the network and of each class."""
        a, b = self._records
        means, drawn = draw_class_means(
            self._values, resamples=resamples, seed=seed, progress=progress
        )
        equal = np.full(len(self._counts), 1 / len(self._counts))
        network: dict[str, Noise] = {}
        classes: dict[int, dict[str, ClassNoise]] = {entry.index: {} for entry in a.classes}
        for place, name in enumerate(NOISY):
            weights, judged = equal, np.ones(len(equal), bool)
            said = float(means[:, place] @ equal), means[:, place]
            if name == "accuracy":
                weights = self._counts / self._counts.sum()
                said = b.accuracy - a.accuracy, means[:, place]
            elif a.rank != b.rank:
                continue
            elif name == "kappa":
                said = quantity(b.kappa) - quantity(a.kappa), self._kappas[1] - self._kappas[0]
                judged = ~self._crossing()
            whole, each = _noise_of(
                weights, self._counts, said, means[:, place], drawn[:, :, place], judged
            )
            if name != "kappa" or not self._network_crosses():
                network[name] = whole
            for entry, found in zip(a.classes, each, strict=True):
                if found is not None:
                    classes[entry.index][name] = found
        return network, classes

    def unjudged(
        self, network: Mapping[str, Noise], classes: Mapping[int, Mapping[str, ClassNoise]]
    ) -> Iterator[str]:
        """What cannot be held against sampling noise, and why."""
        a, b = self._records
        yield "The sampling noise of ζ is not known: the counts of the samples do not tell it."
        if a.rank != b.rank:
            return
        if "kappa" not in network:
            yield (
                "The sampling noise of κ is not known: the two curves of too many classes cross."
            )
        few = sum("accuracy" not in found for found in classes.values())
        if few:
            yield f"Classes with too few samples to be judged: {few}."
        crossed = sum("accuracy" in found and "kappa" not in found for found in classes.values())
        if crossed:
            yield f"Classes whose κ is not judged, because their two curves cross: {crossed}."

    def _crossing(self) -> np.ndarray:
        """bool (K,): classes whose curves cross by too much in one of the audits."""
        pairs = zip(self._kappas, self._crossed, strict=True)
        return np.any([crossed > _CROSSED * kappa for kappa, crossed in pairs], axis=0)

    def _network_crosses(self) -> bool:
        pairs = zip(self._kappas, self._crossed, strict=True)
        return any(crossed.mean() > _CROSSED * kappa.mean() for kappa, crossed in pairs)


def _values(samples: SampleCounts, channels: int) -> np.ndarray:
    """What each sample adds to the quantities of NOISY: float64 (S, 4)."""
    descending, ascending = samples.descending, samples.ascending
    return np.stack(
        [
            samples.correct,
            np.subtract(ascending, descending, dtype=np.float64) / channels,
            descending / (channels + 1),
            ascending / (channels + 1),
        ],
        axis=1,
    )


def _class_means(
    values: np.ndarray, order: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> np.ndarray:
    """Means of the classes, float64 (K,), whose samples stand at ``starts`` to ``ends``."""
    return np.array([values[order[i:j]].mean() for i, j in zip(starts, ends, strict=True)])


def _noise_of(
    weights: np.ndarray,
    counts: np.ndarray,
    said: tuple[float, np.ndarray],
    means: np.ndarray,
    drawn: np.ndarray,
    judged: np.ndarray,
) -> tuple[Noise, list[ClassNoise | None]]:
    """The noise of one quantity, of the network and of each of its K classes.

    Args:
        weights: float64 (K,), of the classes in the network's number; they add up to 1.
        counts: int (K,), samples.
        said: the differences to judge: the network's, and float64 (K,) of the classes. The drawings
            say how much they vary, not what they are.
        means: float64 (K,), of all samples.
        drawn: float64 (B, K), of the drawings.
        judged: bool (K,), classes to be judged; those of fewer than _FEWEST samples are not.

    Returns:
        Of the network, and of each class; None for a class that is not judged.
    """
    from scipy import special  # only a comparison pays for it

    network, classes = said
    # Means of n drawings vary by (n − 1) / n of what means of n samples do.
    deviations = (drawn - means) * np.sqrt(counts / np.maximum(counts - 1, 1))
    moved = deviations @ weights
    tail = (1 - CONFIDENCE) / 2
    low, high = network + np.quantile(moved, (tail, 1 - tail))
    whole = Noise(network, float(moved.std(ddof=1)), float(low), float(high))

    errors = deviations.std(axis=0, ddof=1)
    judged = judged & (counts >= _FEWEST)
    varies = judged & (errors > 0)
    limits = np.zeros(len(counts))
    if varies.any():
        farthest = np.abs(deviations[:, varies] / errors[varies]).max(axis=1)
        limit = float(np.quantile(farthest, CONFIDENCE))
        # In standard errors that are known; theirs are from n samples, as in Student's t.
        limits[judged] = -special.stdtrit(counts[judged] - 1, special.ndtr(-limit))
    found = [
        ClassNoise(float(difference), float(error), bool(abs(difference) > limit * error))
        if own
        else None
        for difference, error, limit, own in zip(classes, errors, limits, judged, strict=True)
    ]
    return whole, found
