"""Keeping small cells as fixtures, so that ordinary tests need no framework."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
from auditing import Row

__all__ = ["write_fixture"]

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "interop"
_LARGEST = 200_000  # bytes of a file


def write_fixture(place: Path, row: Row) -> None:
    """Copy a cell to tests/fixtures/interop, if it is small and its counts are exact.

    ``NAME.onnx`` is the exporter's file less its notes; ``NAME.npz`` holds images, labels, the
    framework's own counts, and the cell as JSON.
    """
    if not row.exact or not (place / "network.onnx").exists():
        return
    content = _without_notes(place / "network.onnx")
    if len(content) > _LARGEST:
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    name = f"{place.parent.name}-{place.name.removeprefix(f'{place.parent.name}-')}"
    (FOLDER / f"{name}.onnx").write_bytes(content)
    arrays = {"cell": np.array(json.dumps(asdict(row.cell), ensure_ascii=False))}
    for file in ("data.npz", "own.npz"):
        if (place / file).exists():
            with np.load(place / file) as found:
                arrays |= dict(found)
    aside = FOLDER / f"{name}.npz.part"
    with aside.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    shutil.move(aside, FOLDER / f"{name}.npz")


def _without_notes(path: Path) -> bytes:
    """The file without stack traces and other notes that only make it larger."""
    model = onnx.load(path)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output,
                 *graph.initializer):  # fmt: skip
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    return model.SerializeToString()
