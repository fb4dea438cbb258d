"""What an audit is made from, found and checked before anything is counted or written.

The options, the network with its site, the data and their preprocessing, and the gap model.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analyzer import data, estimation, runtime, surgery
from analyzer.audit.folder import AUDIT, LOCK, RESULT_FILES
from analyzer.audit.provenance import installed_versions
from analyzer.audit.result_manifest import MANIFEST
from analyzer.audit.unfinished_audit import key_of
from analyzer.audit_options import AuditRequest
from analyzer.common_types import ExtraInput, Site
from analyzer.errors import DataError, ModelError, SiteError, parameter
from analyzer.files import check_utf8
from analyzer.input_budgets import Budgets
from analyzer.json_codec import repeated
from analyzer.measures.ablation.curve_features import chance_fraction
from analyzer.measures.measure import Subject
from analyzer.option_mechanism import check_values, identity_of
from analyzer.output_files import refuse_replaced

__all__ = ["AuditInputs", "find_inputs", "open_network"]

_PICTURES_PART = 8  # of the memory, beside it


@dataclass(frozen=True, slots=True)
class AuditInputs:
    """What an audit is made from."""

    subject: Subject
    gap_model: estimation.GapModel | None


def find_inputs(request: AuditRequest, *, recorded: Mapping[str, Any] | None = None) -> AuditInputs:
    """Open and check everything that the request names, and write nothing.

    Args:
        request: what is asked for.
        recorded: what a record says of the preprocessing, to be used in place of the request's.

    Raises:
        AnalyzerError: something does not exist, is damaged, or does not fit.
    """
    _check_options(request)
    network, extra_inputs = open_network(request.model, request)
    site, no_site = _site(network, request)
    _hold_sizes(network, site, request)
    source = data.open_data(
        request.data,
        keys=request.keys,
        classes=request.classes,
        exif=request.preprocess.exif if recorded is None else bool(recorded.get("exif")),
        budgets=request.budgets,
    )
    if request.keys is not None:
        source.refuse_keys("keys")
    if recorded is None:
        _check_places(request, source, network)
        _refuse_idle(request, source, no_site)
    image = network.info.inputs[0]
    if recorded is None:
        preprocessing = data.resolve_preprocessing(source, image, request.preprocess)
    else:
        preprocessing = data.recorded_preprocessing(recorded, source, image, AUDIT)
    indices = np.arange(len(source))
    if request.limit_per_class is not None:
        indices = data.limit_per_class(source.labels, request.limit_per_class, request.seed)
    groups = None
    if request.groups is not None:
        groups = data.read_groups(
            request.groups, source, keys=request.keys, budgets=request.budgets
        )[indices]
    key = key_of(
        {
            **identity_of(request),
            **({} if groups is None else {"groups": groups.tolist()}),
            "model": network.info.sha256,
            "site": site and [site.tensor, site.axis],
            "inputs": {one.name: one.value.tolist() for one in extra_inputs},
            "data": source.identity(),
            "preprocessing": preprocessing.to_dict(),
            "chance": request.chance if request.tolerance else None,  # estimates aim at it
            "versions": installed_versions(),
        }
    )
    subject = Subject(
        network=network,
        extra_inputs=extra_inputs,
        output=request.output,
        site=site,
        source=source,
        preprocessing=preprocessing,
        indices=indices,
        key=key,
        files=source.file_states(),
        first_reading=data.FirstReading(source),
        pictures=data.KeptPictures(request.memory // _PICTURES_PART),
        no_site=no_site,
        groups=groups,
    )
    gap_model = estimation.read_gap_model(request.gap_model) if request.gap_model else None
    return AuditInputs(subject, gap_model)


def _check_places(request: AuditRequest, source: data.Source, network: surgery.Network) -> None:
    """Refuse results that would change or replace what the audit reads.

    Raises:
        DataError: the sentence names the folder.
        OutputError: the sentence names the file.
    """
    source.refuse_results(request.further_results)
    extra = [Path(value) for _, value in request.inputs]  # numbers are no files
    refuse_replaced(request.further_results, lambda: [*network.files, *extra])
    if source.kind == "folder":
        refuse_in_class_folders(request.out, str(request.data), request.classes)
    out = os.path.realpath(request.out)
    results = {os.path.join(out, name) for name in (*RESULT_FILES, MANIFEST, LOCK)}
    options = ("model", "data", "test_data", "gap_model", "custom_ops", "classes", "groups")
    named = [(name, getattr(request, name)) for name in options]
    named += [("preprocess", request.preprocess.preset)]
    named += [("inputs", value) for _, value in request.inputs]
    for name, value in named:
        if isinstance(value, str | Path) and results & _places(value):
            raise DataError(
                f"The result would replace {value}, which {parameter(name)} names. Name another "
                f"{parameter('out')}."
            )


def refuse_in_class_folders(out: Path, where: str, classes: str | Path | None) -> None:
    """Refuse a result in a folder of class folders, of which it would be one.

    Args:
        out: where the result goes.
        where: the data are, of any kind.
        classes: path of the class list, if there is one.

    Raises:
        DataError: the sentence names both.
    """
    folder = data.class_folders_of(where, classes)
    place = Path(os.path.realpath(out))
    if folder and Path(os.path.realpath(folder)) in (place, *place.parents):
        raise DataError(
            f"{parameter('out', out)} lies in {folder}, whose folders are classes. Name a folder "
            "outside of the data."
        )


def _places(value: str | Path) -> set[str]:
    """Where what an option names lies; of data with a split behind "#", without it, too."""
    return {os.path.realpath(one) for one in (value, str(value).rpartition("#")[0] or value)}


def _refuse_idle(request: AuditRequest, source: data.Source, no_site: str) -> None:
    """Refuse options that do nothing with these data or others of the options, or without a site.

    Raises:
        DataError, SiteError: the sentence names them.
    """
    for name in ("rank", "tolerance"):
        if no_site and (value := getattr(request, name)) != getattr(AuditRequest, name):
            raise SiteError(f"{parameter(name, value)} does nothing here. {no_site}")
    if request.preprocess.exif is not None and source.array is not None:
        raise DataError(
            f"{parameter('exif', request.preprocess.exif)} is for image files, and {source.source} "
            "holds arrays: leave it out."
        )
    neighbors, mixed = request.neighbor_samples, request.interpolation_samples
    off = [parameter("neighbor_samples", 0)]
    if request.keep_twins and neighbors == 0:
        raise _idle(parameter("keep_twins", True), off)
    if request.groups is not None and neighbors == 0 and mixed == 0:
        raise _idle(parameter("groups"), [*off, parameter("interpolation_samples", 0)])


def _hold_sizes(network: surgery.Network, site: Site | None, request: AuditRequest) -> None:
    """Hold the channels of the site and the classes, where shapes tell them, against the budgets.

    Raises:
        ModelError: they are more, or see :func:`analyzer.surgery.find_answer`.
    """
    if site and (excess := request.budgets.excess("channels", site.channels)):
        raise ModelError(
            f"The site {site.tensor} of {network.path} has {site.channels:,} channels, {excess}."
        )
    answer = surgery.find_answer(network, request.output)
    shapes = [one.shape for one in network.info.outputs if one.name == answer.output]
    for shape in shapes if answer.kind == "scores" else ():
        classes = math.prod(size for size in shape[1:] if isinstance(size, int))
        if excess := request.budgets.excess("classes", classes):
            raise ModelError(f"{network.path} has {classes:,} classes, {excess}.")


def _idle(option: str, others: list[str]) -> DataError:
    return DataError(f"{option} does nothing with {' and '.join(others)}. Leave one of them out.")


def _site(network: surgery.Network, request: AuditRequest) -> tuple[Site | None, str]:
    """The site, or why there is none, where nobody named one.

    Raises:
        ModelError, SiteError: see :func:`analyzer.surgery.find_site`.
    """
    try:
        site = surgery.find_site(
            network, request.site, at=request.at, axis=request.axis, output=request.output
        )
    except SiteError as error:
        if request.site is not None or request.needs_site:
            raise
        return None, request.told(error)
    return site, ""


def open_network(
    model: Path, options: AuditRequest
) -> tuple[surgery.Network, tuple[ExtraInput, ...]]:
    """The network in ``model`` with its extra inputs bound to the values they are given.

    Raises:
        DataError, ModelError: as :func:`analyzer.surgery.load_network`,
            :func:`analyzer.surgery.check_session_cost` and :func:`analyzer.surgery.bind_inputs`.
    """
    network = surgery.load_network(model, custom_ops=options.custom_ops, budgets=options.budgets)
    surgery.check_session_cost(network)
    twice = repeated([name for name, _ in options.inputs])
    if twice is not None:
        raise DataError(f"The input {twice} is given two values with {parameter('inputs')}.")
    given = {name: _value(name, text, options.budgets) for name, text in options.inputs}
    return surgery.bind_inputs(surgery.one_image_at_a_time(network), given)


def _value(name: str, text: str, budgets: Budgets) -> np.ndarray:
    """What an extra input is given.

    Raises:
        DataError: it cannot be read; the sentence names the option and the input.
    """
    try:
        return data.read_value(text, budgets)
    except DataError as error:
        raise DataError(f"{parameter('inputs', name)}: {error.message}") from error


def _check_options(request: AuditRequest) -> None:
    """Refuse values outside the declared choices and bounds.

    Raises:
        DataError, DeviceError: the sentence names the option.
    """
    if request.chance is not None:
        chance_fraction(request.chance)
    if not 0 <= request.tolerance < 1:
        raise DataError(
            f"The {parameter('tolerance')} of ζ and κ is {request.tolerance}; give a number from 0 "
            "(exact) to below 1, for example 0.01."
        )
    check_values(request)
    check_utf8(DataError, request.out)
    runtime.named_devices(request.device)
