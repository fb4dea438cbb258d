"""From populations with known gaps of single classes to the line that estimates those of others.

A table of classes has a row for each class of each network of a population: counts of right answers
on training and test samples, and its profile. Networks are estimated by the gap model of all other
populations, as a network of a population to come will be; the slope and the widths of the intervals
are learned on these estimates, each population counting as much as any other.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from analyzer.errors import DataError, GapModelError
from analyzer.estimation.class_gaps import (
    LEAST,
    TENTHS,
    ClassEstimates,
    ClassLine,
    ClassProfiles,
    may_err,
)
from analyzer.estimation.gap_model_fitting import LeftOutEstimates, estimate_left_out_populations
from analyzer.estimation.population_table import PopulationTable
from analyzer.estimation.regression import covers, fewest_points, weighted_quantile
from analyzer.files import read_whole
from analyzer.json_codec import repeated
from analyzer.output_files import csv_text, write_text

__all__ = [
    "ClassesOfNetwork",
    "LeftOutClasses",
    "estimate_left_out_classes",
    "fit_class_line",
    "read_population_classes",
    "write_population_classes",
]

_COUNTS = ("class", "samples", "correct", "test_samples", "test_correct")
_MOST = 2**53  # of what is counted; float64 holds it exactly
_COLUMNS = ("network", *_COUNTS, "profile")


@dataclass(frozen=True, slots=True, eq=False)
class ClassesOfNetwork:
    """The K classes of one network, and how well they generalize."""

    name: str  # of the network
    profiles: ClassProfiles
    test_samples: np.ndarray  # int64 (K,)
    test_correct: np.ndarray  # int64 (K,)

    @property
    def gap(self) -> np.ndarray:
        """float64 (K,): training less test accuracy of each class."""
        return self.profiles.accuracy - self.test_correct / self.test_samples


@dataclass(frozen=True, slots=True, eq=False)
class LeftOutClasses:
    """The classes of a network, estimated from all populations but its own."""

    classes: ClassesOfNetwork
    network: float  # the estimate of the network's own gap
    inside: bool  # of the gap model's domain
    estimates: ClassEstimates

    @property
    def held(self) -> np.ndarray:
        """bool (K,): whether the interval holds the gap."""
        return covers((self.estimates.low, self.estimates.high), self.classes.gap)


def fit_class_line(
    tables: Mapping[str, PopulationTable],
    classes: Mapping[str, Sequence[ClassesOfNetwork]],
    *,
    coverage: float = 0.9,
    features: str = "measures",
    left_out: Mapping[str, Sequence[LeftOutClasses]] | None = None,
) -> ClassLine:
    """Fit the line for classes.

    Args:
        tables: population -> its networks, as for
            :func:`analyzer.estimation.fit_across_populations`.
        classes: population -> the classes of its networks; populations and networks that only one
            of the two has are left out.
        coverage: nominal coverage of the intervals, in (0, 1).
        features: of the gap model that estimates the networks.
        left_out: what :func:`estimate_left_out_classes` found of them, to say how often intervals
            hold.

    Raises:
        GapModelError: fewer populations than an interval of this coverage needs, or as
            :func:`analyzer.estimation.fit_across_populations`.
    """
    line = _fit(tables, classes, coverage, features)
    if left_out is None:
        return line
    held = [np.mean([one.held.mean() for one in networks]) for networks in left_out.values()]
    return replace(line, measured=float(np.mean(held)))


def estimate_left_out_classes(
    tables: Mapping[str, PopulationTable],
    classes: Mapping[str, Sequence[ClassesOfNetwork]],
    *,
    coverage: float = 0.9,
    features: str = "measures",
) -> dict[str, list[LeftOutClasses]]:
    """Estimate the classes of each population by line and gap model of all others.

    Raises:
        GapModelError: as :func:`fit_class_line`.
    """
    networks = estimate_left_out_populations(tables, coverage=coverage, features=features)
    found = {}
    for left_out in classes:
        others = {name: one for name, one in tables.items() if name != left_out}
        line = _fit(others, classes, coverage, features)
        if left_out in networks:
            found[left_out] = [
                LeftOutClasses(one, gap, inside, line.estimate(one.profiles, gap, inside=inside))
                for one, gap, inside in _together(classes[left_out], networks[left_out])
            ]
    return {name: some for name, some in found.items() if some}


@dataclass(frozen=True, slots=True, eq=False)
class _Points:
    """The classes of a population's networks, one after another."""

    networks: Sequence[tuple[ClassesOfNetwork, float]]  # and the estimates of their gaps
    weight: np.ndarray  # float64, of the classes of all of them: sums to 1
    deviation: np.ndarray  # what each shows
    wanted: np.ndarray  # what its gap deviates from the mean of its network's classes

    @classmethod
    def of(cls, networks: Sequence[tuple[ClassesOfNetwork, float]]) -> "_Points":
        sizes = [len(one.gap) for one, _ in networks]
        return cls(
            networks=networks,
            weight=np.repeat([1 / len(networks) / size for size in sizes], sizes),
            deviation=np.concatenate([one.profiles.deviations(gap) for one, gap in networks]),
            wanted=np.concatenate([one.gap - one.gap.mean() for one, _ in networks]),
        )

    def errors(self, line: ClassLine) -> np.ndarray:
        """|gap − estimate| of each class in units of what it may err by."""
        errors = []
        for one, gap in self.networks:
            found = line.estimate(one.profiles, gap, inside=True).estimate
            errors.append(np.abs(one.gap - found) / may_err(one.profiles, found))
        return np.concatenate(errors)


def _fit(
    tables: Mapping[str, PopulationTable],
    classes: Mapping[str, Sequence[ClassesOfNetwork]],
    coverage: float,
    features: str,
) -> ClassLine:
    networks = estimate_left_out_populations(tables, coverage=coverage, features=features)
    points = {}
    for name, estimates in networks.items():
        both = [(one, gap) for one, gap, _ in _together(classes.get(name, ()), estimates)]
        if both:
            points[name] = _Points.of(both)
    least = fewest_points(coverage)
    if len(points) < least:
        raise GapModelError(
            f"An interval of coverage {coverage:g} for classes needs the classes of {least} "
            f"populations; there are those of {len(points)}. Add tables, or ask for less coverage."
        )
    line = ClassLine(
        slope=_slope(points.values()),
        half_width=0.0,
        widest=0.0,
        coverage=coverage,
        measured=None,
        populations=len(points),
        classes=sum(len(one.weight) for one in points.values()),
    )
    errors, weight = [], []
    for name, one in points.items():
        others = _slope(other for key, other in points.items() if key != name)
        errors.append(one.errors(replace(line, slope=others)))
        weight.append(one.weight / (len(points) + 1))  # the rest is that of a population to come
    found, weights = np.concatenate(errors), np.concatenate(weight)
    return replace(
        line,
        half_width=weighted_quantile(found, weights, coverage),
        widest=float(found.max()),
    )


def _slope(points: Iterable[_Points]) -> float:
    """Least squares through the origin, each population counting as much as any other."""
    both = square = 0.0
    for one in points:
        both += float((one.weight * one.deviation) @ one.wanted)
        square += float((one.weight * one.deviation) @ one.deviation)
    return both / square if square else 0.0


def _together(
    classes: Iterable[ClassesOfNetwork], estimates: LeftOutEstimates
) -> Iterable[tuple[ClassesOfNetwork, float, bool]]:
    """The networks that both know, each with its estimate and whether it lies inside the domain."""
    place = {name: row for row, name in enumerate(estimates.name)}
    for one in classes:
        row = place.get(one.name)
        if row is not None:
            yield one, float(estimates.estimate[row]), bool(estimates.inside[row])


def write_population_classes(networks: Iterable[ClassesOfNetwork], path: str | Path) -> None:
    """Write a table of classes as CSV, which :func:`read_population_classes` reads.

    Raises:
        OutputError: it cannot be written.
    """
    rows: list[Iterable[object]] = [_COLUMNS]
    for one in networks:
        profiles = one.profiles
        correct = np.rint(profiles.accuracy * profiles.samples).astype(np.int64)
        columns = (profiles.index, profiles.samples, correct, one.test_samples, one.test_correct)
        for *numbers, profile in zip(*(c.tolist() for c in columns), profiles.counts, strict=True):
            rows.append([one.name, *numbers, " ".join(map(str, profile.tolist()))])
    write_text(path, csv_text(rows))


def read_population_classes(path: str | Path) -> list[ClassesOfNetwork]:
    """Read and check a table of classes: its networks, in the order in which they are met.

    Raises:
        GapModelError: the file cannot be read, lacks a column, or a cell is not what its column
            holds; the message names file and line.
    """
    path = Path(path)
    try:
        text = read_whole(path).decode("utf-8-sig")
    except DataError as error:
        raise GapModelError(f"The table of classes {path} {error.message}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise GapModelError(
            f"The table of classes {path} cannot be read: "
            f"{getattr(error, 'strerror', None) or error}."
        ) from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = reader.fieldnames or ()
    if (twice := repeated(columns)) is not None:
        raise GapModelError(f"The table of classes {path} has two columns named {twice!r}.")
    missing = [name for name in _COLUMNS if name not in columns]
    if missing:
        raise GapModelError(f"The table of classes {path} has no column {', '.join(missing)}.")
    rows: dict[str, list[tuple[list[int], list[int]]]] = {}
    while True:
        try:
            if (row := next(reader, None)) is None:
                break
            counts = [int(row[name]) for name in _COUNTS]
            profile = [int(cell) for cell in row["profile"].split()]
        except (TypeError, ValueError, AttributeError, csv.Error) as error:
            raise _wrong(path, reader.line_num) from error
        _, samples, correct, test_samples, test_correct = counts
        if (
            len(profile) != TENTHS
            or min(*counts, *profile) < 0
            or max(*counts, *profile) > _MOST
            or not LEAST <= sum(profile) <= samples
            or correct > samples
            or not 0 < test_samples >= test_correct
        ):
            raise _wrong(path, reader.line_num)
        known = rows.setdefault(row["network"], [])
        if any(counts[0] == others[0] for others, _ in known):
            raise GapModelError(
                f"{path}, line {reader.line_num}: the class {counts[0]} of the network "
                f"{row['network']!r} is there twice. Keep one of them."
            )
        known.append((counts, profile))
    return [_network(name, some) for name, some in rows.items()]


def _network(name: str, rows: Sequence[tuple[list[int], list[int]]]) -> ClassesOfNetwork:
    index, samples, correct, test_samples, test_correct = np.array([row for row, _ in rows]).T
    return ClassesOfNetwork(
        name=name,
        profiles=ClassProfiles(
            index=index,
            samples=samples,
            accuracy=correct / samples,
            counts=np.array([profile for _, profile in rows]),
        ),
        test_samples=test_samples,
        test_correct=test_correct,
    )


def _wrong(path: Path, line: int) -> GapModelError:
    return GapModelError(
        f"{path}, line {line}: a class needs the counts {', '.join(_COUNTS)} and a profile of "
        f"{TENTHS} counts that add up to {LEAST} or more and to no more than its samples."
    )
