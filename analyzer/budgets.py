"""How much a stranger's file may ask for before it is refused: every bound in one place.

A network or a data set of a few kilobytes can ask for any amount of memory and time. A budget is a
field of :class:`Budgets`; the option ``budget`` raises it, and every refusal says to what.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from analyzer.errors import AnalyzerError, parameter
from analyzer.option_fields import parse_size

__all__ = ["DEFAULT_BUDGETS", "Budgets", "parse_budget"]

_EXPANSION = 10  # a file may give so many times what it takes on disk, whatever its budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """What one file may ask for."""

    bytes: int = 1 << 30  # of memory for what a file holds once decompressed
    pixels: int = 89_478_485  # of an image, as stored and as resized; where Pillow warns
    samples: int = 20_000_000  # of a data set

    def excess(self, name: str, wanted: int) -> str | None:
        """What to say of something that asks for more than a budget; None where it does not.

        Args:
            name: of the budget.
            wanted: what is asked for.

        Returns:
            The end of a sentence about it, and one that says what to do.
        """
        most = getattr(self, name)
        if wanted <= most:
            return None
        raised = parameter("budget", f"{name}={wanted}")
        return (
            f"more than the budget of {most:,} {name}. If you trust where it comes from, pass "
            f"{raised}"
        )

    def excess_of_file(self, path: Path, wanted: int) -> str | None:
        """:meth:`excess` of bytes that a file asks for; ten times what it takes on disk is free."""
        return None if wanted <= _EXPANSION * _bytes_on_disk(path) else self.excess("bytes", wanted)

    def raised(self, given: Iterable[tuple[str, int]]) -> "Budgets":
        """The same with some budgets changed, as :func:`parse_budget` gives them.

        Raises:
            AnalyzerError: there is no budget of a name, or a value is no number above 0.
        """
        changes = dict(given)
        for name, value in changes.items():
            if name not in _NAMES or type(value) is not int or value < 1:
                raise AnalyzerError(
                    f"{parameter('budget', f'{name}={value}')} is no budget; give a whole number "
                    f"above 0 to one of {', '.join(_NAMES)}."
                )
        return replace(self, **changes)


_NAMES = tuple(one.name for one in fields(Budgets))

DEFAULT_BUDGETS = Budgets()


def parse_budget(text: str) -> tuple[str, int]:
    """A budget's name and its new value, from "NAME=N", where N may be 500M or 2G.

    Raises:
        ValueError: there is no such budget, or no number.
    """
    name, _, value = text.partition("=")
    if name.strip() not in _NAMES:
        raise ValueError(
            f"{text!r} raises no budget; write NAME=N with one of the names {', '.join(_NAMES)}."
        )
    return name.strip(), parse_size(value)


def _bytes_on_disk(path: Path) -> int:
    """What a file really takes: a hole of a terabyte takes nothing."""
    status = path.stat()
    blocks: Any = getattr(status, "st_blocks", None)  # not on Windows
    return status.st_size if blocks is None else min(status.st_size, blocks * 512)
