"""What is audited, found and checked before anything is written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analyzer import data, estimation, runtime, surgery
from analyzer.audit.checkpoint import key_of
from analyzer.audit.request import AuditRequest
from analyzer.audit.versions import installed_versions
from analyzer.errors import DataError
from analyzer.measures import ablation
from analyzer.records import ExtraInput, NetworkInfo, Site

__all__ = ["Subject", "find_subject", "open_network"]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is audited, found and checked before anything is written."""

    network: surgery.Network
    further: tuple[ExtraInput, ...]  # what its further inputs are fed
    site: Site
    source: data.Source
    preprocessing: data.Preprocessing
    indices: np.ndarray  # int64 (S,), in the order of the data
    gap_model: estimation.GapModel | None
    key: str  # of what is counted

    @property
    def info(self) -> NetworkInfo:
        return self.network.info

    @property
    def labels(self) -> np.ndarray:
        return self.source.labels[self.indices]


def find_subject(request: AuditRequest) -> Subject:
    """Opens and checks everything that the request names, and writes nothing.

    Raises:
        AnalyzerError: something does not exist, is damaged, or does not fit.
    """
    if request.chance is not None:
        ablation.chance_fraction(request.chance)  # refused now rather than after the sweep
    if not 0 <= request.tolerance < 1:
        raise DataError(
            f"the tolerance of ζ and κ is {request.tolerance}; give a number from 0 (exact) to "
            "below 1, for example 0.01"
        )
    if request.rank not in ablation.RANKS:
        raise DataError(
            f"units cannot be ranked by {request.rank!r}; choose one of {', '.join(ablation.RANKS)}"
        )
    if request.precision not in runtime.PRECISIONS:
        raise DataError(
            f"there is no precision {request.precision!r}; choose one of "
            f"{', '.join(runtime.PRECISIONS)}"
        )
    runtime.named_devices(request.device)  # refused before anything is read
    network, further = open_network(request.model, request)
    site = surgery.find_site(
        network, request.site, at=request.at, axis=request.axis, output=request.output
    )
    source = data.open_data(request.data, keys=request.keys, classes=request.classes)
    preprocessing = data.resolve_preprocessing(source, network.info.inputs[0], request.preprocess)
    indices = np.arange(len(source))
    if request.limit_per_class is not None:
        indices = data.limit_per_class(source.labels, request.limit_per_class, request.seed)
    gap_model = estimation.read_gap_model(request.gap_model) if request.gap_model else None
    key = key_of(
        {
            "model": network.info.sha256,
            "site": [site.tensor, site.axis],
            "output": request.output,
            "inputs": {one.name: one.value.tolist() for one in further},
            "data": source.fingerprint(),
            "preprocessing": preprocessing.to_dict(),
            "limit": [request.limit_per_class, request.seed],
            "device": request.device,
            "versions": installed_versions(),
            **_key_of_what_departs(request),
        }
    )
    return Subject(network, further, site, source, preprocessing, indices, gap_model, key)


def open_network(
    model: Path, request: AuditRequest
) -> tuple[surgery.Network, tuple[ExtraInput, ...]]:
    """The network in ``model`` with its further inputs bound to what the request gives them.

    Raises:
        DataError, ModelError: as :func:`analyzer.surgery.load_network` and
            :func:`analyzer.surgery.bind_inputs`.
    """
    network = surgery.load_network(model, custom_ops=request.custom_ops)
    given = {name: data.read_value(text) for name, text in request.inputs}
    return surgery.bind_inputs(network, given)


def _key_of_what_departs(request: AuditRequest) -> dict[str, Any]:
    """What other counts than the method's own hang on besides.

    Another precision, another ranking, estimates.
    """
    key: dict[str, Any] = {}
    if request.precision != "float32":
        key["precision"] = request.precision
    if request.rank != "l1":
        key["rank"] = request.rank  # the seed of random orders is in the key in any case
    if request.tolerance:
        key["tolerance"] = [request.tolerance, request.chance, request.seed]
    return key
