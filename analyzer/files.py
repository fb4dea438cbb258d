"""Files: written whole or not at all, and the same content as the same bytes; read within budgets.

Of a stranger's files only regular ones are read, and no more of them than the budget allows.
"""

import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.errors import AnalyzerError, AuditFolderError, DataError, OutputError, parameter
from analyzer.input_budgets import DEFAULT_BUDGETS, Budgets
from analyzer.json_codec import parse_json, repeated

__all__ = [
    "RUN_AGAIN",
    "array_of",
    "aside",
    "check_names",
    "check_own_place",
    "check_paths",
    "check_place",
    "check_places",
    "check_regular",
    "csv_text",
    "file_identity",
    "folder_identity",
    "holds",
    "is_readable_file",
    "lack_of_room",
    "make_parents",
    "nature_of",
    "prepare_folder",
    "read_arrays",
    "read_json",
    "read_text",
    "read_whole",
    "refuse_replaced",
    "remove_parts",
    "remove_tree",
    "scratch_folder",
    "sha256",
    "shown_path",
    "write_array",
    "write_arrays",
    "write_bytes",
    "write_json",
    "write_text",
]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What writing fails with on a full disk, or over a quota or a limit."""

RUN_AGAIN = f"Run the audit again with {parameter('fresh', True)}."


_LONGEST = 400  # characters of a path that is shown whole
_HIDDEN = 50  # characters of a file's name that are in that of its temporary one
_QUOTED = re.compile('[,"\r\n]')
_RANDOM_BYTES = 4  # in the name of a temporary file


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


def check_place(path: str | Path, *, parents: bool = False) -> None:
    """Refuse a place where no file can be written, before the work of which the file is to tell.

    Args:
        path: of the file.
        parents: whether its folder is made if needed, as by :func:`make_parents`.

    Raises:
        OutputError: the folder is missing or cannot be written, the name is too long, or something
            else than a file is there.
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


def shown_path(path: object) -> str:
    """A path for a message, without its middle where it is longer than any path of use."""
    text = str(path)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 4]}[…]{text[-_LONGEST // 4 :]}"


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


def sha256(path: str | Path) -> str:
    """The file's sha256 as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def read_json(path: str | Path) -> Any:
    """The content of a JSON file.

    Raises:
        AuditFolderError: there is no such file, or it is not JSON.
    """
    path = Path(path)
    try:
        return parse_json(read_whole(path).decode(), parse_constant=_refuse_constant)
    except DataError as error:
        raise AuditFolderError(f"{path} {error.message}. {RUN_AGAIN}") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise AuditFolderError(f"{path} is not valid JSON: {error}. {RUN_AGAIN}") from None


def read_arrays(path: str | Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays ``names`` (all when None) of an ``.npz`` file; pickles are never loaded.

    Raises:
        AuditFolderError: there is no such file, it is damaged, or lacks one of ``names``.
    """
    path = Path(path)
    try:
        check_regular(path)
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files if names is None else names
            check_names(path, names, archive.files)
            _check_sizes(path)
            found = {name: archive[name] for name in names}
            if repeated(archive.files) or any(isinstance(one, bytes) for one in found.values()):
                raise ValueError("a member is there twice, or no array")
            return found
    except DataError as error:
        raise AuditFolderError(f"{path} {error.message}. {RUN_AGAIN}") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    except AuditFolderError:
        raise
    except Exception:  # damaged archives make zipfile and numpy raise anything
        raise AuditFolderError(
            f"{path} is damaged or not an .npz file of plain arrays. {RUN_AGAIN}"
        ) from None


def _check_sizes(path: Path) -> None:
    """Refuse arrays that decompress to more than an audit's do."""
    with zipfile.ZipFile(path) as archive:
        total = sum(member.file_size for member in archive.infolist())
    if DEFAULT_BUDGETS.excess_of_file(path, total):
        raise AuditFolderError(f"{path} decompresses to {total:,} bytes; no audit writes so many.")


def check_names(path: Path, names: Sequence[str], present: Sequence[str]) -> None:
    """Raise an AuditFolderError unless the file has all arrays ``names``."""
    missing = [name for name in names if name not in present]
    if missing:
        raise AuditFolderError(
            f"{path} has no array '{missing[0]}' (it has: {', '.join(present)}); "
            "it was not written by an audit."
        )


def array_of(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    name: str,
    kind: type,
    shape: tuple[int | None, ...],
) -> np.ndarray:
    """The array ``name`` of a file, of the numpy type ``kind`` and a shape; None: of any length.

    Raises:
        AuditFolderError: it is something else.
    """
    array = arrays[name]
    fits = len(array.shape) == len(shape) and all(
        want in (None, have) for have, want in zip(array.shape, shape, strict=True)
    )
    if array.dtype != kind or not fits:
        wanted = str(shape).replace("None", "?")
        raise AuditFolderError(
            f"{path}: '{name}' is {array.dtype} of shape {array.shape}; {np.dtype(kind)} of shape "
            f"{wanted} was expected. {RUN_AGAIN}"
        )
    return array


def check_places(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    bounds: Mapping[str, tuple[int, float]],
    *,
    ascending: Sequence[str] = (),
) -> None:
    """Refuse arrays that count or name places, and hold what no audit writes.

    Args:
        path: of the file.
        arrays: by name, integers.
        bounds: by name, the least number and the first that is too large.
        ascending: names of those in which each number is larger than the one before.

    Raises:
        AuditFolderError: a number is out of bounds, or of order.
    """
    for name, (least, end) in bounds.items():
        wrong = arrays[name][(arrays[name] < least) | (arrays[name] >= end)]
        if len(wrong):
            most = "" if math.isinf(end) else f" and at most {end - 1:.0f}"
            raise AuditFolderError(
                f"{path}: '{name}' holds {wrong[0]}, not at least {least}{most}. {RUN_AGAIN}"
            )
    for name in ascending:
        if (np.diff(arrays[name]) <= 0).any():
            raise AuditFolderError(f"{path}: '{name}' is not ascending. {RUN_AGAIN}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _unreadable(path: Path, error: OSError) -> AuditFolderError:
    if isinstance(error, FileNotFoundError):
        return AuditFolderError(f"{path} does not exist; name a folder that an audit has written.")
    return AuditFolderError(f"{path} cannot be read: {error.strerror or error}.")


def check_paths(kind: type[AnalyzerError], **paths: object) -> None:
    """Refuse paths that are empty, that no file can have here, or that this process cannot look at.

    Args:
        kind: of the error.
        paths: values by parameter; what is no path is left to whoever takes it.

    Raises:
        AnalyzerError: of the ``kind``; one of the paths is such a one.
    """
    for name, path in paths.items():
        if not isinstance(path, str | os.PathLike):
            continue
        if path == "":
            raise kind(f"{parameter(name)} is empty, which names nothing. Name a path.")
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:  # ValueError: a NUL in it
            reason = getattr(error, "strerror", None) or error
            raise kind(
                f"{parameter(name)} cannot be {shown_path(path)!r} ({reason}). Name another path."
            ) from error


_NATURES = (
    (stat.S_ISREG, "a file"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def nature_of(path: str | Path) -> str:
    """What lies at a path, or where a link there leads: "a file", "a folder", "a pipe", …

    Raises:
        OSError: nothing, or this process may not look.
    """
    mode = os.stat(path).st_mode
    return next((nature for is_one, nature in _NATURES if is_one(mode)), "a device")


def check_own_place(path: Path, nature: str) -> None:
    """Refuse what is not ``nature`` where a run keeps something of its own in a result's folder.

    A link is none: what is written or removed behind it would be somebody else's.

    Args:
        path: of the place, where there may be nothing.
        nature: "a file" or "a folder".

    Raises:
        AuditFolderError: something else is there.
    """
    try:
        found = "a link" if path.is_symlink() else nature_of(path)
    except (
        OSError
    ):  # nothing, or a folder that nobody may look into, which is told where it is used
        return
    if found != nature:
        raise AuditFolderError(
            f"{path} is {found}, where onnx-gap keeps {nature} of its own while it works. Remove "
            f"it, or name another {parameter('out')}."
        )


def check_regular(path: Path) -> None:
    """Refuse what is no regular file: a pipe or a device would never end.

    Raises:
        DataError: it is not; the message wants the file's name before it.
        OSError: there is no such file.
    """
    if (nature := nature_of(path)) != "a file":
        raise DataError(f"is {nature}, not a regular file")


def read_whole(path: Path, budgets: Budgets = DEFAULT_BUDGETS) -> bytes:
    """The content of a file.

    Raises:
        DataError: not a regular file, or too large; the message wants the file's name before it.
        OSError: it cannot be read.
    """
    check_regular(path)
    size = path.stat().st_size
    if excess := budgets.excess_of_file(path, size):
        raise DataError(f"is {size:,} bytes large, {excess}")
    with path.open("rb") as file:
        return file.read(size)


def file_identity(path: str | Path) -> tuple[int, ...]:
    """What tells one content of a file from another without reading it; () if there is no file.

    Size and time of change first, by which a copy of the file can still be known.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev


def folder_identity(folder: Path, *, follow: bool = False) -> tuple[int, int] | None:
    """What tells the folder at a path from any other; None where there is none.

    Args:
        folder: its path.
        follow: whether a link there stands for the folder that it leads to; else it is none.
    """
    try:
        found = os.stat(folder, follow_symlinks=follow)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None


def is_readable_file(path: str | Path) -> bool:
    """Whether a regular file that this process can read is at a path, which a record may name.

    False also where no file can be: a name that is too long, or has a NUL in it.
    """
    try:
        return nature_of(path) == "a file" and os.access(path, os.R_OK)
    except (OSError, ValueError):
        return False


def holds(path: Path, content: bytes) -> bool:
    """Whether ``path`` is a regular file with exactly this content."""
    try:
        check_regular(path)
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except (OSError, DataError):
        return False


def read_text(path: Path, budgets: Budgets, what: str) -> str:
    """The text of a UTF-8 file.

    Args:
        path: of the file.
        budgets: what it may ask for.
        what: it is, as errors begin: "The class list".

    Raises:
        DataError: it cannot be read, or is something else.
    """
    try:
        return read_whole(path, budgets).decode("utf-8-sig")
    except DataError as error:
        raise DataError(f"{what} {path} {error.message}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{what} {path} is not UTF-8 text ({error.reason}).") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{what} {path} cannot be read ({reason}).") from error
