"""What ``audit.json`` says, as frozen records: what was audited, with what, and what came out.

Fields keep the names of the file, so that one rule reads and writes all of them
(:mod:`analyzer.audit.folder`). Fields may be added within a schema version; unknown ones are
ignored on reading. What a measure besides the ablation has to say stands in a section that its own
folder defines.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "AS_STORED",
    "SCHEMA",
    "UNDECLARED",
    "AuditRecord",
    "ClassRecord",
    "DataRecord",
    "DeviceRecord",
    "EmptyClass",
    "GapRecord",
    "LimitRecord",
    "MadeRecord",
    "ModelRecord",
    "OrderRecord",
    "RowsRecord",
    "SecondsRecord",
    "SiteRecord",
    "StoppedRecord",
    "ToleranceRecord",
    "VerdictRecord",
    "quantity",
]

SCHEMA = 1
"""Version of ``audit.json``; grows when a field changes its meaning or goes away."""

AS_STORED = "as stored"
"""The origin of the preprocessing of float arrays, which are fed as they are."""

UNDECLARED = "not declared"
"""The origin of a preprocessing that nobody declared."""


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """The network that was audited."""

    path: str  # as the caller gave it
    sha256: str  # of the file, followed by its external data files where there are any
    bytes: int
    producer: str
    opset: int


@dataclass(frozen=True, slots=True)
class DataRecord:
    """The training samples that were used."""

    source: str
    samples: int
    sha256: str  # of the samples as read, with their labels
    preprocessing: Mapping[str, Any]
    given: int  # before the limit per class
    files: str = ""  # sha256 of names, sizes, times, inodes; where it is another, they are read


@dataclass(frozen=True, slots=True)
class SiteRecord:
    """The tensor that was masked."""

    tensor: str
    axis: int
    channels: int  # M
    kind: str  # "activation", "convolution" or "tensor"
    cut: str  # the tensor where the graph was cut; differs from ``tensor`` when sunk
    operator: str = ""  # that makes the tensor, e.g. "Relu"


@dataclass(frozen=True, slots=True)
class ClassRecord:
    """One class: accuracy with nothing removed, and its sparsity quantities (Eq. 2 to 5).

    Those are None where the network has no site.
    """

    index: int
    name: str
    samples: int
    accuracy: float
    n0: int | None
    n0_r: int | None
    zeta: float | None
    kappa: float | None
    chance_reached: bool
    flags: tuple[str, ...] = ()  # sentences
    gap: float | None = None  # estimated, of the class; null where there is none
    gap_low: float | None = None  # of its prediction interval
    gap_high: float | None = None
    # Of its samples, how many lie in each tenth of all samples in the order of how sure the network
    # is of them, the least sure first; empty where that is not known.
    sureness: tuple[int, ...] = ()


def quantity(value: float | None) -> float:
    """A sparsity quantity of a network or class that has a site; reading a record checks it."""
    assert value is not None
    return value


@dataclass(frozen=True, slots=True)
class EmptyClass:
    """A class of the network without samples: left out of every average."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class GapRecord:
    """The estimated generalization gap (Eq. 7) with its prediction interval."""

    estimate: float
    low: float
    high: float
    coverage: float  # nominal coverage of [low, high]
    gap_model: str  # sha256 of the gap model
    inside_range: bool
    warnings: tuple[str, ...] = ()
    gap_model_name: str = ""  # file or zoo name
    fitted_on: str = ""  # the population behind the gap model, in words


@dataclass(frozen=True, slots=True)
class LimitRecord:
    """A limit that was asked for, and what became of it."""

    name: str  # of the option, "max_gap" say
    limit: float
    figure: float | None  # held against it; None where there is none
    outcome: str  # "pass", "fail" or "not judgeable"
    sentence: str  # says the figure and the limit, or why there is none


@dataclass(frozen=True, slots=True)
class VerdictRecord:
    """Whether the network keeps the limits that were asked for."""

    outcome: str  # "pass", "fail" or "not judgeable"
    sentence: str  # for people: the outcome, and the first reason
    reasons: tuple[str, ...]  # sentences: of what failed, or else of what cannot be judged
    limits: tuple[LimitRecord, ...]


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """What was asked for and what ran."""

    requested: str
    used: str  # several are separated by commas
    precision: str = "float32"  # or "tf32", "fp16"


@dataclass(frozen=True, slots=True)
class SecondsRecord:
    """Wall-clock time."""

    prefix: float
    sweep: float
    total: float


@dataclass(frozen=True, slots=True)
class MadeRecord:
    """Who made the result, where and how; "" where it is not known."""

    command: str  # as it was given
    host: str
    auditor: str  # as they named themselves


@dataclass(frozen=True, slots=True)
class RowsRecord:
    """Rows (sample, order, n): how many there are, and how many had to be run."""

    possible: int
    run: int


@dataclass(frozen=True, slots=True)
class ToleranceRecord:
    """How far ζ and κ of the network can be off, where not all rows were run."""

    asked: float
    zeta_bound: float  # for certain
    kappa_bound: float  # with probability ``confidence``
    confidence: float
    rows_audited: int  # drawn at random from those not run, to see whether they were guessed right


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """The content of ``audit.json``."""

    model: ModelRecord
    data: DataRecord
    site: SiteRecord | None  # None where no tensor can be masked: nothing was removed
    settings: Mapping[str, Any]  # every option in force, JSON values
    chance: float  # the chance level in use
    accuracy: float  # of all samples, with nothing removed
    zeta: float | None  # Eq. 6; None without a site
    kappa: float | None  # Eq. 6; likewise
    classes: tuple[ClassRecord, ...]
    gap: GapRecord | None  # None without a gap model, or where it cannot estimate
    device: DeviceRecord
    versions: Mapping[str, str]
    seconds: SecondsRecord
    rows: RowsRecord
    warnings: tuple[str, ...] = ()
    input_warnings: tuple[str, ...] = ()  # those of them that come from before the counting
    empty_classes: tuple[EmptyClass, ...] = ()
    skipped: tuple[str, ...] = ()  # names of unreadable samples that were left out
    created: str = ""  # UTC, ISO 8601
    tolerance: ToleranceRecord | None = None  # None: the counts are exact
    suspects: int = 0  # samples that ``suspects.csv`` lists
    # Of the labels, the share that are more likely wrong than right; None without the measures.
    doubtful_labels: float | None = None
    features: Mapping[str, float] = field(default_factory=dict)  # of the curves
    # What further measures say, by their names; in the file a field each, null if not asked for.
    sections: Mapping[str, Any] = field(default_factory=dict)
    # Why measures that were asked for are missing, by their names.
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    no_gap: str = ""  # why the gap model gives no estimate; a sentence
    no_class_gaps: str = ""  # why it gives none for some classes, or for all; a sentence
    verdict: VerdictRecord | None = None  # None: no limit was asked for
    made: MadeRecord = MadeRecord(command="", host="", auditor="")
    key: str = ""  # identity of what was counted; the same audit is not counted twice
    schema: int = SCHEMA

    @property
    def class_names(self) -> Mapping[int, str]:
        """The names of all classes, with and without samples, by index."""
        names = {one.index: one.name for one in self.classes}
        return names | {one.index: one.name for one in self.empty_classes}

    @property
    def worst_first(self) -> list[ClassRecord]:
        """The classes by estimated gap, the greatest first; those without one last, by index."""
        return sorted(self.classes, key=lambda one: (one.gap is None, -(one.gap or 0.0), one.index))

    @property
    def channels(self) -> int:
        """M, 0 without a site."""
        return 0 if self.site is None else self.site.channels

    @property
    def rank(self) -> str:
        """What units were ranked by."""
        return str(self.settings.get("rank", "l1"))


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """Another order of the classes, under which most samples would be right."""

    accuracy: float  # under it, on samples that it was not found on
    named_as: tuple[int, ...]  # what samples of each label are named
    names: tuple[str, ...]  # of the classes in the network's order
    by_name: bool  # whether a list of these names sets the order; else labels are numbered again


@dataclass(frozen=True, slots=True)
class StoppedRecord:
    """The content of ``stopped.json``: an audit that a first look ended before the sweep."""

    model: ModelRecord
    data: DataRecord  # ``samples`` are those that were looked at, and ``sha256`` is theirs
    settings: Mapping[str, Any]  # every option in force, JSON values
    chance: float  # the chance level in use
    accuracy: float  # of the samples that were looked at, with nothing removed
    reason: str  # what was found, and the way out; sentences
    verdict: VerdictRecord
    classes: tuple[str, ...]  # names by index
    confusions: tuple[tuple[int, int, int], ...]  # label, named class, samples; without zeros
    order: OrderRecord | None  # None: the classes seem to come in the right one
    fed: tuple[float, float]  # the least and the greatest value that the network was given
    device: DeviceRecord
    versions: Mapping[str, str]
    skipped: tuple[str, ...] = ()  # what could not be read, and why
    created: str = ""  # UTC, ISO 8601
    made: MadeRecord = MadeRecord(command="", host="", auditor="")
    schema: int = SCHEMA
