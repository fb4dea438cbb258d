"""The gap model as a JSON file: written whole or not at all, checked field by field on reading.

Fields may be added within a schema version; unknown ones are ignored on reading.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.errors import GapModelError
from analyzer.estimation.gap_model import FEATURES, FittedOn, GapModel, Range
from analyzer.estimation.intervals import MeasuredCoverage
from analyzer.writing import write_bytes

__all__ = ["SCHEMA", "read_gap_model", "write_gap_model"]

SCHEMA = 1
"""Version of the file; grows when a field changes its meaning or goes away."""


def write_gap_model(gap_model: GapModel, path: str | Path) -> GapModel:
    """Write ``gap_model``; the same model always gives the same bytes.

    Returns:
        The gap model with the file's ``sha256``.

    Raises:
        GapModelError: the file cannot be written.
    """
    text = json.dumps(_to_dict(gap_model), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    content = text.encode()
    write_bytes(path, content)
    return dataclasses.replace(gap_model, sha256=hashlib.sha256(content).hexdigest())


def read_gap_model(path: str | Path) -> GapModel:
    """Read and check a gap model.

    Raises:
        GapModelError: the file cannot be read, is not a gap model of this schema, or a field is
            missing or wrong; the message names file and field.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise GapModelError(
            f"The gap model {path} cannot be read: {error.strerror}. Name a file that "
            "`onnx-gap fit` wrote, or one from the zoo (zoo:NAME)."
        ) from error
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise GapModelError(
            f"The gap model {path} is not valid JSON ({error}): name a file that `onnx-gap fit` "
            "wrote."
        ) from error
    return _from_dict(_Fields(value, path), hashlib.sha256(content).hexdigest())


def _to_dict(gap_model: GapModel) -> dict[str, Any]:
    named = gap_model.features
    return {
        "schema": SCHEMA,
        "name": gap_model.name,
        "features": list(named),
        "coefficients": dict(zip(named, gap_model.coefficients, strict=True)),
        "intercept": gap_model.intercept,
        "fitted_on": {
            "networks": gap_model.fitted_on.networks,
            "data": gap_model.fitted_on.data,
            "architecture": gap_model.fitted_on.architecture,
            "recipe": {key: list(values) for key, values in gap_model.fitted_on.recipe.items()},
            "rank": gap_model.fitted_on.rank,
        },
        "ranges": {
            **{key: list(r) for key, r in zip(named, gap_model.feature_ranges, strict=True)},
            "gap": list(gap_model.gap_range),
        },
        "means": dict(zip(named, gap_model.feature_means, strict=True)),
        "inverse_scatter": [list(row) for row in gap_model.inverse_scatter],
        "max_leverage": gap_model.max_leverage,
        "residual_variance": gap_model.residual_variance,
        "correlation": gap_model.correlation,
        "interval": {
            "t_quantile": gap_model.t_quantile,
            "coverage": gap_model.coverage.nominal,
            "measured_student_t": gap_model.coverage.student_t,
            "measured_jackknife_plus": gap_model.coverage.jackknife_plus,
        },
    }


def _from_dict(file: "_Fields", sha256: str) -> GapModel:
    schema = file.integer("schema")
    if schema != SCHEMA:
        raise file.error("schema", f"{SCHEMA}, the version that this onnx-gap reads", schema)
    named = file.get("features")
    if named != list(FEATURES):
        raise file.error("features", f"{list(FEATURES)}, those this onnx-gap knows", named)
    ranges, interval, fitted_on = (
        file.inside(field) for field in ("ranges", "interval", "fitted_on")
    )
    coefficients, means = file.inside("coefficients"), file.inside("means")
    return GapModel(
        name=file.text("name"),
        features=FEATURES,
        coefficients=tuple(coefficients.number(name) for name in FEATURES),
        intercept=file.number("intercept"),
        fitted_on=FittedOn(
            networks=fitted_on.integer("networks", least=1),
            data=fitted_on.text("data"),
            architecture=fitted_on.text("architecture"),
            recipe=_recipe(fitted_on),
            # Files from before there was a choice do not say.
            rank=fitted_on.text("rank") if "rank" in fitted_on.value else "l1",
        ),
        feature_ranges=tuple(ranges.range(name) for name in FEATURES),
        gap_range=ranges.range("gap"),
        feature_means=tuple(means.number(name) for name in FEATURES),
        inverse_scatter=_inverse_scatter(file),
        max_leverage=file.number("max_leverage", least=0),
        residual_variance=file.number("residual_variance", least=0),
        correlation=file.number("correlation", least=-1, most=1),
        t_quantile=interval.number("t_quantile", least=0),
        coverage=MeasuredCoverage(
            nominal=interval.number("coverage", least=0, most=1),
            student_t=interval.share_or_none("measured_student_t"),
            jackknife_plus=interval.share_or_none("measured_jackknife_plus"),
        ),
        sha256=sha256,
    )


def _recipe(fitted_on: "_Fields") -> dict[str, list[float] | list[str]]:
    recipe = fitted_on.inside("recipe")
    for name, values in recipe.value.items():
        numbers = isinstance(values, list) and len(values) == 2 and all(map(_is_number, values))
        texts = isinstance(values, list) and all(isinstance(value, str) for value in values)
        if not numbers and not texts:
            raise recipe.error(name, "[least, greatest] or a list of texts", values)
    return dict(recipe.value)


def _inverse_scatter(file: "_Fields") -> tuple[tuple[float, ...], ...]:
    rows, size = file.get("inverse_scatter"), len(FEATURES)
    wanted = f"a symmetric positive matrix of {size} rows of {size} numbers"
    shaped = (
        isinstance(rows, list)
        and len(rows) == size
        and all(isinstance(row, list) and len(row) == size for row in rows)
        and all(_is_number(value) for row in rows for value in row)
    )
    if not shaped:
        raise file.error("inverse_scatter", wanted, rows)
    matrix = np.array(rows, dtype=np.float64)
    if not np.allclose(matrix, matrix.T) or np.linalg.eigvalsh(matrix).min() <= 0:
        raise file.error("inverse_scatter", wanted, rows)
    return tuple(tuple(float(value) for value in row) for row in rows)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the floats
        return False


class _Fields:
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

    def inside(self, field: str) -> "_Fields":
        return _Fields(self.get(field), self.path, f"{self.prefix}{field}.")

    def text(self, field: str) -> str:
        value = self.get(field)
        if not isinstance(value, str):
            raise self.error(field, "a text", value)
        return value

    def number(self, field: str, *, least: float = -math.inf, most: float = math.inf) -> float:
        value = self.get(field)
        if not _is_number(value) or not least <= value <= most:
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
            or not all(map(_is_number, value))
            or value[0] > value[1]
        ):
            raise self.error(field, "[least, greatest]", value)
        return float(value[0]), float(value[1])

    def share_or_none(self, field: str) -> float | None:
        return None if self.get(field) is None else self.number(field, least=0, most=1)
