"""What class a network names: read from its answers, and how often it is the label."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analyzer.common_types import Answer, ExtraInput, Progress, TensorInfo
from analyzer.errors import DataError, ModelError, parameter
from analyzer.runtime.batch_size import images_at_once, in_pieces, padded, that_memory_holds, within
from analyzer.runtime.sessions import Session, open_session

if TYPE_CHECKING:
    from analyzer.data import Samples

__all__ = [
    "UNNAMED",
    "Predictions",
    "WholeNetwork",
    "highest",
    "name_classes",
    "predict",
    "scores_in_batches",
    "scores_of",
]

UNNAMED = -1
"""Stands for the class where a score is not a number: it names none, and counts as wrong."""

_THRESHOLDS = {"logit": 0.0, "probability": 0.5}


@dataclass(frozen=True, slots=True)
class WholeNetwork:
    """A network as it was given, not cut: what it takes, and how it tells the class."""

    path: Path
    image: TensorInfo  # the input that takes the images
    answer: Answer  # the output that tells the class
    extra_inputs: tuple[ExtraInput, ...] = ()  # what the other inputs are fed
    custom_ops: Path | None = None  # a library of custom operators that it uses
    largest: int = 0  # elements of the largest tensor made of one image, as far as known

    def feeds(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """All inputs for images (B, …), filled up to the batch size the network is fixed to."""
        batch = padded(images, self.image.fixed_batch)
        others = {one.name: one.repeated(len(batch)) for one in self.extra_inputs}
        return {self.image.name: batch, **others}


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a network names R samples that could be read, in the order of the data."""

    index: np.ndarray  # int64 (R,), of each in its source
    label: np.ndarray  # int64 (R,)
    named: np.ndarray  # int64 (R,), or UNNAMED
    rank: np.ndarray  # int32 (R,): classes with a better score than the label's, or as good, before
    digests: np.ndarray  # uint8 (R, 32), sha256 of each as it is stored
    fed: np.ndarray  # uint8 (R, 32), sha256 of each as it is fed; (0, 32) unless asked for
    classes: int  # K; of a network that gives labels the highest that was seen, plus one
    skipped: tuple[str, ...] = ()  # what could not be read, and why
    device: str = ""  # that ran them

    @property
    def accuracy(self) -> float:
        """The share that is named as labeled."""
        return float((self.named == self.label).mean())

    def top(self, count: int) -> float:
        """The share whose label is among the ``count`` best scores."""
        return float((self.rank < count).mean())


def predict(
    network: WholeNetwork,
    samples: "Samples",
    *,
    device: str = "auto",
    threads: int = 0,
    tf32: bool = False,
    stage: str = "test",
    progress: Progress = lambda stage, done, total: None,
    look: Callable[[np.ndarray, np.ndarray], None] = lambda images, scores: None,
) -> Predictions:
    """Run samples through a network, with nothing removed.

    Args:
        device, threads, tf32: as for :func:`analyzer.runtime.open_session`.
        stage: what ``progress`` is called with, besides samples done and in all.
        look: called with each batch of images (B, …) and of scores (B, K).

    Raises:
        DataError: not one of the samples could be read, or one has a label outside the classes.
        OutOfMemory: not even one image fits.
        DeviceError, ModelError: see :func:`analyzer.runtime.open_session`; or the answer for an
            image depends on the others of its batch.
    """
    session = open_session(
        network.path, device, threads=threads, custom_ops=network.custom_ops, tf32=tf32
    )
    fixed, kind = network.image.fixed_batch, network.answer.kind
    first = samples.spread(1)
    if first is None:
        raise DataError(f"Not one of the {stage} samples can be read: check the {stage} data.")
    label_of = dict(zip(samples.indices.tolist(), samples.labels.tolist(), strict=True))

    parts: list[tuple[np.ndarray, ...]] = []
    skipped: list[str] = []
    classes = asked = 0
    size = fixed or images_at_once(first[0].nbytes, session.device)
    for batch in samples.load(samples.indices, size):
        asked += size
        skipped += [f"{one.name}: {one.reason}" for one in batch.skipped]
        if len(batch.indices):
            labels = np.array([label_of[index] for index in batch.indices.tolist()], np.int64)
            scores = scores_in_batches(network, session, batch.images)
            classes = max(classes, _classes(scores, labels, kind))
            look(batch.images, scores)
            if labels.max() >= classes:
                raise DataError(
                    f"A {stage} sample has the label {labels.max()}, outside the network's "
                    f"{classes} classes (0 to {classes - 1}): is this the network's data?"
                )
            digests = batch.digests, batch.fed
            parts.append((batch.indices, labels, *_named(scores, labels, kind), *digests))
        progress(stage, min(asked, len(samples.indices)), len(samples.indices))
    columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    index, label, named, rank, stored, fed = columns
    return Predictions(
        index, label, named, rank, stored, fed, classes, tuple(skipped), session.device
    )


def _classes(scores: np.ndarray, labels: np.ndarray, kind: str) -> int:
    if kind != "labels":
        return int(scores.shape[1])
    return int(max(scores.max(), labels.max())) + 1


def _named(scores: np.ndarray, labels: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The class of each row of scores, int64 (B,), and the rank of its label, int32 (B,)."""
    if kind == "labels":
        named = scores[:, 0].astype(np.int64)
        return named, (named != labels).astype(np.int32)
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    before = np.arange(scores.shape[1]) < labels[:, None]
    rank = ((scores > own) | ((scores == own) & before)).sum(axis=1)
    named = highest(scores)
    return named, np.where(named == UNNAMED, scores.shape[1], rank).astype(np.int32)


def name_classes(network: WholeNetwork, session: Session, images: np.ndarray) -> np.ndarray:
    """The classes, int64 (B,), that a network gives images (B, …); in smaller batches if need be.

    :data:`UNNAMED` where a score is not a number.

    Raises:
        OutOfMemory: not even one image fits.
        ModelError: the network cannot be run on them.
    """
    scores = scores_in_batches(network, session, images)
    return scores[:, 0].astype(np.int64) if network.answer.kind == "labels" else highest(scores)


def scores_in_batches(
    network: WholeNetwork,
    session: Session,
    images: np.ndarray,
    others: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Scores (B, K) or labels (B, 1) of images (B, …), in batches of the size the network takes.

    Args:
        others: what else it is fed, by name, (B, …).

    Raises:
        OutOfMemory: not even one image fits.
        ModelError: the network cannot be run on them, or the answer for an image depends on the
            others of its batch.
    """
    output, kind, fixed = network.answer.output, network.answer.kind, network.image.fixed_batch

    def once(piece: slice) -> list[np.ndarray]:
        some = images[piece]
        feeds = network.feeds(some)
        feeds |= {name: padded(value[piece], fixed) for name, value in (others or {}).items()}
        found = session.run(feeds, [output])[0]
        check_rows(found, fixed or len(some), output)
        return [scores_of(found[: len(some)], kind)]

    size = that_memory_holds(len(images), network.largest)

    def run(piece: slice) -> np.ndarray:
        scores = once(piece)
        session.checked.check(output, scores, within(piece, once), exact=kind == "labels")
        return scores[0]

    return np.concatenate(list(in_pieces(len(images), fixed or size, run)))


def highest(scores: np.ndarray) -> np.ndarray:
    """The class with the highest score in each row of (R, K), int64 (R,); of equal ones the first.

    :data:`UNNAMED` where a score is not a number, whichever class it is of.
    """
    named = scores.argmax(axis=1)  # the first NaN, where there is one
    named[np.isnan(scores[np.arange(len(scores)), named])] = UNNAMED
    return named


def check_rows(answers: object, images: int, output: str) -> None:
    """Hold what a network gave for a batch against what it was given: a row for each image.

    A Reshape can spread one image's values over several rows, and a mean over the batch leaves one.

    Args:
        answers: what onnxruntime returns for the output; a list where it is no tensor.
        images: the network was given.
        output: its name.

    Raises:
        ModelError: there are more rows, or fewer, or nothing in them, or no numbers.
    """
    if not isinstance(answers, np.ndarray) or answers.dtype.kind not in "biuf":
        raise ModelError(
            f"The network's output {output} holds no array of numbers, so there are no scores to "
            "read. Export the network with class scores as its output."
        )
    rows = len(answers) if answers.ndim else 0
    if rows != images:
        given = "1 row" if rows == 1 else f"{rows} rows"
        raise ModelError(
            f"The network's output {output} has {given} of scores for {images} images. Check "
            f"{parameter('img_size')} and {parameter('layout')}, or export the network with one "
            "row of scores an image."
        )
    if images and not answers.size:
        raise ModelError(
            f"The network's output {output} has the shape {answers.shape}, so there are no scores. "
            "Export the network with one for each class."
        )


def scores_of(answers: np.ndarray, kind: str) -> np.ndarray:
    """Scores (N, K) of which the highest is the class, or labels (N, 1) as they are.

    Args:
        answers: an output of the network, its first axis the samples.
        kind: how it tells the class, see :class:`analyzer.common_types.Answer`.
    """
    columns = answers.reshape(len(answers), -1)
    if kind not in _THRESHOLDS:
        return columns
    return np.concatenate([np.full_like(columns, _THRESHOLDS[kind]), columns], axis=1)
