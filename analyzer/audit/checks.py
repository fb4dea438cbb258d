"""One thing that a verification looked at."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Check", "check", "same"]

_CLOSE = 1e-9  # the quantities are ratios of integers, so only printing can differ


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    passed: bool
    sentence: str  # what was found


def check(name: str, wrong: Sequence[str], right: str) -> Check:
    """Passed with the sentence ``right``, or failed with what is ``wrong``, first things first."""
    if not wrong:
        return Check(name, True, right)
    further = f" ({len(wrong) - 1} more like it)" if len(wrong) > 1 else ""
    return Check(name, False, wrong[0] + further)


def same(said: float, found: float) -> bool:
    """Whether a number of the record is what was found, but for printing."""
    return math.isclose(said, found, rel_tol=_CLOSE, abs_tol=_CLOSE)
