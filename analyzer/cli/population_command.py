"""``onnx-gap population``"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from analyzer.cli.options import (
    PATH,
    budget_options,
    data_options,
    measure_options,
    out_folder,
    request_options,
    run_options,
    site_options,
    wait_option,
)
from analyzer.cli.terminal import going_on_later, progress_bars, show, warn


@click.command("population", short_help="Audit a population of networks from a manifest.")
@click.argument("manifest", type=PATH)
@out_folder("Folder that takes the table and an audit folder a network.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Networks audited at once, each in a process of its own.",
)
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Audit on the workers of this Dask scheduler, which see the same files.",
)
@wait_option
@data_options
@site_options
@run_options
@measure_options
@budget_options
def command(manifest: Path, out: Path, jobs: int, dask: str | None, **options: Any) -> None:
    """Audit every network of MANIFEST, a CSV file with a row a network.

    Its columns: name, model, train_data; then test_data, or train_accuracy and test_accuracy,
    or gap, where known; keys and test_keys for .npz files. Any further column is a
    hyperparameter. Paths are relative to the manifest. Leaves population.csv with zeta, kappa,
    train_accuracy, test_accuracy, gap, unit_rank and the circumstances of the audits, and an audit
    folder a network. What is finished is not run again.

    \b
    Examples:
      onnx-gap population manifest.csv --out population
      onnx-gap population manifest.csv --preprocess cifar -j 4 --out population
      onnx-gap population manifest.csv --rank selectivity --out by-selectivity
    """
    from analyzer.audit import audit_population, read_manifest
    from analyzer.audit_options import AuditRequest

    members = read_manifest(manifest)
    template = AuditRequest(
        model=members[0].model,
        data=members[0].train_data,
        out=out,
        threads=max((os.cpu_count() or 1) // jobs, 1) if jobs > 1 else 0,
        **request_options(options),
    )
    with _workers(dask), going_on_later(), progress_bars() as progress:
        population = audit_population(
            members, template, out, jobs=jobs, progress=progress, say=warn
        )
    show(
        f"{out / 'population.csv'}: {len(population)} networks, the gap of "
        f"{len(population.with_gap())} is known"
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
        raise click.UsageError("--dask needs pip install 'onnx-gap[dask]'.") from None
    import joblib

    try:
        client = Client(dask, timeout=10)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"There is no Dask scheduler at {dask}: {error}") from error
    with client, joblib.parallel_config(backend="dask"):
        yield
