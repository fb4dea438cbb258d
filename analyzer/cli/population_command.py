"""``onnx-gap population``"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from analyzer.cli.options import data_options, run_options, site_options
from analyzer.cli.requests import audit_request
from analyzer.cli.terminal import progress_bars, say


@click.command("population")
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder that takes the results."
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Networks audited at once, each in a process of its own.",
)
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Audit on the workers of this Dask scheduler, which see the same files.",
)
@site_options
@data_options
@run_options
def command(manifest: Path, out: Path, jobs: int, dask: str | None, **options: Any) -> None:
    """Audit every network of MANIFEST, a CSV file with a row a network.

    Its columns: name, model, train_data; then test_data, or train_accuracy and test_accuracy,
    or gap, where known; keys and test_keys for .npz files. Any further column is a
    hyperparameter. Paths are relative to the manifest. Leaves an audit folder a network and
    population.csv with zeta, kappa, train_accuracy, test_accuracy and gap. What is finished is
    not run again.

    \b
    Examples:
      onnx-gap population manifest.csv --out population
      onnx-gap population manifest.csv --preprocess cifar --jobs 4 --out population
    """
    from dataclasses import replace

    from analyzer.audit import audit_population, read_manifest

    members = read_manifest(manifest)
    template = audit_request(str(members[0].model), members[0].train_data, out, **options)
    template = replace(template, threads=max((os.cpu_count() or 1) // jobs, 1) if jobs > 1 else 0)
    with _workers(dask), progress_bars() as progress:
        population = audit_population(members, template, out, jobs=jobs, progress=progress, say=say)
    known = len(population.with_gap())
    say(
        f"{len(population)} networks audited, the gap of {known} is known; "
        f"table: {out / 'population.csv'}"
    )


@contextlib.contextmanager
def _workers(dask: str | None) -> Iterator[None]:
    """Where joblib runs: processes on this machine, or a Dask cluster."""
    if dask is None:
        yield
        return
    try:
        from dask.distributed import Client
    except ImportError:
        raise click.UsageError("--dask needs pip install 'onnx-gap[dask]'") from None
    import joblib

    try:
        client = Client(dask, timeout=10)
    except OSError as error:
        raise click.BadParameter(f"no Dask scheduler at {dask}: {error}") from error
    with client, joblib.parallel_config(backend="dask"):
        yield
