"""Samples as image files: what class folders and manifests have in common."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from analyzer.data.source import CompactNames, FileStates
from analyzer.errors import DataError
from analyzer.files import file_identity, read_whole
from analyzer.input_budgets import Budgets

__all__ = ["FileStore"]


class FileStore:
    """Samples as image files below a root."""

    def __init__(self, root: Path, paths: CompactNames, manifest: FileStates | None = None):
        """Files as they are now.

        Args:
            root: of the paths.
            paths: relative to the root.
            manifest: that lists them, as it was before it was read.
        """
        self._root, self._paths, self._manifest = root, paths, manifest
        self._fingerprint = self._states()

    @property
    def root(self) -> Path:
        return self._root

    def stored(self, index: int, budgets: Budgets) -> bytes:
        try:
            return read_whole(Path(self._root, self._paths[index]), budgets)
        except DataError as error:
            raise DataError(f"it {error.message}") from error

    def fingerprint(self) -> str:
        return self._fingerprint

    def is_as_opened(self) -> bool:
        return self._states() == self._fingerprint and (
            self._manifest is None or self._manifest.changed() is None
        )

    def files(self) -> Iterator[Path]:
        yield from () if self._manifest is None else self._manifest.files()
        for path in self._paths:
            yield Path(self._root, path)

    def _states(self) -> str:
        """A hash of the names, and of what the file system tells of the files."""
        states = hashlib.sha256(self._paths.block())
        for path in self._paths:
            states.update(repr(file_identity(os.path.join(self._root, path))).encode())
        return states.hexdigest()
