"""Fields of a gap model's JSON, taken out one by one, each checked; errors name file and field."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.errors import GapModelError
from analyzer.estimation.columns import Range

__all__ = ["Fields", "is_number"]


def is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the floats
        return False


class Fields:
    """A JSON object whose fields are taken out one by one, each checked."""

    def __init__(self, value: Any, path: Path, prefix: str = "") -> None:
        self.value, self.path, self.prefix = value, path, prefix
        if not isinstance(value, Mapping):
            what = f"the field '{prefix[:-1]}' of the gap model {path}" if prefix else f"{path}"
            raise GapModelError(
                f"Not a gap model: {what} is not a JSON object. Name a file that "
                "`onnx-gap fit` wrote."
            )

    def error(self, field: str, wanted: str, got: Any) -> GapModelError:
        return GapModelError(
            f"The gap model {self.path}: the field '{self.prefix}{field}' must be {wanted}, "
            f"not {json.dumps(got, ensure_ascii=False)[:80]}. Fit it again."
        )

    def get(self, field: str) -> Any:
        if field not in self.value:
            raise GapModelError(
                f"The gap model {self.path} lacks the field '{self.prefix}{field}'. Fit it again."
            )
        return self.value[field]

    def inside(self, field: str) -> "Fields":
        return Fields(self.get(field), self.path, f"{self.prefix}{field}.")

    def text(self, field: str) -> str:
        value = self.get(field)
        if not isinstance(value, str):
            raise self.error(field, "a text", value)
        return value

    def number(self, field: str, *, least: float = -math.inf, most: float = math.inf) -> float:
        value = self.get(field)
        if not is_number(value) or not least <= value <= most:
            bounds = {
                (True, True): "a finite number",
                (False, True): f"a number of at least {least:g}",
            }.get((math.isinf(least), math.isinf(most)), f"a number from {least:g} to {most:g}")
            raise self.error(field, bounds, value)
        return float(value)

    def integer(self, field: str, *, least: int = 0) -> int:
        value = self.get(field)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.error(field, f"an integer of at least {least}", value)
        return value

    def range(self, field: str) -> Range:
        value = self.get(field)
        if (
            not isinstance(value, list)
            or len(value) != 2
            or not all(map(is_number, value))
            or value[0] > value[1]
        ):
            raise self.error(field, "[least, greatest]", value)
        return float(value[0]), float(value[1])

    def numbers(self, field: str, count: int) -> np.ndarray:
        """float64 (count,)."""
        value = self.get(field)
        if not isinstance(value, list) or len(value) != count or not all(map(is_number, value)):
            raise self.error(field, f"{count} numbers", value)
        return np.array(value, dtype=np.float64)

    def matrix(self, field: str, rows: int, columns: int) -> np.ndarray:
        """float64 (rows, columns)."""
        value = self.get(field)
        if (
            not isinstance(value, list)
            or len(value) != rows
            or not all(isinstance(row, list) and len(row) == columns for row in value)
            or not all(is_number(number) for row in value for number in row)
        ):
            raise self.error(field, f"{rows} rows of {columns} numbers", value)
        return np.array(value, dtype=np.float64)

    def share_or_none(self, field: str) -> float | None:
        return None if self.get(field) is None else self.number(field, least=0, most=1)
