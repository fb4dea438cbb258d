"""``audit.json`` as frozen records: what was audited, with what, and what came out.

Fields keep the names of the file, so that :func:`to_dict` and :func:`from_dict` are one rule for
all of them. Fields may be added within a schema version; unknown ones are ignored on reading.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analyzer.audit.folder import AUDIT, read_json
from analyzer.errors import AuditFolderError
from analyzer.estimation import AuditConditions
from analyzer.files import write_json
from analyzer.json_codec import JsonSource, decode, encode
from analyzer.measures.margin_features import MARGIN_FEATURES, margin_column

__all__ = [
    "SCHEMA",
    "AuditRecord",
    "ClassRecord",
    "DataRecord",
    "DeviceRecord",
    "EmptyClass",
    "GapRecord",
    "MarginLayerRecord",
    "MarginsRecord",
    "ModelRecord",
    "RowsRecord",
    "SecondsRecord",
    "SiteRecord",
    "ToleranceRecord",
    "from_dict",
    "read_record",
    "to_dict",
    "write_record",
]

SCHEMA = 1
"""Version of ``audit.json``; grows when a field changes its meaning or goes away."""


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
    given: int | None = None  # before the limit per class; None in older audits


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
    """One class: accuracy with nothing removed, and its sparsity quantities (Eq. 2 to 5)."""

    index: int
    name: str
    samples: int
    accuracy: float
    n0: int
    n0_r: int
    zeta: float
    kappa: float
    chance_reached: bool
    flags: tuple[str, ...] = ()  # sentences


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
class MarginLayerRecord:
    """The distances to the nearest other class, seen from one layer: natural logarithms."""

    tensor: str
    operator: str  # that makes it; "input" for the images
    size: int  # numbers a sample
    total_variation: float  # sqrt(Σ_k Var_n[x_{n,k}]), by which distances are divided
    q1: float
    q2: float
    q3: float
    lower: float  # fences
    upper: float


@dataclass(frozen=True, slots=True)
class MarginsRecord:
    """What the margin-based estimate goes by."""

    layers: tuple[MarginLayerRecord, ...]  # the images first, then by depth
    samples: int  # classified correctly, whose distances are described
    seconds: float

    def values(self) -> dict[str, float]:
        """The features by the names of their columns in a population's table."""
        return {
            margin_column(number, feature): getattr(layer, feature)
            for number, layer in enumerate(self.layers)
            for feature in MARGIN_FEATURES
        }


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """The content of ``audit.json``."""

    model: ModelRecord
    data: DataRecord
    site: SiteRecord
    settings: Mapping[str, Any]  # every option in force, JSON values
    chance: float  # the chance level in use
    accuracy: float  # of all samples, with nothing removed
    zeta: float  # Eq. 6
    kappa: float  # Eq. 6
    classes: tuple[ClassRecord, ...]
    gap: GapRecord | None  # None without a gap model
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
    margins: MarginsRecord | None = None  # None: not asked for
    suspects: int = 0  # samples that ``suspects.csv`` lists
    features: Mapping[str, float] | None = None  # more of the curves; None in older audits
    key: str = ""  # identity of what was counted; the same audit is not counted twice
    schema: int = SCHEMA

    @property
    def rank(self) -> str:
        """What units were ranked by; audits from before there was a choice do not say."""
        return self.settings.get("rank", "l1")

    @property
    def circumstances(self) -> AuditConditions:
        """What a gap model holds against those of the networks it was fitted on."""
        return AuditConditions(
            accuracy=self.accuracy,
            classes=len(self.classes),
            channels=self.site.channels,
            samples=self.data.samples,
            given=self.data.given or self.data.samples,
            site=self.site.kind,
        )

    def values(self) -> dict[str, float]:
        """What was measured, as :meth:`analyzer.estimation.GapModel.estimate` takes it."""
        margins = self.margins.values() if self.margins else {}
        return {"zeta": self.zeta, "kappa": self.kappa, **(self.features or {}), **margins}


def to_dict(record: AuditRecord) -> dict[str, Any]:
    """``record`` as JSON values, ``schema`` first.

    Raises:
        ValueError: a number is NaN or infinite; a record of such a result must not be written.
    """
    value = encode(record, "audit")
    return {"schema": value.pop("schema"), **value}


def from_dict(value: Any, *, file: str | Path = AUDIT) -> AuditRecord:
    """The record that :func:`to_dict` gave, checked field by field.

    Raises:
        AuditFolderError: another schema version, a missing field or one of the wrong type; the
            message names ``file`` and the field.
    """
    if not isinstance(value, Mapping) or "schema" not in value:
        raise AuditFolderError(f"{file} is not the record of an audit: it has no field 'schema'.")
    if value["schema"] != SCHEMA:
        raise AuditFolderError(
            f"{file} has schema {value['schema']!r}, this version of onnx-gap reads {SCHEMA}; "
            "run the audit again with --fresh, or use the version that wrote it."
        )
    source = JsonSource(str(file), AuditFolderError, "Run the audit again with --fresh.")
    record = decode(AuditRecord, value, source)
    if not record.classes:
        raise AuditFolderError(f"{file}: 'classes' is empty; an audit has at least one class.")
    return record


def write_record(folder: str | Path, record: AuditRecord) -> None:
    """Write ``audit.json``, whole or not at all."""
    write_json(Path(folder) / AUDIT, to_dict(record))


def read_record(folder: str | Path) -> AuditRecord:
    """Read and check ``audit.json`` of an audit folder."""
    path = Path(folder) / AUDIT
    return from_dict(read_json(path), file=path)
