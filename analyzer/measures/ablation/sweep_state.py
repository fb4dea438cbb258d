"""The state of a sweep: the counts so far, and the scores with nothing removed.

It is all that a resumed run needs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.errors import AuditFolderError, parameter
from analyzer.measures.ablation.class_curves import ClassCurves
from analyzer.measures.ablation.ranking_and_evaluations import Evaluations
from analyzer.measures.ablation.sample_scores import BaselineScores, SampleCounts, sample_scores
from analyzer.runtime.predictions import UNNAMED

if TYPE_CHECKING:
    from analyzer.measures.ablation.tolerance import Estimate

__all__ = ["SweepState"]

ORDERS = 2  # 0 descending, 1 ascending
_DIGEST = 32  # bytes of a sha256
_OF_SCORES = tuple(item.name for item in fields(BaselineScores))


@dataclass(slots=True)
class SweepState:
    """Running counts of S samples in K classes at a site of M channels.

    A sample is addressed by its place in the sequence that is processed, which is sorted by class.
    """

    order: np.ndarray  # int64 (K, M): channels by descending activity, -1 if not yet known
    curves: np.ndarray  # int64 (2, K, M + 1): correct counts, descending and ascending
    samples: np.ndarray  # int64 (K,): samples that were read
    hits: np.ndarray  # int32 (2, S): at how many n a sample is classified as its label
    correct: np.ndarray  # bool (S,): with nothing removed
    own: np.ndarray  # float32 (S,): this and the next four as in BaselineScores
    best: np.ndarray  # float32 (S,)
    other: np.ndarray  # int32 (S,)
    log_softmax: np.ndarray  # float32 (S,)
    adds_up: np.ndarray  # bool (S,)
    read: np.ndarray  # bool (S,): False where the sample was skipped as unreadable
    digests: np.ndarray  # uint8 (S, 32): sha256 of what was read
    unnamed: np.ndarray  # int64 (K,): fewest units removed with a score that is no number; −1: none
    skipped: np.ndarray  # str: a sentence for each sample that was skipped
    ordered: int = 0  # samples before this place have their unit order
    swept: int = 0  # samples before this place are counted
    possible: int = 0  # evaluations that the plain way would have run for them
    run: int = 0  # evaluations that were run
    guessed: int = 0  # answers within the tolerance that were not run
    drawn: int = 0  # answers that were drawn to be run, to audit the guesses
    off: float = 0.0  # sum over the classes of how far ζ_j can be off
    cost: float = 0.0  # of the wrong guesses found by audits, in all classes
    prefix_seconds: float = 0.0
    sweep_seconds: float = 0.0

    @classmethod
    def start(cls, samples: int, classes: int, channels: int) -> "SweepState":
        """Nothing counted yet."""
        return cls(
            order=np.full((classes, channels), -1, dtype=np.int64),
            curves=np.zeros((ORDERS, classes, channels + 1), dtype=np.int64),
            samples=np.zeros(classes, dtype=np.int64),
            hits=np.zeros((ORDERS, samples), dtype=np.int32),
            correct=np.zeros(samples, dtype=bool),
            own=np.zeros(samples, dtype=np.float32),
            best=np.zeros(samples, dtype=np.float32),
            other=np.zeros(samples, dtype=np.int32),
            log_softmax=np.zeros(samples, dtype=np.float32),
            adds_up=np.zeros(samples, dtype=bool),
            read=np.ones(samples, dtype=bool),
            digests=np.zeros((samples, _DIGEST), dtype=np.uint8),
            unnamed=np.full(classes, -1, dtype=np.int64),
            skipped=np.empty(0, dtype=np.str_),
        )

    @classmethod
    def joined(cls, parts: Sequence["SweepState"]) -> "SweepState":
        """The counts of stretches of the sequence that follow one another, counted side by side.

        Of the times, those of the part that took longest.
        """
        longest = max(parts, key=lambda part: part.prefix_seconds + part.sweep_seconds)

        def put_together(name: str, axis: int = 0) -> np.ndarray:
            return np.concatenate([getattr(part, name) for part in parts], axis=axis)

        def added(name: str) -> Any:
            return sum(getattr(part, name) for part in parts)

        return cls(
            order=np.maximum.reduce([part.order for part in parts]),
            curves=added("curves"),
            samples=added("samples"),
            hits=put_together("hits", axis=1),
            correct=put_together("correct"),
            own=put_together("own"),
            best=put_together("best"),
            other=put_together("other"),
            log_softmax=put_together("log_softmax"),
            adds_up=put_together("adds_up"),
            read=put_together("read"),
            digests=put_together("digests"),
            unnamed=np.maximum.reduce([part.unnamed for part in parts]),
            skipped=put_together("skipped"),
            ordered=added("ordered"),
            swept=added("swept"),
            possible=added("possible"),
            run=added("run"),
            guessed=added("guessed"),
            drawn=added("drawn"),
            off=added("off"),
            cost=added("cost"),
            prefix_seconds=longest.prefix_seconds,
            sweep_seconds=longest.sweep_seconds,
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything by name, for a checkpoint."""
        return {item.name: np.asarray(getattr(self, item.name)) for item in fields(self)}

    def resumed(self, arrays: Mapping[str, np.ndarray]) -> "SweepState":
        """The state in a checkpoint of the same shapes as this one.

        Raises:
            AuditFolderError: the checkpoint is one of another size.
        """
        for name, own in self.arrays().items():
            if name not in arrays or not _fits(arrays[name], own, of_any_length=name == "skipped"):
                raise AuditFolderError(
                    f"The unfinished audit there does not fit ({name!r}). Use "
                    f"{parameter('fresh', True)} to start again."
                )
        found: dict[str, Any] = {
            name: arrays[name] if own.ndim else own.dtype.type(arrays[name]).item()
            for name, own in self.arrays().items()
        }
        return SweepState(**found)

    def add(
        self,
        places: np.ndarray,
        labels: np.ndarray,
        evaluations: Evaluations,
        predicted: np.ndarray,
    ) -> None:
        """Count what a chunk of samples was classified as.

        Args:
            places: int64 (C,), of the samples in the sequence.
            labels: int64 (C,).
            evaluations: what was run for them.
            predicted: int64 (R,), the class that each gave, or UNNAMED.
        """
        classes, length = len(self.samples), self.curves.shape[2]
        right = predicted[evaluations.source] == labels[evaluations.answered]  # (A,)
        order = evaluations.ascending.astype(np.int64)

        # A stretch first…last of right answers is +1 where it begins and -1 after its end.
        cell = (order * classes + labels[evaluations.answered]) * (length + 1)
        size = ORDERS * classes * (length + 1)
        steps = np.bincount((cell + evaluations.first)[right], minlength=size)
        steps -= np.bincount((cell + evaluations.last + 1)[right], minlength=size)
        self.curves += steps.reshape(ORDERS, classes, length + 1).cumsum(axis=2)[:, :, :length]

        hits = np.bincount(
            order * len(labels) + evaluations.answered,
            weights=np.where(right, evaluations.last - evaluations.first + 1, 0),
            minlength=ORDERS * len(labels),
        )
        self.hits[:, places] = hits.reshape(ORDERS, len(labels))
        nothing_removed = (evaluations.first == 0) & ~evaluations.ascending
        self.correct[places[evaluations.answered[nothing_removed]]] = right[nothing_removed]
        unnamed = (predicted == UNNAMED)[evaluations.source]
        if unnamed.any():
            concerned = labels[evaluations.answered]
            for label in np.unique(concerned[unnamed]):
                self.add_unnamed(int(label), evaluations.first[unnamed & (concerned == label)])
        self.possible += ORDERS * length * len(labels)
        # One that all samples share is run as often as they are read in parts, by the memory.
        self.run += len(evaluations) - evaluations.shared

    def add_unnamed(self, label: int, removed: np.ndarray) -> None:
        """Note that scores of a class's samples are no numbers with so many units removed."""
        if len(removed):
            fewest = int(removed.min())
            known = int(self.unnamed[label])
            self.unnamed[label] = fewest if known < 0 else min(known, fewest)

    def unnamed_sentence(self) -> str:
        """Where scores are not numbers, the class with the fewest units removed; "" if nowhere."""
        classes = np.flatnonzero(self.unnamed >= 0)
        if not len(classes):
            return ""
        first = int(classes[self.unnamed[classes].argmin()])
        units = "unit" if self.unnamed[first] == 1 else "units"
        rest = len(classes) - 1
        others = f", and of {rest} other {'class' if rest == 1 else 'classes'}" if rest else ""
        return (
            f"With {self.unnamed[first]} {units} removed, scores of images of class {first} are "
            f"not numbers{others}."
        )

    def add_scores(self, places: np.ndarray, scores: BaselineScores) -> None:
        """Keep what the scores of samples, places int64 (C,), are with nothing removed."""
        for name in _OF_SCORES:
            getattr(self, name)[places] = getattr(scores, name)

    def add_everywhere(self, places: np.ndarray, label: int, right: np.ndarray) -> None:
        """Count samples of one class whose answers are known for every n.

        Args:
            places: int64 (C,), of the samples in the sequence.
            label: their class.
            right: bool (2, C, M + 1), whether each is classified as its label.
        """
        self._add(places, label, right)
        self.run += right.size

    def add_estimate(self, places: np.ndarray, label: int, estimate: "Estimate") -> None:
        """Count the samples of one class, places int64 (C,), as far as they are known."""
        self._add(places, label, estimate.right)
        self.run += estimate.evaluations
        self.guessed += estimate.guessed
        self.drawn += estimate.drawn
        self.off += estimate.off
        self.cost += estimate.cost

    def _add(self, places: np.ndarray, label: int, right: np.ndarray) -> None:
        self.curves[:, label] += right.sum(axis=1)
        self.hits[:, places] = right.sum(axis=2)
        self.correct[places] = right[0, :, 0]
        self.possible += right.size

    def class_curves(self) -> tuple[ClassCurves, ...]:
        """The curves of every class that has samples."""
        return tuple(
            ClassCurves(
                class_index=int(index),
                samples=int(self.samples[index]),
                order=self.order[index],
                descending=self.curves[0, index],
                ascending=self.curves[1, index],
            )
            for index in np.flatnonzero(self.samples)
        )

    def sample_counts(
        self, indices: np.ndarray, labels: np.ndarray, place: np.ndarray, kind: str
    ) -> SampleCounts:
        """Per sample that was read, in the order of the data.

        Args:
            indices: int64 (S,), of the samples in the data, ascending.
            labels: int64 (S,), theirs.
            place: int64 (S,), each sample's place in the sequence that was processed.
            kind: how the network tells the class, see :class:`analyzer.common_types.Answer`.
        """
        read = self.read[place]
        place, labels = place[read], labels[read]
        kept = BaselineScores(**{name: getattr(self, name)[place] for name in _OF_SCORES})
        return SampleCounts(
            label=labels,
            correct=self.correct[place],
            descending=self.hits[0, place],
            ascending=self.hits[1, place],
            index=indices[read],
            scores=sample_scores(kept, labels, kind),
        )


def _fits(kept: np.ndarray, own: np.ndarray, *, of_any_length: bool) -> bool:
    """Whether an array of a checkpoint is of the shape and kind of one's own."""
    if of_any_length:
        return kept.ndim == own.ndim and kept.dtype.kind == own.dtype.kind
    if not own.ndim:
        return not kept.ndim and kept.dtype.kind in "iuf"
    return kept.shape == own.shape and kept.dtype == own.dtype
