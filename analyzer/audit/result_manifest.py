"""``manifest.json``: which files make up a result, so that it appears whole or not at all.

The files of an audit are many, and no file system replaces several at once. So a result is written
aside, into ``.unfinished/result/``, its manifest last. Then the old manifest goes, the files move
into their places, and the new manifest follows as the last one. A folder without a manifest, or
with files that do not match it, is no result: nobody can read a mixture of two audits as one. A
move that was interrupted is completed by the next run, from the manifest that lies aside.
"""

import contextlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from analyzer.errors import AuditFolderError, DataError, OutputError
from analyzer.files import RUN_AGAIN, read_json, sha256, write_text
from analyzer.whole_files import read_whole

__all__ = [
    "MANIFEST",
    "FileEntry",
    "check_files",
    "entries_of",
    "find_faults",
    "move_result",
    "read_entries",
    "unchanged",
    "write_entries",
]

MANIFEST = "manifest.json"
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class FileEntry:
    """What a manifest says of a file."""

    sha256: str  # as hex
    bytes: int


def write_entries(folder: Path, entries: Mapping[str, FileEntry]) -> None:
    """Write the manifest of a result into ``folder``.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(folder / MANIFEST, _text(entries))


def entries_of(folder: Path, names: Collection[str]) -> Mapping[str, FileEntry]:
    """What a manifest says of those of the files ``names`` that are in ``folder``."""
    return {
        name: FileEntry(sha256(folder / name), (folder / name).stat().st_size)
        for name in names
        if (folder / name).is_file()
    }


def read_entries(folder: Path, known: Collection[str]) -> Mapping[str, FileEntry]:
    """The files of the result in ``folder``, by name.

    Args:
        folder: of the audit.
        known: the names that a file of an audit can have.

    Raises:
        AuditFolderError: there is no manifest, or it is damaged.
    """
    path = folder / MANIFEST
    if not os.path.lexists(path):
        raise AuditFolderError(
            f"{folder} holds no finished audit: {MANIFEST}, which is written last, is missing. "
            "Run the command that was writing it again."
        )
    value = read_json(path)
    files = value.get("files") if isinstance(value, Mapping) else None
    if not isinstance(files, Mapping) or value.get("schema") != _SCHEMA:
        raise AuditFolderError(
            f"{path} is not the manifest of an audit as this version of onnx-gap writes it. "
            f"{RUN_AGAIN}"
        )
    entries = {name: _entry(path, name, said, known) for name, said in files.items()}
    if _content(folder) != _text(entries).encode():
        raise AuditFolderError(f"{path} was changed after the audit. {RUN_AGAIN}")
    return entries


def find_faults(folder: Path, known: Collection[str]) -> dict[str, str]:
    """What does not match the manifest: a sentence for each file, by its name.

    Args:
        folder: of the audit.
        known: the names that a file of an audit can have; one of them that is there although the
            manifest does not list it is a fault, any other file is nobody's concern.

    Raises:
        AuditFolderError: there is no manifest, or it is damaged.
    """
    entries = read_entries(folder, known)
    faults = {}
    for name in known:
        path, entry = folder / name, entries.get(name)
        if entry is None:
            if os.path.lexists(path):
                faults[name] = f"{path} is not in {MANIFEST}: it belongs to another result."
        elif not path.is_file():
            faults[name] = f"{path} is missing, and {MANIFEST} lists it."
        elif not _matches(path, entry):
            faults[name] = (
                f"{path} is not the file that {MANIFEST} lists: it was changed after the audit, "
                "or belongs to another one."
            )
    return faults


def check_files(folder: Path, known: Collection[str], *, besides: Collection[str] = ()) -> None:
    """Refuse a folder whose files, ``besides`` some, do not match its manifest.

    Raises:
        AuditFolderError: the sentence names the first of them.
    """
    for name, sentence in find_faults(folder, known).items():
        if name not in besides:
            raise AuditFolderError(f"{sentence} {RUN_AGAIN}")


@contextlib.contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Show that the result in ``folder`` was not replaced while the block read it.

    Raises:
        AuditFolderError: it was.
    """
    before = _content(folder)
    yield
    if _content(folder) != before:
        raise AuditFolderError(f"{folder} was replaced while it was being read; read it again.")


def move_result(staged: Path, out: Path, known: Collection[str]) -> None:
    """Put the result in ``staged`` into its place, or complete what was begun.

    Args:
        staged: a folder of the same file system, with the result and its manifest.
        out: where it belongs.
        known: the names that a file of an audit can have.

    Raises:
        AuditFolderError: the manifest in ``staged`` is damaged.
        OutputError: a file cannot be moved; what is left is moved by the next call.
    """
    entries = read_entries(staged, known)
    try:
        (out / MANIFEST).unlink(missing_ok=True)
        for name in known:
            if name not in entries:
                (out / name).unlink(missing_ok=True)
            elif (staged / name).exists():
                os.replace(staged / name, out / name)
        os.replace(staged / MANIFEST, out / MANIFEST)
    except OSError as error:
        raise OutputError(
            f"The result cannot be moved into {out}: {error.strerror or error}. Make room for it, "
            "then run the same command again; nothing is measured again."
        ) from error


def _text(entries: Mapping[str, FileEntry]) -> str:
    """The manifest, always as the same bytes: it is what a signature is made of."""
    files = {name: asdict(entries[name]) for name in sorted(entries)}
    return json.dumps({"schema": _SCHEMA, "files": files}, indent=2) + "\n"


def _entry(path: Path, name: str, said: Any, known: Collection[str]) -> FileEntry:
    if (
        name in known
        and isinstance(said, Mapping)
        and isinstance(said.get("sha256"), str)
        and type(said.get("bytes")) is int
    ):
        return FileEntry(said["sha256"], said["bytes"])
    raise AuditFolderError(
        f"{path}: the entry of {name!r} does not belong to an audit. {RUN_AGAIN}"
    )


def _matches(path: Path, entry: FileEntry) -> bool:
    try:
        return path.stat().st_size == entry.bytes and sha256(path) == entry.sha256
    except OSError as error:
        raise AuditFolderError(f"{path} cannot be read: {error.strerror or error}.") from error


def _content(folder: Path) -> bytes | None:
    try:
        return read_whole(folder / MANIFEST)
    except (OSError, DataError):
        return None
