"""From the options of the command line to what the library is asked for."""

from pathlib import Path
from typing import Any

import click

from analyzer.cli.zoo_names import entry

__all__ = ["audit_request", "gap_model_of", "network_path"]

_PREPROCESS = (
    "img_size", "crop_pct", "interpolation", "mean", "std", "scale", "channels", "layout", "exif",
)  # fmt: skip
_PASSED_ON = (
    "site", "at", "axis", "output", "classes", "limit_per_class", "seed", "skip_bad", "device",
    "memory",
)  # fmt: skip


def network_path(model: str) -> Path:
    """The ONNX file that a path or zoo:NAME means."""
    found = entry(model)
    if found is None:
        return Path(model)
    if found.model is None:
        raise click.BadParameter(f"{model} is a {found.kind}, not a network", param_hint="MODEL")
    return found.model


def gap_model_of(name: str) -> Path:
    """The gap model that a path or zoo:NAME means."""
    found = entry(name)
    if found is None:
        return Path(name)
    if found.gap_model is None:
        raise click.BadParameter(f"{name} has no gap model", param_hint="--gap-model")
    return found.gap_model


def audit_request(model: str, data: str | None, out: Path, **options: Any) -> Any:
    """The :class:`analyzer.audit.AuditRequest` that a command line means.

    A network of the zoo brings its own training data and gap model, unless others are named.
    """
    from analyzer.audit import AuditRequest
    from analyzer.data import PreprocessOptions

    network, samples = entry(model), entry(data or model)
    path = network_path(model)
    if samples is None and data is None:
        raise click.UsageError(
            f"{model} needs its training data: name them with --data (a folder of class folders, "
            "an .npz file, an IDX or CIFAR folder, …)"
        )
    if samples is not None and samples.data is None:
        raise click.BadParameter(f"{data or model} brings no data", param_hint="--data")
    preprocess = {name: options[name] for name in _PREPROCESS}
    keys, gap_model = options["keys"], options.get("gap_model")
    if samples is not None:
        keys = keys or samples.keys
        preprocess = {
            **samples.preprocessing,
            **{k: v for k, v in preprocess.items() if v is not None},
        }
    if gap_model is None and network is not None and network.gap_model is not None:
        gap_model = f"zoo:{network.population}"
    return AuditRequest(
        model=path,
        data=str(samples.data) if samples is not None else data,
        out=out,
        model_name=model if network is not None else "",
        data_name=(data or model) if samples is not None else "",
        keys=keys,
        preprocess=PreprocessOptions(preset=options["preprocess"], **preprocess),
        chance=options.get("chance"),
        gap_model=None if gap_model is None else gap_model_of(gap_model),
        gap_model_name=gap_model or "",
        fresh=options.get("fresh", False),
        **{name: options[name] for name in _PASSED_ON},
    )
