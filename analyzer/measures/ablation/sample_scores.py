"""What the ablation says of each sample: how often it is right, and what the scores say of it.

A score per sample is a field of :class:`SampleScores`. It is computed from what is kept of the
network's scores, written to ``samples.npz``, read and checked here.

A network's scores may be logits or, after a softmax, probabilities already; which of the two only
all samples together show. So what either reading needs is kept first, and read at the end.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyzer.audit_record import ClassRecord
from analyzer.errors import ModelError, parameter
from analyzer.files import array_of, check_names, check_places, read_arrays
from analyzer.measures.measure import Check, check
from analyzer.output_files import write_arrays

__all__ = [
    "SAMPLES",
    "BaselineScores",
    "SampleCounts",
    "SampleScores",
    "check_logits",
    "class_accuracies",
    "keep_scores",
    "read_samples",
    "sample_scores",
    "score_checks",
    "write_samples",
]

SAMPLES = "samples.npz"
_COUNTS = {"label": np.int64, "correct": np.bool_, "descending": np.int32, "ascending": np.int32}
_SCORES = {"log_probability": np.float32, "margin": np.float32, "other": np.int32}
_KINDS: Mapping[str, type] = {**_COUNTS, **_SCORES, "index": np.int64}
"""What the arrays of ``samples.npz`` are of, by the fields that they hold; each has S entries."""

_NEAR = 1e-4  # of the largest margin
_SUM = 0.01  # by which the scores of a softmax may miss 1, for float16's sake
_LEAST = np.finfo(np.float32).tiny  # of probabilities, where a softmax has run out of numbers
_MANY = 20  # scores that are not between 0 and 1 by chance
_FAR = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class SampleScores:
    """Per sample, what the network's scores say with nothing removed."""

    log_probability: np.ndarray  # float32 (S,): of the label, at most 0
    margin: np.ndarray  # float32 (S,): the label's score less the best other one
    other: np.ndarray  # int32 (S,): the class with that other score


@dataclass(frozen=True, slots=True)
class SampleCounts:
    """Per sample, at how many of the M + 1 values of n it is classified as its label."""

    label: np.ndarray  # int64 (S,)
    correct: np.ndarray  # bool (S,): with nothing removed
    descending: np.ndarray  # int32 (S,)
    ascending: np.ndarray  # int32 (S,)
    index: np.ndarray  # int64 (S,): place in the data
    scores: SampleScores

    @property
    def predicted(self) -> np.ndarray:
        """int64 (S,): the class named with nothing removed."""
        return np.where(self.correct, self.label, self.scores.other)

    def denied_by(self, margins: np.ndarray) -> np.ndarray:
        """The places where a margin denies what is correct by more than rounding, int64 (C,).

        Args:
            margins: (S,), or (S, L) of several layers; of a sample classified as its label above 0.
        """
        columns = margins.reshape(len(margins), -1)
        clear = np.abs(columns) > _NEAR * np.abs(columns).max(axis=0, initial=0)
        return np.flatnonzero((clear & ((columns > 0) != self.correct[:, None])).any(axis=1))


@dataclass(frozen=True, slots=True)
class BaselineScores:
    """What is kept of the scores (C, K) of C samples with nothing removed."""

    own: np.ndarray  # float32 (C,): of the label
    best: np.ndarray  # float32 (C,): the highest other one
    other: np.ndarray  # int32 (C,): its class
    log_softmax: np.ndarray  # float32 (C,): of the label's score among all
    adds_up: np.ndarray  # bool (C,): the scores are not negative and add up to 1


def keep_scores(
    scores: np.ndarray, labels: np.ndarray, precision: str = "float32"
) -> BaselineScores:
    """What is kept of the scores of samples; infinity counts as the largest number there is.

    Args:
        scores: float (C, K).
        labels: int64 (C,).
        precision: that the network ran in, one of :data:`analyzer.runtime.PRECISIONS`.

    Raises:
        ModelError: a score is not a number, so that the network names no class.
    """
    if np.isnan(scores).any():
        wider = f", or use {parameter('precision', 'float32')}" if precision == "fp16" else ""
        raise ModelError(
            f"The score of class {np.argwhere(np.isnan(scores))[0, 1]} is not a number for an "
            "image of which nothing was removed. The network has weights that are no numbers, or "
            f"overflows on these images: check its training, and the preprocessing{wider}."
        )
    scores = np.nan_to_num(scores.astype(np.float64), neginf=-_FAR, posinf=_FAR)
    everyone = np.arange(len(scores))
    own, others = scores[everyone, labels], scores.copy()
    others[everyone, labels] = -np.inf
    best = others.max(axis=1)
    top = np.maximum(own, best)
    log_softmax = own - top - np.log(np.exp(scores - top[:, None]).sum(axis=1))
    return BaselineScores(
        own=own.astype(np.float32),
        best=best.astype(np.float32),
        other=others.argmax(axis=1).astype(np.int32),
        log_softmax=log_softmax.clip(-_FAR, 0).astype(np.float32),
        adds_up=(scores >= 0).all(axis=1) & (np.abs(scores.sum(axis=1) - 1) < _SUM),
    )


def sample_scores(kept: BaselineScores, labels: np.ndarray, kind: str) -> SampleScores:
    """Log-probability and margin of the labels of all samples; all numbers are finite.

    The log-probability is the log softmax of the label's score, or the logarithm of that score
    where the scores of every sample are not negative and add up to 1.

    Args:
        kept: of all S samples.
        labels: int64 (S,).
        kind: how the network tells the class, see :class:`analyzer.common_types.Answer`.

    Raises:
        ModelError: as :func:`check_logits`.
    """
    if kind == "logit":
        check_logits(np.where(labels == 1, kept.own, kept.best))
    log_probability = kept.log_softmax
    if kind == "probability":  # of class 1, held against ½
        log_probability = _log(np.where(labels == 1, kept.own, 1 - kept.best))
    elif kind != "logit" and kept.adds_up.all():
        log_probability = _log(kept.own)
    margin = (kept.own.astype(np.float64) - kept.best).clip(-_FAR, _FAR)
    return SampleScores(log_probability, margin.astype(np.float32), kept.other)


def check_logits(scores: np.ndarray) -> None:
    """Refuse single scores that are taken for logits, but look like probabilities.

    Args:
        scores: float (S,), one a sample. Few can lie between 0 and 1 by chance.

    Raises:
        ModelError: all lie between 0 and 1, so that every image would be of class 1.
    """
    if len(scores) >= _MANY and scores.min() >= 0 and scores.max() <= 1:
        raise ModelError(
            "The network has a single score that no sigmoid ends, so class 1 would be where it is "
            f"above 0. But on {len(scores):,} samples it is {scores.min():.3g} to "
            f"{scores.max():.3g}, as probabilities are. Export the network with a sigmoid as its "
            "last operator, or with what the sigmoid is given."
        )


def _log(probability: np.ndarray) -> np.ndarray:
    return np.log(probability.clip(_LEAST, 1)).astype(np.float32)


def write_samples(folder: str | Path, samples: SampleCounts, channels: int) -> None:
    """Write ``samples.npz``, with the score (ascending − descending) / (M + 1) of each sample."""
    difference = samples.ascending.astype(np.float64) - samples.descending
    write_arrays(
        Path(folder) / SAMPLES,
        {
            **{name: getattr(samples, name).astype(kind) for name, kind in _COUNTS.items()},
            "score": (difference / (channels + 1)).astype(np.float32),
            "index": samples.index.astype(np.int64),
            **{name: getattr(samples.scores, name).astype(kind) for name, kind in _SCORES.items()},
        },
    )


def read_samples(folder: str | Path) -> SampleCounts:
    """The counts and scores of the samples in an audit folder, in the order of the data.

    Raises:
        AuditFolderError: ``samples.npz`` is missing, damaged or contradicts itself.
    """
    path = Path(folder) / SAMPLES
    arrays = read_arrays(path)
    check_names(path, tuple(_KINDS), tuple(arrays))
    count = array_of(path, arrays, "label", np.int64, (None,)).shape
    found = {name: array_of(path, arrays, name, kind, count) for name, kind in _KINDS.items()}
    whole = dict.fromkeys(("label", "other", "descending", "ascending", "index"), (0, math.inf))
    check_places(path, found, whole, ascending=("index",))
    scores = SampleScores(**{name: found.pop(name) for name in _SCORES})
    return SampleCounts(scores=scores, **found)


def class_accuracies(
    samples: SampleCounts, class_name: Callable[[int], str]
) -> tuple[ClassRecord, ...]:
    """The records of the classes where nothing was removed, by index."""
    return tuple(
        ClassRecord(
            index=int(index),
            name=class_name(int(index)),
            samples=int((samples.label == index).sum()),
            accuracy=float(samples.correct[samples.label == index].mean()),
            n0=None,
            n0_r=None,
            zeta=None,
            kappa=None,
            chance_reached=False,
        )
        for index in np.unique(samples.label)
    )


def score_checks(folder: Path, samples: SampleCounts, channels: int) -> Iterator[Check]:
    """Whether the scores in ``samples.npz`` can be, and go with the counts beside them.

    Args:
        folder: of the audit.
        samples: read from there.
        channels: M of the site; 0 without one.

    Raises:
        AuditFolderError: the file is damaged.
    """
    arrays = read_arrays(folder / SAMPLES, ("score",))
    score = array_of(folder / SAMPLES, arrays, "score", np.float32, samples.label.shape)
    yield _score(samples, score, channels)
    yield from _scores(samples)


def _score(samples: SampleCounts, score: np.ndarray, channels: int) -> Check:
    wanted = (samples.ascending.astype(np.float64) - samples.descending) / (channels + 1)
    agrees = np.allclose(score, wanted, rtol=0, atol=1e-6)
    return check(
        "score",
        [] if agrees else [f"'score' in {SAMPLES} is not (ascending − descending) / (M + 1)."],
        "The scores follow from the sample counts.",
    )


def _scores(samples: SampleCounts) -> Iterator[Check]:
    scores = samples.scores
    wrong = []
    for name, bad in (
        ("log_probability", ~(scores.log_probability <= 0)),
        ("margin", ~np.isfinite(scores.margin)),
        ("other", scores.other == samples.label),
    ):
        if bad.any():
            wrong.append(f"'{name}' of sample {np.argmax(bad)} in {SAMPLES} cannot be.")
    wrong += [
        f"'margin' of sample {place} in {SAMPLES} denies 'correct'."
        for place in samples.denied_by(scores.margin)[:1]
    ]
    yield check("scores", wrong, "Log-probabilities and margins go with what is correct.")
