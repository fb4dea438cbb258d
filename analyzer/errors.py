"""The errors a caller can act on.

Each is a sentence or two: what was wrong, where, what to do. They know nothing of the command
line but how its flags are called after parameters; :mod:`analyzer.cli` turns them into exit code 2
in one place.
"""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from analyzer.control_characters import printable

__all__ = [
    "AnalyzerError",
    "AuditFolderError",
    "AuditStopped",
    "DataError",
    "DeviceError",
    "GapModelError",
    "ModelError",
    "OutputError",
    "SiteError",
    "naming_flags",
    "parameter",
]

# "shift out" and "shift in": the characters that ASCII has to mark a stretch of other text.
_OPEN, _CLOSE = "\x0e", "\x0f"
_MARKED = re.compile(f"{_OPEN}(\\w+)(?:=([^{_CLOSE}]*))?{_CLOSE}")


_OTHER_FLAGS = {"preset": "--preprocess", "inputs": "--input"}  # than the name with dashes
_by_flags: ContextVar[bool] = ContextVar("by_flags", default=False)


@contextmanager
def naming_flags() -> Iterator[None]:
    """Let all messages name flags instead of parameters: whoever reads them gave flags."""
    before = _by_flags.set(True)
    try:
        yield
    finally:
        _by_flags.reset(before)


def parameter(name: str, value: object = None) -> str:
    """A parameter to be named in the message of an error, with a value it has or should have.

    ``parameter("img_size", 8)`` reads "img_size=8" to a caller of the library and "--img-size 8"
    to a user of the command line; ``parameter("skip_bad", True)`` reads "skip_bad=True" and
    "--skip-bad".
    """
    return f"{_OPEN}{name}{'' if value is None else f'={value}'}{_CLOSE}"


class AnalyzerError(Exception):
    """Bad input of any kind: the caller can fix it.

    Args:
        message: full sentences, in which :func:`parameter` names parameters.
    """

    place: Path | None = None
    """The file or folder that cannot be written, where that is what is wrong."""

    def __init__(self, message: str):
        self.message = message
        """As it was given, with the parameters still marked: for messages made of this one."""
        super().__init__(self.for_library())

    def __reduce__(self) -> tuple[Any, ...]:
        """Whole, whatever a kind of error takes: as an exception does it, args alone are given."""
        return _bare, (type(self), self.args), self.__dict__

    def __str__(self) -> str:
        return self.for_command_line() if _by_flags.get() else self.for_library()

    def asks_for(self, name: str) -> bool:
        """Whether the message names the parameter ``name``."""
        return any(found[1] == name for found in _MARKED.finditer(self.message))

    def for_library(self) -> str:
        """The message with parameters as a caller of the library gives them."""
        return printable(_MARKED.sub(_as_argument, self.message))

    def for_command_line(self) -> str:
        """The message with flags instead of parameters."""

        def as_flag(found: re.Match[str]) -> str:
            name, value = found.groups()
            flag = _OTHER_FLAGS.get(name) or "--" + name.replace("_", "-")
            if value == "False":
                return f"--no-{flag[2:]}"
            return flag if value in (None, "True") else f"{flag} {value}"

        return printable(_MARKED.sub(as_flag, self.message))

    def renamed(self, name: str, other: str, *, is_parameter: bool = True) -> "AnalyzerError":
        """The same error, where what it says of the parameter ``name`` is true of another.

        Args:
            other: its name; or, if it is no parameter, what it is called.
        """

        def as_other(found: re.Match[str]) -> str:
            old, value = found.groups()
            if old != name:
                return found[0]
            if is_parameter:
                return parameter(other, value)
            return other if value is None else f"{other}={value}"

        other_error = copy.copy(self)
        AnalyzerError.__init__(other_error, _MARKED.sub(as_other, self.message))
        return other_error


class ModelError(AnalyzerError):
    """The ONNX file cannot be read, cut or run."""


class SiteError(AnalyzerError):
    """No tensor fits what was asked to be masked."""


class DataError(AnalyzerError):
    """The labeled samples cannot be read, or do not fit the network."""


class DeviceError(AnalyzerError):
    """The requested device is unavailable."""


class GapModelError(AnalyzerError):
    """A gap model or the population it is fitted on is unusable."""


class AuditFolderError(AnalyzerError):
    """An audit folder cannot be written, or holds something else than expected."""


class AuditStopped(AnalyzerError):
    """An audit that ended before the sweep, because its result would mean nothing.

    Args:
        message: full sentences: what was found, and how to go on.
        verdict: a :class:`analyzer.audit_record.VerdictRecord`.
        accuracy: with nothing removed, of the samples that were looked at.
        look: the :class:`analyzer.audit.first_look.FirstLook` behind it.
    """

    record: Any = None
    """The :class:`analyzer.audit_record.StoppedRecord` of an audit that has one."""
    report: Path | None = None
    """The page that says the same; None where the folder holds a finished audit, which stays."""

    def __init__(self, message: str, verdict: Any, accuracy: float, look: Any = None):
        super().__init__(message)
        self.verdict, self.accuracy, self.look = verdict, accuracy, look


class OutputError(AnalyzerError):
    """A result cannot be written."""


def _bare(kind: type[AnalyzerError], args: tuple[Any, ...]) -> AnalyzerError:
    """An error that its attributes are still to be given to."""
    return kind.__new__(kind, *args)


def _as_argument(found: re.Match[str]) -> str:
    name, value = found.groups()
    return name if value is None else f"{name}={value}"
