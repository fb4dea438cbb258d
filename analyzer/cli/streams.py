"""The standard streams as whoever started the process left them: closed, full or without Greek.

A result that cannot be written is an error that names standard output. A message that cannot be
is lost: the exit code says what happened.
"""

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any

from analyzer.errors import OutputError

__all__ = ["leave_streams", "prepare_streams"]


def prepare_streams() -> None:
    """Put streams in the places of ``sys.stdout`` and ``sys.stderr`` that take what is printed."""
    sys.stdout = _prepared(sys.stdout or _closed(), _refuse)
    sys.stderr = _prepared(sys.stderr or _closed(), _lose)


def leave_streams() -> None:
    """Write what is left; what cannot be written would change the exit code."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except (OSError, OutputError):
            setattr(sys, name, _nowhere())


def _prepared(stream: Any, failed: Callable[[OSError], None]) -> Any:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")  # ζ where the encoding has no Greek
    return _Stream(stream, failed)


def _nowhere() -> io.TextIOWrapper:
    """A stream that takes everything and keeps nothing."""
    return io.TextIOWrapper(io.FileIO(os.devnull, "w"), encoding="utf-8")


def _closed() -> io.TextIOWrapper:
    """In the place of a stream that whoever started the process closed: every write fails."""
    return io.TextIOWrapper(io.FileIO(os.open(os.devnull, os.O_RDONLY), "w"), encoding="utf-8")


class _Stream:
    """A stream, or the bytes below one, with what is done when it cannot be written."""

    def __init__(self, stream: Any, failed: Callable[[OSError], None]):
        self._stream, self._failed = stream, failed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property
    def buffer(self) -> "_Stream":
        """The bytes below."""
        return _Stream(self._stream.buffer, self._failed)

    def write(self, text: str | bytes) -> int:
        """Write text, or bytes."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._failed(error)
        return len(text)

    def flush(self) -> None:
        """Write what is still buffered."""
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error)


def _refuse(error: OSError) -> None:
    """What a failed standard output is."""
    if error.errno == errno.EPIPE:  # nobody reads on, which is no error
        raise error
    raise OutputError(
        f"Standard output cannot be written: {error.strerror or error}. Make room there, or send "
        "it to another place."
    ) from error


def _lose(_: OSError) -> None:
    """What a failed standard error is."""
