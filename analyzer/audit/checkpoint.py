"""What an unfinished audit has counted, kept in its folder until the audit is done.

The checkpoint carries the key of what is being counted; one with another key is never gone on
from.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.audit.folder import prepare_folder, read_arrays
from analyzer.errors import AuditFolderError
from analyzer.writing import write_arrays

__all__ = ["Checkpoint", "key_of"]

_FOLDER = ".unfinished"
_FILE = "counts.npz"


def key_of(counted: Mapping[str, Any]) -> str:
    """The identity of what is counted: network, site, samples, preprocessing, …, as hex."""
    text = json.dumps(counted, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class Checkpoint:
    """The unfinished part of an audit folder: scratch files and the counts so far."""

    def __init__(self, out: Path):
        self.folder = out / _FOLDER
        self._file = self.folder / _FILE

    def __bool__(self) -> bool:
        """Whether there are counts to go on from."""
        return self._file.is_file()

    def prepare(self) -> None:
        """Makes the folder, rid of scratch files that a killed run left.

        Raises:
            AuditFolderError: it cannot be written.
        """
        prepare_folder(self.folder)
        for item in self.folder.iterdir():
            if item.is_dir():
                shutil.rmtree(item)
            elif item != self._file:
                item.unlink()

    def read(self, key: str) -> dict[str, np.ndarray] | None:
        """The counts kept for ``key``; None if there are none.

        Raises:
            AuditFolderError: there are some, but of something else.
        """
        if not self:
            return None
        arrays = read_arrays(self._file)
        if str(arrays.pop("key", "")) != key:
            raise AuditFolderError(
                f"{self.folder.parent} holds an unfinished audit of another network, other data "
                "or other settings; pass --fresh to drop it, or name another --out"
            )
        return arrays

    def write(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keeps the counts so far, whole or not at all."""
        write_arrays(self._file, {"key": np.array(key), **arrays}, compressed=False)

    def drop(self) -> None:
        """Forgets the counts; removes the folder, and what a run killed while writing left."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for part in self.folder.parent.glob(".*.part"):
            part.unlink(missing_ok=True)
