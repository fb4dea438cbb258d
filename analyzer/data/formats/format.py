"""A format of labeled data: how it is recognized and opened; and the splits that it may hold.

A split is the train, test or validation part of a data set; "PATH#test" names one. Which formats
there are is listed in :mod:`analyzer.data.formats.registry`.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from analyzer.data.labels import ClassList
from analyzer.data.source import Source
from analyzer.errors import DataError
from analyzer.files import file_identity
from analyzer.input_budgets import DEFAULT_BUDGETS, Budgets

__all__ = [
    "NAME_KEYS",
    "SPLIT_KEYS",
    "Format",
    "Wanted",
    "choose_split",
    "missing_parts",
    "name_key",
    "no_split_named",
    "of_no_split",
    "one_of",
    "refuse_one_file_twice",
    "refuse_other_splits",
    "split_called",
    "split_column",
    "split_in",
    "split_of_two",
    "split_told",
    "split_word",
    "two_candidates",
]

SPLIT_KEYS = ("split", "half", "subset", "set")
"""The usual names of a column that says which split each row is in."""

NAME_KEYS = ("class_name", "label_name")
"""The usual names of a column of class names, often beside that of indices."""

_NUMBERED = re.compile(r"(.*?)(\d{3,9})(\D*)", re.DOTALL)
_PART = re.compile(r"(.*?)(\d{1,9})-of-(\d{1,9})(?!\d)", re.DOTALL)
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
_NEGATIONS = {"no", "non", "not", "un"}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of the data at a path, and how it is named there."""

    split: str | None = None  # None: "train" where there are splits
    keys: tuple[str, str] | None = None  # names of the images and the labels
    classes: ClassList | None = None  # the network's own
    budgets: Budgets = DEFAULT_BUDGETS  # what the files may ask for


@dataclass(frozen=True, slots=True)
class Format:
    """A form in which labeled data are stored."""

    description: str  # for people, as "a folder of class folders"
    holds: Callable[[str], bool]  # whether a file of that name can be, or be part of, such data
    recognizes: Callable[[Path], bool]  # whether what lies at an existing path has this form
    open: Callable[[Path, Wanted], Source]  # raises DataError where it is damaged or unfit


def split_called(name: str) -> str | None:
    """The split whose name this is."""
    return _WORDS.get(name.lower())


def split_word(name: str) -> str | None:
    """The word of a name that says which split it is: "valid" of "valid-00000-of-00002.parquet".

    None where words name several splits, or one says no.
    """
    words = re.split(r"[^a-z]+", name.lower())
    found = [word for word in words if word in _WORDS]
    is_one = len({_WORDS[word] for word in found}) == 1
    return found[0] if is_one and not _NEGATIONS & set(words) else None


def split_told(value: object) -> str | None:
    """What a value of a column calls its split, if it names one: "train_extra" is another "train".

    Where two values are of one split, :func:`choose_split` wants one of them named.
    """
    text = "" if value is None else str(value).strip().lower()
    return text if split_word(text) else None


def split_in(name: str) -> str | None:
    """The split that a name says it is: "valid-00000-of-00002.parquet" is "val"."""
    return _WORDS.get(split_word(name) or "")


def refuse_other_splits(
    columns: Mapping[str, Collection[str]], where: object, *, what: str = "column"
) -> None:
    """Refuse a column that tells splits in every row, and is not called so.

    Args:
        columns: those of other names that tell splits in every row, with the splits.
        where: what has the columns, for the message.
        what: they are, if something else.

    Raises:
        DataError: one tells several splits.
    """
    for key, splits in columns.items():
        if len(splits) > 1:
            raise DataError(
                f"The {what} {key!r} of {where} says {' and '.join(sorted(splits))}, and is none "
                "that is known to name splits. Call it 'split', or remove it."
            )


def split_column(columns: Collection[str], where: object) -> str | None:
    """The column that can name the split of each row, in whatever case; None where none does.

    Raises:
        DataError: several can.
    """
    usual = [one for key in SPLIT_KEYS for one in columns if one.strip().lower() == key]
    return one_of(usual, usual, where, "name a split", "Remove or rename one of them.")


def name_key(columns: Collection[str], label: str, keys: tuple[str, str] | None) -> str | None:
    """The column of class names beside that of indices, if nobody has named one to take.

    Args:
        columns: names that are there.
        label: the column of labels.
        keys: the columns that the caller names.
    """
    if keys is not None or label in NAME_KEYS:
        return None
    usual = (one for key in NAME_KEYS for one in columns if one.strip().lower() == key)
    return next(usual, None)


def split_of_two(split: str | None, kind: str, where: Path) -> str:
    """The split of data that always have a train and a test split: "train" by default.

    Raises:
        DataError: it is neither; the message calls the data ``kind``.
    """
    if split not in (None, "train", "test"):
        raise DataError(f"{where}#{split} does not exist: {kind} has the splits train and test.")
    return split or "train"


def one_of(
    usual: Sequence[str],
    columns: Collection[str],
    where: object,
    meant: str,
    way_out: str,
    *,
    what: str = "columns",
) -> str | None:
    """The one of the usual names that is a column; None where none is.

    Args:
        usual: names of what is looked for.
        columns: names that are there.
        where: what has the columns, for the message.
        meant: what such a column can do, as "name samples".
        way_out: how the message ends.
        what: the columns are, if something else.

    Raises:
        DataError: several are.
    """
    found = [name for name in usual if name in columns]
    if len(found) > 1:
        raise two_candidates(
            where, f"the {what} {found[0]!r}", f"{found[1]!r}", f"both can {meant}", way_out
        )
    return found[0] if found else None


def two_candidates(where: object, one: str, other: str, why: str, way_out: str) -> DataError:
    """What is wrong where two things can be meant, and nothing says which."""
    return DataError(f"{where} has {one} and {other}, and {why}. {way_out}")


def of_no_split(what: str, splits: Collection[str | None], where: Path) -> tuple[str, ...]:
    """A warning of what is left out because it names no split where others do.

    Args:
        what: it is, as the warning begins: "Rows".
        splits: of each; None: it does not say.
        where: what to call the data.
    """
    count = sum(split is None for split in splits)
    return (f"{what} that name no split were left out of {where}: {count}.",) if count else ()


def no_split_named(column: str, where: Path) -> tuple[str, ...]:
    """A warning of a column that could name splits, and names none in any row."""
    return (
        f"The column {column!r} of {where} names none of train, val and test, so all rows were "
        "taken.",
    )


def missing_parts(files: Iterable[Path], where: object) -> tuple[str, ...]:
    """Warnings of files that are not there although the names of others tell of them.

    Args:
        files: that are there; "train-00000-of-00002.parquet" says that it is one of two, and
            "train-000000.tar" and "train-000002.tar" that there is one between them.
        where: what to call the data.
    """
    found: dict[tuple[Path, str, int], set[int]] = {}
    numbered: dict[tuple[Path, str, str, int], set[str]] = {}
    for file in files:
        if part := _PART.match(file.name):
            series = file.parent, part[1], int(part[3])
            found.setdefault(series, set()).add(int(part[2]))
        elif part := _NUMBERED.fullmatch(file.name):
            those = file.parent, part[1], part[3], len(part[2])
            numbered.setdefault(those, set()).add(part[2])
    of_total = [
        f"Only {len(numbers):,} of the {total:,} files called {name}…-of-{total} are there in "
        f"{where}; the samples of the others are missing."
        for (_, name, total), numbers in found.items()
        if len(numbers) < total
    ]
    between = [
        _missing_between(name, ending, numbers, where)
        for (_, name, ending, _), numbers in numbered.items()
    ]
    return (*of_total, *filter(None, between))


def _missing_between(name: str, ending: str, numbers: set[str], where: object) -> str | None:
    """A warning of numbers that are left out; None of none, or where they are not filled up by 0,
    so that they may be years, say.
    """
    first, last = min(numbers), max(numbers)
    missing = int(last) - int(first) + 1 - len(numbers)
    if not missing or not first.startswith("0"):
        return None
    return (
        f"Between {name}{first}{ending} and {name}{last}{ending} {missing:,} "
        f"{'file is' if missing == 1 else 'files are'} not there in {where}; "
        f"{'its' if missing == 1 else 'their'} samples are missing, if there were any."
    )


def refuse_one_file_twice(files: Iterable[Path]) -> None:
    """Refuse files of which one is another, by a link: its samples would count twice.

    Raises:
        DataError: there are such files.
    """
    known: dict[tuple[int, ...], Path] = {}
    for file in files:
        other = known.setdefault(file_identity(file), file)
        if other is not file:
            raise DataError(f"{other} and {file} are one file, by a link. Remove one of them.")


def choose_split(
    items: Mapping[_T, str | None], split: str | None, where: Path
) -> tuple[list[_T], str | None]:
    """The items of one split, and its name: the one asked for, else "train" if there are splits.

    Args:
        items: what there is, with what the data call the split that each is in: "dev" and "val"
            are both "val"; None: it does not say.
        split: the split asked for.
        where: what to call the data in errors.

    Returns:
        all items and None where there are no splits and none is asked for.

    Raises:
        DataError: the split is not there, there are splits but no "train", or what is asked for
            goes by two names.
    """
    splits = {item: split_in(name) if name else None for item, name in items.items()}
    there = sorted({one for one in splits.values() if one})
    wanted = split
    if split is not None:
        is_there = split in items.values()
        split = (split_in(split) if is_there else split_called(split)) or split
    elif there:
        split = "train"
    chosen = [item for item, item_split in splits.items() if item_split == split]
    if not chosen:
        raise DataError(
            f"{where} has no split {split!r} (there: {', '.join(there) or 'no splits'}). Name one "
            "as PATH#SPLIT."
        )
    names = sorted({items[item] or "" for item in chosen})
    if len(names) > 1:  # one of them tells its items from the others
        if wanted not in names:
            ways = " or ".join(f"{where}#{name}" for name in names)
            raise DataError(
                f"{where} has {names[0]!r} and {names[1]!r}, and both are split {split!r}. Name "
                f"one of them as {ways}."
            )
        chosen, split = [item for item in chosen if items[item] == wanted], wanted
    return chosen, split
