"""An audit measured again from the network and the data, in parts that are drawn at random."""

import math
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from analyzer.audit.suspects import THUMBNAILS, read_suspects, read_thumbnails
from analyzer.audit_options import (
    AuditRequest,
    DataOptions,
    DrawOptions,
    MeasureOptions,
    RunOptions,
    SiteOptions,
)
from analyzer.audit_record import AuditRecord
from analyzer.common_types import Progress
from analyzer.errors import AnalyzerError, AuditFolderError, DataError, parameter
from analyzer.files import RUN_AGAIN, is_readable_file, shown_path
from analyzer.json_codec import JsonSource, decode
from analyzer.measures.measure import Check, Draw, Job, check
from analyzer.measures.registry import MEASURES
from analyzer.option_mechanism import options_of
from analyzer.output_files import scratch_folder

__all__ = ["Drawn", "Remeasured", "Remeasuring"]

_SHARES = (0.01, 0.1)  # of the cells forged, for which the chance to pass is told


@dataclass(frozen=True, slots=True, kw_only=True)
class Remeasuring(DrawOptions):
    """What an audit is measured again from, and how much of it."""

    data: str | tuple[Any, Any]  # a path, or (images, labels)
    keys: tuple[str, str] | None = None
    classes: Path | None = None  # by default the file that the audit used
    inputs: tuple[tuple[str, str], ...] = ()  # likewise, for each that is not named
    groups: str | None = None  # likewise
    custom_ops: Path | None = None  # never the library that a record names
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Drawn:
    """How much of the counts was counted again."""

    seed: int
    cells: int
    all_cells: int
    samples: int
    all_samples: int

    @property
    def passes(self) -> Mapping[str, float]:
        """The chance that a forgery of the curves is not met, by how many of the cells it is of.

        At most (1 − f)^k for a share f of the cells and k of them drawn; of a single cell exactly.
        """
        left = 1 - self.cells / self.all_cells
        shares = {f"{share:.0%}": (1 - share) ** self.cells if left else 0.0 for share in _SHARES}
        return {"one cell": left, **shares}

    @property
    def sentence(self) -> str:
        """The same for people."""
        told = ", ".join(f"of {what} {chance:.2g}" for what, chance in self.passes.items())
        return (
            f"Drawn with seed {self.seed}: {self.cells:,} of {self.all_cells:,} cells of the "
            f"curves and {self.samples:,} of {self.all_samples:,} samples. The chance that forged "
            f"curves pass: {told}."
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "passes": dict(self.passes)}


class Remeasured:
    """An audit measured again, as far as that is asked for."""

    def __init__(
        self,
        folder: Path,
        record: AuditRecord,
        model: str | Path | None,
        budget: tuple[tuple[str, int | None], ...],
        asked: Remeasuring,
    ):
        self._folder, self._record, self._asked = folder, record, asked
        self._request = _request_of(record, folder, model, budget, asked)
        seed = secrets.randbits(32) if asked.seed is None else asked.seed
        self.draw = Draw(asked.cells, seed)

    @property
    def drawn(self) -> Drawn | None:
        """How much was counted again; None if nothing was."""
        draw = self.draw
        if not draw.cells:
            return None
        return Drawn(draw.seed, draw.cells, draw.all_cells, draw.samples, draw.all_samples)

    def checks(self, progress: Progress) -> Iterator[Check]:
        """Every measure, and what is taken from the data as it is."""
        # Imported here: what runs a network is not needed to read an audit.
        from analyzer.audit.inputs import find_inputs

        request, record = self._request, self._record
        subject = find_inputs(request, recorded=record.data.preprocessing).subject
        of_data = [self._names(subject.source), self._pictures(subject.source)]
        yield from of_data
        failed = not all(found.passed for found in of_data)
        with scratch_folder() as scratch:
            images = subject.opened_images(
                skip_bad=request.skip_bad, memory=request.memory // 2, progress=progress
            )
            try:
                for measure in MEASURES:
                    place = scratch / measure.name
                    place.mkdir()
                    job = Job(
                        request=request,
                        subject=subject,
                        scratch=place,
                        saved=lambda: None,
                        save=lambda arrays: None,
                        progress=progress,
                        say=lambda sentence: None,
                        images=images,
                        found={},
                    )
                    for found in measure.recount(self._folder, record, job, self.draw):
                        failed |= not found.passed
                        yield found
            except AnalyzerError as error:
                subject.network.refuse_if_changed()  # of two networks nothing fits together
                if not failed:
                    raise
                wrong = [f"Nothing more can be measured again: {error}"]
                yield check(f"{measure.name} measured again", wrong, "")
        subject.network.refuse_if_changed()
        subject.first_reading.confirm()

    def _names(self, source: Any) -> Check:
        """What the data call samples and classes."""
        wrong = [
            f"Class {index} is called {name!r} in audit.json, {source.class_name(index)!r} in "
            "the data."
            for index, name in sorted(self._record.class_names.items())
            if name != source.class_name(index)
        ]
        suspects = read_suspects(self._folder)
        called = [(one.index, one.name) for one in suspects]
        called += [(one.twin_index, one.twin) for one in suspects if one.twin_index is not None]
        section = self._record.sections.get("neighbors")
        for pair in section.conflicts.pairs if section else ():
            called += [(pair.index, pair.name), (pair.other_index, pair.other_name)]
        for index, name in called:
            there = str(source.names[index]) if 0 <= index < len(source) else ""
            if name not in (there, there.encode(errors="backslashreplace").decode()):
                wrong.append(f"Sample {index} is called {name!r}, and {there!r} in the data.")
        return check("names", wrong, "Classes and suspects have the names that the data give them.")

    def _pictures(self, source: Any) -> Check:
        """Whether the pictures of suspects are those of the samples."""
        from analyzer.data import shows_sample

        pictures = read_thumbnails(self._folder)
        wrong = [
            f"The picture of sample {index} in {THUMBNAILS} is not that of the data."
            for index, png in pictures.items()
            if index >= len(source) or not shows_sample(png, source.read(index))
        ]
        return check("pictures", wrong, f"{len(pictures)} pictures are those of the samples.")


def _request_of(
    record: AuditRecord,
    folder: Path,
    model: str | Path | None,
    budget: tuple[tuple[str, int | None], ...],
    asked: Remeasuring,
) -> AuditRequest:
    """What the audit was asked for, as far as that decides what is measured."""
    from analyzer.data import are_missing_groups, is_missing_value

    hints, said = get_type_hints(AuditRequest), record.settings
    source = JsonSource("audit.json", AuditFolderError, RUN_AGAIN, largest_integer=math.inf)
    settings = {
        name: decode(hints[name], said[name], source, f"settings.{name}")
        for name in _settings()
        if name in said
    }
    classes = decode(str | None, said.get("classes"), source, "settings.classes")
    inputs = decode(Mapping[str, str], said.get("inputs", {}), source, "settings.inputs")
    groups = decode(str | None, said.get("groups"), source, "settings.groups")
    if model is None and not is_readable_file(record.model.path):
        raise _missing(record.model.path, parameter("model"))
    if classes and not asked.classes and not is_readable_file(classes):
        raise _missing(classes, parameter("classes"))
    inputs = {name: value for name, value in inputs.items() if name not in dict(asked.inputs)}
    for name, value in inputs.items():
        if is_missing_value(value):
            raise _missing(value, parameter("inputs", f"{name}=FILE"))
    if groups and asked.groups is None and are_missing_groups(groups):
        raise _missing(groups, parameter("groups"))
    return AuditRequest(
        model=Path(record.model.path if model is None else model),
        data=asked.data,
        out=folder,
        keys=asked.keys,
        classes=asked.classes or (Path(classes) if classes else None),
        inputs=(*inputs.items(), *asked.inputs),
        groups=asked.groups or groups,
        custom_ops=asked.custom_ops,
        budget=budget,
        device=asked.device,
        **settings,
    )


def _missing(recorded: str, option: str) -> DataError:
    """What is wrong with a file of the record that is not there, whose place ``option`` tells."""
    return DataError(
        f"{shown_path(recorded)}, which the audit used, is no file that can be read. Name it with "
        f"{option} where it is now."
    )


def _settings() -> Iterator[str]:
    """What is measured, and how; all but what is told together with the data."""
    for group in (SiteOptions, DataOptions, RunOptions, MeasureOptions):
        told = {field.name for field in fields(Remeasuring)} - {"seed"}  # that is of the draw
        yield from (n for n, one in options_of(group).items() if one.setting and n not in told)
