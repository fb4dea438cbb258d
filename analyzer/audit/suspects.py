"""``suspects.csv``: the training samples that look most as if they were memorised, by name.

Two things speak against a label: that the network is not sure of it, and that its answer is lost
early as the least active units are removed. Where a network has learned most of its labels and not
yet memorised the wrong ones, the first tells more; where it has memorised them, the second.
Pictures of the first suspects lie beside the list in ``thumbnails.npz``, so that the report can be
rendered again without the data.
"""

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

import numpy as np

from analyzer.audit_record import AuditRecord
from analyzer.errors import AuditFolderError, DataError, parameter
from analyzer.files import read_arrays, write_arrays, write_text
from analyzer.measures.ablation.result_files import SAMPLES, read_samples
from analyzer.measures.measure import Check, check
from analyzer.records import SampleCounts
from analyzer.whole_files import read_whole

if TYPE_CHECKING:
    from analyzer.data import Source

__all__ = [
    "SUSPECTS",
    "THUMBNAILS",
    "Suspect",
    "find_suspects",
    "how_many",
    "most_suspicious",
    "pictures_of",
    "ranks_within",
    "read_suspects",
    "read_thumbnails",
    "suspect_checks",
    "suspicion",
    "write_suspects",
]

SUSPECTS = "suspects.csv"
THUMBNAILS = "thumbnails.npz"
_SHARE, _FEWEST = 0.01, 20  # of the samples are listed unless told otherwise
_PICTURED = 24


@dataclass(frozen=True, slots=True)
class Suspect:
    """One row of ``suspects.csv``; the fields are its columns."""

    rank: int  # 1 for the most suspicious
    name: str  # of the sample, as the data have it
    index: int  # its place in the data
    label: int
    label_name: str
    predicted: int  # with nothing removed
    predicted_name: str
    other: int  # the class with the best score but the label's
    other_name: str
    score: float  # (ascending − descending) / (M + 1)
    log_probability: float
    suspicion: float  # see analyzer.audit.suspicion

    @property
    def probability(self) -> float:
        """That the network gives to the label."""
        return math.exp(self.log_probability)


_COLUMNS = get_type_hints(Suspect)


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
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([_cell(getattr(suspect, name)) for name in _COLUMNS] for suspect in suspects)
    write_text(folder / SUSPECTS, text.getvalue())


def read_suspects(folder: str | Path) -> tuple[Suspect, ...]:
    """The rows of ``suspects.csv``; none where there is no such file.

    Raises:
        AuditFolderError: it is damaged.
    """
    path = Path(folder) / SUSPECTS
    try:
        text = read_whole(path).decode()
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        return tuple(
            Suspect(**{name: kind(row[name]) for name, kind in _COLUMNS.items()}) for row in rows
        )
    except FileNotFoundError:
        return ()
    except (OSError, DataError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise AuditFolderError(
            f"{path} is not a list of suspects as an audit writes it ({error}); remove it, or run "
            f"the audit again with {parameter('fresh', True)}."
        ) from error


def read_thumbnails(folder: str | Path) -> Mapping[int, bytes]:
    """PNG files by index of the sample.

    Raises:
        AuditFolderError: ``thumbnails.npz`` is damaged.
    """
    path = Path(folder) / THUMBNAILS
    if not path.exists():
        return {}
    return {int(index): array.tobytes() for index, array in read_arrays(path).items()}


def _cell(value: int | float | str) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).encode(errors="backslashreplace").decode()  # as the file is written


def how_many(asked: int | None, samples: SampleCounts) -> int:
    """Samples to list: as many as asked for, else the 1 % most suspicious and 20 at least."""
    size = len(samples.label)
    return min(max(round(_SHARE * size), _FEWEST) if asked is None else asked, size)


def find_suspects(
    samples: SampleCounts, channels: int, count: int, source: "Source"
) -> tuple[Suspect, ...]:
    """The ``count`` most suspicious samples of a site of M = ``channels``, by name."""
    return _ranked(
        samples,
        channels,
        count,
        sample_name=lambda index: str(source.names[index]),
        class_name=source.class_name,
    )


def _ranked(
    samples: SampleCounts,
    channels: int,
    count: int,
    *,
    sample_name: Callable[[int], str],
    class_name: Callable[[int], str],
) -> tuple[Suspect, ...]:
    """The ``count`` most suspicious samples, with names by index."""
    if not count:
        return ()
    degree, predicted = suspicion(samples), samples.predicted
    found = []
    for rank, place in enumerate(most_suspicious(samples, count).tolist(), 1):
        label, says = int(samples.label[place]), int(predicted[place])
        other, index = int(samples.scores.other[place]), int(samples.index[place])
        survival = int(samples.ascending[place]) - int(samples.descending[place])
        found.append(
            Suspect(
                rank=rank,
                name=sample_name(index),
                index=index,
                label=label,
                label_name=class_name(label),
                predicted=says,
                predicted_name=class_name(says),
                other=other,
                other_name=class_name(other),
                score=survival / (channels + 1),
                log_probability=float(samples.scores.log_probability[place]),
                suspicion=float(degree[place]),
            )
        )
    return tuple(found)


def pictures_of(suspects: Sequence[Suspect], source: "Source") -> Mapping[int, bytes]:
    """PNG files of the first suspects by index of the sample; none where they are not images.

    Raises:
        DataError: one of the samples cannot be read.
    """
    from analyzer.data import thumbnail

    found = {one.index: thumbnail(source, one.index) for one in suspects[:_PICTURED]}
    return {index: png for index, png in found.items() if png is not None}


def suspect_checks(folder: Path, record: AuditRecord) -> Iterator[Check]:
    """Whether every column of ``suspects.csv`` but the samples' names follows from the counts.

    Raises:
        AuditFolderError: one of the files is missing or damaged.
    """
    samples, listed = read_samples(folder), read_suspects(folder)
    wrong = []
    if len(listed) != record.suspects:
        wrong.append(f"{SUSPECTS} lists {len(listed)} samples, audit.json says {record.suspects}.")
    names = {one.index: one.name for one in record.classes}
    names |= {one.index: one.name for one in record.empty_classes}
    found = _ranked(
        samples,
        record.site.channels,
        len(listed),
        sample_name=lambda index: "",
        class_name=lambda index: names.get(index, str(index)),
    )
    for said, counted in zip(listed, found, strict=False):
        wrong += [
            f"Rank {counted.rank} of {SUSPECTS} has {name} {_cell(getattr(said, name))}, {SAMPLES} "
            f"and audit.json give {_cell(getattr(counted, name))}."
            for name in _COLUMNS
            if name != "name" and _cell(getattr(said, name)) != _cell(getattr(counted, name))
        ]
    pictured = {one.index for one in listed[:_PICTURED]}
    if others := sorted(read_thumbnails(folder).keys() - pictured):
        wrong.append(f"{THUMBNAILS} has a picture of sample {others[0]}, which is no suspect.")
    if listed or wrong:
        yield check("suspects", wrong, f"{len(listed)} suspects follow from the sample counts.")


def suspicion(samples: SampleCounts) -> np.ndarray:
    """How suspicious each sample is among those with its label.

    p is the share of the class whose label is no more probable, q the share that is lost no later
    as the least active units are removed. They are taken together as in Fisher's method, by their
    product: −log₁₀(p·q) of 4 would be one sample in about a thousand if the two were independent.

    Args:
        samples: S samples with their scores.

    Returns:
        float64 (S,), above 0.
    """
    p = ranks_within(samples.label, samples.scores.log_probability.astype(np.float64))
    q = ranks_within(samples.label, samples.ascending.astype(np.float64))
    return -np.log10(p * q)


def most_suspicious(samples: SampleCounts, count: int) -> np.ndarray:
    """The ``count`` most suspicious of S samples, most suspicious first, int64 (count,).

    Of equally suspicious ones, the less probable goes first.
    """
    order = np.lexsort((samples.scores.log_probability, -suspicion(samples)))
    return order[:count]


def ranks_within(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Each value's rank among those of its group, as a share: of lower ones, and half of equals.

    It lies above 0 and below 1; its mean over a group is ½.

    Args:
        group: int64 (S,).
        values: float64 (S,).

    Returns:
        float64 (S,).
    """
    order = np.lexsort((values, group))
    groups, values = group[order], values[order]
    starts = np.diff(groups, prepend=groups[:1] - 1) != 0
    first, size = _stretches(starts)
    rank, equals = _stretches(starts | (np.diff(values, prepend=values[:1]) != 0))
    shares = np.empty(len(order))
    shares[order] = (rank - first + equals / 2) / size
    return shares


def _stretches(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each element, where its stretch begins and how long it is; ``starts`` marks the first."""
    begin = np.flatnonzero(starts)
    length = np.diff(begin, append=len(starts))
    return np.repeat(begin, length), np.repeat(length, length)
