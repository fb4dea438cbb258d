"""Names of samples kept compactly, and the order in which people read names."""

import os
import re
from array import array
from collections.abc import Iterable, Sequence

__all__ = ["CompactNames", "NumberedNames", "natural_key"]

_DIGITS = re.compile(r"(\d+)")


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Key that sorts runs of digits by their value: "2" before "10", "a2" before "a10".

    Names that differ only in leading zeros ("1", "01") keep a fixed order by their text.
    """
    parts = _DIGITS.split(name)
    key = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]
    return (*key, (-1, 0, name))


class CompactNames(Sequence[str]):
    """Strings in one block of bytes: about 30 bytes a path instead of 100.

    Made for file names, so bytes that are not UTF-8 survive as the file system's own do.
    """

    __slots__ = ("_block", "_ends")

    def __init__(self, names: Iterable[str] = ()):
        self._block = bytearray()
        self._ends = array("q", [0])
        self.extend(names)

    def extend(self, names: Iterable[str]) -> None:
        """Put further names after those that are there."""
        for name in names:
            self._block += os.fsencode(name)
            self._ends.append(len(self._block))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"name {index} of {count}")
        index %= count
        return os.fsdecode(bytes(self._block[self._ends[index] : self._ends[index + 1]]))

    def block(self) -> bytes:
        """All names as bytes with their ends: what a fingerprint is made of."""
        return bytes(self._block) + self._ends.tobytes()


class NumberedNames(Sequence[str]):
    """The names of samples that have none: "0", "1", … after an optional prefix."""

    __slots__ = ("_count", "_prefix")

    def __init__(self, count: int, prefix: str = ""):
        self._count = count
        self._prefix = prefix

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(f"name {index} of {self._count}")
        return f"{self._prefix}{index % self._count}"
