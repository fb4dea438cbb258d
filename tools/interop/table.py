"""docs/INTEROP.md: the table, and the versions that it was made with."""

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from auditing import Row

__all__ = ["write_table"]

_HEAD = """# Which frameworks and networks work?

Written by `python tools/interop --work FOLDER` on {date}, with {versions}. Do not edit.

Each row of the tables is a network that its framework exported: at reduced input size, with few
classes and random weights, some with fewer channels, batch norm calibrated. `onnx-gap audit`
audited it on a few images of noise, and the result was compared with the framework itself. There
the site's output is masked by a forward hook, or by calling the network in two parts, once for
every n, both orders and every class. An *evaluation* is one such masked run of one image.

Two differences are allowed, and both are counted. Answers may differ where two logits nearly tie.
And the two runtimes may rank two units the other way round where the units are almost equally
active: apart by no more than 2e-4 of the most active unit's activity, which is checked.

Where a framework has no hooks, the comparison is with the *plain way*: the masked ONNX network run
in full by onnxruntime, once for every n.

*Interpolation, neighbors* says whether both ran, or why one did not. Rows that are "not run yet"
are from before there was that column. The tests run both on networks of a fixed batch, with
labels alone, a single score, uint8 images, channels last, an extra input, 224 × 224 pixels, 200
classes, and quantized layers.

"""
_COLUMNS = (
    "network", "exporter", "opset", "site", "M", "the mask sinks past",
    "interpolation, neighbors", "result",
)  # fmt: skip


def write_table(rows: list[Row], path: Path) -> None:
    """Write the page, a section a framework."""
    packages = ("onnx", "onnx-ir", "onnxruntime-gpu", "numpy")
    versions = ", ".join(
        [f"Python {platform.python_version()}", *(f"{p} {version(p)}" for p in packages)]
    )
    text = _HEAD.format(date=datetime.now(UTC).date().isoformat(), versions=versions)
    for source in dict.fromkeys(row.cell.source for row in rows):
        text += f"## {source}\n\n"
        text += f"| {' | '.join(_COLUMNS)} |\n|{' --- |' * len(_COLUMNS)}\n"
        for row in rows:
            if row.cell.source == source:
                text += f"| {' | '.join(map(_cell, _values(row)))} |\n"
        text += "\n"
        notes = dict.fromkeys(row.cell.note for row in rows if row.cell.source == source)
        text += "".join(f"{note}\n\n" for note in notes if note)
    path.write_text(text.rstrip() + "\n", encoding="utf-8")


def _values(row: Row) -> tuple[str, ...]:
    return (
        row.cell.network, row.cell.exporter, row.opset, row.site, row.units, row.cut, row.measures,
        row.result,
    )  # fmt: skip


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ") or "–"
