"""The estimated gaps of single classes in an audit's record: made, kept, and worked out again."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from analyzer import estimation
from analyzer.audit_record import AuditRecord, ClassRecord
from analyzer.common_types import SampleCounts
from analyzer.estimation.class_gaps import LEAST, TENTHS
from analyzer.measures.ablation.result_files import read_samples
from analyzer.measures.interpolation import read_answers
from analyzer.measures.measure import Check, check, same
from analyzer.measures.neighbors import LAYERS, NeighborVotes, read_votes

__all__ = [
    "class_gap_faults",
    "has_class_gaps",
    "keep_class_gaps",
    "sureness_check",
    "with_class_gaps",
    "with_sureness",
]

_GAP = ("gap", "gap_low", "gap_high")
_MEASURES = ("interpolation", "neighbors")
_NAMED = 8  # classes in a sentence


def with_sureness(
    classes: Sequence[ClassRecord],
    samples: SampleCounts,
    votes: NeighborVotes | None,
    hold: np.ndarray | None,
) -> tuple[ClassRecord, ...]:
    """The classes with how many of their samples lie in each tenth of the order of sureness.

    Args:
        classes: of the S samples.
        samples: with their scores.
        votes: of their neighbors; None where they were not measured, and then nothing is added.
        hold: float (S,); likewise.
    """
    if votes is None or hold is None:
        return tuple(classes)
    profiles = estimation.class_profiles(
        samples.label,
        samples.scores.margin,
        votes.agreement[LAYERS.index("two_thirds")],
        hold,
        {one.index: one.accuracy for one in classes},
    )
    counts = dict(zip(profiles.index.tolist(), profiles.counts.tolist(), strict=True))
    return tuple(replace(one, sureness=tuple(counts.get(one.index, ()))) for one in classes)


def with_class_gaps(record: AuditRecord, gap_model: estimation.GapModel) -> AuditRecord:
    """The record with the estimated gaps of its classes, or with why there are none.

    Args:
        record: with the estimated gap of the network.
        gap_model: that it was estimated with.
    """
    classes, reason = _estimated(record, gap_model)
    return replace(record, classes=classes, no_class_gaps=reason)


def keep_class_gaps(record: AuditRecord, finished: AuditRecord) -> AuditRecord:
    """The record with the classes' gaps as an earlier run of the same audit estimated them."""
    known = {one.index: one for one in finished.classes}
    classes = tuple(
        replace(one, **{name: getattr(known[one.index], name) for name in _GAP})
        if one.index in known and known[one.index].sureness == one.sureness
        else one
        for one in record.classes
    )
    return replace(record, classes=classes, no_class_gaps=finished.no_class_gaps)


def has_class_gaps(record: AuditRecord) -> bool:
    """Whether the record has the gaps of classes, or says why not."""
    return bool(record.no_class_gaps) or any(one.gap is not None for one in record.classes)


def sureness_check(folder: Path, record: AuditRecord) -> Iterator[Check]:
    """Whether the order of sureness that the record tells of follows from the files beside it.

    Raises:
        AuditFolderError: one of them is missing or cannot be read.
    """
    if not any(one.sureness for one in record.classes):
        return
    samples = read_samples(folder)
    votes = read_votes(folder) if "neighbors" in record.sections else None
    hold = read_answers(folder).hold if "interpolation" in record.sections else None
    sizes = {len(samples.label)}
    sizes |= set() if votes is None else {len(votes.content)}
    sizes |= set() if hold is None else {len(hold)}
    if len(sizes) > 1 or set(samples.label.tolist()) - {one.index for one in record.classes}:
        of_others = "The files are of other samples or classes than audit.json names."
        yield Check("sureness", False, of_others)
        return
    wanted = with_sureness(record.classes, samples, votes, hold)
    wrong = [
        f"'sureness' of the class {one.name} is {list(one.sureness)} in audit.json, the files give "
        f"{list(again.sureness)}."
        for one, again in zip(record.classes, wanted, strict=True)
        if one.sureness != again.sureness
    ]
    yield check("sureness", wrong, "How sure the network is of each class follows from the files.")


def class_gap_faults(record: AuditRecord, gap_model: estimation.GapModel) -> list[str]:
    """What the record says of the classes' gaps and the gap model does not, in sentences."""
    if not has_class_gaps(record):  # made by a version that did not estimate them
        return []
    classes, reason = _estimated(record, gap_model)
    wrong = [
        f"The {name} of the class {one.name} is {getattr(one, name)} in audit.json, the gap model "
        f"gives {getattr(again, name)}."
        for one, again in zip(record.classes, classes, strict=True)
        for name in _GAP
        if not _agree(getattr(one, name), getattr(again, name))
    ]
    if record.no_class_gaps != reason:
        wrong.append("What audit.json says of classes without a gap is not what follows.")
    return wrong


def _agree(one: float | None, other: float | None) -> bool:
    return one is other if one is None or other is None else same(one, other)


def _estimated(
    record: AuditRecord, gap_model: estimation.GapModel
) -> tuple[tuple[ClassRecord, ...], str]:
    """The classes with their gaps, and why some or all of them have none; a sentence, or ""."""
    plain = tuple(replace(one, gap=None, gap_low=None, gap_high=None) for one in record.classes)
    if record.gap is None:
        return plain, ""  # ``no_gap`` says why
    if gap_model.class_line is None:
        return plain, f"The gap model {gap_model.name!r} does not estimate single classes."
    lacking = [name for name in _MEASURES if name not in record.sections]
    if lacking:
        return plain, (
            "Single classes are estimated from interpolation and neighbors, and "
            f"{' and '.join(lacking)} {'was' if len(lacking) == 1 else 'were'} not measured."
        )
    told = [one for one in plain if len(one.sureness) == TENTHS]
    gaps: dict[int, tuple[float, float, float]] = {}
    if told:
        found = gap_model.class_line.estimate(
            estimation.ClassProfiles(
                index=np.array([one.index for one in told]),
                samples=np.array([one.samples for one in told]),
                accuracy=np.array([one.accuracy for one in told]),
                counts=np.array([one.sureness for one in told]),
            ),
            record.gap.estimate,
            inside=record.gap.inside_range,
        )
        rows = zip(found.estimate.tolist(), found.low.tolist(), found.high.tolist(), strict=True)
        gaps = {one.index: row for one, row in zip(told, rows, strict=True)}
    classes = []
    for one in plain:
        gap, low, high = gaps.get(one.index, (None, None, None))
        classes.append(replace(one, gap=gap, gap_low=low, gap_high=high))
    return tuple(classes), _untold([one for one in classes if one.gap is None])


def _untold(classes: Sequence[ClassRecord]) -> str:
    if not classes:
        return ""
    named = "; ".join(one.name for one in classes[:_NAMED])
    more = f"; and {len(classes) - _NAMED} more" if len(classes) > _NAMED else ""
    return (
        f"A class needs {LEAST} samples that interpolation and neighbors looked at; no gap is "
        f"estimated for {named}{more}."
    )
