"""What class a network names: read from its answers, and how often it is the label."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyzer.errors import DataError
from analyzer.records import Answer, ExtraInput, Progress, TensorInfo
from analyzer.runtime.batching import Samples, images_at_once, in_pieces, padded
from analyzer.runtime.sessions import Session, open_session

__all__ = ["WholeNetwork", "classes_of", "measure_accuracy", "name_classes", "scores_of"]

_THRESHOLDS = {"logit": 0.0, "probability": 0.5}


@dataclass(frozen=True, slots=True)
class WholeNetwork:
    """A network as it was given, not cut: what it takes, and how it tells the class."""

    path: Path
    image: TensorInfo  # the input that takes the images
    answer: Answer  # the output that tells the class
    extra_inputs: tuple[ExtraInput, ...] = ()  # what the other inputs are fed
    custom_ops: Path | None = None  # a library of custom operators that it uses

    def feeds(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """All inputs for images (B, …), filled up to the batch size the network is fixed to."""
        batch = padded(images, self.image.fixed_batch)
        others = {one.name: one.repeated(len(batch)) for one in self.extra_inputs}
        return {self.image.name: batch, **others}


def measure_accuracy(
    network: WholeNetwork,
    samples: Samples,
    *,
    device: str = "auto",
    threads: int = 0,
    tf32: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> float:
    """The share of the samples that the network classifies as their label.

    Args:
        device, threads, tf32: as for :func:`analyzer.runtime.open_session`.
        progress: called for the stage "test", in samples.

    Raises:
        DataError: not one of the samples could be read.
        OutOfMemory: not even one image fits.
        DeviceError, ModelError: see :func:`analyzer.runtime.open_session`.
    """
    session = open_session(
        network.path, device, threads=threads, custom_ops=network.custom_ops, tf32=tf32
    )
    fixed = network.image.fixed_batch
    first = samples.spread(1)
    if first is None:
        raise DataError("Not one of the test samples can be read: check the test data.")
    label_of = dict(zip(samples.indices.tolist(), samples.labels.tolist(), strict=True))

    correct = total = asked = 0
    size = fixed or images_at_once(first[0].nbytes, session.device)
    for batch in samples.load(samples.indices, size):
        asked += size
        if len(batch.indices):
            labels = np.array([label_of[index] for index in batch.indices.tolist()])
            correct += int((name_classes(network, session, batch.images) == labels).sum())
            total += len(labels)
        progress("test", min(asked, len(samples.indices)), len(samples.indices))
    return correct / total


def name_classes(network: WholeNetwork, session: Session, images: np.ndarray) -> np.ndarray:
    """The classes, int64 (B,), that a network gives images (B, …); in smaller batches if need be.

    Raises:
        OutOfMemory: not even one image fits.
        ModelError: the network cannot be run on them.
    """

    def run(piece: slice) -> np.ndarray:
        some = images[piece]
        found = session.run(network.feeds(some), [network.answer.output])[0]
        return classes_of(found[: len(some)], network.answer.kind)

    size = network.image.fixed_batch or len(images)
    return np.concatenate(list(in_pieces(len(images), size, run)))


def scores_of(answers: np.ndarray, kind: str) -> np.ndarray:
    """Scores (N, K) of which the highest is the class, or labels (N, 1) as they are.

    Args:
        answers: an output of the network, its first axis the samples.
        kind: how it tells the class, see :class:`analyzer.records.Answer`.
    """
    columns = answers.reshape(len(answers), -1)
    if kind not in _THRESHOLDS:
        return columns
    return np.concatenate([np.full_like(columns, _THRESHOLDS[kind]), columns], axis=1)


def classes_of(answers: np.ndarray, kind: str) -> np.ndarray:
    """The class that each answer tells, int64 (N,); of equally high scores the first."""
    scores = scores_of(answers, kind)
    return scores[:, 0].astype(np.int64) if kind == "labels" else scores.argmax(axis=1)
