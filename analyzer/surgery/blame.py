"""Telling damaged files from defects of ours.

onnx.checker lets through files that no runtime takes: types that do not fit, attributes of the
wrong kind, sizes that cannot be. Rather than to guard every step against them, a step that
fails asks the strict check whether the file is to blame.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import onnx

from analyzer.errors import AnalyzerError, ModelError

__all__ = ["blames_file", "first_line"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def blames_file(function: _Function) -> _Function:
    """Decorate a function of a path or a network: what it stumbles over in a file that is not
    valid ONNX becomes a :class:`ModelError`; anything else stays a defect."""

    @functools.wraps(function)
    def checked(subject: Any, *args: Any, **options: Any) -> Any:
        try:
            return function(subject, *args, **options)
        except AnalyzerError:
            raise
        except Exception as error:
            path = Path(getattr(subject, "path", subject))
            fault = _fault(path)
            if fault is None:
                raise
            raise ModelError(
                f"{path} is not a valid ONNX network: {fault}. Export it again, or mend it until "
                "onnx.checker's full check accepts it."
            ) from error

    return checked  # type: ignore[return-value]


def first_line(error: Exception) -> str:
    """The gist of what onnx says, without its trailing context."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


def _fault(path: Path) -> str | None:
    """What the strict check, types and shapes included, has against a file."""
    try:
        onnx.checker.check_model(path, full_check=True)
    except Exception as error:  # its exceptions have no common base
        return first_line(error)
    return None
