"""What networks of a population have in common: files that all take, data that several name."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from analyzer.errors import DataError, parameter
from analyzer.files import file_identity

__all__ = ["ReadInput", "SharedInputs"]

_STAYS = (
    "No table is written of them, and the audits that are done stay. Leave it alone and run the "
    "same command again; audits that do not fit it any more are refused then, without "
    f"{parameter('fresh', True)}."
)


@dataclass(frozen=True, slots=True)
class ReadInput:
    """What a network was measured on, or with."""

    name: str  # of the data or file
    part: str  # what was read of it, and what for: only the same can be compared
    sha256: str  # of what was read


class SharedInputs:
    """Files and data that must be the same for all networks, or a table would mix rows."""

    def __init__(self, files: Iterable[str | Path]):
        """Files as they are now.

        Args:
            files: that every network takes; what is none is left out.
        """
        self._files = {str(path): file_identity(path) for path in files if os.path.isfile(path)}
        self._read: dict[tuple[str, str], tuple[str, str]] = {}

    def hold_files(self) -> None:
        """Hold the files as they are against what they were.

        Raises:
            DataError: names one that is another by now, or gone.
        """
        for path, identity in self._files.items():
            if file_identity(path) != identity:
                raise DataError(
                    f"{path}, which all networks of this population take, was changed while they "
                    f"were audited. {_STAYS}"
                )

    def hold_network(self, network: str, read: Iterable[ReadInput]) -> None:
        """Hold what a network was measured on against what those before it were.

        Args:
            network: its name.
            read: what it was measured on, and with.

        Raises:
            DataError: names what another network found otherwise.
        """
        for one in read:
            first, sha256 = self._read.setdefault((one.name, one.part), (network, one.sha256))
            if sha256 != one.sha256:
                raise DataError(
                    f"{one.name} was changed while the networks of this population were audited: "
                    f"{network} was measured on something else than {first}. {_STAYS}"
                )
