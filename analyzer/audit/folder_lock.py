"""One writer a folder: a lock that the operating system drops with the process that holds it."""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from analyzer.errors import AuditFolderError, parameter
from analyzer.files import prepare_folder

__all__ = ["LOCK", "locked"]

LOCK = ".lock"
_POLL_SECONDS = 0.2


@contextlib.contextmanager
def locked(
    folder: Path, *, wait: bool = False, say: Callable[[str], None] = lambda sentence: None
) -> Iterator[None]:
    """``folder``, made if needed, with nobody else writing in it until the block ends.

    The lock is on the file ``.lock``, which says who holds it and is removed in the end. A killed
    process leaves the file behind, but not the lock, so that it is in nobody's way.

    Args:
        folder: of an audit or a population.
        wait: until another run is done, rather than refuse.
        say: told whom the run waits for.

    Raises:
        AuditFolderError: another run holds the lock, or the folder cannot be written.
    """
    path = folder / LOCK
    told = False
    while (held := _try_to_lock(path)) is None:
        holder = _holder(path)
        if not wait:
            raise AuditFolderError(
                f"{folder} is being written by another run ({holder}). Wait until it is done, as "
                f"{parameter('wait', True)} does, or name another {parameter('out')}."
            )
        if not told:
            say(f"Waiting for another run that writes {folder} ({holder})")
            told = True
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        _release(path, held)


def _try_to_lock(path: Path) -> int | None:
    """A descriptor that holds the lock; None while another process does."""
    while True:
        prepare_folder(path.parent)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # a run that failed has just removed its empty folder
            continue
        except OSError as error:
            raise AuditFolderError(
                f"{path} cannot be written: {error.strerror or error}. Remove it, or name another "
                f"{parameter('out')}."
            ) from error
        if not _lock(file):
            os.close(file)
            return None
        # Whoever held it before may have removed the file between the two calls.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), os.stat(path)):
                break
        os.close(file)
    about = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        os.ftruncate(file, 0)
        os.write(file, json.dumps(about).encode())
    except OSError as error:
        _release(path, file)
        raise AuditFolderError(
            f"{path} cannot be written: {error.strerror or error}. Make room for it, or name "
            f"another {parameter('out')}."
        ) from error
    return file


def _holder(path: Path) -> str:
    """Who holds the lock, in words."""
    try:
        about = json.loads(path.read_bytes())
        return f"process {about['pid']} on {about['host']}, since {about['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it was written or removed just now
        return "it has just begun"


if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 30  # behind the text, which others read while the lock is held

    def _lock(file: int) -> bool:
        os.lseek(file, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        os.lseek(file, 0, os.SEEK_SET)
        return True

    def _release(path: Path, file: int) -> None:
        os.close(file)
        with contextlib.suppress(OSError):  # another run has opened it: it is that one's now
            path.unlink()

else:
    import fcntl

    def _lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            os.close(file)
            raise AuditFolderError(
                f"The file system does not allow a lock on a file: {error.strerror or error}. "
                f"Name an {parameter('out')} on another one."
            ) from error
        return True

    def _release(path: Path, file: int) -> None:
        path.unlink(missing_ok=True)  # while it is held: a later run makes a file of its own
        os.close(file)
