"""What an interrupted audit left in its folder, and how the next run takes it up.

All of it lies in ``.unfinished``: the state of each measure, scratch files, and a result that is
whole and only waits to be moved into place.
"""

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.audit.folder import RESULT_FILES, UNFINISHED
from analyzer.audit.result_manifest import MANIFEST, entries_of, move_result, write_entries
from analyzer.errors import AuditFolderError, parameter
from analyzer.files import check_own_place, folder_identity, holds, read_arrays
from analyzer.measures.registry import MEASURES
from analyzer.output_files import (
    prepare_folder,
    remove_parts,
    remove_tree,
    write_arrays,
    write_text,
)

__all__ = ["UnfinishedAudit", "contradiction", "key_of"]


def key_of(measured: Mapping[str, Any]) -> str:
    """The identity of what is measured: network, site, samples, preprocessing, …, as hex."""
    text = json.dumps(measured, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def contradiction(out: Path, what: str) -> AuditFolderError:
    """What is wrong where the states that an audit resumed do not fit together.

    Args:
        out: the audit folder.
        what: a sentence.
    """
    return AuditFolderError(
        f"The unfinished audit in {out} contradicts itself: {what} Pass "
        f"{parameter('fresh', True)} to start again."
    )


class UnfinishedAudit:
    """The unfinished part of an audit folder: scratch files, the state of each measure, the result.

    A state carries the key of what is being audited; an audit with another key never resumes it.

    Scratch files and the files of a result are written into folders with names that nobody can
    know before, so that what a link leads to that takes the place of ``.unfinished`` is not
    replaced.

    Args:
        out: the audit folder.
        check_lock: of :func:`analyzer.audit.folder.locked`, which holds it.

    Raises:
        AuditFolderError: something else has a name of it.
    """

    def __init__(self, out: Path, check_lock: Callable[[], None]):
        self.folder = out / UNFINISHED
        self._check_lock = check_lock
        self._files = {measure.name: self.folder / f"{measure.name}.npz" for measure in MEASURES}
        self._replaces = self.folder / "replaces-what-is-there"
        self._result = self.folder / "result"
        self.scratch = self.folder / f"scratch-{secrets.token_hex(8)}"
        """For files that are needed until the audit is done; :meth:`prepare` makes it."""
        for folder in (self.folder, self._result):
            check_own_place(folder, "a folder")
        self._remember()

    def __bool__(self) -> bool:
        """Whether there is something to resume."""
        return self._is_staged() or any(file.is_file() for file in self._files.values())

    def prepare(self) -> None:
        """Make the folder, without the scratch files that a killed run left.

        Raises:
            AuditFolderError: it cannot be written, or is another than it was.
        """
        self._make(self.folder)
        self.tidy()
        self._make(self.scratch)

    def tidy(self) -> None:
        """Remove all that no later run resumes from: scratch files, and parts of others."""
        staged = (self._result,) if self._is_staged() else ()
        kept = (*self._files.values(), self._replaces, *staged)
        try:
            self.check()
            found = list(self.folder.iterdir())
        except (AuditFolderError, OSError):  # what is there may be somebody else's, or nothing is
            return
        for item in found:
            if item in kept:
                continue
            if item.is_dir() and not item.is_symlink():
                remove_tree(item)
            else:
                with contextlib.suppress(OSError):
                    item.unlink()
        self._remember()

    def start_replacing(self, key: str) -> None:
        """Drop what is there, unless an interrupted run with ``key`` was replacing it already.

        Raises:
            AuditFolderError: the folder cannot be written.
        """
        if not self._is_replacing(key):
            self.drop()
            self._make(self.folder)
            write_text(self._replaces, key)

    def read(self, key: str, measure: str) -> dict[str, np.ndarray] | None:
        """What was kept of a measure for ``key``; None if nothing was.

        Raises:
            AuditFolderError: something was, but of another audit, or a number in it cannot be.
        """
        if not self._files[measure].is_file():
            return None
        arrays = read_arrays(self._files[measure])
        if str(arrays.pop("key", "")) != key:
            raise AuditFolderError(
                f"{self.folder.parent} holds an unfinished audit of another network, other data "
                f"or other settings; pass {parameter('fresh', True)} to drop it, or name another "
                f"{parameter('out')}."
            )
        if any(a.dtype.kind == "f" and a.ndim == 0 and not a >= 0 for a in arrays.values()):
            raise contradiction(self.folder.parent, f"A number of {measure} cannot be.")
        return arrays

    def write(self, key: str, arrays: Mapping[str, np.ndarray], measure: str) -> None:
        """Keep what was found so far, whole or not at all.

        Raises:
            AuditFolderError: the lock is lost, or the folder is another than it was.
        """
        self.check()
        write_arrays(self._files[measure], {"key": np.array(key), **arrays}, compressed=False)

    @contextlib.contextmanager
    def result(self, *, kept: Collection[str] = ()) -> Iterator[Path]:
        """A folder to write a whole result to; it takes the place of the old one in the end.

        Readers see the old result, none while files are moved, or the new one. After an error
        before that the old one is as it was.

        Args:
            kept: files of the old result that belong to the new one as they are.

        Raises:
            AuditFolderError: the folder cannot be written or is another than it was, or its lock
                is lost.
            OutputError: the files cannot be moved.
        """
        self._make(self.folder)
        for left in self.folder.glob(f"{self._result.name}*"):
            remove_tree(left)
        written = self.folder / f"{self._result.name}-{secrets.token_hex(8)}"
        self._make(written)
        try:
            yield written
            old = entries_of(self.folder.parent, kept)
            self.check()
            write_entries(written, {**old, **entries_of(written, RESULT_FILES)})
            os.rename(written, self._result)
        except BaseException as error:
            if isinstance(error, Exception):
                self.check()
            remove_tree(written)
            self._remember()
            raise
        self._remember()
        self.complete()

    def complete(self) -> bool:
        """Put a result that is whole into its place; False if there is none.

        Raises:
            AuditFolderError, OutputError: as :func:`move_result`.
        """
        if not self._is_staged():
            return False
        self.check()
        move_result(self._result, self.folder.parent, RESULT_FILES)
        self._replaces.unlink(missing_ok=True)
        for folder in (self._result, self.folder):
            with contextlib.suppress(OSError):  # states of measures are in it
                folder.rmdir()
        self._remember()
        return True

    def drop(self) -> None:
        """Forget all of it; remove the folder, and what a run killed while writing left."""
        try:
            self.check()
        except AuditFolderError:  # what is there may be somebody else's
            return
        remove_tree(self.folder)
        self._remember()
        remove_parts(self.folder.parent, (*RESULT_FILES, MANIFEST))

    def check(self) -> None:
        """Show that the run may still write here.

        Raises:
            AuditFolderError: the lock is lost, or a folder that this run made or found was removed
                or replaced.
        """
        self._check_lock()
        for folder, identity in self._identities.items():
            if folder_identity(folder) != identity:
                raise AuditFolderError(
                    f"{folder} was removed or replaced while this run worked in it. Leave it to "
                    "the run, and run the same command again."
                )

    def _make(self, folder: Path) -> None:
        """Make one of the folders, unless another is no longer what it was."""
        self.check()
        prepare_folder(folder, parents=False)
        self._identities[folder] = folder_identity(folder)

    def _remember(self) -> None:
        """Take what is there now for what has to be there."""
        places = (self.folder, self.scratch)
        self._identities = {place: folder_identity(place) for place in places}

    def _is_staged(self) -> bool:
        return (self._result / MANIFEST).is_file()

    def _is_replacing(self, key: str) -> bool:
        return holds(self._replaces, key.encode())
