"""Files that are written: whole or not at all, the same content as the same bytes, and where."""

import errno
import json
import os
import re
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.errors import AnalyzerError, AuditFolderError, OutputError, parameter
from analyzer.files import nature_of, shown_path

__all__ = [
    "aside",
    "check_place",
    "csv_text",
    "lack_of_room",
    "make_parents",
    "prepare_folder",
    "refuse_replaced",
    "remove_parts",
    "remove_tree",
    "scratch_folder",
    "write_array",
    "write_arrays",
    "write_bytes",
    "write_json",
    "write_text",
]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What writing fails with on a full disk, or over a quota or a limit."""
_HIDDEN = 50  # characters of a file's name that are in that of its temporary one
_QUOTED = re.compile('[,"\r\n]')
_RANDOM_BYTES = 4  # in the name of a temporary file

_BEGINNING = 4096  # bytes that tell text from anything else


@contextmanager
def aside(path: str | Path) -> Iterator[Path]:
    """A hidden name beside ``path`` to write to; it becomes ``path`` once the block ends well.

    Readers see the old file or the whole new one, never a part; on an error nothing is left.

    Raises:
        OutputError: the folder is missing, read-only or full, or ``path`` is no place for a file.
    """
    path = Path(path)
    _refuse_special(path)
    if not path.name:  # of "", "." and "/"
        raise _unwritable(path, "it is a folder")
    temporary = _hidden(path)
    try:
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            with suppress(OSError):  # it was never made, or has become ``path``
                temporary.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def check_place(path: str | Path, *, parents: bool = False, text: bool = False) -> None:
    """Refuse a place where no file can be written, before the work of which the file is to tell.

    Args:
        path: of the file.
        parents: whether its folder is made if needed, as by :func:`make_parents`.
        text: whether it is text, and so replaces no file that is something else, as an image.

    Raises:
        OutputError: the folder is missing or cannot be written, the name is too long, or something
            is there that must not be replaced.
    """
    path = Path(path)
    _refuse_special(path)
    try:
        if path.is_dir():
            raise _unwritable(path, "it is a folder")
        folder = path.absolute().parent
        while parents and not os.path.lexists(folder):
            for part in (folder.name, path.name):  # too long a name is told only where it would be
                with suppress(FileNotFoundError):
                    os.lstat(folder.parent / part)
            folder = folder.parent
        temporary = folder / _hidden(path).name
        temporary.touch(exist_ok=False)
        temporary.unlink()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _unwritable(path, error) from error
    if text and path.is_file():
        with suppress(OSError), path.open("rb") as file:  # it can be replaced, though not read
            if b"\0" in file.read(_BEGINNING):
                raise OutputError(f"{path} is no text, so it is not replaced. Name another file.")


def refuse_replaced(results: Mapping[str, Path], read: Callable[[], Iterable[Path]]) -> None:
    """Refuse a result in the place of a file that the same command reads.

    Args:
        results: files to write, by parameter.
        read: gives the files that are read, of which there may be millions; called only where
            something is in the place of a result.

    Raises:
        OutputError: one of the results would replace one.
    """
    there: dict[tuple[int, int], str] = {}
    for name, path in results.items():
        with suppress(OSError, ValueError):  # nothing is there that could be replaced
            status = os.stat(path)
            there[status.st_dev, status.st_ino] = name
    for path in read() if there else ():
        with suppress(OSError, ValueError):  # who reads it says so
            status = os.stat(path)
            if (found := there.get((status.st_dev, status.st_ino))) is not None:
                raise OutputError(
                    f"{parameter(found, results[found])} would replace {path}, which this command "
                    "reads. Name another file."
                )


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name[:_HIDDEN]}.{secrets.token_hex(_RANDOM_BYTES)}.part")


def remove_parts(folder: Path, names: Collection[str]) -> None:
    """Remove what killed processes left of the files ``names`` that they were writing.

    Args:
        folder: with the files; nobody else writes them now.
        names: of files.
    """
    parts = re.compile(
        f"\\.({'|'.join(re.escape(name[:_HIDDEN]) for name in names)})"
        f"\\.[0-9a-f]{{{2 * _RANDOM_BYTES}}}\\.part"
    )
    with suppress(OSError):  # the folder is gone
        for name in os.listdir(folder):
            if parts.fullmatch(name):
                with suppress(OSError):  # no file of ours
                    os.unlink(folder / name)


def remove_tree(folder: Path) -> None:
    """Remove a folder of this command's own and all in it; what cannot be removed stays.

    An empty folder goes without being read, which its mode may forbid, and folders inside go first:
    going down into them takes descriptors, of which there may be few.
    """
    with suppress(OSError):
        os.rmdir(folder)
        return
    with suppress(OSError):
        with os.scandir(folder) as found:
            inside = [item.path for item in found if item.is_dir(follow_symlinks=False)]
        for item in inside:
            shutil.rmtree(item, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def scratch_folder(within: Path | None = None) -> Iterator[Path]:
    """A folder for temporary files, which goes with them once the block ends.

    Args:
        within: where it is made; by default where the system keeps such.

    Raises:
        OutputError: there is no room in the system's.
    """
    folder = Path(tempfile.mkdtemp(dir=within))
    try:
        yield folder
    except Exception as error:
        if within is not None or (why := lack_of_room(folder, error)) is None:
            raise
        raise OutputError(
            f"{folder.parent} has no room for temporary files: {why}. Make room there, or let "
            "TMPDIR name a folder that has room."
        ) from error
    finally:
        remove_tree(folder)


def lack_of_room(folder: Path, error: Exception) -> str | None:
    """Why there is no room for a file of ours in ``folder``; None where that is not the error."""
    if isinstance(error, AnalyzerError):
        place, why = error.place, error.__cause__
    else:
        place, why = getattr(error, "filename", None), error
    if (
        not isinstance(why, OSError)
        or why.errno not in _NO_ROOM
        or not isinstance(place, str | Path)
    ):
        return None
    inside = os.path.abspath(place).startswith(os.path.join(os.path.abspath(folder), ""))
    return why.strerror if inside else None


def _refuse_special(path: Path) -> None:
    """Refuse to put a file in the place of a device, a pipe or a socket."""
    with suppress(OSError, ValueError):  # nothing is there, or nobody may look
        nature = nature_of(path)
        if nature not in ("a file", "a folder"):
            raise _unwritable(path, f"it is {nature}")


def _unwritable(path: Path, why: str | OSError | ValueError) -> OutputError:
    said = getattr(why, "strerror", None) or why
    way_out = "Name a file in a folder that exists, can be written and has room."
    if getattr(why, "errno", None) in (errno.EMFILE, errno.ENFILE):
        way_out = "Raise the limits of this process (ulimit -a shows them)."
    error = OutputError(f"{shown_path(path)} cannot be written: {said}. {way_out}")
    error.place = path
    return error


def make_parents(path: str | Path) -> None:
    """Make the folder of the file ``path`` if needed.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder of {path} cannot be made: {error.strerror or error}. Name a file in a "
            "folder that exists or can be made."
        ) from error


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write ``content`` to ``path``."""
    with aside(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text with the line ends it has; of file names that are not UTF-8, the bytes
    that are not come as escapes, which JSON reads back."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV that reads back with exactly their cells, whatever characters these hold.

    The csv module leaves a carriage return bare where lines end with a line feed alone, and readers
    take it for the end of a row.
    """
    return "".join(",".join(map(_csv_cell, row)) + "\n" for row in rows)


def _csv_cell(value: object) -> str:
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def write_json(path: str | Path, value: Any) -> None:
    """Write strict, indented JSON.

    Raises:
        ValueError: ``value`` holds NaN or infinity, which JSON does not have.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_arrays(
    path: str | Path, arrays: Mapping[str, np.ndarray], *, compressed: bool = True
) -> None:
    """Write an ``.npz`` that carries neither a time of writing nor a file mode."""
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with aside(path) as temporary, zipfile.ZipFile(temporary, "w", method) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")
            member.compress_type = method
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)


def write_array(path: str | Path, array: np.ndarray) -> None:
    """Write a ``.npy``."""
    with aside(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def prepare_folder(folder: str | Path, *, parents: bool = True) -> Path:
    """Make ``folder`` if needed and show that files can be written in it.

    Args:
        folder: its path.
        parents: whether those above it are made, too.

    Raises:
        AuditFolderError: it is a file, or cannot be made or written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=parents, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError:
        found = "a file" if folder.exists() else "a link that leads to nothing"
        raise AuditFolderError(f"{folder} is {found}, not a folder; name another place.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        refused = AuditFolderError(
            f"{folder} cannot be written: {reason}. "
            "Name a folder that exists or can be made, with room and write permission."
        )
        refused.place = folder
        raise refused from error
    return folder
