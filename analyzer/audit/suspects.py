"""``suspects.csv``: the training samples whose labels look wrong, by name, with the reasons.

How suspicious a sample is, :mod:`analyzer.audit.suspect_ranking` says. Pictures of the first
suspects, of some of their neighbors and of images under two labels lie beside the list in
``thumbnails.npz``, so that the report can be rendered again without the data.
"""

import csv
import io
import math
import re
import types
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from analyzer.audit.suspect_ranking import (
    DEPTHS,
    LabelDoubt,
    ablation_suspicion,
    doubt_labels,
    most_suspicious,
    place_without_neighbors,
)
from analyzer.audit_record import AS_STORED, AuditRecord
from analyzer.errors import AuditFolderError, DataError, parameter
from analyzer.files import RUN_AGAIN, array_of, holds, read_arrays, read_whole
from analyzer.measures.ablation.sample_scores import SAMPLES, SampleCounts, read_samples
from analyzer.measures.interpolation.measure import read_answers
from analyzer.measures.measure import Check, Subject, check
from analyzer.measures.neighbors.record import read_votes
from analyzer.measures.neighbors.twins import ConflictPair, Conflicts, find_conflicts
from analyzer.measures.neighbors.votes import NeighborVotes
from analyzer.output_files import csv_text, write_arrays, write_text

if TYPE_CHECKING:
    from analyzer.data import Source

__all__ = [
    "SHOWN_NEIGHBORS",
    "SUSPECTS",
    "THUMBNAILS",
    "Evidence",
    "Suspect",
    "evidence_of",
    "find_suspects",
    "how_many",
    "listed_conflicts",
    "neighbors_of",
    "pictures_of",
    "read_evidence",
    "read_suspects",
    "read_thumbnails",
    "suspect_checks",
    "why_without_neighbors",
    "write_suspects",
]

SUSPECTS = "suspects.csv"
THUMBNAILS = "thumbnails.npz"
SHOWN_NEIGHBORS = 3
"""Neighbors of a suspect whose pictures are kept."""

_SHARE, _FEWEST, _LARGEST_SHARE = 0.01, 20, 0.05  # of the samples are listed unless told otherwise
_PICTURED = 24
_PICTURED_PAIRS = 12
_PNG = b"\x89PNG\r\n\x1a\n"
_INDEX = re.compile("0|[1-9][0-9]{0,18}")
_MEASURES = {"interpolation": "was", "neighbors": "were"}


@dataclass(frozen=True, slots=True)
class Suspect:
    """One row of ``suspects.csv``; the fields are its columns.

    None where something was not measured, or is not there.
    """

    rank: int  # 1 for the most suspicious
    name: str  # of the sample, as the data have it
    index: int  # its place in the data
    label: int
    label_name: str
    likely: int | None  # the other label that most neighbors have
    likely_name: str
    wrong_probability: float | None  # that the label is wrong
    suspicion: float  # what the list is sorted by
    agreement: float | None  # share of neighbors with the label, mean of four depths
    hold: float | None  # share of partners for which the label is named half way
    depths: int | None  # of the four at which most neighbors have the likely label
    survival: float  # ascending / (M + 1)
    log_probability: float
    agreement_images: float | None
    agreement_first: float | None
    agreement_third: float | None
    agreement_two_thirds: float | None
    neighbors: str  # their labels at two thirds of the depth, with numbers
    twin: str  # name of a sample that looks the same and has another label
    twin_index: int | None
    twin_label_name: str
    twin_distance: float | None  # of the two images; 0 where their bytes are the same
    predicted: int  # with nothing removed
    predicted_name: str
    other: int  # the class with the best score but the label's
    other_name: str
    score: float  # (ascending − descending) / (M + 1)

    @property
    def probability(self) -> float:
        """That the network gives to the label."""
        return math.exp(self.log_probability)


_COLUMNS: Mapping[str, Any] = get_type_hints(Suspect)
_MORE_LIKELY = 0.5  # than not
_FROM_THE_DATA = ("name", "twin")


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What the measures found of S samples that tells of their labels."""

    samples: SampleCounts
    channels: int  # M
    hold: np.ndarray | None  # float64 (S,); None without interpolation
    votes: NeighborVotes | None  # None without neighbors
    doubt: LabelDoubt | None  # None without one of the two
    conflicts: Conflicts | None  # None without neighbors

    @property
    def doubtful(self) -> float | None:
        """The share of the labels that are more likely wrong than right; None without a doubt."""
        if self.doubt is None:
            return None
        known = self.doubt.probability[np.isfinite(self.doubt.probability)]
        return float((known >= _MORE_LIKELY).mean()) if len(known) else None


def evidence_of(results: Mapping[str, Any], channels: int) -> Evidence:
    """From the results of the measures, by name, at a site of M = ``channels``."""
    mixed, near = (results.get(name) for name in _MEASURES)
    return _evidence(
        results["ablation"].samples,
        channels,
        None if mixed is None else mixed.answers.hold,
        None if near is None else near.votes,
    )


def read_evidence(folder: Path, record: AuditRecord) -> Evidence:
    """From an audit folder.

    Raises:
        AuditFolderError: a file is missing or damaged, or they are of different samples.
    """
    mixed, near = (name in record.sections for name in _MEASURES)
    samples = read_samples(folder)
    hold = read_answers(folder).hold if mixed else None
    votes = read_votes(folder) if near else None
    sizes = {len(samples.label)}
    sizes |= {len(samples.label) if hold is None else len(hold)}
    sizes |= {len(samples.label) if votes is None else len(votes.content)}
    if len(sizes) > 1:
        raise AuditFolderError(f"The files of {folder} are of different samples. {RUN_AGAIN}")
    return _evidence(samples, record.channels, hold, votes)


def _evidence(
    samples: SampleCounts, channels: int, hold: np.ndarray | None, votes: NeighborVotes | None
) -> Evidence:
    doubt = conflicts = None
    if votes is not None:
        # Rounded as the file has them, so that what is read says the same.
        agreement = votes.agreement.astype(np.float32).astype(np.float64)
        conflicts = find_conflicts(votes, samples.label)
        if hold is not None:
            doubt = doubt_labels(samples.label, hold, agreement, votes.majority)
            doubt = place_without_neighbors(doubt, samples)
    return Evidence(samples, channels, hold, votes, doubt, conflicts)


def why_without_neighbors(record: AuditRecord) -> str:
    """Why a list is sorted without neighbors and hold, as a clause; "" if it is not."""
    for name, verb in _MEASURES.items():
        if name in record.unmeasured:
            return f"{name} could not be measured: {record.unmeasured[name].rstrip('.')}"
        if name not in record.sections:
            return f"{name} {verb} switched off"
    return ""


def write_suspects(
    folder: Path, suspects: Sequence[Suspect], pictures: Mapping[int, bytes]
) -> None:
    """Write both files; what was there before goes away where there is nothing to write.

    Args:
        folder: of the audit.
        suspects: by rank.
        pictures: PNG files by index of the sample.
    """
    if pictures:
        arrays = {str(index): np.frombuffer(png, np.uint8) for index, png in pictures.items()}
        write_arrays(folder / THUMBNAILS, arrays, compressed=False)
    else:
        (folder / THUMBNAILS).unlink(missing_ok=True)
    if not suspects:
        (folder / SUSPECTS).unlink(missing_ok=True)
        return
    write_text(folder / SUSPECTS, _text_of(suspects))


def _text_of(suspects: Sequence[Suspect]) -> str:
    rows = ([_cell(getattr(suspect, name)) for name in _COLUMNS] for suspect in suspects)
    return csv_text([_COLUMNS, *rows])


def read_suspects(folder: str | Path) -> tuple[Suspect, ...]:
    """The rows of ``suspects.csv``; none where there is no such file.

    Raises:
        AuditFolderError: it is damaged.
    """
    path = Path(folder) / SUSPECTS
    try:
        text = read_whole(path).decode()
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        found = tuple(
            Suspect(**{name: _value(row[name], kind) for name, kind in _COLUMNS.items()})
            for row in rows
        )
        _check_indices(found, Path(folder))
        return found
    except FileNotFoundError:
        return ()
    except (OSError, DataError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise AuditFolderError(
            f"{path} is not a list of suspects as an audit writes it ({error}); remove it, or run "
            f"the audit again with {parameter('fresh', True)}."
        ) from error


def _check_indices(suspects: Sequence[Suspect], folder: Path) -> None:
    """Refuse suspects that are not among the samples of the audit.

    Raises:
        AuditFolderError: ``samples.npz`` is damaged.
        ValueError: there is no sample of an index.
    """
    named = {one.index for one in suspects}
    named |= {one.twin_index for one in suspects if one.twin_index is not None}
    if named and (others := named - set(read_samples(folder).index.tolist())):
        raise ValueError(f"{SAMPLES} has no sample {min(others)}")


def read_thumbnails(folder: str | Path) -> Mapping[int, bytes]:
    """PNG files by index of the sample.

    Raises:
        AuditFolderError: ``thumbnails.npz`` is damaged.
    """
    path = Path(folder) / THUMBNAILS
    if not path.exists():
        return {}
    found = {}
    for name, array in read_arrays(path).items():
        if not _INDEX.fullmatch(name):
            raise AuditFolderError(f"{path}: {name!r} is no index of a sample. {RUN_AGAIN}")
        found[int(name)] = array_of(path, {name: array}, name, np.uint8, (None,)).tobytes()
    return found


def _cell(value: int | float | str | None) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).encode(errors="backslashreplace").decode()  # as the file is written


def _value(cell: str, kind: Any) -> Any:
    """What a cell says: an empty one nothing, where the column may be None."""
    if get_origin(kind) is types.UnionType:
        kind, _ = get_args(kind)
        return None if cell == "" else kind(cell)
    return kind(cell)


def how_many(asked: int | Literal["all"] | None, samples: SampleCounts) -> int:
    """Samples to list: as many as asked for; else 1 %, and at least 20 but no more than 5 %."""
    size = len(samples.label)
    if asked == "all":
        return size
    if asked is None:
        asked = max(round(_SHARE * size), min(_FEWEST, max(int(_LARGEST_SHARE * size), 1)))
    return min(asked, size)


def find_suspects(evidence: Evidence, count: int, source: "Source") -> tuple[Suspect, ...]:
    """The ``count`` most suspicious samples, by name."""
    return _ranked(
        evidence,
        count,
        sample_name=lambda index: str(source.names[index]),
        class_name=source.class_name,
    )


def _ranked(
    evidence: Evidence,
    count: int,
    *,
    sample_name: Callable[[int], str],
    class_name: Callable[[int], str],
) -> tuple[Suspect, ...]:
    """The ``count`` most suspicious samples, with names by index."""
    if not count:
        return ()
    samples, doubt = evidence.samples, evidence.doubt
    degree = ablation_suspicion(samples) if doubt is None else doubt.log_odds
    predicted, found = samples.predicted, []
    for rank, place in enumerate(most_suspicious(samples, count, doubt).tolist(), 1):
        label, says = int(samples.label[place]), int(predicted[place])
        other, index = int(samples.scores.other[place]), int(samples.index[place])
        ascending, descending = int(samples.ascending[place]), int(samples.descending[place])
        found.append(
            Suspect(
                rank=rank,
                name=sample_name(index),
                index=index,
                label=label,
                label_name=class_name(label),
                suspicion=float(degree[place]),
                hold=None if evidence.hold is None else _known(evidence.hold[place]),
                survival=ascending / (evidence.channels + 1),
                log_probability=float(samples.scores.log_probability[place]),
                predicted=says,
                predicted_name=class_name(says),
                other=other,
                other_name=class_name(other),
                score=(ascending - descending) / (evidence.channels + 1),
                **_doubt_columns(doubt, place, class_name),
                **_neighbor_columns(evidence, place, sample_name, class_name),
            )
        )
    return tuple(found)


def _doubt_columns(
    doubt: LabelDoubt | None, place: int, class_name: Callable[[int], str]
) -> dict[str, Any]:
    if doubt is None:
        return {"wrong_probability": None, "likely": None, "likely_name": "", "depths": None}
    likely = int(doubt.likely[place])
    return {
        "wrong_probability": _known(doubt.probability[place]),
        "likely": likely if likely >= 0 else None,
        "likely_name": class_name(likely) if likely >= 0 else "",
        "depths": int(doubt.depths[place]),
    }


def _neighbor_columns(
    evidence: Evidence,
    place: int,
    sample_name: Callable[[int], str],
    class_name: Callable[[int], str],
) -> dict[str, Any]:
    samples, votes, conflicts = evidence.samples, evidence.votes, evidence.conflicts
    by_depth = [f"agreement_{name}" for name in DEPTHS]
    if votes is None or conflicts is None:
        nothing: dict[str, Any] = dict.fromkeys(("agreement", *by_depth))
        return nothing | {
            "neighbors": "",
            "twin": "",
            "twin_index": None,
            "twin_label_name": "",
            "twin_distance": None,
        }
    near = votes.nearest[place]
    labels = Counter(class_name(int(label)) for label in samples.label[near[near >= 0]])
    shares = [_known(share) for share in votes.agreement[: len(DEPTHS), place].astype(np.float32)]
    told = [share for share in shares if share is not None]
    twin = int(conflicts.twin[place])
    return {
        "agreement": sum(told) / len(told) if told else None,
        **dict(zip(by_depth, shares, strict=True)),
        # Of labels that are equally often there, that of the nearest first.
        "neighbors": ", ".join(f"{name} ×{count}" for name, count in labels.most_common()),
        "twin": sample_name(int(samples.index[twin])) if twin >= 0 else "",
        "twin_index": int(samples.index[twin]) if twin >= 0 else None,
        "twin_label_name": class_name(int(samples.label[twin])) if twin >= 0 else "",
        "twin_distance": float(conflicts.distance[place]) if twin >= 0 else None,
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def neighbors_of(evidence: Evidence, index: int) -> list[tuple[int, int]]:
    """Index and label of the nearest neighbors of a sample that are shown, nearest first.

    Args:
        evidence: of the audit.
        index: of the sample in the data.
    """
    samples, votes = evidence.samples, evidence.votes
    if votes is None:
        return []
    near = votes.nearest[int(np.searchsorted(samples.index, index)), :SHOWN_NEIGHBORS]
    return [(int(samples.index[one]), int(samples.label[one])) for one in near if one >= 0]


def listed_conflicts(record: AuditRecord) -> Sequence[ConflictPair]:
    """The pairs of samples that look the same and have different labels, those that are shown."""
    section = record.sections.get("neighbors")
    return section.conflicts.pairs[:_PICTURED_PAIRS] if section and record.suspects else ()


def pictures_of(
    suspects: Sequence[Suspect], evidence: Evidence, record: AuditRecord, subject: Subject
) -> Mapping[int, bytes]:
    """PNG files by index of the sample; none where they are not images.

    Of the first suspects, of their nearest neighbors, and of images under two labels.

    Raises:
        DataError: one of the samples cannot be read, or has changed since it was first read.
    """
    from analyzer.data import thumbnail

    found = {}
    for index in _pictured(suspects, evidence, record):
        found[index] = thumbnail(subject.first_reading.sample(index))
    return {index: png for index, png in found.items() if png is not None}


def _pictured(
    suspects: Sequence[Suspect], evidence: Evidence, record: AuditRecord
) -> Sequence[int]:
    """Indices of the samples whose pictures are kept, each once."""
    first = [one.index for one in suspects[:_PICTURED]]
    near = [index for one in first for index, _ in neighbors_of(evidence, one)]
    pairs = [i for pair in listed_conflicts(record) for i in (pair.index, pair.other_index)]
    return list(dict.fromkeys([*first, *near, *pairs]))


def _is_whole_png(file: bytes) -> bool:
    """Whether a PNG file has the chunks that a picture needs, undamaged, and nothing else."""
    at, names = len(_PNG), []
    while file[:at].startswith(_PNG) and at + 12 <= len(file):
        end = at + 12 + int.from_bytes(file[at : at + 4])
        if end > len(file) or zlib.crc32(file[at + 4 : end - 4]) != int.from_bytes(
            file[end - 4 : end]
        ):
            return False
        names.append(file[at + 4 : at + 8])
        at = end
    return (
        at == len(file)
        and names[:1] == [b"IHDR"]
        and names[-1:] == [b"IEND"]
        and set(names[1:-1]) in ({b"IDAT"}, {b"PLTE", b"IDAT"})
    )


def suspect_checks(folder: Path, record: AuditRecord) -> Iterator[Check]:
    """Whether every column of ``suspects.csv`` but the samples' names follows from the other files.

    Raises:
        AuditFolderError: the list is damaged.
    """
    try:
        evidence = read_evidence(folder, record)
    except AuditFolderError as error:
        yield check("suspects", [error.message.removesuffix(RUN_AGAIN).rstrip()], "")
        return
    listed, wrong = read_suspects(folder), []
    if len(listed) != record.suspects:
        wrong.append(f"{SUSPECTS} lists {len(listed)} samples, audit.json says {record.suspects}.")
    if record.doubtful_labels != evidence.doubtful:
        wrong.append(
            f"doubtful_labels is {record.doubtful_labels} in audit.json, the other files give "
            f"{evidence.doubtful}."
        )
    names = record.class_names
    found = _ranked(
        evidence,
        len(listed),
        sample_name=lambda index: "",
        class_name=lambda index: names.get(index, str(index)),
    )
    for said, counted in zip(listed, found, strict=False):
        wrong += [
            f"Rank {counted.rank} of {SUSPECTS} has {name} {_cell(getattr(said, name))}, {SAMPLES} "
            f"and the other files give {_cell(getattr(counted, name))}."
            for name in _COLUMNS
            if name not in _FROM_THE_DATA
            and _cell(getattr(said, name)) != _cell(getattr(counted, name))
        ]
    if listed and not wrong and not holds(folder / SUSPECTS, _text_of(listed).encode()):
        wrong.append(f"{SUSPECTS} has columns or cells besides those of a list of suspects.")
    pictured, pictures = set(_pictured(found, evidence, record)), read_thumbnails(folder)
    if record.data.preprocessing.get("origin") == AS_STORED:
        pictured = set()  # floats of unknown range
    if others := sorted(pictures.keys() - pictured):
        wrong.append(f"{THUMBNAILS} has a picture of sample {others[0]}, which is not shown.")
    if missing := sorted(pictured - pictures.keys()):
        wrong.append(f"{THUMBNAILS} lacks the picture of sample {missing[0]}.")
    wrong += [
        f"The picture of sample {index} in {THUMBNAILS} is no whole PNG file."
        for index, png in pictures.items()
        if not _is_whole_png(png)
    ]
    if listed or wrong:
        yield check("suspects", wrong, f"{len(listed):,} suspects follow from the sample counts.")
