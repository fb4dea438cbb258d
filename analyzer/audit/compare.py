"""Two audits side by side: what changed, by more than sampling noise or not, and what compares."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.audit.folder import finished_audit
from analyzer.audit.sampling_noise import ClassNoise, SamplingNoise, measure_sampling_noise
from analyzer.audit.verdict import exceeds, told_apart
from analyzer.audit_record import AuditRecord, ClassRecord, quantity
from analyzer.common_types import Progress
from analyzer.errors import AuditFolderError, DataError, parameter
from analyzer.files import RUN_AGAIN
from analyzer.measures.ablation.sample_scores import SAMPLES, SampleCounts, read_samples

__all__ = [
    "Change",
    "ClassChange",
    "Comparison",
    "compare_audits",
    "refuse_idle_draw",
]

_RESAMPLES, _SEED = 2000, 0
"""Of the drawings for the noise of the differences, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Change:
    """One number in both audits."""

    before: float
    after: float

    @property
    def difference(self) -> float:
        """after − before"""
        return self.after - self.before

    def to_dict(self) -> dict[str, float]:
        return {**asdict(self), "difference": self.difference}


@dataclass(frozen=True, slots=True)
class ClassChange:
    """One class in both audits."""

    index: int
    name: str
    accuracy: Change
    zeta: Change
    kappa: Change
    noise: Mapping[str, ClassNoise] = field(default_factory=dict)  # by quantity, where it is known

    @property
    def moved(self) -> tuple[str, ...]:
        """The quantities that changed by more than sampling noise."""
        return tuple(name for name, found in self.noise.items() if found.beyond)

    def to_dict(self) -> dict[str, Any]:
        changes = {name: getattr(self, name).to_dict() for name in ("accuracy", "zeta", "kappa")}
        noise = {name: asdict(found) for name, found in self.noise.items()}
        return {"index": self.index, "name": self.name, **changes, "noise": noise}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The second audit against the first."""

    before: str  # path of the network
    after: str
    accuracy: Change
    zeta: Change
    kappa: Change
    gap: Change | None  # estimates of one gap model; None where they cannot be compared
    classes: tuple[ClassChange, ...]  # in both audits, by index
    tolerance: float
    reasons: tuple[str, ...]  # what got worse by more than the tolerance
    warnings: tuple[str, ...]  # what the two audits do not have in common
    comparable: bool  # whether ζ and κ are the same quantities in both
    noise: SamplingNoise  # of the differences

    @property
    def worse(self) -> bool:
        """ζ or the estimated gap rose, or κ fell, by more than the tolerance."""
        return bool(self.reasons)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "before": self.before,
            "after": self.after,
            "worse": self.worse,
            "reasons": list(self.reasons),
            "warnings": list(self.warnings),
            "comparable": self.comparable,
            "noise": self.noise.to_dict(),
            "tolerance": self.tolerance,
            "accuracy": self.accuracy.to_dict(),
            "zeta": self.zeta.to_dict(),
            "kappa": self.kappa.to_dict(),
            "gap": None if self.gap is None else self.gap.to_dict(),
            "classes": [change.to_dict() for change in self.classes],
        }


def compare_audits(
    before: str | Path,
    after: str | Path,
    *,
    tolerance: float = 0.01,
    resamples: int = _RESAMPLES,
    seed: int = _SEED,
    progress: Progress = lambda stage, done, total: None,
) -> Comparison:
    """Compare the audit in folder ``after`` with the one in folder ``before``.

    Args:
        before: audit folder to hold against.
        after: audit folder in question.
        tolerance: by how much ζ and the estimated gap may rise, and κ may fall.
        resamples: drawings of the samples, for the noise of the differences.
        seed: of these.
        progress: as of :func:`measure_sampling_noise`.

    Raises:
        AuditFolderError: one of the folders holds no whole audit.
        DataError: ``resamples`` is too low or too high, ``tolerance`` below 0 or not finite, or
            ``seed`` below 0.
    """
    if not 0 <= tolerance <= sys.float_info.max:
        raise DataError(f"{parameter('tolerance')} cannot be {tolerance}; give a number from 0 on.")
    if seed < 0:
        raise DataError(f"{parameter('seed')} cannot be {seed}; give a whole number from 0 on.")
    with finished_audit(before) as a, finished_audit(after) as b:
        for folder, record in ((before, a), (after, b)):
            if record.site is None:
                raise AuditFolderError(
                    f"The network of {folder} has no site, so there is no ζ and no κ to compare. "
                    f"Audit it again with a {parameter('site')}."
                )
        noise = measure_sampling_noise(
            (a, _samples_of(before, a)),
            (b, _samples_of(after, b)),
            resamples=resamples,
            seed=seed,
            progress=progress,
        )
    comparable = a.rank == b.rank
    gap = None
    if comparable and a.gap and b.gap and a.gap.gap_model == b.gap.gap_model:
        gap = Change(a.gap.estimate, b.gap.estimate)
    zeta = Change(quantity(a.zeta), quantity(b.zeta))
    kappa = Change(quantity(a.kappa), quantity(b.kappa))
    return Comparison(
        before=a.model.path,
        after=b.model.path,
        accuracy=Change(a.accuracy, b.accuracy),
        zeta=zeta,
        kappa=kappa,
        gap=gap,
        classes=tuple(_class_changes(a.classes, b.classes, noise.classes)),
        tolerance=tolerance,
        reasons=tuple(_reasons(zeta, kappa, gap, tolerance, comparable)),
        warnings=tuple(_warnings(a, b)),
        comparable=comparable,
        noise=noise,
    )


def refuse_idle_draw(found: Sequence[Comparison], resamples: int, seed: int) -> None:
    """Refuse options of a draw that none of the comparisons needed.

    Raises:
        DataError: the sentence names the option.
    """
    if any(one.noise.paired for one in found):
        return
    for name, value, default in (("resamples", resamples, _RESAMPLES), ("seed", seed, _SEED)):
        if value != default:
            raise DataError(
                f"{parameter(name, value)} does nothing here: the audits are of different samples, "
                "so none are drawn. Leave it out."
            )


def _samples_of(folder: str | Path, record: AuditRecord) -> SampleCounts:
    """The samples of an audit, which must be of its classes.

    Raises:
        AuditFolderError: they are not, or the file is damaged.
    """
    samples = read_samples(folder)
    found = dict(
        zip(*map(np.ndarray.tolist, np.unique(samples.label, return_counts=True)), strict=True)
    )
    if found != {one.index: one.samples for one in record.classes}:
        raise AuditFolderError(
            f"The classes in audit.json of {folder} are not those of its {SAMPLES}. {RUN_AGAIN}"
        )
    return samples


def _class_changes(
    before: Sequence[ClassRecord],
    after: Sequence[ClassRecord],
    noise: Mapping[int, Mapping[str, ClassNoise]],
) -> Iterator[ClassChange]:
    matching = {entry.index: entry for entry in before}
    for entry in after:
        if entry.index in matching:
            old = matching[entry.index]
            yield ClassChange(
                index=entry.index,
                name=entry.name if entry.name == old.name else f"{old.name} → {entry.name}",
                accuracy=Change(old.accuracy, entry.accuracy),
                zeta=Change(quantity(old.zeta), quantity(entry.zeta)),
                kappa=Change(quantity(old.kappa), quantity(entry.kappa)),
                noise=noise.get(entry.index, {}),
            )


def _reasons(
    zeta: Change, kappa: Change, gap: Change | None, tolerance: float, comparable: bool
) -> Iterator[str]:
    if comparable and exceeds(zeta.difference, tolerance):
        rose, _ = told_apart(zeta.difference, tolerance)
        yield f"ζ rose by {rose}, from {zeta.before:.4f} to {zeta.after:.4f}."
    if comparable and exceeds(-kappa.difference, tolerance):
        fell, _ = told_apart(-kappa.difference, tolerance)
        yield f"κ fell by {fell}, from {kappa.before:.4f} to {kappa.after:.4f}."
    if gap and exceeds(gap.difference, tolerance):
        rose, _ = told_apart(gap.difference, tolerance)
        yield f"The estimated gap rose by {rose}, from {gap.before:.4f} to {gap.after:.4f}."


def _warnings(a: AuditRecord, b: AuditRecord) -> Iterator[str]:
    """What keeps the numbers of the two audits from meaning the same."""
    if a.data.sha256 != b.data.sha256:
        yield (
            f"The audits are of different samples ({a.data.samples:,} of {a.data.source}; "
            f"{b.data.samples:,} of {b.data.source}): differences may come from the data."
        )
    if a.data.preprocessing != b.data.preprocessing:
        yield "The samples were preprocessed differently."
    if a.model.sha256 == b.model.sha256:
        yield "Both audits are of the same network."
    if a.site and b.site and (a.site.channels, a.site.tensor) != (b.site.channels, b.site.tensor):
        yield (
            f"The sites differ: {a.site.tensor} with {a.site.channels} channels, "
            f"{b.site.tensor} with {b.site.channels}."
        )
    if a.device.precision != b.device.precision:
        yield (
            f"The first audit was counted in {a.device.precision}, the second in "
            f"{b.device.precision}: differences may come from rounding."
        )
    if a.rank != b.rank:
        yield (
            f"Units were ranked by {a.rank} in the first audit, by {b.rank} in the second: ζ and "
            "κ are not the same quantities."
        )
    for which, found in (("first", a.tolerance), ("second", b.tolerance)):
        if found is not None and (found.zeta_bound or found.kappa_bound):
            yield (
                f"The {which} audit is an estimate: ζ is off by at most {found.zeta_bound:.2g}, κ, "
                f"with {found.confidence:.0%} probability, by at most {found.kappa_bound:.2g}."
            )
    if a.chance != b.chance:
        yield f"The chance levels differ: {a.chance:.6g} and {b.chance:.6g}."
    one, other = {entry.index for entry in a.classes}, {entry.index for entry in b.classes}
    if one != other:
        yield (
            f"{len(one ^ other)} classes have samples in one audit only; "
            f"the averages are over {len(one)} and {len(other)} classes."
        )
    names, others = a.class_names, b.class_names
    renamed = [index for index in names if others.get(index, names[index]) != names[index]]
    if renamed:
        yield (
            f"{len(renamed)} classes have another name in each audit, the first of them class "
            f"{min(renamed)}; they are compared by index."
        )
    if bool(a.gap) != bool(b.gap):
        yield "Only one audit has an estimated gap, so the gaps are not compared."
    elif a.gap and b.gap and a.gap.gap_model != b.gap.gap_model:
        yield "The gaps were estimated by different gap models, so they are not compared."
