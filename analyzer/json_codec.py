"""Frozen records as JSON values and back: one rule for all of them, by their annotations.

A record is a JSON object with a member for each field, called as the field is, or as its
``metadata`` say under :data:`JSON_NAME`. When a record is read, fields with a default may be
missing, and members of other names are ignored.
"""

import json
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from analyzer.errors import AnalyzerError

__all__ = ["JSON_NAME", "JsonSource", "decode", "encode", "parse_json", "repeated"]

JSON_NAME = "json_name"
"""The key, in a field's metadata, of what JSON calls it."""

_LONGEST = 40  # characters of a wrong value that a message shows


@dataclass(frozen=True, slots=True)
class JsonSource:
    """Where JSON comes from, and what its reader is told when it is wrong."""

    name: str  # begins a sentence, e.g. "The gap model mine.json"
    error: type[AnalyzerError]
    way_out: str  # a sentence: what to do
    largest: float = math.inf  # numbers further from 0 are refused
    largest_integer: float = 2**63 - 1  # likewise; counts go into arrays of 64 bits

    def missing(self, field: str) -> AnalyzerError:
        """The error where ``field`` is not there."""
        return self.error(f"{self.name} has no field '{field}'. {self.way_out}")

    def wrong(self, field: str, wanted: str, value: Any) -> AnalyzerError:
        """The error where ``field`` holds ``value``; "" is the whole."""
        where = f"{self.name}: the field '{field}'" if field else self.name
        return self.error(f"{where} must be {wanted}, not {_shown(value)}. {self.way_out}")


def parse_json(text: str | bytes, **options: Any) -> Any:
    """As :func:`json.loads`, but a member that an object has twice is an error.

    Readers would differ on which of the two holds.

    Args:
        text: of the file.
        options: further ones of :func:`json.loads`.

    Raises:
        ValueError: it is not JSON, is nested too deep, or an object repeats a member.
    """
    try:
        return json.loads(text, object_pairs_hook=_members, **options)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ValueError as error:
        if isinstance(error, json.JSONDecodeError) or "set_int_max_str_digits" not in str(error):
            raise
        raise ValueError("a number has thousands of digits") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = repeated([name for name, _ in pairs])
        raise ValueError(f"an object has two members named {twice!r}")
    return found


def repeated(names: Iterable[str]) -> str | None:
    """The first of ``names`` that is there for the second time; None if all differ."""
    seen = set[str]()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def encode(value: Any, where: str) -> Any:
    """``value`` as JSON values; ``where`` names it.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    if is_dataclass(value):
        return {
            _name(f): encode(getattr(value, f.name), f"{where}.{f.name}") for f in fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): encode(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # a numpy number
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}, which JSON does not have")
    return value


def decode(kind: Any, value: Any, source: JsonSource, where: str = "") -> Any:
    """``value`` of JSON as the annotated type ``kind``.

    Annotations may be records, ``int``, ``float``, ``str``, ``bool``, ``tuple[X, ...]``,
    ``tuple[X, Y]``, ``Sequence[X]`` (a list), ``Mapping[str, X]``, ``Literal["x"]``, with ``Any``
    for what is not looked into, and unions of these and ``None``.

    Args:
        kind: the annotation.
        value: as :func:`json.loads` gives it.
        source: what messages say of it, and how they are raised.
        where: the field's path; "" for the whole.

    Raises:
        AnalyzerError: of the class that ``source`` names: a field is missing, of the wrong type, or
            not a finite number; the message names source and field.
    """
    if kind is Any:
        return value
    if isinstance(kind, type) and is_dataclass(kind):
        return _decode_record(kind, value, source, where)
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _decode_union(parts, value, source, where)
    if origin is Literal:
        if value not in parts:
            raise source.wrong(where, _words(kind), value)
        return value
    if origin is tuple and parts[1:] != (...,):
        if not isinstance(value, list) or len(value) != len(parts):
            raise source.wrong(where, f"a list of {len(parts)}", value)
        paired = enumerate(zip(parts, value, strict=True))
        return tuple(decode(part, item, source, f"{where}[{i}]") for i, (part, item) in paired)
    if origin in (tuple, Sequence):
        if not isinstance(value, list):
            raise source.wrong(where, "a list", value)
        items = [decode(parts[0], item, source, f"{where}[{i}]") for i, item in enumerate(value)]
        return tuple(items) if origin is tuple else items
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise source.wrong(where, "an object", value)
        return {
            key: decode(parts[1], item, source, f"{where}.{key}") for key, item in value.items()
        }
    if kind is float:
        return _decode_number(value, source, where)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise source.wrong(where, _KINDS[kind], value)
    if kind is int and abs(value) > source.largest_integer:
        raise source.wrong(where, "an integer of 64 bits", value)
    return value


def _decode_record(kind: type, value: Any, source: JsonSource, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise source.wrong(where, "an object", value)
    annotations = _annotations(kind)
    known = {}
    for f in fields(kind):
        name = _name(f)
        path = f"{where}.{name}" if where else name
        if name in value:
            known[f.name] = decode(annotations[f.name], value[name], source, path)
        elif f.default is MISSING and f.default_factory is MISSING:
            raise source.missing(path)
    return kind(**known)


def _decode_union(parts: tuple[Any, ...], value: Any, source: JsonSource, where: str) -> Any:
    if value is None and types.NoneType in parts:
        return None
    kinds = [part for part in parts if part is not types.NoneType]
    if len(kinds) == 1:
        return decode(kinds[0], value, source, where)
    for kind in kinds:
        try:
            return decode(kind, value, source, where)
        except AnalyzerError:
            continue
    raise source.wrong(where, " or ".join(map(_words, kinds)), value)


def _decode_number(value: Any, source: JsonSource, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise source.wrong(where, "a number", value)
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the floats
        number = math.inf
    if not math.isfinite(number):
        raise source.wrong(where, "a finite number", value)
    if abs(number) > source.largest:
        raise source.wrong(where, f"a number from -{source.largest:g} to {source.largest:g}", value)
    return number


@cache
def _annotations(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _name(field: Field[Any]) -> str:
    return field.metadata.get(JSON_NAME, field.name)


_KINDS = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}
_SEVERAL = {int: "integers", float: "numbers", str: "strings"}


def _words(kind: Any) -> str:
    """What a value of an annotation is called."""
    if typing.get_origin(kind) is Literal:
        return " or ".join(map(repr, typing.get_args(kind)))
    if typing.get_origin(kind) in (tuple, Sequence):
        return f"a list of {_SEVERAL.get(typing.get_args(kind)[0], 'values')}"
    return _KINDS.get(kind, "an object")


def _shown(value: Any) -> str:
    """A wrong value, short; what contains others is not looked into, however deep it is."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
