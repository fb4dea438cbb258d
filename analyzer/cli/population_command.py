"""``onnx-gap population``"""

import contextlib
import logging
import os
import shlex
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from analyzer.cli.click_options import (
    FILE_OR_ZOO,
    PATH,
    Command,
    WholeNumber,
    budget_options,
    data_options,
    exit_codes,
    json_option,
    measure_options,
    out_folder,
    progress_option,
    request_options,
    resume_option,
    run_options,
    site_options,
    wait_option,
)
from analyzer.cli.terminal import complain, interruptible, print_json, show, show_progress, warn

_WATCH_SECONDS = 1.0
_PATIENCE = 1e8
"""Seconds that a run waits for a worker of a Dask cluster, which may start it hours later."""


@click.command(
    "population",
    cls=Command,
    short_help="Audit a population of networks from a manifest.",
    epilog=exit_codes(
        {
            1: "with --skip-failed, a network could not be audited",
            130: "interrupted; the same command resumes",
        }
    ),
)
@click.argument("manifest", type=PATH)
@out_folder("Folder that takes the table and an audit folder a network.")
@click.option(
    "-j",
    "--jobs",
    type=WholeNumber(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Networks audited at once, each in a process of its own.",
)
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Audit on the workers of this Dask scheduler, which must see the same files.",
)
@click.option(
    "--gap-model",
    type=FILE_OR_ZOO,
    metavar="FILE|zoo:NAME|none",
    help="Estimate each gap with this gap model.  [default: none]",
)
@click.option(
    "--skip-failed",
    is_flag=True,
    help="Go on after a network that cannot be audited; failed.csv names those that failed.",
)
@click.option("--html", "page", is_flag=True, help="Also write the table as a page for people.")
@resume_option
@wait_option
@progress_option
@json_option
@data_options
@site_options
@run_options
@measure_options
@budget_options
def command(
    manifest: Path,
    out: Path,
    jobs: int,
    dask: str | None,
    gap_model: str | None,
    skip_failed: bool,
    page: bool,
    resume: bool,
    shown: str,
    as_json: bool,
    **options: Any,
) -> int:
    """Audit every network of MANIFEST, a CSV file with a row a network.

    Its columns: name, model, train_data; then test_data, or train_accuracy and test_accuracy,
    or gap, where known; keys and test_keys for .npz files. Any further column is a
    hyperparameter. Paths are relative to the manifest. Leaves population.csv with zeta, kappa,
    train_accuracy, test_accuracy, gap, unit_rank and the circumstances of the audits, and an audit
    folder a network. What is finished is not run again. The first network that cannot be audited
    ends the run, unless --skip-failed is given; population.csv has those that are done.

    \b
    Examples:
      onnx-gap population manifest.csv --out population
      onnx-gap population manifest.csv --preprocess cifar -j 4 --out population
      onnx-gap population manifest.csv --rank selectivity --out by-selectivity
      onnx-gap population manifest.csv --skip-failed --html --out population
    """
    from analyzer.audit import audit_population, read_manifest
    from analyzer.make_request import population_request

    if dask is not None and jobs > 1:
        raise click.UsageError(
            "--jobs is for processes of this machine, and --dask for the workers of a cluster: "
            "give one of them."
        )
    members = read_manifest(manifest)
    template = population_request(
        members,
        out,
        threads=max((os.cpu_count() or 1) // jobs, 1) if jobs > 1 else 0,
        gap_model=gap_model,
        fresh=not resume,
        command=shlex.join(["onnx-gap", *sys.argv[1:]]),
        **request_options(options),
    )
    with _workers(dask), interruptible(), show_progress(shown) as progress:
        found = audit_population(
            members,
            template,
            out,
            jobs=jobs,
            skip_failed=skip_failed,
            page=page,
            progress=progress,
            say=warn,
        )
    if as_json:
        print_json(found.to_dict())
    else:
        known = len(found.table.with_gap())
        gaps = f"the gap of {known} is known" if known else "no gap is known"
        show(f"{out / 'population.csv'}: {len(found.table)} networks, {gaps}")
        if page:
            show(f"{out / 'population.html'}: the table to read")
    if found.failures:
        complain(
            f"{len(found.failures)} of {len(members)} networks could not be audited; "
            f"{out / 'failed.csv'} says which and why.",
            "Failed",
        )
    return 1 if found.failures else 0


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

    with _without_logs():
        try:
            client = Client(dask, timeout=10)
        except (OSError, ValueError) as error:
            raise click.UsageError(f"There is no Dask scheduler at {dask}: {error}") from error
        config = joblib.parallel_config(backend="dask", wait_for_workers_timeout=_PATIENCE)
        with client, _watching(client, dask), config:
            yield


@contextlib.contextmanager
def _without_logs() -> Iterator[None]:
    """Drop what Dask logs of a scheduler that is gone, with tracebacks: the run itself says so."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _watching(client: Any, address: str) -> Iterator[None]:
    """Say so when a Dask worker leaves, and when none is left: the run then waits for one to join.

    Dask itself gives the tasks of one that leaves to others, and says nothing.
    """
    ended = threading.Event()
    there: set[str] = set()
    told = False

    def look() -> None:
        nonlocal there, told
        now = set(client.ncores())
        lost, there, alone = there - now, now, not now
        if lost:
            warn(
                f"{len(lost)} of the Dask workers left or were lost ({', '.join(sorted(lost))}); "
                "what they were auditing is audited by others, from where it was."
            )
        if alone and not told:
            warn(f"No worker of the Dask scheduler {address} is left; the run waits for one.")
        told = alone

    def watch() -> None:
        with contextlib.suppress(Exception):  # the scheduler is gone, which the run itself will say
            there.update(client.ncores())
            while not ended.wait(_WATCH_SECONDS):
                look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
        ended.set()
        thread.join()
        with contextlib.suppress(Exception):
            look()  # at what was lost since the last time
    finally:
        ended.set()
