"""Class lists, which name the classes of a network by index, as files: text, JSON, CSV."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from analyzer.data.labels import ClassList, is_index
from analyzer.errors import DataError
from analyzer.files import read_text
from analyzer.input_budgets import DEFAULT_BUDGETS, Budgets
from analyzer.json_codec import parse_json

__all__ = ["read_classes"]

_BY_INDEX, _BY_NAME = "id2label", "label2id"  # in files of Hugging Face
_LONG_NAME = 256  # characters
_NESTED = (_BY_INDEX, "label_names", "class_names", "classes", "names")  # where JSON has the names
_SEPARATORS = {",": "a comma", "\t": "a tab"}
_COLUMNS = 2  # of a class list as a table
_NAMES_FIRST, _INDEX_FIRST = False, True  # in a pair


def read_classes(path: str | Path, budgets: Budgets = DEFAULT_BUDGETS) -> ClassList:
    """Read a class list.

    Text: a name a line, the line's number is the index. JSON: a list of names, {name: index} or
    {index: name}, also below "id2label", "label2id", "label_names", "class_names", "classes" or
    "names"; or
    {index: [id, name]} as Keras writes it. CSV: rows of name and index in either order, with or
    without a head (timm's class maps). A name can be there twice: ImageNet has two cranes.

    Raises:
        DataError: unreadable, empty, an index twice or left out, or it can be read in two ways.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".pkl", ".pickle"):
        raise DataError(f"{path} is a pickle, which can run code. Write the class list as text.")
    text = read_text(path, budgets, "The class list")
    most = max(text.count("\n"), len(text) // _LONG_NAME)
    if excess := budgets.excess("classes", most):
        raise DataError(f"The class list {path} is long enough for {most:,} classes, {excess}.")
    if suffix == ".json":
        names = _from_json(text, path)
    elif suffix in (".csv", ".tsv"):
        names = _from_rows(text, path, "\t" if suffix == ".tsv" else ",")
    else:
        names = [line.strip() for line in io.StringIO(text, newline=None)]
        while names and not names[-1]:
            names.pop()
        if "" in names:
            raise DataError(f"Line {names.index('') + 1} of the class list {path} is empty.")
    if not names:
        raise DataError(f"The class list {path} names no class.")
    return ClassList.of(str(path), names)


def _from_json(text: str, path: Path) -> list[str]:
    try:
        content = parse_json(text)
    except ValueError as error:
        raise DataError(f"The class list {path} is not JSON ({error}).") from error
    if not isinstance(content, dict):
        return _listed(content, path)
    said = {key: content[key] for key in _NESTED if isinstance(content.get(key), list | dict)}
    by_name = content.get(_BY_NAME)
    if not isinstance(by_name, dict):
        by_name = None
    elif not said:
        return _by_index(list(by_name.items()), path, (_NAMES_FIRST,))
    if not said:
        return _listed(content, path)
    (one, names), *others = ((key, _listed(value, path, key)) for key, value in said.items())
    for other, found in others:
        if found != names:
            raise _contradiction(path, one, other)
    for name, index in (by_name or {}).items():  # a name that is there twice has one index only
        if not is_index(index) or names[int(index) : int(index) + 1] != [_words(name)]:
            raise _contradiction(path, one, _BY_NAME)
    return names


def _listed(content: object, path: Path, key: str | None = None) -> list[str]:
    """The names in a list or a mapping; of the latter, ``key`` may say what leads to what."""
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return content
    if isinstance(content, dict):
        ways = (_INDEX_FIRST,) if key == _BY_INDEX else (_NAMES_FIRST, _INDEX_FIRST)
        return _by_index(list(content.items()), path, ways)
    raise DataError(f"The class list {path} is neither a list of names nor a mapping.")


def _contradiction(path: Path, one: str, other: str) -> DataError:
    return DataError(
        f"The class list {path} gives the classes other names in {one!r} than in {other!r}. "
        "Correct or remove one of them."
    )


def _from_rows(text: str, path: Path, delimiter: str) -> list[str]:
    try:
        rows = [
            row for row in csv.reader(io.StringIO(text, newline=None), delimiter=delimiter) if row
        ]
    except csv.Error as error:
        raise DataError(f"The class list {path} is not a table ({error}).") from error
    for row in rows:
        if len(row) != _COLUMNS:
            found = "one column" if len(row) == 1 else f"{len(row)} columns"
            raise DataError(
                f"The class list {path} has a row of {found}. Give each the name and the index of "
                f"a class, with {_SEPARATORS[delimiter]} between, and nothing else."
            )
    if rows and not any(is_index(cell.strip()) for cell in rows[0]):
        rows = rows[1:]
    pairs = [(row[0].strip(), row[1].strip()) for row in rows]
    return _by_index(pairs, path, (_NAMES_FIRST, _INDEX_FIRST))


def _by_index(
    pairs: Sequence[tuple[object, object]], path: Path, ways: Sequence[bool]
) -> list[str]:
    """Names by index from pairs of name and index.

    Args:
        pairs: of all classes.
        path: of the class list.
        ways: in which they can be meant: whether the index comes first.

    Raises:
        DataError: they do not name all classes, or do so in both ways, as numbers can.
    """
    found: list[list[str]] = []
    for flip in ways:
        named = [(value, key) if flip else (key, value) for key, value in pairs]
        names = {int(str(i)): _words(name) for name, i in named if is_index(i)}
        if sorted(names) == list(range(len(pairs))):
            found.append([names[i] for i in range(len(pairs))])
    if not found:
        raise DataError(
            f"The class list {path} does not give each index from 0 to {len(pairs) - 1} to one "
            "name."
        )
    if found[0] != found[-1]:
        raise DataError(
            f"The class list {path} pairs numbers with numbers, and either can be the index. Write "
            "it as text with a name a line."
        )
    return found[0]


def _words(name: object) -> str:
    words = name if isinstance(name, list) else [name]
    return " ".join(str(word) for word in words if isinstance(word, str | int | float))
