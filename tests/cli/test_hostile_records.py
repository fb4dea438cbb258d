"""Records that somebody wrote by hand, with the manifest: refused or read, but no crash."""

import json
import shutil
from pathlib import Path

import pytest

from analyzer.audit.folder import RESULT_FILES
from analyzer.audit.result_manifest import entries_of, write_entries

HOSTILE = (
    *(None, 0, -1, 10**18, 10**400, 1e308, -1e308, 0.5, 1.5, float("nan")),
    *("", "A" * 100_000, "a\0b", "\x1b[31m\u202e\n", "\ud800", True, [], {}, [None], [-1]),
)
COMMANDS = (
    ("verify", "audit"),
    ("report", "audit", "--model-card", "card.md"),
    ("compare", "audit", "kept"),
    ("report", "audit", "--markdown", "summary.md"),
)
STEP = 3  # every third field, each with another value, for the time that it takes


def fields_of(value, path=()):
    """Every field of JSON, of lists the first item."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:1])
    for name, item in items:
        yield from fields_of(item if isinstance(item, dict | list) else {}, (*path, name))


def changed(record, path, value):
    """A copy with another value at a path."""
    if not path:
        return value
    copy = record.copy()
    copy[path[0]] = changed(record[path[0]], path[1:], value)
    return copy


def put(file, record):
    """Write a record and a manifest that fits."""
    file.write_text(json.dumps(record), encoding="utf-8")
    write_entries(file.parent, entries_of(file.parent, RESULT_FILES))


@pytest.mark.parametrize("name", ["audit.json", "stopped.json"])
def test_no_value_of_a_field_is_a_crash(onnx_gap, network, save, digits, name):
    labels = digits["labels"] if name == "audit.json" else (digits["labels"] + 1) % 10
    data = save("some.npz", images=digits["images"], labels=labels)
    onnx_gap("audit", network, "--data", data, "--preprocess", "none", "--out", "kept")
    record = json.loads(Path("kept", name).read_text(encoding="utf-8"))
    for number, path in enumerate(list(fields_of(record))[::STEP]):
        value = HOSTILE[number % len(HOSTILE)]
        shutil.copytree("kept", "audit")
        put(Path("audit", name), changed(record, path, value))
        command = COMMANDS[number % len(COMMANDS)]
        shown = onnx_gap(*command)
        assert shown.code in (0, 1, 2, 4), (path, value, command, shown.err)
        assert not {"\x1b", "\u202e", "\0"} & set(shown.out + shown.err), (path, value, command)
        shutil.rmtree("audit")


@pytest.mark.parametrize("value", [[], [0.5], [0.5] * 6])
def test_a_curve_of_another_length_is_refused(onnx_gap, audit, value):
    folder = audit()
    record = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    put(folder / "audit.json", changed(record, ("interpolation", "same"), value))
    for command in ("verify", "report"):
        shown = onnx_gap(command, folder)
        assert shown.code == 2
        assert "'interpolation.same' must be a list of 5" in shown.err
