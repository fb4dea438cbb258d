"""From counts and data to the samples that are listed as suspicious, with pictures."""

from collections.abc import Mapping, Sequence

from analyzer import data
from analyzer.audit.suspects import Suspect
from analyzer.audit.suspicion import most_suspicious, suspicion
from analyzer.records import SampleCounts

__all__ = ["find_suspects", "how_many", "pictures_of"]

_SHARE, _FEWEST = 0.01, 20  # of the samples are listed unless told otherwise
_PICTURED = 24


def how_many(asked: int | None, samples: SampleCounts) -> int:
    """Samples to list: as many as asked for, else the 1 % most suspicious and 20 at least.

    None where an early version counted them, without the scores that the ranking needs.
    """
    if samples.scores is None:
        return 0
    size = len(samples.label)
    return min(max(round(_SHARE * size), _FEWEST) if asked is None else asked, size)


def find_suspects(
    samples: SampleCounts, channels: int, count: int, source: data.Source
) -> tuple[Suspect, ...]:
    """The ``count`` most suspicious samples of a site of M = ``channels``, by name."""
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
                name=source.names[index],
                index=index,
                label=label,
                label_name=source.class_name(label),
                predicted=says,
                predicted_name=source.class_name(says),
                other=other,
                other_name=source.class_name(other),
                score=survival / (channels + 1),
                log_probability=float(samples.scores.log_probability[place]),
                suspicion=float(degree[place]),
            )
        )
    return tuple(found)


def pictures_of(suspects: Sequence[Suspect], source: data.Source) -> Mapping[int, bytes]:
    """PNG files of the first suspects by index of the sample; none where they are not images.

    Raises:
        DataError: one of the samples cannot be read.
    """
    found = {one.index: data.thumbnail(source, one.index) for one in suspects[:_PICTURED]}
    return {index: png for index, png in found.items() if png is not None}
