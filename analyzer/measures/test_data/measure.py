"""Test data as a measure: the accuracy on samples that the network was not trained on."""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.audit_record import AuditRecord
from analyzer.errors import DataError
from analyzer.files import array_of, check_names, check_places, read_arrays
from analyzer.measures.ablation.sample_scores import read_samples
from analyzer.measures.measure import Check, Draw, Job, Measure, ReportSection, check, same
from analyzer.output_files import write_arrays

if TYPE_CHECKING:
    from analyzer.audit_options import AuditRequest
    from analyzer.data import FirstReading, Preprocessing, Source

__all__ = [
    "MATRIX_CLASSES",
    "TEST",
    "Confusion",
    "ConfusionCell",
    "TestData",
    "TestRecord",
    "TestResult",
    "confusion_cells",
    "count_pairs",
    "report_section",
]

TEST = "test.npz"
_COLUMNS = ("label", "named", "rank", "index")
_TRAIN_RANK = "train_rank"
_NO_RANKS = np.empty(0, np.int32)
_READING = "first_reading"  # of the test data, among what a job has made
_READ_AT_ONCE = 64  # training samples
_TOP = 5
MATRIX_CLASSES = 20
"""Up to as many, a matrix can be read."""

_LISTED = 15  # confusions that are listed


@dataclass(frozen=True, slots=True)
class TestRecord:
    """The section ``test`` of ``audit.json``."""

    __test__ = False  # no test of pytest's

    source: str
    samples: int
    sha256: str  # of the samples as read, with their labels
    accuracy: float
    top5: float | None  # null with five classes or fewer, or where the network gives labels alone
    gap: float  # accuracy on the training data less this one
    in_training: int | None  # of these samples are training samples, too; null if not looked at
    skipped: tuple[str, ...] = ()  # what could not be read, and why
    fingerprint: str = ""  # of the data as they lie there, to see whether they are still the same
    identity: str = ""  # of labels, names and how samples are decoded, for data that were touched
    train_top5: float | None = None  # of the training samples, likewise


@dataclass(frozen=True, slots=True)
class TestResult:
    """What the network names T test samples, in the order of their data."""

    __test__ = False

    record: TestRecord
    label: np.ndarray  # int64 (T,)
    named: np.ndarray  # int64 (T,)
    rank: np.ndarray  # int32 (T,): classes with a better score than the label's
    index: np.ndarray  # int64 (T,)
    train_rank: np.ndarray  # int32 (S,): the same of the training samples; (0,) without top-5


class TestData(Measure[TestResult]):
    """The measured gap, for those who have test data."""

    __test__ = False

    name = "test"
    features = ()
    section = TestRecord
    files = (TEST,)

    def wanted(self, options: "AuditRequest") -> bool:
        """Whether test data are named."""
        return options.test_data is not None

    def settled(self, options: "AuditRequest", record: AuditRecord) -> bool:
        """Whether a finished audit has run these data, or theirs are not there any more."""
        if not self.measured(record):
            return False
        said: TestRecord = record.sections[self.name]
        if said.source != options.test_data:
            return False
        there = os.path.exists(said.source.partition("#")[0])  # a split may be named
        if not there:
            return True
        return said.in_training is not None and said.fingerprint == _open(options).fingerprint()

    def kept_by(self, record: AuditRecord) -> dict[str, Any]:
        """The test data of the record."""
        keys = record.settings.get("test_keys")
        return {
            "test_data": record.sections[self.name].source,
            "test_keys": tuple(keys) if keys else None,
        }

    def prepare(self, job: Job) -> None:
        """Refuse test data that cannot be read, or not by this network, before anything long."""
        _preprocessing(job, _open_checked(job))

    def measure(self, job: Job) -> TestResult:
        """Run the test samples through the network once, unless they are those of before."""
        from analyzer import data, surgery
        from analyzer.measures.unmasked_predictions import predict_test_data

        request, subject = job.request, job.subject
        source = _open_checked(job)
        first_reading = job.made[_READING] = data.FirstReading(source)
        if (known := self._known(job, source, first_reading)) is not None:
            return known
        found = predict_test_data(
            subject.network,
            subject.extra_inputs,
            source,
            _preprocessing(job, source),
            first_reading,
            reading=request,
            run=request,
            output=subject.output,
            scratch=job.scratch,
            progress=job.progress,
        )
        counted = job.found["ablation"].samples
        answer = surgery.find_answer(subject.network, request.output)
        has_ranks = found.classes > _TOP and answer.kind != "labels"
        train_rank, trained = self._trained(job, counted.index, has_ranks=has_ranks)
        record = TestRecord(
            source=str(request.test_data),
            samples=len(found.label),
            sha256=data.combine_digests(found.digests, found.label),
            accuracy=found.accuracy,
            top5=found.top(_TOP) if has_ranks else None,
            gap=float(counted.correct.mean()) - found.accuracy,
            in_training=_among((found.digests, found.fed), trained),
            skipped=found.skipped,
            fingerprint=source.fingerprint(),
            identity=source.identity(),
            train_top5=float((train_rank < _TOP).mean()) if has_ranks else None,
        )
        return TestResult(record, found.label, found.named, found.rank, found.index, train_rank)

    def confirm(self, job: Job) -> None:
        """Hold the test data as they are now against what was read of them."""
        if _READING in job.made:
            job.made[_READING].confirm()

    def _known(
        self, job: Job, source: "Source", first_reading: "FirstReading"
    ) -> TestResult | None:
        """What an earlier run found, where the files are others and what they hold is the same."""
        from analyzer import data

        record, out = job.finished, job.request.out
        if record is None or not self.measured(record):
            return None
        said: TestRecord = record.sections[self.name]
        if said.identity != source.identity() or said.in_training is None:
            return None
        result = self.read(out, record)
        if len(result.index) + len(said.skipped) != len(source):
            return None
        unread = np.setdiff1d(np.arange(len(source)), result.index)
        if len(unread) and not job.request.skip_bad:
            return None
        for index in unread.tolist():
            with suppress(DataError):
                source.read(index)
                return None
        digests = first_reading.read(result.index, job.progress)
        if digests is None or data.combine_digests(digests, result.label) != said.sha256:
            return None
        first_reading.confirm()
        place, files = str(job.request.test_data), source.fingerprint()
        return replace(result, record=replace(said, source=place, fingerprint=files))

    @staticmethod
    def _trained(
        job: Job, index: np.ndarray, *, has_ranks: bool
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """What is to be known of the training samples, which are read again for it.

        Returns:
            int32, for each of ``index`` the classes with a better score than the label's, or
            (0,) without ranks; and digests, uint8 (S, 32), of the samples as they are stored
            and as they are fed.
        """
        from analyzer.measures.unmasked_predictions import predict_whole

        subject = job.subject
        samples = subject.samples(skip_bad=job.request.skip_bad, fed=True)
        if not has_ranks:
            stored, fed = [], []
            for batch in samples.load(samples.indices, _READ_AT_ONCE):
                stored.append(batch.digests)
                fed.append(batch.fed)
                done = min(len(fed) * _READ_AT_ONCE, len(samples.indices))
                job.progress("training", done, len(samples.indices))
            return _NO_RANKS, (np.concatenate(stored), np.concatenate(fed))
        found = predict_whole(
            subject.network,
            subject.extra_inputs,
            samples,
            job.request,
            output=subject.output,
            scratch=job.scratch,
            stage="training",
            progress=job.progress,
        )
        order = np.argsort(found.index)  # those of the network's classes, as they were counted
        places = order[np.searchsorted(found.index, index, sorter=order)]
        return found.rank[places], (found.digests, found.fed)

    def measured(self, record: AuditRecord) -> bool:
        """Whether the record has the section."""
        return self.name in record.sections

    def read(self, folder: Path, record: AuditRecord) -> TestResult:
        """The section and ``test.npz``."""
        arrays = _read_arrays(folder)
        return TestResult(record=record.sections[self.name], **arrays)

    def write(self, folder: Path, result: TestResult) -> None:
        """Write ``test.npz``."""
        write_arrays(
            folder / TEST,
            {
                "label": result.label.astype(np.int64),
                "named": result.named.astype(np.int64),
                "rank": result.rank.astype(np.int32),
                "index": result.index.astype(np.int64),
                "train_rank": result.train_rank.astype(np.int32),
            },
        )

    def fields(self, result: TestResult, job: Job) -> dict[str, Any]:
        """The section ``test``."""
        return {"sections": {self.name: result.record}}

    def feature_values(self, record: AuditRecord) -> dict[str, float]:
        """None: a gap model estimates what this measures."""
        return {}

    def summary(self, record: AuditRecord) -> Iterator[tuple[str, str]]:
        """The measured gap, and test samples that are training samples."""
        if self.measured(record):
            said: TestRecord = record.sections[self.name]
            top = "" if said.top5 is None else f", top-5 {said.top5:.4f}"
            if said.train_top5 is not None:
                top += f" (of the training data {said.train_top5:.4f})"
            yield (
                "test data",
                f"accuracy {said.accuracy:.4f}{top} on {said.samples:,} samples of {said.source}: "
                f"the measured gap is {said.gap:z.3f}"
                + (", outside the interval of the estimate" if _is_outside(record) else ""),
            )
            if said.in_training:
                yield "", f"{said.in_training:,} of them are among the training samples, too"

    def checks(self, folder: Path, record: AuditRecord) -> Iterator[Check]:
        """Whether accuracy, top-5 and gap follow from the file."""
        if self.measured(record):
            said: TestRecord = record.sections[self.name]
            arrays = _read_arrays(folder)
            right = f"The measured gap {said.gap:.6g} follows from {TEST}."
            yield check(self.name, _faults(said, arrays, record.accuracy), right)

    def recount(self, folder: Path, record: AuditRecord, job: Job, draw: Draw) -> Iterator[Check]:
        """Nothing: the test data are not among what a verification is given."""
        if self.measured(record):
            draw.omitted.append("The test data were not run again.")
        yield from ()

    def report(self, folder: Path, record: AuditRecord) -> ReportSection | None:
        """The measured gap, and the confusions on training and test data."""
        if not self.measured(record):
            return None
        return report_section(folder, record, _read_arrays(folder))


def _open(request: "AuditRequest") -> "Source":
    from analyzer import data

    try:
        source = data.open_data(
            str(request.test_data),
            keys=request.test_keys,
            classes=request.classes,
            exif=request.preprocess.exif,
            budgets=request.budgets,
        )
    except DataError as error:
        raise error.renamed("keys", "test_keys") from error
    source.refuse_results(request.further_results)
    return source


def _open_checked(job: Job) -> "Source":
    """The test data, with the classes of the training data.

    Raises:
        DataError: they cannot be read, or their classes are others.
    """
    from analyzer import data

    source, trained = _open(job.request), job.subject.source
    if job.request.test_keys is not None:
        source.refuse_keys("test_keys")
    if source.class_list is not None and source.class_names != trained.class_names:
        raise DataError(
            f"The class list {source.class_list} has changed since the training data were opened. "
            "Leave it alone until the audit is done, and start it again."
        )
    data.check_class_names(
        source,
        dict(enumerate(trained.class_names or ())),
        trained.source,
        by_order=trained.indexing == "order",
    )
    return source


def _preprocessing(job: Job, source: "Source") -> "Preprocessing":
    """That of the training data, for the test data.

    Raises:
        DataError: it does not bring them to the network's input.
    """
    from analyzer import data

    subject = job.subject
    image = subject.network.info.inputs[0]
    return data.preprocessing_of_test_data(
        source, image, subject.preprocessing, subject.source.source
    )


def _is_outside(record: AuditRecord) -> bool:
    """Whether the measured gap lies outside the interval of the estimate, if there is one."""
    gap, measured = record.gap, record.sections["test"].gap
    return gap is not None and not gap.low <= measured <= gap.high


def _among(test: tuple[np.ndarray, ...], trained: tuple[np.ndarray, ...]) -> int:
    """How many of T samples are among S others, by one of the digests (T, 32) and (S, 32)."""
    rows = [[row.tobytes() for row in digests] for digests in test]
    asked = set().union(*rows)  # of what can be a million of others, no more is held
    known = {key for digests in trained for row in digests if (key := row.tobytes()) in asked}
    return sum(any(key in known for key in keys) for keys in zip(*rows, strict=True))


def _read_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Label, named, rank and index, integers (T,) each, and the ranks of training samples (S,).

    Raises:
        AuditFolderError: ``test.npz`` is missing, damaged or holds something else.
    """
    path = folder / TEST
    arrays = read_arrays(path)
    check_names(path, (*_COLUMNS, _TRAIN_RANK), tuple(arrays))
    size = array_of(path, arrays, "label", np.int64, (None,)).shape
    kinds = {"named": np.int64, "rank": np.int32, "index": np.int64}
    for name, kind in kinds.items():
        array_of(path, arrays, name, kind, size)
    array_of(path, arrays, _TRAIN_RANK, np.int32, (None,))
    found = {name: arrays[name] for name in (*_COLUMNS, _TRAIN_RANK)}
    check_places(path, found, dict.fromkeys(found, (0, math.inf)))
    return found


def _faults(said: TestRecord, arrays: dict[str, np.ndarray], accuracy: float) -> list[str]:
    if not len(arrays["label"]):
        return [f"{TEST} holds no sample."]
    found = float((arrays["label"] == arrays["named"]).mean())
    wanted = {
        "samples": len(arrays["label"]),
        "accuracy": found,
        "gap": accuracy - found,
    }
    among = said.in_training or 0
    if not 0 <= among <= len(arrays["label"]):
        wanted["in_training"] = min(max(among, 0), len(arrays["label"]))
    if said.top5 is not None:
        wanted["top5"] = float((arrays["rank"] < _TOP).mean())
        wanted["train_top5"] = float((arrays[_TRAIN_RANK] < _TOP).mean())
    wrong = [
        f"test.{name} is {getattr(said, name)} in audit.json, {TEST} gives {value}."
        for name, value in wanted.items()
        if not same(getattr(said, name), value)
    ]
    if ((arrays["rank"] == 0) != (arrays["label"] == arrays["named"])).any():
        wrong.append(f"Ranks and named classes contradict each other in {TEST}.")
    return wrong


@dataclass(frozen=True, slots=True)
class ConfusionCell:
    """One cell of a matrix."""

    count: int
    share: float  # of the samples of its row
    right: bool


@dataclass(frozen=True, slots=True)
class Confusion:
    """Samples of one class that are named another."""

    label: str
    named: str
    train: int
    test: int
    share: float  # of the test samples of the label


def report_section(
    folder: Path, record: AuditRecord, test: Mapping[str, np.ndarray]
) -> ReportSection:
    """Compute what the section shows.

    Args:
        folder, record: of the audit.
        test: ``label`` and ``named``, int64 (T,), of the test samples.
    """
    samples = read_samples(folder)
    train_named = np.where(samples.correct, samples.label, samples.scores.other)
    names = {one.index: one.name for one in record.classes}
    names |= {one.index: one.name for one in record.empty_classes}
    size = max(max(names), int(test["label"].max()), int(test["named"].max())) + 1
    train = samples.label, train_named
    matrices = []
    if size <= MATRIX_CLASSES:  # more would be too many to read, and their square too much memory
        matrices = [
            ("Training data", confusion_cells(_counts(*train, size))),
            ("Test data", confusion_cells(_counts(test["label"], test["named"], size))),
        ]
    return ReportSection(
        links=(("test", "Test data"),),
        template=Path(__file__).parent / "test_data.html.jinja",
        values={
            "test": record.sections["test"],
            "outside": _is_outside(record),
            "names": [names.get(index, str(index)) for index in range(size if matrices else 0)],
            "matrices": matrices,
            "confusions": _most(train, (test["label"], test["named"]), names),
        },
    )


def _counts(label: np.ndarray, named: np.ndarray, size: int) -> np.ndarray:
    found = np.zeros((size, size), np.int64)
    np.add.at(found, (label, named), 1)
    return found


def confusion_cells(counts: np.ndarray) -> list[list[ConfusionCell]]:
    """A matrix of samples, int64 (K, K) by label and named class, as a page shows it."""
    rows = np.maximum(counts.sum(axis=1), 1)
    return [
        [
            ConfusionCell(int(count), float(count / rows[label]), label == named)
            for named, count in enumerate(line)
        ]
        for label, line in enumerate(counts)
    ]


def count_pairs(label: np.ndarray, named: np.ndarray) -> tuple[tuple[int, int, int], ...]:
    """Label, named class and number of samples, of every two that occur together, in order.

    Args:
        label, named: int64 (S,).
    """
    pairs, counts = np.unique(np.stack([label, named], axis=1), axis=0, return_counts=True)
    return tuple(zip(*pairs.T.tolist(), counts.tolist(), strict=True))


def _most(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    names: Mapping[int, str],
) -> list[Confusion]:
    """The most frequent errors on the test samples; both are labels and named classes."""
    wrong = [pair for pair in count_pairs(*test) if pair[0] != pair[1]]
    return [
        Confusion(
            names.get(label, str(label)),
            names.get(named, str(named)),
            int(((train[0] == label) & (train[1] == named)).sum()),
            count,
            float(count / (test[0] == label).sum()),
        )
        for label, named, count in sorted(wrong, key=lambda pair: -pair[2])[:_LISTED]
    ]
