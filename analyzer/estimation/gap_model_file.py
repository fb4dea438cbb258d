"""The gap model as a JSON file: written whole or not at all, checked field by field on reading.

Fields may be added within a schema version; unknown ones are ignored on reading.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.errors import GapModelError
from analyzer.estimation.circumstances import CircumstanceRanges
from analyzer.estimation.gap_model import FEATURES, FittedOn, GapModel, LeftOut
from analyzer.estimation.intervals import MeasuredCoverage, fewest_points
from analyzer.estimation.json_fields import Fields, is_number
from analyzer.files import write_bytes
from analyzer.measures.registry import is_feature

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
    return _from_dict(Fields(value, path), hashlib.sha256(content).hexdigest())


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
            "circumstances": _circumstances_to_dict(gap_model.fitted_on.circumstances),
        },
        "ranges": {
            **{key: list(r) for key, r in zip(named, gap_model.feature_ranges, strict=True)},
            "gap": list(gap_model.gap_range),
        },
        "means": dict(zip(named, gap_model.feature_means, strict=True)),
        "scales": dict(zip(named, gap_model.feature_scales, strict=bool(gap_model.feature_scales))),
        "penalty": gap_model.penalty,
        "inverse_scatter": [list(row) for row in gap_model.inverse_scatter],
        "max_leverage": gap_model.max_leverage,
        "residual_variance": gap_model.residual_variance,
        "correlation": gap_model.correlation,
        "interval": {
            "t_quantile": gap_model.t_quantile,
            "coverage": gap_model.coverage.nominal,
            "measured_student_t": gap_model.coverage.student_t,
            "measured_jackknife_plus": gap_model.coverage.jackknife_plus,
            "left_out": _left_out_to_dict(gap_model.left_out),
        },
    }


def _from_dict(file: Fields, sha256: str) -> GapModel:
    schema = file.integer("schema")
    if schema != SCHEMA:
        raise file.error("schema", f"{SCHEMA}, the version that this onnx-gap reads", schema)
    named = _features(file)
    ranges, interval, fitted_on = (
        file.inside(field) for field in ("ranges", "interval", "fitted_on")
    )
    coefficients, means = file.inside("coefficients"), file.inside("means")
    networks = fitted_on.integer("networks", least=1)
    coverage = MeasuredCoverage(
        nominal=interval.number("coverage", least=0, most=1),
        student_t=interval.share_or_none("measured_student_t"),
        jackknife_plus=interval.share_or_none("measured_jackknife_plus"),
    )
    left_out = _left_out(interval, networks, len(named), coverage.nominal)
    return GapModel(
        name=file.text("name"),
        features=named,
        coefficients=tuple(coefficients.number(name) for name in named),
        intercept=file.number("intercept"),
        fitted_on=FittedOn(
            networks=networks,
            data=fitted_on.text("data"),
            architecture=fitted_on.text("architecture"),
            recipe=_recipe(fitted_on),
            # Files from before there was a choice do not say.
            rank=fitted_on.text("rank") if "rank" in fitted_on.value else "l1",
            circumstances=_circumstances(fitted_on),
        ),
        feature_ranges=tuple(ranges.range(name) for name in named),
        gap_range=ranges.range("gap"),
        feature_means=tuple(means.number(name) for name in named),
        inverse_scatter=_inverse_scatter(file, len(named)),
        max_leverage=file.number("max_leverage", least=0),
        residual_variance=file.number("residual_variance", least=0),
        correlation=file.number("correlation", least=-1, most=1),
        t_quantile=interval.number("t_quantile", least=0) if left_out is None else None,
        coverage=coverage,
        left_out=left_out,
        feature_scales=_scales(file, named),
        penalty=file.number("penalty", least=0) if "penalty" in file.value else 0.0,
        sha256=sha256,
    )


def _features(file: Fields) -> tuple[str, ...]:
    named = file.get("features")
    if (
        not isinstance(named, list)
        or not named
        or not all(isinstance(name, str) for name in named)
        or not all(name in FEATURES or is_feature(name) for name in named)
        or len(set(named)) != len(named)
    ):
        raise file.error("features", "names that this onnx-gap knows, each once", named)
    return tuple(named)


def _scales(file: Fields, named: tuple[str, ...]) -> tuple[float, ...]:
    if not file.value.get("scales"):  # files from before there were any
        return ()
    scales = file.inside("scales")
    return tuple(scales.number(name, least=0) for name in named)


def _left_out(interval: Fields, networks: int, features: int, coverage: float) -> LeftOut | None:
    if interval.value.get("left_out") is None:
        return None
    left_out = interval.inside("left_out")
    if not coverage < 1 or networks < fewest_points(coverage):
        raise interval.error("coverage", f"what {networks} networks can give", coverage)
    coefficients = left_out.matrix("coefficients", networks, features)
    return LeftOut(
        coefficients=tuple(map(tuple, coefficients.tolist())),
        intercepts=tuple(left_out.numbers("intercepts", networks).tolist()),
        residuals=tuple(left_out.numbers("residuals", networks).tolist()),
    )


def _left_out_to_dict(left_out: LeftOut | None) -> dict[str, Any] | None:
    if left_out is None:
        return None
    return {
        "coefficients": [list(line) for line in left_out.coefficients],
        "intercepts": list(left_out.intercepts),
        "residuals": list(left_out.residuals),
    }


def _recipe(fitted_on: Fields) -> dict[str, list[float] | list[str]]:
    recipe = fitted_on.inside("recipe")
    for name, values in recipe.value.items():
        numbers = isinstance(values, list) and len(values) == 2 and all(map(is_number, values))
        texts = isinstance(values, list) and all(isinstance(value, str) for value in values)
        if not numbers and not texts:
            raise recipe.error(name, "[least, greatest] or a list of texts", values)
    return dict(recipe.value)


def _circumstances(fitted_on: Fields) -> CircumstanceRanges | None:
    if fitted_on.value.get("circumstances") is None:
        return None
    found = fitted_on.inside("circumstances")
    sites = found.get("sites")
    if not isinstance(sites, list) or not sites or not all(isinstance(s, str) for s in sites):
        raise found.error("sites", "a list of texts", sites)
    given = "given_per_class" if "given_per_class" in found.value else "samples_per_class"
    return CircumstanceRanges(
        accuracy=found.range("accuracy"),
        classes=found.range("classes"),
        channels=found.range("channels"),
        samples_per_class=found.range("samples_per_class"),
        given_per_class=found.range(given),  # older files do not tell them apart
        sites=tuple(sites),
    )


def _circumstances_to_dict(circumstances: CircumstanceRanges | None) -> dict[str, Any] | None:
    if circumstances is None:
        return None
    found = dataclasses.asdict(circumstances)
    return {name: list(values) for name, values in found.items()}


def _inverse_scatter(file: Fields, features: int) -> tuple[tuple[float, ...], ...]:
    matrix = file.matrix("inverse_scatter", features, features)
    if not np.allclose(matrix, matrix.T) or np.linalg.eigvalsh(matrix).min() <= 0:
        raise file.error("inverse_scatter", "symmetric and positive", matrix.tolist())
    return tuple(map(tuple, matrix.tolist()))
