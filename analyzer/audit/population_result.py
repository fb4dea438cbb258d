"""What the audits of a population leave: the table, the list of failures, the page.

=====================  ==================================================================
``population.csv``     a row a network that was audited
``failed.csv``         a row a network that could not be audited: ``name``, ``error``; only
                       where there is one
``population.html``    the table for people, where it was asked for
``audits/NAME/``       an audit folder a network
=====================  ==================================================================
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analyzer import estimation
from analyzer.audit.assemble_record import some_of
from analyzer.audit.shared_inputs import ReadInput
from analyzer.audit.unfinished_audit import key_of
from analyzer.audit_record import AuditRecord, GapRecord
from analyzer.control_characters import printable
from analyzer.errors import AnalyzerError, AuditFolderError, DataError, parameter
from analyzer.files import check_own_place, read_whole
from analyzer.measures.registry import is_feature
from analyzer.output_files import csv_text, write_text

__all__ = [
    "AUDITS",
    "FAILED",
    "PAGE",
    "TABLE",
    "AuditedNetwork",
    "AuditedPopulation",
    "ReplacedNetworks",
    "refuse_foreign_files",
    "table_of",
    "write_failures",
]

TABLE, FAILED, PAGE, AUDITS = "population.csv", "failed.csv", "population.html", "audits"
_MEASURED = ("zeta", "kappa", "train_accuracy", "test_accuracy", "gap")


@dataclass(frozen=True, slots=True)
class AuditedNetwork:
    """What the audit of one network says, as much of it as a population keeps in memory."""

    values: Mapping[str, float]  # ζ, κ, features, accuracies and gap; NaN where not known
    conditions: estimation.AuditConditions
    rank: str  # what its units were ranked by
    estimate: GapRecord | None  # None without a gap model
    warnings: tuple[str, ...]
    sha256: tuple[str, str]  # of the network, and of the data that it was audited on
    unusual: Mapping[str, float]  # options that change features, by name
    made_by: str  # key of the data, preprocessing, options, gap model and versions behind it
    read: tuple[ReadInput, ...]  # what other networks may share, as this run read it

    @staticmethod
    def of(
        record: AuditRecord,
        values: Mapping[str, float],
        warnings: Sequence[str] = (),
        read: Sequence[ReadInput] = (),
    ) -> "AuditedNetwork":
        """Of the record of an audit.

        Args:
            record: of the audit.
            values: what its row of the table says.
            warnings: about them, besides those of the audit.
            read: what other networks may share, where this run has read it.
        """
        return AuditedNetwork(
            values,
            estimation.conditions_of(record),
            record.rank,
            record.gap,
            (*record.warnings, *warnings),
            (record.model.sha256, record.data.sha256),
            estimation.unusual_settings(record),
            key_of(
                {
                    "data": [record.data.sha256, record.data.files],
                    "preprocessing": record.data.preprocessing,
                    "settings": record.settings,
                    "versions": record.versions,
                    "gap_model": record.gap and record.gap.gap_model,
                }
            ),
            tuple(read),
        )


@dataclass(frozen=True, slots=True)
class AuditedPopulation:
    """A population as far as it was audited."""

    table: estimation.PopulationTable  # a row a network of ``networks``, in that order
    networks: Mapping[str, AuditedNetwork]  # by name, in the order of the manifest
    failures: Mapping[str, AnalyzerError]  # by name: why it could not be audited

    def to_dict(self) -> dict[str, Any]:
        """JSON values: ``networks`` with all that the table says, and ``failed``."""
        return {
            "networks": [
                {
                    "name": name,
                    "audit": f"{AUDITS}/{name}",
                    **{key: cells[row] for key, cells in self.table.further.items()},
                    **{key: _known(value) for key, value in one.values.items()},
                    "estimate": None if one.estimate is None else asdict(one.estimate),
                    "warnings": list(one.warnings),
                }
                for row, (name, one) in enumerate(self.networks.items())
            ],
            "failed": [{"name": name, "error": str(why)} for name, why in self.failures.items()],
        }

    def shared_warnings(self) -> list[tuple[str, str]]:
        """What audits warn of, each sentence once, with the networks that it is about in words."""
        found: dict[str, list[str]] = {}
        for name, one in self.networks.items():
            for sentence in one.warnings:
                found.setdefault(sentence, []).append(name)
        everyone = len(self.networks) + len(self.failures)
        return [
            ("all networks" if len(names) == everyone else some_of(names), sentence)
            for sentence, names in found.items()
        ]

    def same_networks(self) -> Iterator[str]:
        """A sentence for each network that the population has under several names."""
        found: dict[tuple[str, str], list[str]] = {}
        for name, one in self.networks.items():
            found.setdefault(one.sha256, []).append(name)
        for names in found.values():
            if len(names) > 1:
                yield (
                    f"{some_of(names)} are the same network: a gap model would count it "
                    f"{len(names)} times, and its interval would be too narrow. Keep one of them."
                )


def table_of(
    networks: Mapping[str, AuditedNetwork], cells: Sequence[Mapping[str, str]]
) -> estimation.PopulationTable:
    """The table of networks that were audited.

    Args:
        networks: by name; at least one.
        cells: of the manifest, a row a network of ``networks``.
    """
    found = dict.fromkeys(name for one in networks.values() for name in one.values)
    features = [name for name in found if name not in _MEASURED]
    known = ("name", "keys", "test_keys", *_MEASURED, *features, *estimation.UNUSUAL)
    # A feature that was not measured here is that of another run, whose table is the manifest.
    further = [name for name in cells[0] if name not in known and not is_feature(name)]

    def column(name: str) -> np.ndarray:
        return np.array([one.values.get(name, np.nan) for one in networks.values()])

    texts = {name: tuple(row.get(name, "") for row in cells) for name in further}
    audited = [one.conditions.to_cells() for one in networks.values()]
    # Last, because a table of another run may be the manifest.
    texts |= {estimation.RANK: tuple(one.rank for one in networks.values())}
    for name in dict.fromkeys(name for one in networks.values() for name in one.unusual):
        asked = (one.unusual.get(name) for one in networks.values())
        texts[name] = tuple("" if value is None else f"{value:g}" for value in asked)
    texts |= {name: tuple(row[name] for row in audited) for name in estimation.CONDITION_COLUMNS}
    return estimation.PopulationTable(
        name=tuple(networks),
        further=texts,
        features={name: column(name) for name in features},
        **{name: column(name) for name in _MEASURED},
    )


def refuse_foreign_files(out: Path) -> None:
    """Refuse a folder that has files of a population's names, which no population has written.

    Raises:
        AuditFolderError: the sentence names the file.
    """
    for name, is_ours in (
        (TABLE, lambda text: estimation.RANK in text.partition("\n")[0].split(",")),
        (FAILED, lambda text: text.startswith("name,error\n")),
        (PAGE, lambda text: "Population of networks" in text),
    ):
        path = out / name
        if not os.path.lexists(path):
            continue
        try:
            ours = is_ours(read_whole(path).decode(errors="replace"))
        except (OSError, DataError):  # a folder, a pipe, or of 2 GB
            ours = False
        if not ours:
            raise AuditFolderError(
                f"{path} was not written by this command, which would replace it. Move it "
                f"elsewhere, or name another {parameter('out')}."
            )


def write_failures(failures: Mapping[str, AnalyzerError], out: Path) -> None:
    """Write ``failed.csv``; where nothing failed, remove that of an earlier run.

    It is read on terminals, so what could steer one is spelled out.

    Raises:
        OutputError: it cannot be written.
    """
    if not failures:
        (out / FAILED).unlink(missing_ok=True)
        return
    rows = [(printable(name), printable(str(why))) for name, why in failures.items()]
    write_text(out / FAILED, csv_text([("name", "error"), *rows]))


class ReplacedNetworks:
    """Which networks an interrupted run with ``fresh`` has replaced, so that the next one resumes.

    The keys of networks and settings, a line each, in a hidden file that the end of a run removes.

    Raises:
        AuditFolderError: something else has the name of that file.
    """

    def __init__(self, out: Path):
        self._path = out / ".replaced"
        check_own_place(self._path, "a file")
        with contextlib.suppress(OSError, UnicodeDecodeError):
            self._keys = set(self._path.read_text("ascii").split())
            return
        self._keys = set()

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def add(self, key: str) -> None:
        """Note one more; where that fails, the network is merely replaced again."""
        with contextlib.suppress(OSError), self._path.open("a", encoding="ascii") as file:
            file.write(f"{key}\n")

    def forget(self) -> None:
        """Remove the file: a run has come to its end."""
        self._path.unlink(missing_ok=True)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
