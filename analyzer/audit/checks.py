"""One thing that a verification looked at."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Check", "check"]


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
