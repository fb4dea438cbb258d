"""The surgery checks itself on real images before a sweep is built on it."""

from pathlib import Path

import numpy as np

from analyzer.errors import ModelError
from analyzer.measures.ablation.cut_network import CutNetwork
from analyzer.records import Answer, ExtraInput
from analyzer.runtime.batching import padded
from analyzer.runtime.predictions import scores_of
from analyzer.runtime.sessions import Session, open_session

__all__ = ["check_precision", "check_surgery"]

_MASKS = 3
# Of the scores' scale: the halves may be compiled into other kernels than the whole.
_TOLERANCE = 1e-3
# Two scores nearer than this, of their scale, may change places by rounding alone.
_NEAR_TIE = 1e-4
# Of the scores' scale: where they move by more, it is another network.
_MOST_ROUNDING = 0.1


def check_surgery(
    network: CutNetwork,
    original: Path,
    masked: Path,
    images: np.ndarray,
    *,
    fixed: int | None,
    answer: Answer,
    further: tuple[ExtraInput, ...] = (),
    seed: int,
) -> int:
    """Compares the cut network with the whole one on a few images.

    With nothing removed, prefix and suffix must give the original's scores; under random masks
    those of the masked original.

    Args:
        original: the network as it was given.
        masked: the same with its mask in place.
        images: (B, …).
        fixed: batch size that the original is fixed to.
        answer: the original's output that tells the class.
        further: what the original's further inputs are fed.
        seed: of the masks.

    Returns:
        K, the number of classes.

    Raises:
        ModelError: they differ, or the output is not one score per class.
    """
    channels = network.cut.site.channels
    found = network.features(images)

    whole = open_session(original, network.prefix.device, custom_ops=network.cut.custom_ops)
    actual = network.scores(found, np.ones((len(images), channels), dtype=np.float32))
    expected = _in_batches(whole, {network.image: images}, fixed, answer, further)
    _compare(expected, actual, answer.kind, "with nothing removed")

    whole = open_session(masked, network.prefix.device, custom_ops=network.cut.custom_ops)
    random = np.random.default_rng(seed)
    for number in range(1, _MASKS + 1):
        mask = (random.random((len(images), channels)) < 0.5).astype(np.float32)
        expected = _in_batches(
            whole, {network.image: images, network.cut.mask: mask}, fixed, answer
        )
        actual = network.scores(found, mask)
        _compare(expected, actual, answer.kind, f"under random mask {number}")
    return actual.shape[1]


def check_precision(
    network: CutNetwork, exact: CutNetwork, images: np.ndarray, *, seed: int
) -> float:
    """Compares a cut network that rounds more than float32 with the one in float32.

    Args:
        images: (B, …).
        seed: of the masks; one of them removes nothing.

    Returns:
        By how much a score moves at most, as a share of its row's largest.

    Raises:
        ModelError: that is too much to speak of the same network.
    """
    channels = network.cut.site.channels
    random = np.random.default_rng(seed)
    masks = (random.random((1 + _MASKS, len(images), channels)) < 0.5).astype(np.float32)
    masks[0] = 1
    found, wanted = network.features(images), exact.features(images)
    moved = 0.0
    for mask in masks:
        rounded, scores = network.scores(found, mask), exact.scores(wanted, mask)
        with np.errstate(invalid="ignore"):
            distance = np.nan_to_num(np.abs(rounded - scores), nan=np.inf)
        distance = np.where(np.isfinite(scores), distance, 0)
        scale = np.where(np.isfinite(scores), np.abs(scores), 0).max(axis=1)
        with np.errstate(over="ignore"):
            share = distance.max(axis=1) / np.maximum(scale, np.finfo(np.float32).tiny)
        moved = max(moved, float(share.max()))
    if moved > _MOST_ROUNDING:
        raise ModelError(
            f"in {network.precision} a score moves by {moved:.2g} of its scale from what it is in "
            "float32, so this would be another network; use --precision float32"
        )
    return moved


def _in_batches(
    whole: Session,
    feeds: dict[str, np.ndarray],
    fixed: int | None,
    answer: Answer,
    further: tuple[ExtraInput, ...] = (),
) -> np.ndarray:
    """Scores (B, K) or labels (B, 1) of the whole network, in batches of the size it takes."""
    count = len(next(iter(feeds.values())))
    size = fixed or count
    parts = []
    for start in range(0, count, size):
        piece = {name: padded(value[start : start + size], fixed) for name, value in feeds.items()}
        rows = len(next(iter(piece.values())))
        piece |= {one.name: one.repeated(rows) for one in further}
        found = whole.run(piece, [answer.output])[0]
        given = fixed or min(size, count - start)
        if len(found) != given:  # a Reshape can deal one image's values out to several rows
            raise ModelError(
                f"the network gives {len(found)} rows of scores for {given} images; check the "
                "image size (--img-size) and the layout (--layout)"
            )
        parts.append(found)
    return scores_of(np.concatenate(parts)[:count], answer.kind)


def _compare(expected: np.ndarray, actual: np.ndarray, kind: str, case: str) -> None:
    if kind == "labels":
        _compare_labels(expected[:, 0], actual, case)
        return
    if expected.shape != actual.shape:
        raise ModelError(
            f"the cut network gives scores of shape {actual.shape} where the original gives "
            f"{expected.shape} ({case}); this is a defect of the surgery, please report it"
        )
    expected, actual = expected.astype(np.float64), actual.astype(np.float64)
    finite = np.where(np.isfinite(expected), np.abs(expected), 0)
    scale = finite.max(axis=1, initial=np.finfo(np.float32).tiny)
    same = (expected == actual) | (np.isnan(expected) & np.isnan(actual))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0, np.nan_to_num(np.abs(expected - actual), nan=np.inf))
    error = difference.max(axis=1) / scale
    top = np.sort(expected, axis=1)[:, -2:]
    clear = (top[:, -1] - top[:, 0]) / scale > _NEAR_TIE
    moved = clear & (expected.argmax(axis=1) != actual.argmax(axis=1))
    worst = int(np.argmax(np.where(moved, np.inf, error)))
    if error[worst] > _TOLERANCE or moved.any():
        where = int(np.argmax(difference[worst]))
        raise ModelError(
            f"the cut network does not repeat the original ({case}): class {where} scores "
            f"{actual[worst, where]:.6g} instead of {expected[worst, where]:.6g}; "
            "try another site (--site), and please report this network"
        )


def _compare_labels(expected: np.ndarray, actual: np.ndarray, case: str) -> None:
    """Labels alone tell nothing of near ties but what the cut network's own scores say."""
    top = np.sort(actual, axis=1)
    clear = top[:, -1] - top[:, -2] > _NEAR_TIE * np.abs(actual).max(axis=1)
    moved = np.flatnonzero(clear & (expected != actual.argmax(axis=1)))
    if len(moved):
        raise ModelError(
            f"the cut network does not repeat the original ({case}): an image is of class "
            f"{actual[moved[0]].argmax()} instead of {expected[moved[0]]}; "
            "try another site (--site), and please report this network"
        )
