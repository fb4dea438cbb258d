"""The ablation counted again in parts, from the network and the data, the plain way.

The whole network with its mask in place, once for every sample and mask: nothing of what makes a
sweep fast is used. Every sample is run with nothing removed, and every class has its unit order
worked out again. Of the cells of the curves, a (class, order, n) each, some are drawn, and of the
counts of samples as many as take about as long. Where rounding alone decides between two scores,
either answer is right.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from analyzer import data, runtime, surgery
from analyzer.audit_options import RunOptions
from analyzer.audit_record import AuditRecord, SiteRecord
from analyzer.common_types import ExtraInput, Progress
from analyzer.errors import ModelError
from analyzer.measures.ablation.class_curves import CURVES, ClassCurves, read_curves
from analyzer.measures.ablation.prefix_and_suffix import CutNetwork, open_network
from analyzer.measures.ablation.ranking_and_evaluations import Ranking, class_selectivity
from analyzer.measures.ablation.sample_scores import (
    SAMPLES,
    BaselineScores,
    SampleCounts,
    SampleScores,
    keep_scores,
    read_samples,
    sample_scores,
)
from analyzer.measures.measure import Check, Draw, Job, Subject, check
from analyzer.measures.unmasked_predictions import in_precision
from analyzer.runtime.predictions import WholeNetwork, scores_in_batches

__all__ = ["recount"]

_NEAR = {"float32": 1e-4, "tf32": 1e-2, "fp16": 1e-2}
"""Two scores nearer than this, of their scale, may change places by rounding, by precision."""

_LAST_PLACES = {"float32": 2e-6, "tf32": 2e-3, "fp16": 2e-3}
"""What rounding does at the least to a score, as a part of it, by precision."""

_LEADS = 16  # times the lead of the best score over the next is a scale of all that compete
_LOW_LEAD = 0.25  # the quantile of the leads that counts: few samples do not make it large
_MANY = 0.05  # of the samples, undecided: to be said

_ORDERS = ("descending", "ascending")
_FEWEST_SAMPLES = 5  # whose counts are counted again, of those there are
_UNRANKED = 1e-6  # of a usual activity: where units differ by less, any order of them is right
_LOGARITHM = 0.01  # that small ones may be off, whose network computes them from large ones


def recount(folder: Path, record: AuditRecord, job: Job, draw: Draw) -> Iterator[Check]:
    """Hold what the audit folder says of the ablation against network and data.

    Args:
        folder, record, job, draw: as of :meth:`analyzer.measures.measure.Measure.recount`.

    Raises:
        AnalyzerError: the network cannot be run, or the data cannot be read.
    """
    samples = read_samples(folder)
    request = job.request
    network = _Plain(job.subject, request, job.scratch)
    if record.site is not None and network.cut is not None:
        yield _site(record.site, network.cut)
    yield _warnings(record, job.subject, network.cut)
    baseline = _Baseline(job.subject, network, skip_bad=request.skip_bad, progress=job.progress)
    yield from baseline.checks(record, samples)
    undecided = int((baseline.possible & ~baseline.sure).sum())
    if undecided > _MANY * len(baseline.sure):
        draw.omitted.append(
            f"Whether {undecided} of {len(baseline.sure)} samples are named as labeled, rounding "
            "could decide: either was taken for right."
        )
    if network.cut is None:
        draw.omitted.append("No cells were drawn: an audit without a site has no curves.")
        return
    if not baseline.same_samples(samples):
        return
    curves = read_curves(folder)
    yield baseline.order_check(curves, Ranking(request.rank, request.seed))
    if record.tolerance is not None:
        draw.omitted.append(
            "Cells of the curves and counts of samples were not counted again: the audit "
            f"estimated them, to a tolerance of {record.tolerance.asked:g}."
        )
        return
    counted = _Recount(job, network, curves, samples, draw)
    yield counted.cells()
    yield counted.samples()


class _Plain:
    """The masked network and the prefix of the cut one, in the precision of the audit.

    Without a site it is the network as it stands, of no channels.
    """

    def __init__(self, subject: Subject, run: RunOptions, scratch: Path):
        of_type = surgery.type_rounding(subject.network)
        self._near = max(_NEAR[run.precision], 10 * of_type)
        self._last_places = max(_LAST_PLACES[run.precision], 2 * of_type)
        self._scale = 0.0  # of the scores that compete
        network = in_precision(subject.network, subject.output, run.precision, scratch)
        # In files that are written the extra inputs are bound.
        extra_inputs: Sequence[ExtraInput] = ()
        if subject.site is None:
            file = surgery.runnable_file(network, scratch)
            extra_inputs = subject.extra_inputs if network is subject.network else ()
        else:
            file = scratch / "masked.onnx"
            surgery.write_masked(network, subject.site, file, to_run=True)
        self.whole = WholeNetwork(
            file,
            subject.network.info.inputs[0],
            surgery.find_answer(network, subject.output),
            extra_inputs=tuple(extra_inputs),
            custom_ops=network.custom_ops,
            largest=network.largest,
        )
        self.device, *_ = runtime.named_devices(run.device)
        self._session = runtime.open_session(
            file,
            self.device,
            threads=run.threads,
            custom_ops=network.custom_ops,
            tf32=run.precision == "tf32",
        )
        self.cut: CutNetwork | None = None
        self.channels = 0
        if subject.site is None:
            return
        folder = scratch if network is subject.network else network.path.parent
        self.cut = open_network(
            surgery.cut_network(network, subject.site, folder, output=subject.output),
            subject.network.info.inputs[0].name,
            self.device,
            threads=run.threads,
            resident=False,
            precision=run.precision,
        )
        self.channels = subject.site.channels

    def at_once(self, image: np.ndarray) -> int:
        """Images (…) in one run."""
        fixed = self.whole.image.fixed_batch
        return fixed or runtime.images_at_once(image.nbytes, self._session.device)

    def scores(self, images: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Scores (B, K), or labels (B, 1), of images (B, …) under a mask each, float32 (B, M)."""
        others = {} if self.cut is None else {self.cut.cut.mask: masks}
        return scores_in_batches(self.whole, self._session, images, others)

    def learn_scale(self, lead: np.ndarray) -> None:
        """Take the scale of scores from the leads of the best over the next, with nothing removed.

        A class that never competes, as one that is switched off by a score of −1e9, has no part
        in it, and neither has what all scores of an image have in common.

        Args:
            lead: (S,), of all samples.
        """
        self._scale = _LEADS * float(np.quantile(lead, _LOW_LEAD)) if len(lead) else 0.0

    def slack(self, size: np.ndarray) -> np.ndarray:
        """By how much rounding may move a difference of two scores, (B,).

        Args:
            size: of the larger of the two, (B,).
        """
        of_scale = self._near * self._scale + self._last_places * size
        return self._last_places * self._scale + np.minimum(self._near * size, of_scale)

    def unranked(self, size: np.ndarray | float, ranked: np.ndarray) -> np.ndarray | float:
        """By how much units may differ that are in any order, (M,).

        Args:
            size: of what they are ranked by, (M,), or 1.
            ranked: what the units of a class are ranked by, (M,).
        """
        sizes = np.abs(ranked[ranked != 0])
        return self._near * size + _UNRANKED * (np.median(sizes) if len(sizes) else 0.0)

    def right(self, own: "_Own") -> tuple[np.ndarray, np.ndarray]:
        """Whether samples are certainly named as labeled, and whether they may be, bool (B,)."""
        if self.whole.answer.kind == "labels":
            return own.named, own.named
        slack = self.slack(own.size)
        return (own.margin > slack) & ~own.unnamed, ~(own.margin < -slack) & ~own.unnamed


@dataclass(frozen=True, slots=True)
class _Own:
    """The score of each sample's label beside the best other one; of B samples."""

    margin: np.ndarray  # float64 (B,): by how much it is higher
    size: np.ndarray  # float64 (B,): of the larger of the two, without its sign
    unnamed: np.ndarray  # bool (B,): a score is no number, so that none names a class
    named: np.ndarray  # bool (B,): the label is what a network of labels says

    @classmethod
    def of(cls, scores: np.ndarray, labels: np.ndarray, kind: str) -> "_Own":
        """Of scores (B, K), or labels (B, 1), and the labels of the samples (B,)."""
        if kind == "labels":
            zeros = np.zeros(len(labels))
            return cls(zeros, zeros, np.zeros(len(labels), bool), scores[:, 0] == labels)
        scores = scores.astype(np.float64)
        unnamed = np.isnan(scores).any(axis=1)
        everyone = np.arange(len(scores))
        own, others = scores[everyone, labels], scores.copy()
        others[everyone, labels] = -np.inf
        best = others.max(axis=1)
        sizes = np.abs(np.stack([own, best]))
        size = np.where(np.isfinite(sizes), sizes, 0).max(axis=0)
        with np.errstate(invalid="ignore"):  # two infinities: nobody knows
            margin = own - best
        return cls(margin, np.maximum(size, np.finfo(np.float32).tiny), unnamed, margin > 0)


class _Baseline:
    """Every sample with nothing removed: its scores, its digest, its units' activity by class."""

    def __init__(self, subject: Subject, network: _Plain, *, skip_bad: bool, progress: Progress):
        self._source, self._network = subject.source, network
        loaded = subject.samples(skip_bad=skip_bad)
        first = loaded.spread(1)
        if first is None:
            raise subject.nothing_read()
        label_of = dict(zip(loaded.indices.tolist(), loaded.labels.tolist(), strict=True))
        self._activity: dict[int, np.ndarray] = {}
        self.skipped: list[str] = []
        parts: list[tuple[np.ndarray, ...]] = []
        kept: list[BaselineScores] = []
        size, done = network.at_once(first[0]), 0
        for batch in loaded.load(loaded.indices, size):
            done += size
            self.skipped += [one.name for one in batch.skipped]
            if not len(batch.indices):
                continue
            labels = np.array([label_of[index] for index in batch.indices.tolist()], np.int64)
            ones = np.ones((len(labels), network.channels), np.float32)
            scores = network.scores(batch.images, ones)
            self._check_labels(labels, scores)
            one = _Own.of(scores, labels, network.whole.answer.kind)
            if network.whole.answer.kind != "labels":
                kept.append(keep_scores(scores, labels))
            of_own = (one.margin, one.size, one.unnamed, one.named)
            parts.append((batch.indices, labels, batch.digests, _lead(scores, labels), *of_own))
            if network.cut is not None:
                activity = network.cut.features(batch.images).activity.astype(np.float64)
                for label in np.unique(labels):
                    before = self._activity.get(int(label), 0.0)
                    self._activity[int(label)] = before + activity[labels == label].sum(axis=0)
            progress("network", min(done, len(loaded.indices)), len(loaded.indices))
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        self.index, self.label, self.digests, self.lead, *columns = columns
        own = _Own(*columns)
        if network.whole.answer.kind != "labels":
            # The best of all over the next: over the label's, or over the best of the others.
            leads = np.where(own.margin > 0, own.margin, np.minimum(-own.margin, self.lead))
            network.learn_scale(leads[np.isfinite(leads)])
        self.size = own.size
        self.sure, self.possible = network.right(own)
        self.scores = self._sample_scores(kept)

    def _check_labels(self, labels: np.ndarray, scores: np.ndarray) -> None:
        if self._network.whole.answer.kind != "labels":
            data.check_classes(self._source, scores.shape[1])
            if labels.max() >= scores.shape[1]:
                raise ModelError(
                    f"A sample has the label {labels.max()}, and the network {scores.shape[1]} "
                    "classes: these are other data than were audited."
                )

    def _sample_scores(self, kept: Sequence[BaselineScores]) -> SampleScores | None:
        if not kept:
            return None
        names = BaselineScores.__dataclass_fields__
        joined = {name: np.concatenate([getattr(one, name) for one in kept]) for name in names}
        return sample_scores(BaselineScores(**joined), self.label, self._network.whole.answer.kind)

    def same_samples(self, said: SampleCounts) -> bool:
        """Whether the samples are those of the audit, with the same labels."""
        return np.array_equal(self.index, said.index) and np.array_equal(self.label, said.label)

    def checks(self, record: AuditRecord, said: SampleCounts) -> Iterator[Check]:
        """The data, and what is said of each sample with nothing removed."""
        wrong = []
        found = data.combine_digests(self.digests, self.label)
        if found != record.data.sha256:
            wrong.append(f"The samples have SHA-256 {found}, the audit is of {record.data.sha256}.")
        if not self.same_samples(said):
            wrong.append(f"Places and labels of the samples are not those in {SAMPLES}.")
        given = len(self._source)
        if given != record.data.given:
            wrong.append(f"There are {given} samples, audit.json says {record.data.given}.")
        told = [sentence.split(": ")[0] for sentence in record.skipped]
        if told != [name.split(": ")[0] for name in self.skipped]:
            wrong.append("Other samples cannot be read than audit.json says.")
        yield check("data read again", wrong, f"{len(self.label)} samples are those audited.")
        if not self.same_samples(said):
            return
        bad = (said.correct & ~self.possible) | (~said.correct & self.sure)
        wrong = [
            f"Sample {said.index[place]} is said to be {'' if said.correct[place] else 'not '}"
            f"classified as its label in {SAMPLES}, and the network says otherwise."
            for place in np.flatnonzero(bad)
        ]
        least, most = self.sure.mean(), self.possible.mean()
        accuracy = f"{least:.6g}" if least == most else f"{least:.6g} to {most:.6g}"
        yield check(
            "samples run again",
            [*wrong, *self._scores_wrong(said)],
            f"All {len(self.label)} samples, with nothing removed: accuracy {accuracy}.",
        )

    def _scores_wrong(self, said: SampleCounts) -> Iterator[str]:
        if self.scores is None:
            return
        slack = self._network.slack(self.size) + 1e-6
        stated, found = said.scores, self.scores
        for name, bad in (
            ("log_probability", _apart(stated.log_probability, found.log_probability, slack)),
            ("margin", _apart(stated.margin, found.margin, slack)),
            ("other", (stated.other != found.other) & (self.lead > slack)),
        ):
            for place in np.flatnonzero(bad):
                yield (
                    f"'{name}' of sample {said.index[place]} is "
                    f"{getattr(said.scores, name)[place]:.6g} in {SAMPLES}, the network gives "
                    f"{getattr(self.scores, name)[place]:.6g}."
                )

    def order_check(self, curves: Sequence[ClassCurves], ranking: Ranking) -> Check:
        """Whether the units of each class are in the order of what they are ranked by."""
        classes = np.array([curve.class_index for curve in curves])
        mean = np.stack([self._activity[c] / (self.label == c).sum() for c in classes.tolist()])
        wrong = []
        drawn = ranking.orders(mean, classes) if ranking.by == "random" else None
        ranked = class_selectivity(mean) if ranking.compares_classes else mean
        for place, curve in enumerate(curves):
            if drawn is not None:
                agrees = np.array_equal(drawn[place], curve.order)
            else:
                values = ranked[place][curve.order]
                lowest = np.minimum.accumulate(values)
                size = np.abs(values) if not ranking.compares_classes else 1.0
                slack = self._network.unranked(size, ranked[place])
                agrees = bool((values <= lowest + slack).all())
            if not agrees:
                wrong.append(
                    f"The units of class {curve.class_index} are not in the order of "
                    f"{ranking.by} in {CURVES}."
                )
        return check("order worked out again", wrong, f"The unit order of {len(curves)} classes.")


def _site(said: SiteRecord, network: CutNetwork) -> Check:
    cut = network.cut.tensor
    wrong = [f"site.cut is {said.cut!r} in audit.json, the network is cut at {cut!r}."]
    return check("cut", wrong if said.cut != cut else [], f"The network is cut at {cut!r}.")


def _warnings(record: AuditRecord, subject: Subject, network: CutNetwork | None) -> Check:
    """What there is to warn of in the network, and of a preprocessing that nobody declared.

    What an audit warned of besides lies with its copy of the data and its device.
    """
    of_network = () if network is None else network.cut.warnings
    of_site = () if subject.site is None else subject.site.warnings
    wanted = (*of_site, *of_network, *subject.preprocessing.warnings)
    wrong = [
        f"input_warnings does not say in audit.json: {one}"
        for one in wanted
        if one not in record.input_warnings
    ]
    right = f"{len(wanted)} warnings of network and preprocessing are there."
    return check("input warnings", wrong, right)


@dataclass(slots=True)
class _Bounds:
    """Counts that are certain, and counts that are possible."""

    least: np.ndarray
    most: np.ndarray


@dataclass
class _Recount:
    """Cells of the curves, and counts of samples, by one run of the whole network each."""

    job: Job
    network: _Plain
    curves: Sequence[ClassCurves]
    said: SampleCounts
    draw: Draw
    _per_sample: dict[str, _Bounds] = field(default_factory=dict)
    _complete: bool = False
    _evaluations: int = 0  # that the cells took

    def cells(self) -> Check:
        """Draw cells, count them again, and compare."""
        steps = self.network.channels + 1
        shape = (len(self.curves), len(_ORDERS), steps)
        drawn = self.draw.draw_cells(int(np.prod(shape)))
        place, order, n = np.unravel_index(drawn, shape)
        self._complete = len(drawn) == int(np.prod(shape))
        count = len(self.said.label)
        self._per_sample = {
            name: _Bounds(np.zeros(count, np.int64), np.zeros(count, np.int64)) for name in _ORDERS
        }
        wrong, done = [], 0
        for number, curve in enumerate(self.curves):
            mine = place == number
            if not mine.any():
                continue
            masks = self._masks(curve, order[mine], n[mine])
            bounds = self._count(curve, masks, order[mine])
            stated = np.where(order[mine] == 0, curve.descending[n[mine]], curve.ascending[n[mine]])
            bad = (stated < bounds.least) | (stated > bounds.most)
            wrong += [
                f"Of class {curve.class_index} {stated[cell]} samples are right in {CURVES} with "
                f"the first {n[mine][cell]} units removed in {_ORDERS[order[mine][cell]]} order, "
                f"the network gives {_between(bounds.least[cell], bounds.most[cell])}."
                for cell in np.flatnonzero(bad)
            ]
            done += int(mine.sum())
            self.job.progress("cells", done, len(drawn))
        return check(
            "curves counted again",
            wrong,
            f"{len(drawn):,} of {int(np.prod(shape)):,} cells, drawn with seed {self.draw.seed}.",
        )

    def samples(self) -> Check:
        """Draw samples, count at how many n each is right, and compare."""
        steps = self.network.channels + 1
        if self._complete:
            places = self.draw.draw_samples(len(self.said.label), len(self.said.label))
        else:
            most = max(_FEWEST_SAMPLES, self._evaluations // (len(_ORDERS) * steps))
            places = self.draw.draw_samples(len(self.said.label), most)
        wrong = []
        curve_of = {curve.class_index: curve for curve in self.curves}
        for number, place in enumerate(places.tolist(), 1):
            for order, name in enumerate(_ORDERS):
                if self._complete:
                    bounds = self._per_sample[name]
                    least, most = int(bounds.least[place]), int(bounds.most[place])
                else:
                    curve = curve_of[int(self.said.label[place])]
                    masks = self._masks(curve, np.full(steps, order), np.arange(steps))
                    least, most = self._count_sample(place, masks)
                stated = int(getattr(self.said, name)[place])
                if not least <= stated <= most:
                    wrong.append(
                        f"'{name}' of sample {self.said.index[place]} is {stated} in {SAMPLES}, "
                        f"the network gives {_between(least, most)}."
                    )
            self.job.progress("samples", number, len(places))
        return check(
            "samples counted again",
            wrong,
            f"{len(places):,} of {len(self.said.label):,} samples, each at all {steps} n of both "
            "orders.",
        )

    def _masks(self, curve: ClassCurves, order: np.ndarray, n: np.ndarray) -> np.ndarray:
        """float32 (C, M): 0 for the first n units of an order."""
        rank = np.empty(self.network.channels, np.int64)
        rank[curve.order] = np.arange(self.network.channels)
        removed_at = np.stack([rank, self.network.channels - 1 - rank])[order]  # (C, M)
        return (removed_at >= n[:, None]).astype(np.float32)

    def _count(self, curve: ClassCurves, masks: np.ndarray, order: np.ndarray) -> _Bounds:
        """How many samples of a class are right under each mask, int64 (C,)."""
        found = _Bounds(np.zeros(len(masks), np.int64), np.zeros(len(masks), np.int64))
        own = np.flatnonzero(self.said.label == curve.class_index)
        for places, images in self._images(own):
            labels = np.full(len(images), curve.class_index)
            self._evaluations += len(images) * len(masks)
            for cell, mask in enumerate(masks):
                under = np.broadcast_to(mask, (len(images), len(mask)))
                sure, possible = self._right(images, under, labels)
                found.least[cell] += sure.sum()
                found.most[cell] += possible.sum()
                hits = self._per_sample[_ORDERS[order[cell]]]
                hits.least[places] += sure
                hits.most[places] += possible
        return found

    def _count_sample(self, place: int, masks: np.ndarray) -> tuple[int, int]:
        ((_, image),) = self._images(np.array([place]))
        size = self.network.at_once(image[0])
        least = most = 0
        for start in range(0, len(masks), size):
            some = masks[start : start + size]
            images = np.broadcast_to(image, (len(some), *image.shape[1:]))
            labels = np.full(len(some), self.said.label[place])
            sure, possible = self._right(images, some, labels)
            least, most = least + int(sure.sum()), most + int(possible.sum())
        return least, most

    def _right(
        self, images: np.ndarray, masks: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        scores = self.network.scores(images, masks)
        return self.network.right(_Own.of(scores, labels, self.network.whole.answer.kind))

    def _images(self, places: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Places and images (B, …) of samples, in batches; a DataError where one has changed."""
        loaded = self.job.subject.samples(skip_bad=False)
        indices = self.said.index[places]
        first = next(iter(loaded.load(indices[:1], 1))).images[0]
        size = self.network.at_once(first)
        at = 0
        for batch in loaded.load(indices, size):
            yield places[at : at + len(batch)], batch.images
            at += len(batch)


def _finite(scores: np.ndarray) -> np.ndarray:
    """Scores as float64, of which the largest are float32's: their differences are finite, too."""
    return np.nan_to_num(scores.astype(np.float32)).astype(np.float64)


def _lead(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How far the best score but the label's is above the next; endless without one, (B,)."""
    others = _finite(scores)
    if others.shape[1] < 3:
        return np.full(len(others), np.inf)
    others[np.arange(len(others)), labels] = -np.inf
    top = np.sort(others, axis=1)
    return top[:, -1] - top[:, -2]


def _apart(stated: np.ndarray, found: np.ndarray, slack: np.ndarray) -> np.ndarray:
    """Where numbers differ by more than rounding: of scores, or of their logarithms."""
    distance = np.abs(stated.astype(np.float64) - found)
    return distance > slack + _LOGARITHM * np.maximum(1, np.abs(found) / 10)


def _between(least: Any, most: Any) -> str:
    return f"{least}" if least == most else f"{least} to {most}"
