"""Halves of data sets (train, test, val) that are told apart by names of files or folders."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from analyzer.errors import DataError

__all__ = ["choose_half", "half_called", "half_in"]

_WORDS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
}
_T = TypeVar("_T")


def half_called(name: str) -> str | None:
    """The half whose name this is."""
    return _WORDS.get(name.lower())


def half_in(name: str) -> str | None:
    """The half that a name says it is: "train-00000-of-00002.parquet" is "train"."""
    for word in re.split(r"[^a-z]+", name.lower()):
        if word in _WORDS:
            return _WORDS[word]
    return None


def choose_half(
    items: Mapping[_T, str | None], half: str | None, where: Path
) -> tuple[list[_T], str | None]:
    """The items of one half, and its name: the one asked for, else "train" if there are halves.

    Args:
        items: what there is, with the half each is; None: it does not say.
        half: the half asked for.
        where: what to call the data in errors.

    Raises:
        DataError: the half is not there, or there are halves but no "train".
    """
    halves = sorted({item_half for item_half in items.values() if item_half})
    if half is not None:
        half = _WORDS.get(half.lower(), half)
    elif halves:
        half = "train"
    chosen = [item for item, item_half in items.items() if item_half == half]
    if not chosen:
        raise DataError(
            f"{where} has no half {half!r} (there: {', '.join(halves) or 'no halves'}); name one "
            "as PATH#HALF"
        )
    return chosen, half
