"""Files of strangers, read whole: only regular ones, and no more of them than the budget allows."""

import stat
from pathlib import Path

from analyzer.budgets import DEFAULT_BUDGETS, Budgets
from analyzer.errors import DataError

__all__ = ["check_regular", "read_text", "read_whole"]


def check_regular(path: Path) -> None:
    """Refuse what is no regular file: a pipe or a device would never end.

    Raises:
        DataError: it is not; the message wants the file's name before it.
        OSError: there is no such file.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataError("is not a regular file")


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
