"""What a measure is: one way of looking at a network, with all that is particular to it.

A measure lives in a folder of its own under :mod:`analyzer.measures` and owns what it needs, what
it computes per sample and per network, the features it gives a gap model, the state from which it
resumes, its file in the audit folder, its checks in ``verify`` and its section of the report. The
audit goes through the list :data:`analyzer.measures.registry.MEASURES` and knows nothing of their
insides.
"""

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import numpy as np

from analyzer.audit_record import AuditRecord
from analyzer.common_types import Answer, ExtraInput, Progress, Site
from analyzer.errors import DataError, ModelError
from analyzer.runtime import OutOfMemory

if TYPE_CHECKING:  # what an audit runs with; reading one needs none of it
    from analyzer.audit_options import AuditRequest
    from analyzer.data import FirstReading, KeptPictures, Preprocessing, Samples, Source
    from analyzer.measures.training_images import SampleImages
    from analyzer.surgery import Network

__all__ = [
    "Check",
    "Draw",
    "Job",
    "Measure",
    "ReportSection",
    "Subject",
    "check",
    "differing",
    "same",
]

_CLOSE = 1e-9  # the quantities are ratios of integers, so only printing can differ
_ROUNDED = 0.01  # of the samples, that rounding may let differ when they are measured again

FILES = "files"
"""Beside the arrays of a state that is saved: the states of files when it was."""

Result = TypeVar("Result")
State = Mapping[str, np.ndarray]
"""Arrays by name, from which a measure resumes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is measured, found and checked before anything is written."""

    network: "Network"
    extra_inputs: tuple[ExtraInput, ...]
    output: str | None  # that tells the class, where somebody named it
    site: Site | None  # None: no tensor can be masked
    source: "Source"
    preprocessing: "Preprocessing"
    indices: np.ndarray  # int64 (S,), in the order of the data
    key: str  # identifies what is measured, but for what the samples are
    files: str  # sha256 of the states of the data's files, by which samples are known unread
    first_reading: "FirstReading"  # of the samples of ``source``
    pictures: "KeptPictures"  # of the samples, decoded once for all measures where there is room
    no_site: str = ""  # why there is none, a sentence
    groups: np.ndarray | None = None  # int64 (S,): those that show the same thing; −1 for none

    @property
    def answer(self) -> Answer:
        """The output that tells the class, and how."""
        from analyzer.surgery import find_answer

        return find_answer(self.network, self.output)

    @property
    def labels(self) -> np.ndarray:
        """int64 (S,)."""
        return self.source.labels[self.indices]

    def samples(self, *, skip_bad: bool, fed: bool = False) -> "Samples":
        """The samples as the network takes them; a DataError where one changes meanwhile.

        Args:
            skip_bad, fed: as of :func:`analyzer.data.read_batches`.
        """
        from analyzer.data import Samples, read_batches

        return Samples(
            indices=self.indices,
            labels=self.labels,
            load=self.first_reading.guarded(
                lambda indices, batch_size: read_batches(
                    self.source,
                    self.preprocessing,
                    indices,
                    batch_size,
                    skip_bad=skip_bad,
                    fed=fed,
                    kept=self.pictures,
                )
            ),
        )

    def take_over(self, saved: State, indices: np.ndarray, digests: np.ndarray) -> None:
        """Hold what an interrupted run read against what is read now.

        Args:
            saved: what that run found; where files were changed or touched since, all of it is
                read again at once, else in the end.
            indices: int64 (B,), of the samples.
            digests: uint8 (B, 32), sha256 of each as it is stored.

        Raises:
            DataError: a sample is not what it was.
        """
        self.first_reading.take_over(indices, digests)
        if str(saved.get(FILES)) != self.files:
            self.first_reading.confirm_earlier()

    def opened_images(
        self, *, skip_bad: bool, memory: int, progress: Progress
    ) -> "Callable[[], SampleImages]":
        """A function that gives the images of the samples, and reads them when first called."""
        from analyzer.measures.training_images import SampleImages

        @functools.cache
        def opened() -> SampleImages:
            return SampleImages.open(
                self.samples(skip_bad=skip_bad),
                memory=memory,
                groups=self.groups,
                progress=progress,
            )

        return opened

    def nothing_read(self) -> DataError:
        """What is wrong where not one sample can be read."""
        first = self.source.names[int(self.indices[0])]
        return DataError(
            f"Not one of the samples of {self.source.source} can be read, {first} among them."
        )


@dataclass(frozen=True, slots=True)
class Job:
    """One measure's part of an audit: what it measures, and where it keeps what it found so far."""

    request: "AuditRequest"
    subject: Subject
    scratch: Path  # folder for files that are needed until the audit is done
    saved: Callable[[], State | None]  # what an interrupted audit found; None if nothing
    save: Callable[[State], None]
    progress: Progress
    say: Callable[[str], None]  # takes a sentence for the person waiting
    images: Callable[[], "SampleImages"]  # of the samples, read once however often it is called
    found: Mapping[str, Any]  # results of the measures so far, by their names
    finished: AuditRecord | None = None  # of the same audit, as an earlier run left it
    made: dict[str, Any] = field(default_factory=dict)  # what ``prepare`` leaves for ``measure``


class Draw:
    """What a verification draws at random, to measure it again."""

    def __init__(self, cells: int | Literal["all"], seed: int):
        """Draw ``cells`` cells of curves, and samples to go with them, by ``seed``."""
        self.seed = seed
        self.cells = self.all_cells = self.samples = self.all_samples = 0  # drawn, and there are
        self.omitted: list[str] = []  # what was not measured again, and why, in sentences
        self._asked = cells
        self._random = np.random.default_rng(seed)

    def draw_cells(self, total: int) -> np.ndarray:
        """Some of ``total`` cells, int64, ascending."""
        count = total if self._asked == "all" else min(self._asked, total)
        self.cells, self.all_cells = count, total
        return self._drawn(total, count)

    def draw_samples(self, total: int, count: int) -> np.ndarray:
        """Up to ``count`` of ``total`` samples, int64, ascending."""
        self.samples, self.all_samples = min(count, total), total
        return self._drawn(total, self.samples)

    def _drawn(self, total: int, count: int) -> np.ndarray:
        return np.sort(self._random.choice(total, count, replace=False))


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a verification looked at."""

    name: str
    passed: bool
    sentence: str  # what was found


@dataclass(frozen=True, slots=True)
class ReportSection:
    """A measure's part of the report: a template of its folder, and what it shows."""

    links: tuple[tuple[str, str], ...]  # (anchor, word) for the head of the page
    template: Path  # shows ``values`` and ``record``
    values: Mapping[str, Any]
    words: Path | None = None  # template of what it adds to the page's list of words


class Measure(ABC, Generic[Result]):
    """One way of looking at a network."""

    name: ClassVar[str]
    """Of its section in the record, its state, and its stage where progress is reported."""

    features: ClassVar[tuple[str, ...]]
    """Names of the numbers that it gives a gap model; each is registered here and nowhere else."""

    section: ClassVar[type | None] = None
    """The record of its section in ``audit.json``; None where its fields stand at the top."""

    files: ClassVar[tuple[str, ...]]
    """Names of its files in the audit folder."""

    optional: ClassVar[bool] = False
    """Whether an audit is whole without it: where the network does not allow it, a warning says
    why, unless a gap model needs it."""

    @abstractmethod
    def wanted(self, options: "AuditRequest") -> bool:
        """Whether it is asked for."""

    @abstractmethod
    def settled(self, options: "AuditRequest", record: AuditRecord) -> bool:
        """Whether a finished audit has it as it is asked for, so that nothing is left to do."""

    def asked_for_by(self) -> Mapping[str, Any]:
        """The options that ask for it; none where no audit lacks it, or only a caller can ask."""
        return {}

    def kept_by(self, record: AuditRecord) -> Mapping[str, Any]:
        """The options that ask for it as a finished audit has it."""
        return self.asked_for_by()

    def prepare(self, job: Job) -> None:
        """Refuse, before anything long begins, what cannot be measured.

        Raises:
            AnalyzerError: the measure is impossible for this network or these samples.
        """

    @abstractmethod
    def measure(self, job: Job) -> Result:
        """Measure all samples, or what an interrupted audit has left of them.

        Raises:
            AnalyzerError: anything about the network, the data or the device.
        """

    def confirm(self, job: Job) -> None:
        """Hold what it read, besides the training data, against what is there in the end.

        Raises:
            DataError: it has changed.
        """

    @abstractmethod
    def measured(self, record: AuditRecord) -> bool:
        """Whether a finished audit has it."""

    @abstractmethod
    def read(self, folder: Path, record: AuditRecord) -> Result:
        """What a finished audit measured.

        Raises:
            AuditFolderError: its files are missing or damaged.
        """

    @abstractmethod
    def write(self, folder: Path, result: Result) -> None:
        """Write its files, each whole or not at all."""

    @abstractmethod
    def fields(self, result: Result, job: Job) -> dict[str, Any]:
        """Its fields of the record: those at the top, or ``{"sections": …}`` of its own.

        All results are in ``job.found`` by then.
        """

    @abstractmethod
    def feature_values(self, record: AuditRecord) -> dict[str, float]:
        """Its features, by name; empty where the audit does not have it."""

    @abstractmethod
    def summary(self, record: AuditRecord) -> Iterator[tuple[str, str]]:
        """Its lines of what the command line prints: names and values."""

    def warnings(self, record: AuditRecord) -> Iterator[str]:
        """What a reader of the result must know of it, in full sentences."""
        yield from ()

    @abstractmethod
    def checks(self, folder: Path, record: AuditRecord) -> Iterator[Check]:
        """What ``verify`` looks at: whether its files and its fields follow from each other."""

    def recount(self, folder: Path, record: AuditRecord, job: Job, draw: Draw) -> Iterator[Check]:
        """Measure again, in drawn parts where that is enough, and hold the folder against it.

        Args:
            folder: of the audit; its files follow from each other.
            record: of the audit.
            job: what is measured, with the options of the audit.
            draw: draws what is measured again, and is told what is not.

        Raises:
            AnalyzerError: anything about the network, the data or the device.
        """
        if self.measured(record):
            found = self.measure(job)
            wrong = self.differences(self.read(folder, record), found)
            yield check(f"{self.name} measured again", wrong, f"{self.measured_again} agree.")
        elif self.optional and self.name in record.unmeasured:
            yield self._unmeasured_again(record.unmeasured[self.name], job)

    def _unmeasured_again(self, reason: str, job: Job) -> Check:
        """Whether it cannot be measured, for the reason that the record tells."""
        try:
            self.measure(job)
        except (ModelError, OutOfMemory) as error:
            told = (error.for_library(), error.for_command_line())
            wrong = [] if reason in told else [f"audit.json tells another reason than: {told[1]}"]
        else:
            wrong = [f"audit.json says that {self.name} could not be measured; here they can."]
        return check(f"{self.name} measured again", wrong, f"Not possible. {reason}")

    measured_again: ClassVar[str] = ""
    """What :meth:`differences` compares, in words."""

    def differences(self, said: Result, found: Result) -> list[str]:
        """What an audit says and was not found again, but for rounding, in sentences."""
        return []

    @abstractmethod
    def report(self, folder: Path, record: AuditRecord) -> ReportSection | None:
        """Its section of the report; None where there is nothing to show."""


def check(name: str, wrong: Sequence[str], right: str) -> Check:
    """Passed with the sentence ``right``, or failed with what is ``wrong``, first things first."""
    if not wrong:
        return Check(name, True, right)
    further = f" ({len(wrong) - 1} more like it)" if len(wrong) > 1 else ""
    return Check(name, False, wrong[0] + further)


def same(said: float | None, found: float | None) -> bool:
    """Whether a number of the record is what was found, but for printing."""
    if said is None or found is None:
        return said is found
    return math.isclose(said, found, rel_tol=_CLOSE, abs_tol=_CLOSE)


def differing(differs: np.ndarray, what: str) -> list[str]:
    """A sentence if more samples differ than rounding explains: one in a hundred, or one.

    Args:
        differs: bool (S,).
        what: of the samples is compared, to begin the sentence.
    """
    count = int(np.count_nonzero(differs))
    if count <= max(1, int(_ROUNDED * len(differs))):
        return []
    return [
        f"{what} of {count} of {len(differs)} samples is not what the network gives, sample "
        f"{np.argmax(differs)} among them."
    ]
