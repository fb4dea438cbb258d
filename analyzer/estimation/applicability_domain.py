"""The applicability domain of a gap model: the conditions of the audits that it was fitted on.

Nothing is estimated from the conditions of an audit, but ζ and κ mean the same only where they are
alike. What lies outside those of a gap model's own networks is named.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from analyzer.audit_record import AuditRecord
from analyzer.errors import GapModelError
from analyzer.option_mechanism import parse_number

__all__ = [
    "CONDITION_COLUMNS",
    "ApplicabilityDomain",
    "AuditConditions",
    "Range",
    "conditions_of",
    "number_or_none",
]

Range = tuple[float, float]
"""Least and greatest."""

ACCURACY_SLACK = 0.005
"""How far a training accuracy may lie beyond a range: training ends between two epochs, precision
and batch norm's statistics move a sample here and there; none of it is another condition."""

SAMPLES_FACTOR = 2.0
"""How far, as a factor, samples per class may: classes differ as much within a data set. With twice
the images a class, networks with about the same ζ and κ had a gap smaller by 0.09 already, with
four times by 0.14 (docs/evidence/regime.md): further away is another condition."""

PIXELS_FACTOR = 4.0
"""How far, as a factor, pixels of an image may: edges of half the length, and of twice."""

_PREFIX = "audited_"  # keeps the columns apart from what people call hyperparameters
_OF_IMAGES = ("pixels", "colors")  # may be empty where the others are not
_COLORS = (1, 3)  # channels that images have: gray, and red, green and blue
_NO_SITE = "none"  # the kind of no site
_NAMED = "tensor"  # the kind of a site that the caller named, which may be of either of the others


@dataclass(frozen=True, slots=True)
class AuditConditions:
    """Under which one network was audited."""

    accuracy: float  # of all S samples, with nothing removed
    classes: int  # with samples
    channels: int  # M
    samples: int  # S
    given: int  # samples of the training data, those that a limit per class left out included
    site: str  # "activation", "convolution", "tensor" or "none"
    pixels: int | None = None  # of an image as the network takes it; None: not known, or no image
    colors: int | None = None  # channels of an image: 1 for gray, 3 for color; likewise

    @property
    def share(self) -> float:
        """Samples that were audited, of those of the training data."""
        return self.samples / self.given

    @property
    def samples_per_class(self) -> float:
        """The plain average, of those that were audited."""
        return self.samples / self.classes

    @property
    def given_per_class(self) -> float:
        """Likewise of the training data."""
        return self.given / self.classes

    def to_cells(self) -> dict[str, str]:
        """The columns of a population's table."""
        values = {_PREFIX + f.name: getattr(self, f.name) for f in fields(self)}
        return {name: "" if value is None else str(value) for name, value in values.items()}

    @classmethod
    def from_cells(cls, cells: Mapping[str, str], where: str) -> "AuditConditions | None":
        """What :meth:`to_cells` gave; None where all columns are missing or empty.

        In older tables the samples that were given may be missing, which are then those that were
        audited, and what is said of the images.

        Args:
            cells: of one network, by column; columns of other names are passed over.
            where: names the network in messages.

        Raises:
            GapModelError: a column is missing or empty while others are not, or holds something
                else than it should.
        """
        given = {f.name: cells.get(_PREFIX + f.name, "") for f in fields(cls)}
        if not any(given.values()):
            return None
        given["given"] = given["given"] or given["samples"]
        site = given.pop("site")
        if not site:
            raise _wrong(where, "site", site, "the kind of a site")
        accuracy = number_or_none(given["accuracy"])
        if accuracy is None or not 0 <= accuracy <= 1:
            raise _wrong(where, "accuracy", given["accuracy"], "a fraction")
        counts: dict[str, int | None] = {}
        for name in ("classes", "channels", "samples", "given", *_OF_IMAGES):
            if name in _OF_IMAGES and not given[name]:
                counts[name] = None
                continue
            number = number_or_none(given[name])
            if number is None or number < 1 or not number.is_integer():
                raise _wrong(where, name, given[name], "a whole number of at least 1")
            counts[name] = int(number)
        return cls(accuracy=accuracy, site=site, **counts)  # type: ignore[arg-type]


def conditions_of(record: AuditRecord) -> AuditConditions:
    """The conditions of an audit."""
    return AuditConditions(
        accuracy=record.accuracy,
        classes=len(record.classes),
        channels=record.channels,
        samples=record.data.samples,
        given=record.data.given,
        site=_NO_SITE if record.site is None else record.site.kind,
        **_image_conditions(record.data.preprocessing.get("shape")),
    )


def _image_conditions(shape: Any) -> dict[str, int]:
    """Pixels and colors of images of a shape, with the channels first or last."""
    if not isinstance(shape, list | tuple) or [type(size) for size in shape] != [int] * 3:
        return {}
    sizes = list(shape)
    if sizes[0] not in _COLORS:
        sizes = [sizes[2], *sizes[:2]]
    if sizes[0] not in _COLORS:
        return {}
    return {"colors": sizes[0], "pixels": sizes[1] * sizes[2]}


CONDITION_COLUMNS = tuple(_PREFIX + f.name for f in fields(AuditConditions))
"""Their columns in a population's table."""


@dataclass(frozen=True, slots=True)
class ApplicabilityDomain:
    """Least and greatest of the networks that a gap model was fitted on."""

    accuracy: Range
    classes: Range
    channels: Range | None  # None, with no sites: the gap model has no features of the site
    samples_per_class: Range
    given_per_class: Range
    sites: tuple[str, ...]
    share: Range | None = None  # of the training data that was audited; None in older files
    pixels: Range | None = None  # None where the images are not known
    colors: Range | None = None

    def without_site(self) -> "ApplicabilityDomain":
        """The same, for features that do not look at the site."""
        return replace(self, channels=None, sites=())

    @classmethod
    def of(cls, networks: Iterable[AuditConditions | None]) -> "ApplicabilityDomain | None":
        """The ranges over some networks; None unless the conditions of all are known."""
        found = list(networks)
        known = [network for network in found if network is not None]
        if not known or len(known) < len(found):
            return None
        return cls(
            accuracy=_range(network.accuracy for network in known),
            classes=_range(network.classes for network in known),
            channels=_range(network.channels for network in known),
            samples_per_class=_range(network.samples_per_class for network in known),
            given_per_class=_range(network.given_per_class for network in known),
            sites=tuple(sorted({network.site for network in known})),
            share=_range(network.share for network in known),
            pixels=_known_range([network.pixels for network in known]),
            colors=_known_range([network.colors for network in known]),
        )

    def ranges(self) -> dict[str, Range]:
        """All ranges, by name."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "sites"}
        return {name: range_ for name, range_ in found.items() if range_ is not None}

    def outside(self, network: AuditConditions, gap_model: str) -> Iterator[str]:
        """A sentence for each condition of ``network`` that lies outside.

        Args:
            network: what was audited.
            gap_model: the name of the gap model.
        """
        features = "its features" if self.channels is None else "ζ and κ"
        fitted = f"the networks that the gap model {gap_model!r} was fitted on"
        yield from self._other_accuracy(network, features, fitted)
        yield from self._other_size(network, features, fitted)
        yield from self._other_samples(network, features, fitted)
        yield from self._other_images(network, fitted)
        yield from self._other_site(network, fitted)

    def _other_accuracy(
        self, network: AuditConditions, features: str, fitted: str
    ) -> Iterator[str]:
        low, high = self.accuracy
        accuracy = f"The accuracy on the training data is {network.accuracy:.3f}"
        if network.accuracy < low - ACCURACY_SLACK:
            yield (
                f"{accuracy}, below the {_said(self.accuracy, '.3f')} of {fitted}: this network "
                f"has not memorized its training data as they had, and {features} then mean "
                "something else."
            )
        if network.accuracy > high + ACCURACY_SLACK:
            yield (
                f"{accuracy}, above the {_said(self.accuracy, '.3f')} of {fitted}: this network "
                f"has learned its training data further than they had, and {features} then mean "
                "something else."
            )

    def _other_size(self, network: AuditConditions, features: str, fitted: str) -> Iterator[str]:
        """Classes and channels."""
        if not _inside(network.classes, self.classes):
            yield (
                f"The audit is of {network.classes:,} classes, whereas {fitted} have "
                f"{_said(self.classes)}: {features} are not alike where classes are fewer "
                "or more, and the estimate is an extrapolation."
            )
        if self.channels is not None and not _inside(network.channels, self.channels):
            yield (
                f"The site has {network.channels:,} channels, whereas {fitted} have "
                f"{_said(self.channels)}: ζ and κ are fractions of them, and the estimate is an "
                "extrapolation."
            )

    def _other_samples(self, network: AuditConditions, features: str, fitted: str) -> Iterator[str]:
        """Samples per class, of the training data and of the audit; one fact, one sentence."""
        given_alike = _about(network.given_per_class, self.given_per_class)
        audited_alike = _about(network.samples_per_class, self.samples_per_class)
        if not given_alike:
            yield (
                f"The training data have {network.given_per_class:.4g} samples per class, whereas "
                f"those of {fitted} have {_said(self.given_per_class)}: the same values mean "
                "another gap where there are fewer or more samples, and the estimate is an "
                "extrapolation."
            )
        all_audited = network.samples == network.given
        if not audited_alike and (given_alike or not all_audited):
            yield (
                f"The audit is of {network.samples_per_class:.4g} samples per class, whereas "
                f"{fitted} have {_said(self.samples_per_class)}: {features} differ where "
                "fewer or more samples are counted, and the estimate is an extrapolation."
            )
        share = self.share if given_alike and audited_alike else None
        if share is not None and network.share * SAMPLES_FACTOR < share[0]:
            yield (
                f"The audit is of {network.share:.0%} of the samples of the training data, "
                f"whereas {fitted} were audited on {_said(share, '.0%')} of theirs: {features} are "
                "not alike where samples are left out."
            )

    def _other_images(self, network: AuditConditions, fitted: str) -> Iterator[str]:
        colors, pixels = network.colors, network.pixels
        if self.colors and colors is not None and not _inside(colors, self.colors):
            yield (
                f"The images have {_channels(colors)}, whereas those of {fitted} have "
                f"{_channels(*self.colors)}: nothing shows how the estimate carries over."
            )
        if self.pixels and pixels is not None and not _about(pixels, self.pixels, PIXELS_FACTOR):
            low, high = (f"{math.sqrt(end):.3g}" for end in self.pixels)
            yield (
                f"The images have {pixels:,} pixels, whereas those of {fitted} have {low} × {low} "
                f"to {high} × {high}: nothing shows how the estimate carries over."
            )

    def _other_site(self, network: AuditConditions, fitted: str) -> Iterator[str]:
        if network.site == _NO_SITE:
            yield (
                f"The network has no activation behind a convolution, whereas {fitted} all have "
                "one: nothing shows how the estimate carries over to such an architecture."
            )
            return
        if self.sites and network.site not in (*self.sites, _NAMED) and _NAMED not in self.sites:
            kinds = " or ".join(map(repr, self.sites))
            yield (
                f"The site is of the kind {network.site!r}, whereas that of {fitted} is {kinds}: "
                "ζ and κ are other quantities there."
            )


def _wrong(where: str, name: str, text: str, wanted: str) -> GapModelError:
    return GapModelError(
        f"{where}, column '{_PREFIX}{name}': {text!r} is not {wanted}. Audit the population "
        f"again, or leave out its columns {_PREFIX}…."
    )


def number_or_none(text: str) -> float | None:
    """The finite number that a cell holds; None where it holds none."""
    try:
        value = parse_number(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _range(values: Iterable[float]) -> Range:
    found = [float(value) for value in values]
    return min(found), max(found)


def _inside(value: float, within: Range) -> bool:
    return within[0] <= value <= within[1]


def _about(value: float, within: Range, factor: float = SAMPLES_FACTOR) -> bool:
    return _inside(value, (within[0] / factor, within[1] * factor))


def _known_range(values: Sequence[float | None]) -> Range | None:
    """The range of values that are all known, else None."""
    known = [value for value in values if value is not None]
    return _range(known) if len(known) == len(values) else None


def _channels(*numbers: float) -> str:
    least, most = int(min(numbers)), int(max(numbers))
    many = f"{least}" if least == most else f"{least} to {most}"
    return f"{many} channel{'s' if most > 1 else ''}"


def _said(within: Range, style: str = ".4g") -> str:
    low, high = (format(end, style) for end in within)
    return low if low == high else f"{low} to {high}"
