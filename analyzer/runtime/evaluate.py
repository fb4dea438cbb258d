"""Plain accuracy of a network as it was given."""

from functools import partial
from pathlib import Path

import numpy as np

from analyzer.errors import DataError
from analyzer.records import Answer, ExtraInput, Progress, TensorInfo
from analyzer.runtime.batching import in_pieces, padded
from analyzer.runtime.predictions import classes_of
from analyzer.runtime.samples import Samples, images_at_once
from analyzer.runtime.sessions import Session, open_session

__all__ = ["accuracy"]


def accuracy(
    model: Path,
    samples: Samples,
    image: TensorInfo,
    answer: Answer,
    *,
    further: tuple[ExtraInput, ...] = (),
    custom_ops: Path | None = None,
    device: str = "auto",
    threads: int = 0,
    tf32: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> float:
    """The share of the samples that the network classifies as their label.

    Args:
        image: the input that takes the images.
        answer: the output that tells the class.
        further: what the further inputs are fed.
        custom_ops: a library of custom operators that the network uses.
        device, threads, tf32: as for :func:`analyzer.runtime.open_session`.
        progress: told of the stage "test", in samples.

    Raises:
        DataError: not one of the samples could be read.
        OutOfMemory: not even one image fits.
        DeviceError, ModelError: see :func:`analyzer.runtime.open_session`.
    """
    session = open_session(model, device, threads=threads, custom_ops=custom_ops, tf32=tf32)
    fixed = image.fixed_batch
    first = samples.spread(1)
    if first is None:
        raise DataError("not one of the test samples can be read")
    label_of = dict(zip(samples.indices.tolist(), samples.labels.tolist(), strict=True))
    correct = total = asked = 0
    size = fixed or images_at_once(first[0].nbytes, session.device)
    for batch in samples.load(samples.indices, size):
        asked += size
        if count := len(batch.indices):
            classes = partial(_classes, session, batch.images, image, answer, further)
            named = np.concatenate(list(in_pieces(count, fixed or count, classes)))
            labels = np.array([label_of[index] for index in batch.indices.tolist()])
            correct += int((named == labels).sum())
            total += len(labels)
        progress("test", min(asked, len(samples.indices)), len(samples.indices))
    return correct / total


def _classes(
    session: Session,
    images: np.ndarray,
    image: TensorInfo,
    answer: Answer,
    further: tuple[ExtraInput, ...],
    piece: slice,
) -> np.ndarray:
    """The classes, int64 (B',), that a piece of images (B, …) is given."""
    feeds = {image.name: padded(images[piece], image.fixed_batch)}
    rows = len(feeds[image.name])
    feeds |= {one.name: one.repeated(rows) for one in further}
    found = session.run(feeds, [answer.output])[0]
    return classes_of(found[: len(images[piece])], answer.kind)
