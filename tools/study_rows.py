"""The table of a study that may be interrupted: rows are appended as they are measured."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["append_row", "read_rows"]


def read_rows(table: Path) -> list[dict[str, str]]:
    """The rows so far; none where there is no table yet."""
    if not table.exists():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def append_row(table: Path, row: Mapping[str, Any]) -> None:
    """Add a row; the first one brings the names of the columns."""
    new = not table.exists()
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
