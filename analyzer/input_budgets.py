"""How much a stranger's file may ask for before it is refused: every bound in one place.

A network or a data set of a few kilobytes can ask for any amount of memory and time. A budget is a
field of :class:`Budgets`; the option ``budget`` raises it, and every refusal says to what.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from analyzer.errors import AnalyzerError, parameter
from analyzer.option_mechanism import parse_size

__all__ = ["DEFAULT_BUDGETS", "UNLIMITED", "Budgets", "parse_budget"]

UNLIMITED = 1 << 62
"""A budget that is none."""

_EXPANSION = 10  # a file may give so many times what it takes on disk, whatever its budget
_ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """What one file may ask for."""

    # Of data.
    bytes: int = 1 << 30  # of memory for what a file holds once decompressed
    pixels: int = 89_478_485  # of an image, as stored and as resized; where Pillow warns
    samples: int = 5_000_000  # of a data set
    # Of a network.
    nodes: int = 250_000  # those of subgraphs included
    function_nodes: int = 5_000  # more, that local functions come to where they are called
    connections: int = 500_000  # inputs of all nodes together
    inputs: int = 2048  # and outputs, of a node and of the network
    initializers: int = 1_000_000
    read_initializers: int = 1 << 14  # that nodes read; loading takes the square of their number
    weight_bytes: int = 64 << 30  # as the shapes of the weights say
    ordering_steps: int = 1 << 25  # to put nodes in order that could run at the same time
    levels: int = 16  # of subgraphs
    scopes: int = 20_000_000  # tensors in sight of nodes with subgraphs, summed over these
    turns: int = 10_000  # of all loops, in one run
    elements: int = 1 << 26  # of a tensor, for one image, or for all that the network is fixed to
    constant_elements: int = 1 << 25  # of all tensors that depend on no input
    operations: int = 1 << 44  # multiply-adds for one image
    constant_operations: int = 1 << 31  # multiply-adds for all that depends on no input
    batch: int = 4096  # images that the network is fixed to
    channels: int = 1 << 16  # of the site: an evaluation of each sample for every one, twice
    classes: int = 1 << 17  # of which each image gets a score

    def excess(self, name: str, wanted: float) -> str | None:
        """What to say of something that asks for more than a budget; None where it does not.

        Args:
            name: of the budget.
            wanted: what is asked for; infinity for what has no end.

        Returns:
            The end of a sentence about it, and one that says what to do.
        """
        most = getattr(self, name)
        if wanted <= most or most >= UNLIMITED:
            return None
        to = int(wanted) if wanted < UNLIMITED else "none"
        return (
            f"more than the budget of {most:,} {_NOUNS.get(name, name)}. If you trust where it "
            f"comes from, pass {parameter('budget', f'{_flag(name)}={to}')}"
        )

    def excess_of_file(self, path: Path, wanted: int) -> str | None:
        """:meth:`excess` of bytes that a file asks for; ten times what it takes on disk is free."""
        return None if wanted <= _EXPANSION * _bytes_on_disk(path) else self.excess("bytes", wanted)

    def raised(self, given: Iterable[tuple[str, int | None]]) -> "Budgets":
        """The same with some budgets changed, as :func:`parse_budget` gives them.

        Args:
            given: names and values; None for no limit, which "all" can have too.

        Raises:
            AnalyzerError: there is no budget of a name, a value is no number above 0, or a budget
                is given two.
        """
        changes: dict[str, int] = {}
        said: dict[str, int | None] = {}
        for flag, value in given:
            name = flag.replace("-", "_")
            if said.setdefault(name, value) != value:
                raise AnalyzerError(
                    f"{name} is given two values with {parameter('budget')}. Give one."
                )
            if name == _ALL and value is None:
                changes |= dict.fromkeys(_NAMES, UNLIMITED)
            elif name in _NAMES and value is None:
                changes[name] = UNLIMITED
            elif name in _NAMES and type(value) is int and value > 0:
                changes[name] = value
            else:
                raise AnalyzerError(
                    f"{parameter('budget', f'{name}={value}')} is no budget; give a whole number "
                    f"above 0 or none to one of {_LISTED}, or none to all."
                )
        return replace(self, **changes)


# Where a name alone would not read well in a sentence.
_NOUNS = {
    "function_nodes": "nodes of functions",
    "weight_bytes": "bytes of weights",
    "read_initializers": "initializers",
    "ordering_steps": "steps",
    "levels": "levels of subgraphs",
    "scopes": "tensors in sight of subgraphs",
    "turns": "turns of loops",
    "constant_elements": "elements that depend on no input",
    "operations": "multiply-adds",
    "constant_operations": "multiply-adds that depend on no input",
    "batch": "images at a time",
}


def _flag(name: str) -> str:
    """The name of a budget as the command line has it."""
    return name.replace("_", "-")


_NAMES = tuple(one.name for one in fields(Budgets))
_LISTED = ", ".join(map(_flag, _NAMES))

DEFAULT_BUDGETS = Budgets()


def parse_budget(text: str) -> tuple[str, int | None]:
    """A budget's name and its new value, from "NAME=N" or "NAME=none"; N may be 500M or 2G.

    The name "all" stands for every budget, and can only be given "none".

    Raises:
        ValueError: there is no such budget, or no number.
    """
    name, _, value = text.partition("=")
    name, value = name.strip().replace("-", "_"), value.strip()
    if name not in (*_NAMES, _ALL) or (name == _ALL and value != "none"):
        raise ValueError(
            f"{text!r} raises no budget; write NAME=N or NAME=none with one of the names "
            f"{_LISTED}, or all=none."
        )
    return name, None if value == "none" else parse_size(value)


def _bytes_on_disk(path: Path) -> int:
    """What a file really takes: a hole of a terabyte takes nothing."""
    status = path.stat()
    blocks: Any = getattr(status, "st_blocks", None)  # not on Windows
    return status.st_size if blocks is None else min(status.st_size, blocks * 512)
