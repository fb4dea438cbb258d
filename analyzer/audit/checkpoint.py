"""What an unfinished audit has counted or measured, kept in its folder until the audit is done.

Counts and margins are parts of their own. Each carries the key of what is being audited; one with
another key is never gone on from.
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
from analyzer.files import write_arrays

__all__ = ["Checkpoint", "key_of"]

_FOLDER = ".unfinished"
_PARTS = ("counts", "margins")


def key_of(counted: Mapping[str, Any]) -> str:
    """The identity of what is counted: network, site, samples, preprocessing, …, as hex."""
    text = json.dumps(counted, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class Checkpoint:
    """The unfinished part of an audit folder: scratch files and what was found so far."""

    def __init__(self, out: Path):
        self.folder = out / _FOLDER
        self._files = {part: self.folder / f"{part}.npz" for part in _PARTS}

    def __bool__(self) -> bool:
        """Whether there is something to go on from."""
        return any(file.is_file() for file in self._files.values())

    def prepare(self) -> None:
        """Makes the folder, rid of scratch files that a killed run left.

        Raises:
            AuditFolderError: it cannot be written.
        """
        prepare_folder(self.folder)
        for item in self.folder.iterdir():
            if item.is_dir():
                shutil.rmtree(item)
            elif item not in self._files.values():
                item.unlink()

    def read(self, key: str, part: str = "counts") -> dict[str, np.ndarray] | None:
        """What was kept of a part for ``key``; None if nothing was.

        Raises:
            AuditFolderError: something was, but of another audit.
        """
        if not self._files[part].is_file():
            return None
        arrays = read_arrays(self._files[part])
        if str(arrays.pop("key", "")) != key:
            raise AuditFolderError(
                f"{self.folder.parent} holds an unfinished audit of another network, other data "
                "or other settings; pass --fresh to drop it, or name another --out"
            )
        return arrays

    def write(self, key: str, arrays: Mapping[str, np.ndarray], part: str = "counts") -> None:
        """Keeps what was found so far, whole or not at all."""
        write_arrays(self._files[part], {"key": np.array(key), **arrays}, compressed=False)

    def drop(self) -> None:
        """Forgets all of it; removes the folder, and what a run killed while writing left."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for part in self.folder.parent.glob(".*.part"):
            part.unlink(missing_ok=True)
