"""The JSON file of a gap model.

It is written whole or not at all, and checked field by field on reading. Fields may be added within
a schema version; on reading, unknown fields are ignored, and unknown features refused.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.errors import DataError, GapModelError
from analyzer.estimation.applicability_domain import Range
from analyzer.estimation.class_gaps import ClassLine
from analyzer.estimation.feature_sets import LARGEST
from analyzer.estimation.gap_model import FittedOn, GapModel, LeftOut
from analyzer.estimation.gap_model_consistency import contradictions
from analyzer.estimation.regression import (
    MeasuredCoverage,
    fewest_points,
)
from analyzer.files import read_whole
from analyzer.json_codec import JsonSource, decode, encode, parse_json
from analyzer.measures.registry import FEATURES
from analyzer.output_files import aside

__all__ = ["read_gap_model", "write_gap_model"]

SCHEMA = 1
"""Version of the file; grows when a field changes its meaning or goes away."""


def write_gap_model(
    gap_model: GapModel, path: str | Path, *, further: Callable[[], object] = lambda: None
) -> GapModel:
    """Write ``gap_model``; the same model always gives the same bytes.

    Args:
        gap_model: what is written.
        path: of the file.
        further: writes what belongs to it; where either has no room, neither is left.

    Returns:
        The gap model with the file's ``sha256``.

    Raises:
        GapModelError: a number is not finite.
        OutputError: the file cannot be written.
    """
    try:
        value = encode(_to_file(gap_model), "gap_model")
    except ValueError as error:
        raise GapModelError(
            f"The gap model {gap_model.name!r} cannot be written: {error}. Fit it on features of "
            "ordinary size."
        ) from error
    text = json.dumps(value, indent=2, ensure_ascii=False)
    content = f"{text}\n".encode(errors="backslashreplace")
    with aside(path) as temporary:
        temporary.write_bytes(content)
        further()
    return replace(gap_model, sha256=hashlib.sha256(content).hexdigest())


def read_gap_model(path: str | Path) -> GapModel:
    """Read and check a gap model.

    Raises:
        GapModelError: the file cannot be read, is not a gap model of this schema, has a feature
            that this version does not know, or a field is missing or wrong; the message names file
            and field.
    """
    path = Path(path)
    try:
        content = read_whole(path)
    except DataError as error:
        raise GapModelError(f"The gap model {path} {error.message}.") from error
    except OSError as error:
        raise GapModelError(
            f"The gap model {path} cannot be read: {error.strerror}. Name a file that "
            "`onnx-gap fit` wrote, or one from the zoo (zoo:NAME)."
        ) from error
    try:
        value = parse_json(content)
    except ValueError as error:
        raise GapModelError(
            f"The gap model {path} is not valid JSON ({error}): name a file that `onnx-gap fit` "
            "wrote."
        ) from error
    source = JsonSource(f"The gap model {path}", GapModelError, "Fit it again.", LARGEST)
    schema = decode(_Schema, value, source).schema
    if schema != SCHEMA:
        raise source.wrong("schema", f"{SCHEMA}, the version that this onnx-gap reads", schema)
    file = decode(_File, _with_given_per_class(value), source)
    _check(file, source)
    gap_model = _from_file(file, hashlib.sha256(content).hexdigest())
    for name, wanted, value in contradictions(gap_model):
        raise source.wrong(name, wanted, value)
    return gap_model


@dataclass(frozen=True, slots=True)
class _Schema:
    schema: int


@dataclass(frozen=True, slots=True)
class _Interval:
    """The field ``interval`` of the file."""

    t_quantile: float | None  # None where ``left_out`` is there
    coverage: float
    measured_student_t: float | None
    measured_jackknife_plus: float | None
    left_out: LeftOut | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """The file's fields, in its order; what each feature has stands by the feature's name."""

    schema: int
    name: str
    features: tuple[str, ...]
    coefficients: Mapping[str, float]
    intercept: float
    fitted_on: FittedOn
    ranges: Mapping[str, Range]  # that of the gap among them
    means: Mapping[str, float]
    scales: Mapping[str, float] = field(default_factory=dict)  # not in older files
    penalty: float = 0.0  # likewise
    inverse_scatter: tuple[tuple[float, ...], ...]
    max_leverage: float
    residual_variance: float
    correlation: float
    interval: _Interval
    class_line: ClassLine | None = None


def _to_file(gap_model: GapModel) -> _File:
    named = gap_model.features
    ranges = dict(zip(named, gap_model.feature_ranges, strict=True))
    return _File(
        schema=SCHEMA,
        name=gap_model.name,
        features=named,
        coefficients=dict(zip(named, gap_model.coefficients, strict=True)),
        intercept=gap_model.intercept,
        fitted_on=gap_model.fitted_on,
        ranges={**ranges, "gap": gap_model.gap_range},
        means=dict(zip(named, gap_model.feature_means, strict=True)),
        scales=dict(zip(named, gap_model.feature_scales, strict=bool(gap_model.feature_scales))),
        penalty=gap_model.penalty,
        inverse_scatter=gap_model.inverse_scatter,
        max_leverage=gap_model.max_leverage,
        residual_variance=gap_model.residual_variance,
        correlation=gap_model.correlation,
        interval=_Interval(
            t_quantile=gap_model.t_quantile,
            coverage=gap_model.coverage.nominal,
            measured_student_t=gap_model.coverage.student_t,
            measured_jackknife_plus=gap_model.coverage.jackknife_plus,
            left_out=gap_model.left_out,
        ),
        class_line=gap_model.class_line,
    )


def _from_file(file: _File, sha256: str) -> GapModel:
    """The gap model of a file that has been checked."""
    named, interval = file.features, file.interval
    return GapModel(
        name=file.name,
        features=named,
        coefficients=tuple(file.coefficients[name] for name in named),
        intercept=file.intercept,
        fitted_on=file.fitted_on,
        feature_ranges=tuple(file.ranges[name] for name in named),
        gap_range=file.ranges["gap"],
        feature_means=tuple(file.means[name] for name in named),
        inverse_scatter=file.inverse_scatter,
        max_leverage=file.max_leverage,
        residual_variance=file.residual_variance,
        correlation=file.correlation,
        t_quantile=interval.t_quantile if interval.left_out is None else None,
        coverage=MeasuredCoverage(
            nominal=interval.coverage,
            student_t=interval.measured_student_t,
            jackknife_plus=interval.measured_jackknife_plus,
        ),
        left_out=interval.left_out,
        feature_scales=tuple(file.scales[name] for name in named) if file.scales else (),
        penalty=file.penalty,
        class_line=file.class_line,
        sha256=sha256,
    )


def _with_given_per_class(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The file's content, with what older files do not tell from the samples that were audited."""
    fitted_on = value.get("fitted_on")
    if not isinstance(fitted_on, Mapping):
        return value
    domain = fitted_on.get("circumstances")
    if not isinstance(domain, Mapping) or "samples_per_class" not in domain:
        return value
    domain = {"given_per_class": domain["samples_per_class"], **domain}
    return {**value, "fitted_on": {**fitted_on, "circumstances": domain}}


def _check(file: _File, source: JsonSource) -> None:
    """Refuse what the types of the fields allow and a gap model does not."""
    _check_features(file.features, source)
    by_feature = {"coefficients": file.coefficients, "means": file.means, "ranges": file.ranges}
    if file.scales:
        by_feature["scales"] = file.scales
    for field_name, values in by_feature.items():
        for name in (*file.features, "gap") if field_name == "ranges" else file.features:
            if name not in values:
                raise source.missing(f"{field_name}.{name}")
        for name in values:
            if name not in file.features and (field_name, name) != ("ranges", "gap"):
                raise source.wrong(f"{field_name}.{name}", "of a feature in 'features'", name)
    for field_name, value, least, most in _bounded(file):
        if value is None or not least <= value <= most:
            wanted = f"of at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
            raise source.wrong(field_name, f"a number {wanted}", value)
    coverage = file.interval.coverage
    if not 0 < coverage < 1:
        raise source.wrong("interval.coverage", "a number above 0 and below 1", coverage)
    for field_name, (low, high) in _ranges(file):
        if low > high:
            raise source.wrong(field_name, "[least, greatest]", (low, high))
    _check_fitted_on(file.fitted_on, source)
    count = len(file.features)
    _check_shape(file.inverse_scatter, count, count, "inverse_scatter", source)
    matrix = np.array(file.inverse_scatter)
    if not np.allclose(matrix, matrix.T) or not np.linalg.eigvalsh(matrix).min() > 0:
        raise source.wrong("inverse_scatter", "symmetric and positive", file.inverse_scatter)
    if file.interval.left_out is not None:
        if file.interval.t_quantile is not None:
            wanted = "null beside 'left_out'"
            raise source.wrong("interval.t_quantile", wanted, file.interval.t_quantile)
        _check_left_out(file, file.interval.left_out, source)


def _check_features(features: tuple[str, ...], source: JsonSource) -> None:
    if not features or len(set(features)) != len(features):
        raise source.wrong("features", "names, at least one, each once", features)
    for number, name in enumerate(features):
        if name not in FEATURES:
            wanted = "a feature that this version of onnx-gap knows"
            raise source.wrong(f"features[{number}]", wanted, name)


def _bounded(file: _File) -> Iterator[tuple[str, float | None, float, float]]:
    """Fields, their numbers, and the least and greatest that each may be."""
    interval = file.interval
    yield "fitted_on.networks", file.fitted_on.networks, 1, math.inf
    yield "penalty", file.penalty, 0, math.inf
    yield "max_leverage", file.max_leverage, 0, math.inf
    yield "residual_variance", file.residual_variance, 0, math.inf
    yield "correlation", file.correlation, -1, 1
    for name in ("measured_student_t", "measured_jackknife_plus"):
        share = getattr(interval, name)
        if share is not None:
            yield f"interval.{name}", share, 0, 1
    domain = file.fitted_on.domain
    for name, ends in domain.ranges().items() if domain is not None else ():
        most = 1 if name in ("accuracy", "share") else math.inf
        for place, end in enumerate(ends):
            yield f"fitted_on.circumstances.{name}[{place}]", end, 0, most
    if interval.left_out is None:
        yield "interval.t_quantile", interval.t_quantile, 0, math.inf
    for name, scale in file.scales.items():
        yield f"scales.{name}", scale, 0, math.inf
    if file.class_line is not None:
        line = file.class_line
        for name in ("half_width", "widest", "populations", "classes"):
            yield f"class_line.{name}", getattr(line, name), 0, math.inf
        yield "class_line.coverage", line.coverage, 0, 1
        if line.measured is not None:
            yield "class_line.measured", line.measured, 0, 1


def _ranges(file: _File) -> Iterator[tuple[str, Range]]:
    for name, range_ in file.ranges.items():
        yield f"ranges.{name}", range_
    domain = file.fitted_on.domain
    if domain is not None:
        for name, range_ in domain.ranges().items():
            yield f"fitted_on.circumstances.{name}", range_


def _check_fitted_on(fitted_on: FittedOn, source: JsonSource) -> None:
    for name, values in fitted_on.recipe.items():
        texts = all(isinstance(value, str) for value in values)
        if not texts and len(values) != 2:
            wanted = "[least, greatest] or a list of strings"
            raise source.wrong(f"fitted_on.recipe.{name}", wanted, values)
    domain = fitted_on.domain
    if domain is not None and domain.channels is not None and not domain.sites:
        raise source.wrong("fitted_on.circumstances.sites", "a list of at least one string", [])


def _check_left_out(file: _File, left_out: LeftOut, source: JsonSource) -> None:
    networks, coverage = file.fitted_on.networks, file.interval.coverage
    if networks < fewest_points(coverage):
        wanted = f"what {networks} networks can give"
        raise source.wrong("interval.coverage", wanted, coverage)
    where = "interval.left_out"
    _check_shape(
        left_out.coefficients, networks, len(file.features), f"{where}.coefficients", source
    )
    for name in ("intercepts", "residuals"):
        values = getattr(left_out, name)
        if len(values) != networks:
            raise source.wrong(f"{where}.{name}", f"{networks} numbers", values)
    if not 0 <= left_out.floor < math.inf:
        raise source.wrong(f"{where}.floor", "a finite number of at least 0", left_out.floor)
    if not 0 <= left_out.few < math.inf:
        raise source.wrong(f"{where}.few", "a finite number of at least 0", left_out.few)
    weights = left_out.weights
    if weights and (
        len(weights) != networks or min(weights) < 0 or not coverage - 1e-9 <= sum(weights) < 1
    ):
        wanted = f"{networks} numbers of at least 0 that sum to {coverage:g} or more, and below 1"
        raise source.wrong(f"{where}.weights", wanted, weights)


def _check_shape(
    rows: Sequence[Sequence[float]], count: int, width: int, where: str, source: JsonSource
) -> None:
    if len(rows) != count or any(len(row) != width for row in rows):
        raise source.wrong(where, f"{count} rows of {width} numbers", rows)
