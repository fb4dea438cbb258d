"""Files that are read: of a stranger's only regular ones, and no more than the budget allows."""

import hashlib
import math
import os
import stat
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.errors import AnalyzerError, AuditFolderError, DataError, parameter
from analyzer.input_budgets import DEFAULT_BUDGETS, Budgets
from analyzer.json_codec import parse_json, repeated

__all__ = [
    "RUN_AGAIN",
    "array_of",
    "check_are_paths",
    "check_names",
    "check_own_place",
    "check_paths",
    "check_places",
    "check_regular",
    "check_utf8",
    "file_identity",
    "folder_identity",
    "holds",
    "is_readable_file",
    "nature_of",
    "read_arrays",
    "read_json",
    "read_text",
    "read_whole",
    "sha256",
    "shown_path",
]


RUN_AGAIN = f"Run the audit again with {parameter('fresh', True)}."


_LONGEST = 400  # characters of a path that is shown whole


def shown_path(path: object) -> str:
    """A path for a message, without its middle where it is longer than any path of use."""
    text = str(path)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 4]}[…]{text[-_LONGEST // 4 :]}"


def sha256(path: str | Path) -> str:
    """The file's sha256 as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    except ValueError as error:
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


def check_are_paths(**paths: object) -> None:
    """Refuse values of parameters that take nothing but a path.

    Raises:
        TypeError: one is no text and no path.
    """
    for name, path in paths.items():
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"{name} is of type {type(path).__name__}; it takes a path.")


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


def check_utf8(error: type[AnalyzerError], path: Path) -> None:
    """Refuse a path that is no text as a whole, as libraries want it that open files themselves.

    Raises:
        ``error``: the sentence names the path.
    """
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise error(
            f"The path {path.absolute()} is not UTF-8 text, and libraries that open it take no "
            "other. Rename it."
        ) from None


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
    """What tells one content of a file from another without reading it; () if there is no file."""
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
