"""Writes ``analyzer/audit/audit.schema.json``, the JSON Schema of ``audit.json``.

It follows from the records: their annotations, and what the comment beside a field says of it.

    python tools/write_audit_schema.py
"""

import inspect
import json
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from analyzer.audit_record import SCHEMA, AuditRecord
from analyzer.json_codec import JSON_NAME
from analyzer.measures.registry import MEASURES

TARGET = Path(__file__).parents[1] / "analyzer" / "audit" / "audit.schema.json"

_PLAIN = {int: "integer", float: "number", str: "string", bool: "boolean"}
_DIGEST = {"pattern": "^[0-9a-f]{64}$"}
_SHARE = {"minimum": 0, "maximum": 1}
_DIFFERENCE = {"minimum": -1, "maximum": 1}
_COUNT = {"minimum": 0}
_BOUNDS: dict[str, dict[str, Any]] = {
    "sha256": _DIGEST,
    **dict.fromkeys(("accuracy", "zeta", "kappa", "chance", "coverage", "confidence"), _SHARE),
    **dict.fromkeys(("gap", "gap_low", "gap_high"), _DIFFERENCE),
    **dict.fromkeys(("samples", "channels", "bytes", "n0", "n0_r", "given", "run"), _COUNT),
}


def audit_schema() -> dict[str, Any]:
    """The schema, of JSON Schema's draft 2020-12."""
    defined: dict[str, Any] = {}
    record = _object(AuditRecord, defined, without=("sections",))
    for measure in MEASURES:
        if measure.section is not None:
            section = _type(measure.section, defined)
            record["properties"][measure.name] = {
                "anyOf": [section, {"type": "null"}],
                "description": "null where it was not measured",
            }
            record["required"].append(measure.name)
    record["properties"]["schema"] = {"const": SCHEMA}
    record["required"].append("schema")
    record["properties"]["classes"]["minItems"] = 1
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"audit.json of onnx-gap, schema {SCHEMA}",
        **record,
        "$defs": dict(sorted(defined.items())),
    }


def main() -> None:
    """Write the file."""
    TARGET.write_text(
        json.dumps(audit_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def _object(kind: type, defined: dict[str, Any], without: Sequence[str] = ()) -> dict[str, Any]:
    hints, said = typing.get_type_hints(kind), _comments(kind)
    properties, required = {}, []
    for field in fields(kind):
        if field.name in without:
            continue
        name = field.metadata.get(JSON_NAME, field.name)
        schema = {**_type(hints[field.name], defined)}
        for choice in (schema, *schema.get("anyOf", ())):
            if choice.get("type") in _PLAIN.values():
                choice |= _BOUNDS.get(name, {})
        if field.name in said:
            schema["description"] = said[field.name]
        properties[name] = schema
        if field.default is MISSING and field.default_factory is MISSING:
            required.append(name)
    summary = (kind.__doc__ or "").split("\n\n")[0].strip()
    return {
        "description": re.sub(r"``|\s\s+", lambda found: "" if "`" in found[0] else " ", summary),
        "type": "object",
        "properties": properties,
        "required": required,
    }


def _type(kind: Any, defined: dict[str, Any]) -> dict[str, Any]:
    if kind is Any:
        return {}
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if isinstance(kind, type) and is_dataclass(kind):
        if kind.__name__ not in defined:
            defined[kind.__name__] = {}  # taken, should it contain itself
            defined[kind.__name__] = _object(kind, defined)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        kinds = [part for part in parts if part is not types.NoneType]
        choices = [_type(part, defined) for part in kinds]
        if len(kinds) < len(parts):
            choices.append({"type": "null"})
        return {"anyOf": choices}
    if origin is tuple and parts[1:] != (...,):
        items = [_type(part, defined) for part in parts]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "items": False}
    if origin in (tuple, Sequence):
        return {"type": "array", "items": _type(parts[0], defined)}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _type(parts[1], defined)}
    raise TypeError(f"no JSON Schema for {kind}")


def _comments(kind: type) -> dict[str, str]:
    """What stands beside the fields of a record, by field."""
    lines = inspect.getsource(kind).splitlines()
    found = (re.match(r"    (\w+): .*?  # (.*)$", line) for line in lines)
    return {match[1]: match[2].replace("``", "") for match in found if match}


if __name__ == "__main__":
    main()
