"""docs/INTEROP.md: a section for each framework, with the versions that it was made with."""

import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from auditing import Row

__all__ = ["replace_sections"]

_HEAD = """# Which frameworks and networks work?

Written by `python tools/interop --work FOLDER`. Do not edit.

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

*Interpolation, neighbors* says whether both ran, or why one did not. The tests run both, besides,
on networks of a fixed batch, with labels alone, a single score, uint8 images, channels last, an
extra input, 224 × 224 pixels, 200 classes, and quantized layers.
"""
_COLUMNS = (
    "network", "exporter", "opset", "site", "M", "the mask sinks past",
    "interpolation, neighbors", "result",
)  # fmt: skip


def replace_sections(path: Path, rows: list[Row]) -> None:
    """Write the sections of the frameworks of ``rows``; those of other frameworks stay."""
    there = path.read_text(encoding="utf-8") if path.exists() else ""
    _, *parts = re.split(r"^## ", there, flags=re.MULTILINE)
    sections = {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in parts}
    for source in dict.fromkeys(row.cell.source for row in rows):
        sections[source] = _section([row for row in rows if row.cell.source == source])
    text = "\n".join([_HEAD, *(f"## {name}\n\n{body}\n" for name, body in sections.items())])
    path.write_text(text, encoding="utf-8")


def _section(rows: list[Row]) -> str:
    """The body of a framework's section."""
    packages = ("onnx", "onnx-ir", "onnxruntime-gpu", "numpy")
    versions = ", ".join(
        [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)]
    )
    lines = [f"Audited on {datetime.now(UTC).date().isoformat()} with {versions}.", ""]
    lines += [f"| {' | '.join(_COLUMNS)} |", f"|{' --- |' * len(_COLUMNS)}"]
    lines += [f"| {' | '.join(map(_cell, _values(row)))} |" for row in rows]
    for note in dict.fromkeys(row.cell.note for row in rows if row.cell.note):
        lines += ["", note]
    return "\n".join(lines)


def _values(row: Row) -> tuple[str, ...]:
    return (
        row.cell.network, row.cell.exporter, row.opset, row.site, row.units, row.cut, row.measures,
        row.result,
    )  # fmt: skip


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ") or "–"
