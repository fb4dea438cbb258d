"""Class lists: which index a class name has."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analyzer.errors import DataError

__all__ = ["ClassList", "index_names", "read_classes"]


@dataclass(frozen=True, slots=True)
class ClassList:
    """The names of a network's classes by index."""

    path: str
    names: tuple[str, ...]
    index: Mapping[str, int]


def read_classes(path: str | Path) -> ClassList:
    """Read a class list.

    Text: a name a line, the line's number is the index. JSON: a list of names, {name: index} or
    {index: name}, also below "id2label", "label_names" or "class_names"; or {index: [id, name]}
    as Keras writes it. CSV: rows of name and index in either order, with or without a head
    (timm's class maps).

    Raises:
        DataError: unreadable, empty, a name or an index twice, or an index left out.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".pkl", ".pickle"):
        raise DataError(f"{path} is a pickle, which can run code; write the class list as text")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"the class list {path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"the class list {path} is not UTF-8 text ({error.reason})") from error
    if suffix == ".json":
        names = _from_json(text, path)
    elif suffix in (".csv", ".tsv"):
        names = _from_rows(text, path, "\t" if suffix == ".tsv" else ",")
    else:
        names = [line.strip() for line in text.splitlines()]
        while names and not names[-1]:
            names.pop()
        if "" in names:
            raise DataError(f"line {names.index('') + 1} of the class list {path} is empty")
    if not names:
        raise DataError(f"the class list {path} names no class")
    first_index = {name: index for index, name in reversed(list(enumerate(names)))}
    return ClassList(str(path), tuple(names), first_index)


def index_names(
    found: Sequence[str], classes: ClassList | None, where: str
) -> tuple[list[int], tuple[str, ...], str]:
    """Class indices of the names found in the data.

    Args:
        found: distinct names in natural order.
        classes: the network's class list, if given.
        where: what to call the data in errors.

    Returns:
        the index of each name, the class names by index, and how the indices came about:
        "classes" or "order". A line of the list may go on after the name ("n01440764 tench").
        Where all names are numbers and the list has none of them, a name is the index itself.

    Raises:
        DataError: a name that the list does not have, or has twice.
    """
    if classes is None:
        return list(range(len(found))), tuple(found), "order"
    index = classes.index
    if not any(name in index for name in found):
        index = {name.split()[0]: i for name, i in index.items() if name.split()}
    unknown = [name for name in found if name not in index]
    if len(unknown) == len(found) and all(
        name.isdecimal() and int(name) < len(classes.names) for name in found
    ):
        return [int(name) for name in found], classes.names, "classes"
    if unknown:
        raise DataError(
            f"the class {unknown[0]!r} of {where} is not in the class list {classes.path} (which "
            f"begins with {classes.names[0]!r}); {len(unknown)} of {len(found)} classes are not"
        )
    for name in found:
        if classes.names.count(name) > 1:
            raise DataError(f"the class list {classes.path} has {name!r} twice")
    indices = [index[name] for name in found]
    return indices, classes.names, "classes"


def _from_json(text: str, path: Path) -> list[str]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"the class list {path} is not JSON ({error})") from error
    if isinstance(content, dict):
        nested = (content.get(key) for key in ("id2label", "label_names", "class_names"))
        content = next((value for value in nested if isinstance(value, list | dict)), content)
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return content
    if isinstance(content, dict):
        return _by_index(list(content.items()), path)
    raise DataError(f"the class list {path} is neither a list of names nor a mapping")


def _from_rows(text: str, path: Path, delimiter: str) -> list[str]:
    rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if row]
    if any(len(row) < 2 for row in rows):
        raise DataError(f"the class list {path} has rows of one column; name and index are wanted")
    if rows and not any(cell.strip().isdecimal() for cell in rows[0][:2]):
        rows = rows[1:]
    return _by_index([(row[0].strip(), row[1].strip()) for row in rows], path)


def _by_index(pairs: Sequence[tuple[object, object]], path: Path) -> list[str]:
    """Names by index from pairs of name and index, in whichever order they are."""
    for flip in (False, True):
        named = [(value, key) if flip else (key, value) for key, value in pairs]
        names = {int(str(i)): _words(name) for name, i in named if str(i).isdecimal()}
        if sorted(names) == list(range(len(pairs))):
            return [names[i] for i in range(len(pairs))]
    raise DataError(
        f"the class list {path} does not give each index from 0 to {len(pairs) - 1} to one name"
    )


def _words(name: object) -> str:
    return " ".join(map(str, name)) if isinstance(name, list) else str(name)
