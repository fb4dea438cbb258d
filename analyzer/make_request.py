"""What callers give, made into a checked request: for the library and the command line alike."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.errors import (
    AnalyzerError,
    AuditFolderError,
    DataError,
    GapModelError,
    ModelError,
    parameter,
)
from analyzer.files import check_are_paths, check_paths, is_readable_file
from analyzer.zoo_names import (
    ANY_NETWORK,
    NO_GAP_MODEL,
    gap_model_path,
    network_path,
    zoo_entry,
)

if TYPE_CHECKING:
    from analyzer.audit import Member
    from analyzer.audit_options import AuditRequest
    from analyzer.data import PreprocessOptions

__all__ = ["Data", "audit_request", "coerced_options", "given_data", "population_request"]

Data = str | Path | tuple[np.ndarray, np.ndarray]
"""A path, "zoo:NAME", or (images, labels): ndarrays of shapes (S, …) and (S,)."""


def audit_request(
    model: str | Path,
    data: Data | None,
    out: str | Path,
    *,
    preprocess: "str | Path | Mapping[str, Any] | PreprocessOptions | None" = None,
    gap_model: str | Path | None = None,
    **options: Any,
) -> "AuditRequest":
    """The request that these arguments mean, as of :func:`audit_network`.

    Raises:
        AnalyzerError: a name of the zoo that does not exist, or no training data.
        TypeError: a value of another type than its parameter takes.
    """
    from analyzer.audit_options import AuditRequest
    from analyzer.data import preprocess_options

    check_are_paths(model=model, out=out)
    check_paths(ModelError, model=model)
    check_paths(DataError, data=data)
    _check_request(out, preprocess, gap_model, options)
    network = zoo_entry(model)
    named = data if isinstance(data, str | Path) else None
    samples = zoo_entry(named or model) if data is None or named is not None else None
    if data is None and samples is None:
        raise DataError(
            f"The training data of {model} are missing: name them with {parameter('data')} (a "
            "folder of class folders, an .npz file, an IDX or CIFAR folder, …)."
        )
    if samples is not None and samples.data is None:
        raise DataError(
            f"{named or model} is a {samples.kind}; `onnx-gap zoo list` shows networks and data."
        )
    named_gap_model = gap_model is not None
    if gap_model is None:
        fresh = coerced_options({"fresh": options.get("fresh", False)})["fresh"]
        in_use = "" if fresh else _gap_model_in_use(out)
        gap_model = in_use or ANY_NETWORK
    elif gap_model == NO_GAP_MODEL:
        gap_model = None
    if out == "":
        raise AuditFolderError(f"{parameter('out')} is empty; name a folder for the result.")
    declared = preprocess_options(preprocess)
    if (test_data := options.get("test_data")) is not None:
        if not isinstance(test_data, str | Path):
            raise TypeError(
                f"test_data is of type {type(test_data).__name__}; it takes a path. Save arrays "
                "with numpy.savez, and name the file."
            )
        options["test_data"] = str(test_data)
        if options.get("test_keys") is None and options["test_data"].endswith(
            (".npz", Path(str(data)).suffix or ".npz")
        ):
            options["test_keys"] = options.get("keys")
    if samples is not None:
        for name, value in (("keys", samples.keys), ("classes", samples.classes)):
            if options.get(name) is None:
                options[name] = value
        if declared.preset is None:
            given = {f.name: getattr(declared, f.name) for f in fields(declared)}
            given = {name: value for name, value in given.items() if value is not None}
            declared = preprocess_options({**(samples.preprocessing or {}), **given})
    return AuditRequest(
        model=network_path(model),
        model_name="" if network is None else str(model),
        data=given_data(data) if samples is None else str(samples.data),
        data_name="" if samples is None else str(named or model),
        out=Path(out),
        gap_model=_gap_model_file(gap_model, named=named_gap_model),
        gap_model_name="" if gap_model is None else str(gap_model),
        gap_model_named=named_gap_model,
        preprocess=declared,
        **coerced_options(options),
    )


def _check_request(
    out: object, preprocess: object, gap_model: object, options: Mapping[str, Any]
) -> None:
    """Refuse paths of an audit, or of a population's, that no file can have."""
    check_paths(AuditFolderError, out=out)
    if gap_model is not None:
        check_are_paths(gap_model=gap_model)
    check_paths(GapModelError, gap_model=gap_model)
    check_paths(ModelError, custom_ops=options.get("custom_ops"))
    names = ("classes", "groups", "test_data")
    check_paths(DataError, preprocess=preprocess, **{name: options.get(name) for name in names})
    if isinstance(preprocess, Mapping):
        check_paths(DataError, preset=preprocess.get("preset"))
    else:
        check_paths(DataError, preset=getattr(preprocess, "preset", None))


def _gap_model_in_use(out: str | Path) -> str:
    """The gap model that a finished audit was estimated with; "" where there is none."""
    from analyzer.audit import read_record

    try:
        record = read_record(out)
    except AuditFolderError:  # there is none, or the audit replaces or refuses it later
        return ""
    return record.gap.gap_model_name if record.gap else ""


def _gap_model_file(name: str | Path | None, *, named: bool) -> Path | None:
    """The file of a gap model; None where it is gone, unless somebody named it."""
    if name is None or named:
        return None if name is None else gap_model_path(name)
    try:
        path = gap_model_path(name)
    except AnalyzerError:
        return None
    return path if is_readable_file(path) else None


def population_request(
    members: "Sequence[Member]",
    out: str | Path,
    *,
    preprocess: "str | Path | Mapping[str, Any] | PreprocessOptions | None" = None,
    gap_model: str | Path | None = None,
    **options: Any,
) -> "AuditRequest":
    """What every network of a population is asked for, as of :func:`audit_population`.

    Args:
        members: of the manifest; model and data of each are put in their places.
        out: folder of the population.
        preprocess, gap_model, options: as of :func:`audit_population`.

    Raises:
        AnalyzerError: there is no such gap model, or an option cannot be read.
    """
    from analyzer import estimation
    from analyzer.audit_options import AuditRequest
    from analyzer.data import preprocess_options

    _check_request(out, preprocess, gap_model, options)
    if gap_model == NO_GAP_MODEL:
        gap_model = None
    elif gap_model is not None:  # a fault of it is no network's
        estimation.read_gap_model(gap_model_path(gap_model))
    return AuditRequest(
        model=members[0].model,
        data=members[0].train_data,
        out=Path(out),
        preprocess=preprocess_options(preprocess),
        gap_model=None if gap_model is None else gap_model_path(gap_model),
        gap_model_name="" if gap_model is None else str(gap_model),
        **coerced_options(options),
    )


def coerced_options(options: Mapping[str, Any], kind: type | None = None) -> dict[str, Any]:
    """Values as the dataclass ``kind`` holds them, an AuditRequest by default."""
    from analyzer.audit_options import AuditRequest
    from analyzer.option_mechanism import check_values, coerced, refuse_alone

    if kind is None:
        _refuse_misplaced(options)
    try:
        found = coerced(kind or AuditRequest, options)
    except ValueError as error:
        raise DataError(str(error)) from error
    if kind is None:
        refuse_alone(AuditRequest, found)
    else:
        check_values(kind(**found))
    return found


def _refuse_misplaced(options: Mapping[str, Any]) -> None:
    """Refuse keywords that the command line has as options, and the library under another name."""
    from analyzer.data import PreprocessOptions

    for name in options:
        if name in {field.name for field in fields(PreprocessOptions)}:
            raise TypeError(
                f"There is no option {name!r}; it belongs into preprocess={{{name!r}: …}}"
            )
        if name == "input":
            raise TypeError(f"There is no option {name!r}; it is called inputs")


def given_data(data: Any) -> Any:
    """Data as a request holds them: a path as text, or two arrays.

    Raises:
        DataError: no images and labels can be made of a pair, or it is none.
        TypeError: neither a path nor a pair.
    """
    if isinstance(data, str | Path):
        return str(data)
    if isinstance(data, tuple | list):
        if len(data) != 2:
            raise DataError(
                f"{parameter('data')} is a {type(data).__name__} of length {len(data)}; give a "
                "path or the pair (images, labels)."
            )
        if any(np.ma.is_masked(part) for part in data):
            raise DataError(
                f"{parameter('data')} holds masked values, which no network can be given. Fill or "
                "leave them out."
            )
        try:
            return (np.asarray(data[0]), np.asarray(data[1]))
        except ValueError as error:  # lists of different lengths
            raise DataError(
                f"{parameter('data')} is no pair of arrays ({error}). Give (images, labels) with "
                "images that are all of one shape."
            ) from error
    raise TypeError(
        f"data is of type {type(data).__name__}; it takes a path or the pair (images, labels)."
    )
