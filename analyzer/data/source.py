"""A source of labeled samples: labels known up front, samples read one by one when asked for."""

import hashlib
import os
import re
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from analyzer.data import decode_images
from analyzer.errors import AnalyzerError, DataError, parameter
from analyzer.files import file_identity
from analyzer.input_budgets import DEFAULT_BUDGETS, Budgets
from analyzer.output_files import refuse_replaced

__all__ = [
    "LEAVE_ALONE",
    "LONGEST_NAME",
    "CompactNames",
    "FileStates",
    "NumberedNames",
    "Sample",
    "Source",
    "Store",
    "check_length",
    "combine_digests",
    "digest",
    "natural_key",
    "reason_of",
]

LONGEST_NAME = 4096
"""Characters of a sample's or a class's name, at most: those of a path."""

LEAVE_ALONE = "Leave the data alone until the audit is done, and start it again."

_DIGITS = re.compile(r"(\d+)")
_LONGEST = 1000  # digits of a number; Python reads none of more than 4,300


def check_length(name: str) -> None:
    """Refuse a name of a sample that is longer than a path can be.

    Raises:
        DataError: it is.
    """
    if len(name) > LONGEST_NAME:
        raise DataError(
            f"A sample has a name of {len(name):,} characters: '{name[:20]}…'. Shorten it to "
            f"{LONGEST_NAME:,}."
        )


class Store(Protocol):
    """Where the samples lie. Thread-safe, random access, no labels."""

    def stored(self, index: int, budgets: Budgets) -> bytes | np.ndarray:
        """The sample as it is stored: the bytes of an image file, or an array."""

    def fingerprint(self) -> str:
        """What changes when the samples do; cheap, so made of what the file system tells.

        Of the files as they were before anything of them was read.
        """

    def is_as_opened(self) -> bool:
        """Whether later readings are of the same files, as far as the file system tells."""

    def files(self) -> Iterable[Path]:
        """The files that were or will be read."""


@dataclass(frozen=True, slots=True)
class FileStates:
    """Files as they were before anything of them was read."""

    states: tuple[tuple[Path, tuple[int, ...]], ...]

    @classmethod
    def of(cls, *paths: Path) -> "FileStates":
        """The files as they are now."""
        return cls(tuple((path, file_identity(path)) for path in paths))

    def fingerprint(self) -> str:
        """The name of each, and what the file system tells of it."""
        return "\n".join(f"{path.name} {state}" for path, state in self.states)

    def files(self) -> list[Path]:
        """The files themselves."""
        return [path for path, _ in self.states]

    def changed(self) -> Path | None:
        """A file that is another by now, or gone; None if there is none."""
        return next((path for path, state in self.states if file_identity(path) != state), None)

    def refuse_if_changed(self) -> None:
        """Refuse what was read of the files if one of them has changed meanwhile.

        Raises:
            DataError: names it.
        """
        if (path := self.changed()) is not None:
            raise DataError(f"{path} was changed while it was read. {LEAVE_ALONE}")


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample before preprocessing."""

    image: np.ndarray  # uint8 (H, W) or (H, W, C); or a float array as stored
    digest: bytes  # sha256 of the sample as it is stored


@dataclass(frozen=True, eq=False, slots=True)
class Source:
    """Labeled samples. S samples; reading is thread-safe and in any order."""

    source: str  # where they come from, for the record: a path, with "#split" where there are some
    kind: str  # "folder", "npz", "idx", "cifar10", "cifar100", "parquet", "tar", "manifest", …
    labels: np.ndarray  # int64 (S,)
    names: Sequence[str]  # S names: path inside the source, or number
    store: Store
    class_names: tuple[str, ...] | None = None  # by class index
    class_list: str | None = None  # path of the network's class list, where the names are its
    indexing: str = "labels"  # class index from: stored "labels", a "classes" list, name "order"
    exif: bool = False  # rotate by the EXIF tag unless the preprocessing says otherwise
    warnings: tuple[str, ...] = ()
    budgets: Budgets = DEFAULT_BUDGETS  # what a sample may ask for
    reopen: "Callable[[], Source] | None" = None  # opens the same data as they are by then

    def __post_init__(self) -> None:
        if not len(self.labels):
            raise DataError(f"{self.source} holds no samples.")
        if len(self.names) != len(self.labels):
            raise DataError(
                f"{self.source} holds {len(self.names)} samples but {len(self.labels)} labels."
            )
        for name in self.class_names or ():
            if len(name) > LONGEST_NAME:
                where = "The class list" if self.indexing == "classes" else self.source
                raise DataError(
                    f"{where} has a name of {len(name):,} characters: "
                    f"'{name[:20]}…'. Shorten it to {LONGEST_NAME:,}."
                )
        if self.class_names and int(self.labels.max()) >= len(self.class_names):
            index = int(np.argmax(self.labels))
            raise DataError(
                f"Sample {self.names[index]} of {self.source} has label {self.labels[index]}, but "
                f"the data name {len(self.class_names)} classes only. Correct the labels or the "
                "names."
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def array(self) -> np.ndarray | None:
        """The samples as one array (S, …), where they are held in memory."""
        return getattr(self.store, "array", None)

    def refuse_results(self, results: Mapping[str, Path]) -> None:
        """Refuse results in the place of a file that these samples come from.

        Args:
            results: files to write, by parameter.

        Raises:
            OutputError: names the first.
        """
        refuse_replaced(results, self.store.files)

    def refuse_keys(self, name: str) -> None:
        """Refuse an option that names arrays, columns or endings, where the data have none.

        Raises:
            DataError: calls the option by ``name``.
        """
        if self.kind not in ("npz", "manifest", "parquet", "tar"):
            raise DataError(
                f"{parameter(name)} names the arrays of an .npz file, the columns of a table or "
                f"the endings in a .tar, and {self.source} has none: leave it out."
            )

    def class_name(self, index: int) -> str:
        """The name of a class; its index where the data have none for it."""
        names = self.class_names or ()
        return names[index] if index < len(names) else str(index)

    def read(self, index: int) -> Sample:
        """Read and decode one sample.

        Raises:
            DataError: the sample cannot be read; the message names it.
        """
        try:
            stored = self.stored(index)
            if isinstance(stored, bytes):
                image = np.asarray(
                    decode_images.decode(stored, exif=self.exif, budgets=self.budgets)
                )
            else:
                image = stored
        except (OSError, DataError) as error:
            raise DataError(self.unreadable(index, reason_of(error))) from error
        return Sample(image, digest(stored))

    def stored(self, index: int) -> bytes | np.ndarray:
        """One sample as it is stored.

        Raises:
            DataError: it cannot be read; the message gives the reason only.
        """
        try:
            return self.store.stored(index, self.budgets)
        except DataError:
            raise
        except Exception as error:  # offsets of 2⁸⁰, NUL in a path: whatever others wrote
            raise DataError(reason_of(error)) from error

    def unreadable(self, index: int, reason: str) -> str:
        """The message about a sample that cannot be read."""
        return (
            f"{self.names[index]} in {self.source} cannot be read ({reason}). Fix or remove it, "
            f"or pass {parameter('skip_bad', True)} to leave such samples out."
        )

    def identity(self) -> str:
        """Labels and names, and how samples are decoded, hashed; nothing of what files hold."""
        state = hashlib.sha256(f"{self.kind} {self.exif} {self.class_names}".encode())
        state.update(np.ascontiguousarray(self.labels).tobytes())
        names = self.names
        if isinstance(names, CompactNames):
            state.update(names.block())
        else:
            state.update("\0".join(names).encode(errors="surrogateescape"))
        return state.hexdigest()

    def fingerprint(self) -> str:
        """Labels, names and the states of files, hashed: the same data where it is the same.

        Where it is another, the data can be the same all the same: copied, or touched.
        """
        return hashlib.sha256(f"{self.identity()} {self.file_states()}".encode()).hexdigest()

    def file_states(self) -> str:
        """What the file system tells of the files, hashed."""
        states = self.store.fingerprint().encode(errors="surrogateescape")
        return hashlib.sha256(states).hexdigest()


def reason_of(error: Exception) -> str:
    """Why a sample cannot be read, in one line: libraries' messages may have several."""
    said = error.message if isinstance(error, AnalyzerError) else str(error)
    reason = (isinstance(error, OSError) and error.strerror) or said or type(error).__name__
    return " ".join(reason.split())


def digest(stored: bytes | np.ndarray) -> bytes:
    """sha256 of a sample as it is stored; of an array, its values in C order."""
    data = stored if isinstance(stored, bytes) else np.ascontiguousarray(stored).data
    return hashlib.sha256(data).digest()


def combine_digests(digests: np.ndarray, labels: np.ndarray) -> str:
    """The sha256 of labeled samples, as hex: of (digest, label) in the order of the data.

    Args:
        digests: uint8 (S, 32), sha256 of each sample as it is stored.
        labels: (S,) class indices, hashed as little-endian int64.
    """
    if digests.shape != (len(labels), 32):
        raise ValueError(f"digests of shape ({len(labels)}, 32) wanted, got {digests.shape}")
    pairs = np.empty((len(labels), 40), np.uint8)
    pairs[:, :32] = digests
    pairs[:, 32:] = np.asarray(labels).astype("<i8").reshape(-1, 1).view(np.uint8)
    return hashlib.sha256(pairs.data).hexdigest()


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Key that sorts runs of digits by their value: "2" before "10", "a2" before "a10".

    Names that differ only in leading zeros ("1", "01") keep a fixed order by their text.
    """
    parts = _DIGITS.split(name)
    key = [
        (0, int(part), "") if part.isdecimal() and len(part) <= _LONGEST else (1, 0, part)
        for part in parts
        if part
    ]
    return (*key, (-1, 0, name))


class CompactNames(Sequence[str]):
    """Strings in one block of bytes: about 30 bytes a path instead of 100.

    Made for file names, so bytes that are not UTF-8 survive as the file system's own do.
    """

    __slots__ = ("_block", "_ends")

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._block = bytearray()
        self._ends = array("q", [0])
        self.extend(names)

    def extend(self, names: Iterable[str]) -> None:
        """Put further names after those that are there.

        Raises:
            DataError: one is no text, or longer than a path can be.
        """
        for name in names:
            check_length(name)
            try:
                self._block += os.fsencode(name)
            except UnicodeEncodeError:
                raise DataError(
                    f"A sample has the name {name!r}, which no file can have."
                ) from None
            self._ends.append(len(self._block))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: Any) -> Any:
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

    def __init__(self, count: int, prefix: str = "") -> None:
        self._count = count
        self._prefix = prefix

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(f"name {index} of {self._count}")
        return f"{self._prefix}{index % self._count}"
