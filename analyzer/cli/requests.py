"""From the options of the command line to what the library is asked for."""

from pathlib import Path
from typing import Any

import click

from analyzer.cli.zoo_names import entry

__all__ = ["audit_request", "gap_model_path", "network_path", "shared_settings"]

_PREPROCESS = (
    "img_size", "crop_pct", "interpolation", "mean", "std", "scale", "channels", "layout", "exif",
)  # fmt: skip
_PASSED_ON = (
    "site", "at", "axis", "output", "inputs", "custom_ops", "classes", "limit_per_class",
    "seed", "skip_bad", "chance", "device", "precision", "memory", "tolerance", "rank",
    "margins", "suspects",
)  # fmt: skip


def network_path(model: str) -> Path:
    """The ONNX file that a path or zoo:NAME means."""
    found = entry(model)
    if found is None:
        return Path(model)
    if found.model is None:
        raise click.UsageError(f"{model} is a data set; `onnx-gap zoo list` shows the networks.")
    return found.model


def gap_model_path(name: str) -> Path:
    """The gap model that a path or zoo:NAME means."""
    found = entry(name)
    if found is None:
        return Path(name)
    if found.gap_model is None:
        raise click.UsageError(f"{name} comes without a gap model; give --gap-model a file.")
    return found.gap_model


def audit_request(
    model: str,
    data: str | None,
    out: Path,
    *,
    gap_model: str | None,
    fresh: bool,
    options: dict[str, Any],
) -> Any:
    """The :class:`analyzer.audit.AuditRequest` that a command line means.

    A network of the zoo brings its own training data and gap model, unless others are named.
    """
    from analyzer.request import AuditRequest

    path = network_path(model)
    network, samples = entry(model), entry(data or model)
    if data is None and samples is None:
        raise click.UsageError(
            f"The training data of {model} are missing: name them with --data (a folder of class "
            "folders, an .npz file, an IDX or CIFAR folder, …)."
        )
    if gap_model is None and network is not None and network.gap_model is not None:
        gap_model = f"zoo:{network.population}"
    settings = shared_settings(options, brought=None if samples is None else samples.preprocessing)
    if samples is not None:
        settings["keys"] = options["keys"] or samples.keys
    return AuditRequest(
        model=path,
        model_name="" if network is None else model,
        data=data if samples is None else str(samples.data),
        data_name="" if samples is None else data or model,
        out=out,
        gap_model=None if gap_model is None else gap_model_path(gap_model),
        gap_model_name=gap_model or "",
        fresh=fresh,
        **settings,
    )


def shared_settings(
    options: dict[str, Any], brought: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Fields of an AuditRequest that every audit of the command line has.

    Args:
        options: those of ``site_options``, ``data_options`` and ``run_options``.
        brought: preprocessing that comes with the data; options go over it.
    """
    from analyzer.data import PreprocessOptions

    given = {name: options[name] for name in _PREPROCESS if options[name] is not None}
    preset = options["preprocess"]
    if preset is None:
        given = {**(brought or {}), **given}
    return {
        "keys": options["keys"],
        "preprocess": PreprocessOptions(preset=preset, **given),
        **{name: options[name] for name in _PASSED_ON},
    }
