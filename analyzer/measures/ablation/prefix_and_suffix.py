"""A cut network as onnxruntime runs it: prefix, suffix, and what the one hands to the other.

Batches shrink until they fit. On a device of its own, features stay where the prefix made them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from analyzer.common_types import Cut
from analyzer.errors import ModelError, parameter
from analyzer.measures.ablation.linear_head import Head, Judge, open_head
from analyzer.measures.ablation.ranking_and_evaluations import Evaluations
from analyzer.runtime.batch_size import in_pieces, padded, that_memory_holds, within
from analyzer.runtime.predictions import (
    highest,
)
from analyzer.runtime.sessions import DeviceArray, Session, open_session
from analyzer.surgery.gathering_suffix import HIGH, LOW, RANK, SAMPLE, write_gathering_suffix

__all__ = [
    "CutNetwork",
    "Features",
    "open_network",
]

# Of one run of the suffix: enough for the matrix products to be worth it, few enough that what is
# gathered for them stays small beside the features themselves.
_RUN_BYTES = 32 << 20
_FEWEST_AT_ONCE, _MOST_AT_ONCE = 16, 4096
_RESIDENT_BYTES = 64 << 20  # the same on a device of its own


@dataclass(frozen=True, slots=True)
class Features:
    """What the prefix makes of B samples."""

    values: dict[str, np.ndarray | DeviceArray]  # what the suffix reads of each sample, (B, …)
    shared: dict[str, np.ndarray]  # what it reads besides, the same for every sample
    activity: np.ndarray  # float32 (B, M): Σ_xy |U_i(x, y)| at the site
    active: np.ndarray  # bool (B, M): the unit's map at the cut is not all zero

    @property
    def nbytes(self) -> int:
        return sum(value.nbytes for value in self.values.values()) + self.active.nbytes

    @property
    def on_device(self) -> bool:
        """Whether the values lie on a device; then samples stay together as they were run."""
        return any(isinstance(value, DeviceArray) for value in self.values.values())

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The values, brought here where they lie on a device."""
        return {
            name: value.numpy() if isinstance(value, DeviceArray) else value
            for name, value in self.values.items()
        }

    def piece(self, samples: slice) -> "Features":
        """Those of some of the samples."""
        return Features(
            values={name: value[samples] for name, value in self.arrays.items()},
            shared=self.shared,
            activity=self.activity[samples],
            active=self.active[samples],
        )

    @classmethod
    def joined(cls, parts: "list[Features]") -> "Features":
        """Those of several batches, one after the other; what lay on a device comes here for it."""
        if len(parts) == 1:
            return parts[0]
        arrays = [part.arrays for part in parts]
        return cls(
            values={name: np.concatenate([one[name] for one in arrays]) for name in arrays[0]},
            shared=parts[0].shared,
            activity=np.concatenate([part.activity for part in parts]),
            active=np.concatenate([part.active for part in parts]),
        )


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
        """Run the prefix on images, shape (B, …).

        Raises:
            ModelError: the network refuses the images, a unit's activity is not a number, or what
                is made of an image depends on the others of its batch.
            OutOfMemory: not even one image fits.
        """
        found = self._features(images)
        if len(images) not in self.prefix.checked:
            together = [found.activity, self.intact_scores(found)]

            def alone(piece: slice) -> list[np.ndarray]:
                one = self._features(images[piece])
                return [one.activity, self.intact_scores(one)]

            self.prefix.checked.check(self.cut.scores, together, alone)
        return found

    def _features(self, images: np.ndarray) -> Features:
        cut = self.cut
        names = (cut.features, *cut.skip_inputs)
        outputs = (*names, cut.activity, cut.active)
        stay = set(names) - set(cut.shared_inputs) if self.resident is not None else set()

        def run(piece: slice) -> Features:
            batch = images[piece]
            feeds = {self.image: padded(batch, cut.batch)}
            there: dict[str, DeviceArray] = {}
            if stay:
                here, there = self.prefix.run_on_device(feeds, outputs, stay)
            else:
                here = dict(zip(outputs, self.prefix.run(feeds, outputs), strict=True))
            shared = {name: here.pop(name) for name in cut.shared_inputs}
            mine = {name: value[: len(batch)] for name, value in here.items()}
            activity, active = mine.pop(cut.activity), mine.pop(cut.active)
            return Features({**mine, **there}, shared, activity, active)

        size = cut.batch or that_memory_holds(len(images), cut.largest_in_prefix)
        found = Features.joined(list(in_pieces(len(images), size, run)))
        if not np.isfinite(found.activity).all():
            sample, unit = np.argwhere(~np.isfinite(found.activity))[0]
            wider = f", or use {parameter('precision', 'float32')}"
            or_wider = wider if self.precision == "fp16" else ""
            raise ModelError(
                f"Unit {unit} of {cut.site.tensor!r} has the activity "
                f"{found.activity[sample, unit]} for an image, which cannot be ranked. Check "
                f"the preprocessing, or choose another {parameter('site')}{or_wider}."
            )
        return found

    def classes(
        self,
        found: Features,
        rank: np.ndarray,
        evaluations: Evaluations,
        judge: Judge = highest,
    ) -> np.ndarray:
        """The class that the suffix gives in each evaluation, see :func:`highest`.

        Args:
            found: features of C samples.
            rank: int64 (C, M), the rank of each channel for each sample.
            evaluations: to run, R.
            judge: what to say of evaluations instead, by their scores.

        Returns:
            (R,), int64 for classes.
        """
        pieces = (
            self._resident_pieces(found, rank, evaluations)
            if found.on_device
            else self._score_pieces(found, evaluations.sample, evaluations.masks(rank))
        )
        return np.concatenate([judge(self._within_range(scores)) for scores in pieces])

    def scores(self, found: Features, mask: np.ndarray) -> np.ndarray:
        """The scores (C, K) of C samples under one mask each, float32 (C, M)."""
        everyone = np.arange(len(found.active))
        if found.on_device:
            # Rank 0 is kept, rank 1 removed.
            nothing = np.zeros_like(everyone)
            evaluations = Evaluations.asked(everyone, nothing, nothing + 1)
            return np.concatenate(list(self._resident_pieces(found, mask == 0, evaluations)))
        return np.concatenate(list(self._score_pieces(found, everyone, mask.__getitem__)))

    def intact_scores(self, found: Features) -> np.ndarray:
        """The scores (C, K) with nothing removed."""
        return self.scores(found, np.ones(found.active.shape, dtype=np.float32))

    def _within_range(self, scores: np.ndarray) -> np.ndarray:
        """The scores, if float16 could hold what they were made of.

        Raises:
            ModelError: it could not.
        """
        if self.precision == "fp16" and not np.isfinite(scores.sum(dtype=np.float64)):
            raise ModelError(
                "A score is not finite in float16, whose numbers end at 65504. Use "
                f"{parameter('precision', 'float32')}."
            )
        return scores

    def _score_pieces(
        self, found: Features, sample: np.ndarray, mask: Callable[[slice], np.ndarray]
    ) -> Iterator[np.ndarray]:
        fixed, arrays = self.cut.batch, found.arrays

        def run(piece: slice) -> list[np.ndarray]:
            mine = sample[piece]
            feeds = {name: padded(value[mine], fixed) for name, value in arrays.items()}
            feeds |= found.shared
            feeds[self.cut.mask] = padded(mask(piece), fixed)
            return [self.suffix.run(feeds, [self.cut.scores])[0][: len(mine)]]

        def checked(piece: slice) -> np.ndarray:
            scores = run(piece)
            self.suffix.checked.check(self.cut.scores, scores, within(piece, run))
            return scores[0]

        width = max(found.nbytes // max(len(found.active), 1), 1)
        at_once = min(max(_RUN_BYTES // width, _FEWEST_AT_ONCE), _MOST_AT_ONCE)
        at_once = that_memory_holds(at_once, self.cut.largest_in_suffix)
        return in_pieces(len(sample), fixed or at_once, checked)

    def _resident_pieces(
        self, found: Features, rank: np.ndarray, evaluations: Evaluations
    ) -> Iterator[np.ndarray]:
        """Scores of evaluations: three integers each go to the device, and K scores come back."""
        suffix = self.resident
        assert suffix is not None  # or the features would not lie there
        feeds = {**found.values, **found.shared, RANK: suffix.to_device(rank.astype(np.int32))}

        def run(piece: slice) -> list[np.ndarray]:
            some = {
                SAMPLE: evaluations.sample[piece],
                LOW: evaluations.low[piece].astype(np.int32),
                HIGH: evaluations.high[piece].astype(np.int32),
            }
            here, _ = suffix.run_on_device({**feeds, **some}, [self.cut.scores])
            return [here[self.cut.scores]]

        def checked(piece: slice) -> np.ndarray:
            scores = run(piece)
            suffix.checked.check(self.cut.scores, scores, within(piece, run))
            return scores[0]

        width = max(found.nbytes // max(len(found.active), 1), 1)
        return in_pieces(len(evaluations), max(_RESIDENT_BYTES // width, _FEWEST_AT_ONCE), checked)


def open_network(
    cut: Cut,
    image: str,
    device: str,
    *,
    threads: int = 0,
    resident: bool | None = None,
    precision: str = "float32",
) -> CutNetwork:
    """Open prefix and suffix; the suffix goes where the prefix went.

    Args:
        cut: for "fp16", of a network that was converted (:func:`analyzer.runtime.in_float16`).
        resident: keep features where they are made and evaluate by reference; None: as the
            device's execution provider has it.
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
        resident = prefix.provider.keeps_features
    if not resident or cut.batch is not None:
        head = open_head(cut, prefix.device, threads=threads)
        return CutNetwork(cut, prefix, suffix, image, head, precision=precision)
    gathering = opened(write_gathering_suffix(cut), prefix.device)
    return CutNetwork(cut, prefix, suffix, image, resident=gathering, precision=precision)
