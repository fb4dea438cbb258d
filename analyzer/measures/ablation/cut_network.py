"""The two halves of a cut network as onnxruntime runs them, batch sizes bent to what fits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from analyzer.errors import ModelError
from analyzer.measures.ablation.evaluations import Rows
from analyzer.measures.ablation.linear_head import Head, Judge, first_of_highest, open_head
from analyzer.measures.ablation.suffix_features import Features
from analyzer.records import Cut
from analyzer.runtime.batching import in_pieces, padded
from analyzer.runtime.sessions import Held, Session, open_session
from analyzer.surgery.gathering_suffix import HIGH, LOW, RANK, SAMPLE, write_gathering_suffix

__all__ = ["CutNetwork", "open_network"]

# Rows of one run of the suffix: enough for the matrix products to be worth it, few enough that
# what is gathered for them stays small beside the features themselves.
_ROW_BYTES = 32 << 20
_FEWEST_ROWS, _MOST_ROWS = 16, 4096
_RESIDENT_BYTES = 64 << 20  # the same on a device of its own


@dataclass(frozen=True, slots=True)
class CutNetwork:
    """Prefix and suffix, open on the same device."""

    cut: Cut
    prefix: Session
    suffix: Session
    image: str  # the prefix's input that takes the images
    head: Head | None = None  # how the suffix begins, where that is linear and runs here
    resident: Session | None = None  # the suffix for features that stay on the device
    precision: str = "float32"  # one of PRECISIONS

    def features(self, images: np.ndarray) -> Features:
        """Runs the prefix on images, shape (B, …).

        Raises:
            ModelError: the network refuses the images, or a unit's activity is not a number.
            OutOfMemory: not even one image fits.
        """
        cut = self.cut
        names = (cut.features, *cut.skip_inputs)
        outputs = (*names, cut.activity, cut.active)

        def run(piece: slice) -> Features:
            batch = images[piece]
            feeds = {self.image: padded(batch, cut.batch)}
            if self.resident is not None:
                stay = set(names) - set(cut.shared_inputs)
                named = self.prefix.run_held(feeds, outputs, stay)
            else:
                named = dict(zip(outputs, self.prefix.run(feeds, outputs), strict=True))
            shared = {name: named.pop(name) for name in cut.shared_inputs}
            whole = {
                name: value if isinstance(value, Held) else value[: len(batch)]
                for name, value in named.items()
            }
            return Features(
                attribute=whole.pop(cut.activity),
                active=whole.pop(cut.active),
                values=whole,
                shared=shared,
            )

        found = Features.joined(list(in_pieces(len(images), cut.batch or len(images), run)))
        if not np.isfinite(found.attribute).all():
            sample, unit = np.argwhere(~np.isfinite(found.attribute))[0]
            or_wider = ", or use --precision float32" if self.precision == "fp16" else ""
            raise ModelError(
                f"unit {unit} of {cut.site.tensor!r} has the activity "
                f"{found.attribute[sample, unit]} for an image, which cannot be ranked; check "
                f"the preprocessing, or choose another site (--site){or_wider}"
            )
        return found

    def classes(
        self,
        found: Features,
        rank: np.ndarray,
        rows: Rows,
        judge: Judge = first_of_highest,
    ) -> np.ndarray:
        """The class that the suffix gives to each row, the first of equally high ones.

        Args:
            found: features of C samples.
            rank: int64 (C, M), the rank of each channel for each sample.
            rows: the rows to run, R.
            judge: what to say of rows instead, by their scores.

        Returns:
            (R,), int64 for classes.
        """
        pieces = (
            self._resident_pieces(found, rank, rows)
            if found.held
            else self._score_pieces(found, rows.sample, rows.masks(rank))
        )
        return np.concatenate([judge(self._within_range(scores)) for scores in pieces])

    def scores(self, found: Features, mask: np.ndarray) -> np.ndarray:
        """The scores (C, K) of C samples under one mask each, float32 (C, M)."""
        everyone = np.arange(len(found.active))
        if found.held:
            # Rank 0 is kept, rank 1 removed.
            rows = Rows.asked(everyone, np.zeros_like(everyone), np.ones_like(everyone))
            return np.concatenate(list(self._resident_pieces(found, mask == 0, rows)))
        return np.concatenate(list(self._score_pieces(found, everyone, mask.__getitem__)))

    def _within_range(self, scores: np.ndarray) -> np.ndarray:
        """The scores, if float16 could hold what they were made of.

        Raises:
            ModelError: it could not.
        """
        if self.precision == "fp16" and not np.isfinite(scores.sum(dtype=np.float64)):
            raise ModelError(
                "a score is not finite in float16, whose numbers end at 65504; use --precision "
                "float32"
            )
        return scores

    def _score_pieces(
        self, found: Features, sample: np.ndarray, mask: Callable[[slice], np.ndarray]
    ) -> Iterator[np.ndarray]:
        fixed = self.cut.batch

        def run(piece: slice) -> np.ndarray:
            rows = sample[piece]
            feeds = {name: padded(value[rows], fixed) for name, value in found.values.items()}
            feeds |= found.shared
            feeds[self.cut.mask] = padded(mask(piece), fixed)
            return self.suffix.run(feeds, [self.cut.scores])[0][: len(rows)]

        width = max(found.nbytes // max(len(found.active), 1), 1)
        rows_at_once = min(max(_ROW_BYTES // width, _FEWEST_ROWS), _MOST_ROWS)
        return in_pieces(len(sample), fixed or rows_at_once, run)

    def _resident_pieces(
        self, found: Features, rank: np.ndarray, rows: Rows
    ) -> Iterator[np.ndarray]:
        """Scores of rows of which only three integers go to the device, and K scores come back."""
        feeds = {**found.values, **found.shared, RANK: self.resident.hold(rank.astype(np.int32))}

        def run(piece: slice) -> np.ndarray:
            row = {
                SAMPLE: rows.sample[piece],
                LOW: rows.low[piece].astype(np.int32),
                HIGH: rows.high[piece].astype(np.int32),
            }
            return self.resident.run_held({**feeds, **row}, [self.cut.scores])[self.cut.scores]

        width = max(found.nbytes // max(len(found.active), 1), 1)
        return in_pieces(len(rows), max(_RESIDENT_BYTES // width, _FEWEST_ROWS), run)


def open_network(
    cut: Cut,
    image: str,
    device: str,
    *,
    threads: int = 0,
    resident: bool | None = None,
    precision: str = "float32",
) -> CutNetwork:
    """Opens both halves; the suffix goes where the prefix went.

    Args:
        cut: for "fp16", of a network that was converted (:func:`analyzer.runtime.in_float16`).
        resident: keep features where they are made and run rows by reference; None: on a GPU.
        precision: one of :data:`analyzer.runtime.PRECISIONS`.

    Raises:
        DeviceError, ModelError: see :func:`analyzer.runtime.sessions.open_session`.
    """
    opened = partial(
        open_session, threads=threads, custom_ops=cut.custom_ops, tf32=precision == "tf32"
    )
    prefix = opened(cut.prefix, device)
    suffix = opened(cut.suffix, prefix.device)
    if resident is None:
        resident = prefix.device != "cpu"
    if not resident or cut.batch is not None:
        head = open_head(cut, prefix.device, threads=threads)
        return CutNetwork(cut, prefix, suffix, image, head, precision=precision)
    rows = opened(write_gathering_suffix(cut), prefix.device)
    return CutNetwork(cut, prefix, suffix, image, resident=rows, precision=precision)
