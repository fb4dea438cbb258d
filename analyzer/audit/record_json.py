"""Frozen records as JSON values and back: one rule for all of them, by their annotations.

Fields with a default may be missing when a record is read, and unknown ones are ignored.
"""

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from analyzer.errors import AuditFolderError

__all__ = ["decode", "encode"]


def encode(value: Any, where: str) -> Any:
    """``value`` as JSON values; ``where`` names it.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    if is_dataclass(value):
        return {f.name: encode(getattr(value, f.name), f"{where}.{f.name}") for f in fields(value)}
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


def decode(kind: Any, value: Any, file: str, where: str = "") -> Any:
    """``value`` of JSON as the annotated type ``kind``; ``where`` names the field.

    Raises:
        AuditFolderError: a field is missing or of the wrong type; the message names ``file`` and
            the field.
    """
    if is_dataclass(kind):
        return _decode_record(kind, value, file, where)
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else decode(parts[0], value, file, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(file, where, "a list", value)
        return tuple(decode(parts[0], v, file, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise _wrong(file, where, "an object", value)
        if parts[1] is Any:
            return dict(value)
        return {k: decode(parts[1], v, file, f"{where}.{k}") for k, v in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _wrong(file, where, _KINDS[kind], value)
    return value


def _decode_record(kind: type, value: Any, file: str, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise _wrong(file, where, "an object", value)
    annotations = _annotations(kind)
    known = {}
    for f in fields(kind):
        path = f"{where}.{f.name}" if where else f.name
        if f.name in value:
            known[f.name] = decode(annotations[f.name], value[f.name], file, path)
        elif f.default is MISSING:
            raise AuditFolderError(
                f"{file} has no field '{path}'; run the audit again with --fresh."
            )
    return kind(**known)


@cache
def _annotations(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


_KINDS = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}


def _wrong(file: str, where: str, wanted: str, value: Any) -> AuditFolderError:
    found = repr(value) if len(repr(value)) <= 40 else type(value).__name__
    return AuditFolderError(f"{file}: '{where}' must be {wanted}, not {found}.")
