"""Where a result comes from, in words: network, data, site, settings, gap model, run, versions."""

import contextlib
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from analyzer.audit_record import AuditRecord, StoppedRecord
from analyzer.runtime import running_onnxruntime

__all__ = ["FactGroup", "facts_of_stopped", "installed_versions", "provenance_of"]

_PACKAGES = ("onnx-gap", "numpy", "onnx", "onnx-ir")

FactGroup = tuple[str, tuple[tuple[str, str], ...]]
"""(heading, (name, value)…)"""
_Group = tuple[str, dict[str, Any]]


@cache
def installed_versions(*others: str) -> Mapping[str, str]:
    """Of Python, of the packages that every result depends on, and of ``others``.

    onnxruntime's is that of the module that runs, not what pip believes to be installed.

    Raises:
        DeviceError: onnxruntime is missing or broken.
    """
    found = {"python": platform.python_version()}
    for package in (*_PACKAGES, *others):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    name, version = running_onnxruntime()
    return {**found, name: version}


def provenance_of(record: AuditRecord) -> tuple[FactGroup, ...]:
    """The facts behind ``record``, group by group."""
    site, gap = record.site, record.gap
    groups: list[_Group] = [
        *_subject(record),
        (
            "Site",
            {
                "masked tensor": site.tensor,
                "made by": site.operator or "not stated",
                "kind": site.kind,
                "channel axis": site.axis,
                "channels (M)": site.channels,
                "graph cut at": site.cut,
            }
            if site
            else {"masked tensor": "none"},
        ),
        ("Settings", {**record.settings, "chance level": f"{record.chance:.6g}"}),
    ]
    if gap:
        model_facts = {"name": gap.gap_model_name or "not stated", "SHA-256": gap.gap_model}
        if gap.fitted_on:
            model_facts["fitted on"] = gap.fitted_on
        groups.append(("Gap model", {**model_facts, "network inside its range": gap.inside_range}))
    rows = record.rows
    share = f" ({rows.run / rows.possible:.1%})" if rows.possible else ""
    groups.append(
        (
            "Run",
            {
                **_made(record),
                "evaluations run": f"{rows.run:,} of {rows.possible:,}{share}",
                "prefix": _duration(record.seconds.prefix),
                "sweep": _duration(record.seconds.sweep),
                "in all": _duration(record.seconds.total),
                **record.versions,
            },
        )
    )
    return _texts(groups)


def facts_of_stopped(record: StoppedRecord) -> tuple[FactGroup, ...]:
    """The facts behind an audit that a first look stopped."""
    return _texts(
        [
            *_subject(record),
            ("Settings", {**record.settings, "chance level": f"{record.chance:.6g}"}),
            ("Run", {**_made(record), **record.versions}),
        ]
    )


def _subject(record: AuditRecord | StoppedRecord) -> list[_Group]:
    model, data = record.model, record.data
    return [
        (
            "Network",
            {
                "file": model.path,
                "SHA-256": model.sha256,
                "size": f"{model.bytes:,} bytes",
                "producer": model.producer or "not stated",
                "opset": model.opset,
            },
        ),
        (
            "Training data",
            {
                "source": data.source,
                "samples": data.samples,
                "unreadable": len(record.skipped),
                "SHA-256": data.sha256,
                **data.preprocessing,
            },
        ),
    ]


def _made(record: AuditRecord | StoppedRecord) -> dict[str, Any]:
    made = {
        "auditor": record.made.auditor,
        "host": record.made.host,
        "command": record.made.command,
    }
    return {
        **{name: value for name, value in made.items() if value},
        "device": f"{record.device.used} (asked for: {record.device.requested})",
        "precision": record.device.precision,
    }


def _texts(groups: Sequence[_Group]) -> tuple[FactGroup, ...]:
    return tuple(
        (heading, tuple((name.replace("_", " "), _shown(value)) for name, value in facts.items()))
        for heading, facts in groups
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value)) or "none"
    return str(value)
