"""Audits of a population of networks, and the table that a gap model is fitted on."""

import contextlib
import csv
import io
import math
import os
import re
import sys
import threading
import time
import unicodedata
import warnings
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analyzer import data, estimation
from analyzer.audit.folder import locked
from analyzer.audit.inputs import open_network
from analyzer.audit.population_page import write_page
from analyzer.audit.population_result import (
    AUDITS,
    FAILED,
    PAGE,
    TABLE,
    AuditedNetwork,
    AuditedPopulation,
    ReplacedNetworks,
    audited_before,
    refuse_foreign_files,
    table_of,
    write_failures,
)
from analyzer.audit.run import run_audit
from analyzer.audit.unfinished_audit import key_of
from analyzer.audit_options import AuditRequest
from analyzer.common_types import Progress
from analyzer.errors import AnalyzerError, DataError, parameter
from analyzer.estimation.population_table import BOUNDS
from analyzer.files import read_text
from analyzer.input_budgets import DEFAULT_BUDGETS
from analyzer.json_codec import repeated
from analyzer.measures.registry import feature_values
from analyzer.measures.unmasked_predictions import predict_test_data

__all__ = ["Member", "audit_population", "read_manifest"]

_REQUIRED = ("name", "model", "train_data")
_SAFE_NAME = re.compile(r"\w[\w.-]{0,99}")  # no hidden folder, no way out of this one
_WATCH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Member:
    """A network of a population, as the manifest describes it."""

    name: str
    model: Path
    train_data: str
    keys: tuple[str, str] | None  # of the training data
    test_data: str | None
    test_keys: tuple[str, str] | None
    train_accuracy: float | None
    test_accuracy: float | None
    gap: float | None
    cells: Mapping[str, str]  # the row as written


def read_manifest(path: Path) -> tuple[Member, ...]:
    """The networks of a manifest: a CSV file, a row a network; paths are relative to it.

    Columns: ``name, model, train_data``, then what is known of ``test_data``,
    ``train_accuracy``, ``test_accuracy`` and ``gap``; ``keys`` and ``test_keys`` name the arrays
    of an .npz file as "images,labels". Any further column is a hyperparameter.

    Raises:
        DataError: it cannot be read, or a row is not what it should be; the sentence names it.
    """
    text = read_text(path, DEFAULT_BUDGETS, "The manifest")
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise DataError(f"The manifest {path} is not a CSV file: {error}.") from error
    columns = reader.fieldnames or ()
    if (twice := repeated(columns)) is not None:
        raise DataError(f"The manifest {path} has two columns named {twice!r}; keep one of them.")
    missing = [name for name in _REQUIRED if name not in columns]
    if missing:
        raise DataError(
            f"The manifest {path} has no column {missing[0]!r}; it needs {', '.join(_REQUIRED)}."
        )
    if not rows:
        raise DataError(f"The manifest {path} names no network; add a row for each.")
    base = path.resolve().parent
    members = tuple(_member(row, f"{path}, line {line}", base) for line, row in rows)
    seen: dict[str, str] = {}
    for member in members:
        # Folders whose names differ in case alone, or in how ü is written, are one on some systems.
        alike = unicodedata.normalize("NFKC", member.name).casefold()
        if alike in seen:
            also = f" and {member.name!r}" if member.name != seen[alike] else ""
            raise DataError(
                f"The manifest {path} names {seen[alike]!r}{also} twice; names are folders."
            )
        seen[alike] = member.name
    return members


def audit_population(
    members: Sequence[Member],
    template: AuditRequest,
    out: Path,
    *,
    jobs: int = 1,
    skip_failed: bool = False,
    page: bool = False,
    progress: Progress = lambda stage, done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> AuditedPopulation:
    """Audit every network into ``out/audits/NAME`` and write ``out/population.csv``.

    What is finished is not run again, also by a run with ``template.fresh`` that goes on where
    one was interrupted. Networks whose worker process is lost are audited again; one that takes
    its worker with it twice has failed.

    Args:
        template: the options, the same for every network.
        jobs: networks audited at once, by joblib; the caller's ``joblib.parallel_config`` picks
            another backend than processes on this machine.
        skip_failed: go on after a network that cannot be audited, rather than stop there. Either
            way the table has the networks that are done, and ``out/failed.csv`` those that failed.
            A run that stops keeps what the table of an earlier run says of networks that it has
            not come to, and of the one that failed; one that has audited none leaves that table.
        page: also write ``out/population.html``.
        progress: called with the stage "networks".
        say: told what is wrong with a network as it fails, and in the end what the audits warn of.

    Raises:
        AnalyzerError: what is wrong with the network that could not be audited, or that none
            could be.
        AuditFolderError: another run writes ``out``, and ``template`` is not to wait; or ``out``
            holds a file of somebody else's with a name of a population's.
    """
    if not isinstance(jobs, int) or jobs < 1:
        raise DataError(f"{parameter('jobs')} cannot be {jobs!r}; give a whole number from 1 on.")
    refuse_foreign_files(out)  # before a folder is made or locked
    with locked(out, wait=template.wait, say=say):
        replaced = ReplacedNetworks(out) if template.fresh else None
        networks, failures = _audit_all(
            members, template, out, jobs, skip_failed, replaced, progress, say
        )
        write_failures(failures, out)
        if not networks:
            raise _none_done(failures, out, len(members))
        if failures and not skip_failed:
            others = [member.name for member in members if member.name not in networks]
            tabled = audited_before(others, out) | networks
            networks = {one.name: tabled[one.name] for one in members if one.name in tabled}
        done = [member for member in members if member.name in networks]
        found = AuditedPopulation(
            table=table_of(networks, [member.cells for member in done]),
            networks=networks,
            failures=failures,
        )
        estimation.write_population(found.table, out / TABLE)
        if page:
            write_page(found, out)
        else:
            (out / PAGE).unlink(missing_ok=True)  # it would show another table than this one
        for whose, sentence in found.shared_warnings():
            say(f"{whose}: {sentence}")
        if failures and not skip_failed:
            raise _stopped(failures, out, networks, len(members))
        ReplacedNetworks(out).forget()
    return found


def _audit_all(
    members: Sequence[Member],
    template: AuditRequest,
    out: Path,
    jobs: int,
    skip_failed: bool,
    replaced: ReplacedNetworks | None,
    progress: Progress,
    say: Callable[[str], None],
) -> tuple[dict[str, AuditedNetwork], dict[str, AnalyzerError]]:
    """Networks and failures by name, each in the order of the manifest."""
    keys = {member.name: key_of({**template.settings(), **member.cells}) for member in members}
    tasks = {}
    for member in members:
        request = _request(member, template, out)
        if replaced is not None and keys[member.name] in replaced:
            request = replace(request, fresh=False)
        tasks[member.name] = (member, request)
    networks: dict[str, AuditedNetwork] = {}
    failures: dict[str, AnalyzerError] = {}
    progress("networks", 0, len(members))
    with contextlib.closing(_outcomes(tasks, jobs, say)) as outcomes:
        for number, (name, found) in enumerate(outcomes, 1):
            if isinstance(found, AuditedNetwork):
                networks[name] = found
                if replaced is not None:
                    replaced.add(keys[name])
            else:
                failures[name] = found
                if not skip_failed:
                    break
                say(f"{name}: {found}")
            progress("networks", number, len(members))
    in_order = [member.name for member in members]
    return (
        {name: networks[name] for name in in_order if name in networks},
        {name: failures[name] for name in in_order if name in failures},
    )


def _outcomes(
    tasks: Mapping[str, tuple[Member, AuditRequest]],
    jobs: int,
    say: Callable[[str], None],
    *,
    again: bool = False,
) -> Generator[tuple[str, AuditedNetwork | AnalyzerError], None, None]:
    """What comes of each network, by name, as it is finished.

    With a lost worker process joblib gives up all that are not finished. They are audited again in
    two halves, and so on, until a network that always takes its worker with it is alone.

    Args:
        tasks: by name.
        jobs: networks audited at once.
        say: told that a worker was lost.
        again: the network in ``tasks`` is alone, and was lost once already.
    """
    import joblib  # a quarter of a second that a single audit does not pay

    # No more workers than networks, but two: alone it would run in this process, and take it along.
    workers = min(jobs, max(len(tasks), 2))
    run = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", **_ending_with_us())
    left = dict(tasks)
    try:
        for name, found in run(joblib.delayed(_measured)(*task) for task in tasks.values()):
            del left[name]
            yield name, found
    except _lost_worker() as error:
        if not left:
            return
        if again:
            (name,) = left
            yield name, _lost_twice()
            return
        say(
            f"A worker process was lost ({type(error).__name__}); the {len(left)} networks that "
            "are not finished are audited again, from where they were."
        )
    except _lost_scheduler():
        for name in left:
            yield name, AnalyzerError("The Dask scheduler was lost before it was audited.")
        return
    if not left:
        return
    names = list(left)
    half = (len(names) + 1) // 2
    for part in (names[:half], names[half:]):
        if part:
            yield from _outcomes(
                {name: left[name] for name in part}, jobs, say, again=len(names) == 1
            )


def _lost_twice() -> AnalyzerError:
    return AnalyzerError(
        "The process that audited it was killed, and once more when it was audited alone. It "
        f"probably takes more memory than there is: give it less {parameter('memory')}, or audit "
        f"fewer {parameter('jobs')} at once."
    )


def _lost_worker() -> tuple[type[Exception], ...]:
    """What joblib raises when a worker process is gone: of its own processes, or of Dask's."""
    dask = sys.modules.get("distributed")
    return (BrokenExecutor, *((dask.KilledWorker,) if dask else ()))


def _lost_scheduler() -> tuple[type[BaseException], ...]:
    """What is raised when Dask's scheduler is gone."""
    dask = sys.modules.get("distributed")
    return (dask.CancelledError, dask.comm.CommClosedError) if dask else ()


def _stopped(
    failures: Mapping[str, AnalyzerError], out: Path, tabled: Collection[str], members: int
) -> AnalyzerError:
    """Why the run ends at the first network that could not be audited."""
    ((name, why),) = failures.items()
    before = f", and {name!r} as it was audited before" if name in tabled else ""
    return AnalyzerError(
        f"The network {name!r} could not be audited: {why.message} {out / TABLE} holds the "
        f"{len(set(tabled) - {name})} of {members} networks that are done{before}. Correct or "
        "remove its row and run the same command again, or pass "
        f"{parameter('skip_failed', True)} to go on with the others."
    )


def _none_done(failures: Mapping[str, AnalyzerError], out: Path, members: int) -> AnalyzerError:
    """Why the run has no table to write; one of an earlier run stays."""
    name, why = next(iter(failures.items()))
    stays = f" {out / TABLE} stays as it was." if (out / TABLE).exists() else ""
    if len(failures) == members > 1:
        return AnalyzerError(
            f"None of the {members} networks could be audited, {name!r} because: {why.message} "
            f"{out / FAILED} says why of each.{stays}"
        )
    return AnalyzerError(
        f"The network {name!r} could not be audited: {why.message}"
        f"{stays or f' There is no {out / TABLE} yet.'} Correct or remove its row and run the same "
        "command again."
    )


def _member(row: Mapping[str, str | None], where: str, base: Path) -> Member:
    cells = {key: (value or "").strip() for key, value in row.items() if key is not None}
    if None in row:
        raise DataError(f"{where} has more cells than the header; quote cells that hold commas.")
    for name in _REQUIRED:
        if not cells[name]:
            raise DataError(f"{where}: the column {name!r} is empty.")
    if not _SAFE_NAME.fullmatch(cells["name"]):
        raise DataError(
            f"{where}: the name {cells['name']!r} becomes a folder; use up to 100 letters, digits, "
            "'.', '_' and '-', a letter, digit or '_' first."
        )
    return Member(
        name=cells["name"],
        model=base / cells["model"],
        train_data=str(base / cells["train_data"]),
        keys=_keys(cells.get("keys", ""), where),
        test_data=str(base / cells["test_data"]) if cells.get("test_data") else None,
        test_keys=_keys(cells.get("test_keys", ""), where),
        train_accuracy=_number(cells, "train_accuracy", where),
        test_accuracy=_number(cells, "test_accuracy", where),
        gap=_number(cells, "gap", where),
        cells=cells,
    )


def _keys(text: str, where: str) -> tuple[str, str] | None:
    if not text:
        return None
    parts = tuple(part.strip() for part in text.split(","))
    if len(parts) != 2:
        raise DataError(f"{where}: the keys {text!r} must be two names, as images,labels.")
    return parts


def _number(cells: Mapping[str, str], name: str, where: str) -> float | None:
    if not cells.get(name):
        return None
    try:
        number = float(cells[name])
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where}: {name} is {cells[name]!r}, not a number.")
    low, high = BOUNDS[name]
    if not low <= number <= high:
        raise DataError(
            f"{where}: {name} is {cells[name]!r}, not a number from {low:g} to {high:g}."
        )
    return number


def _request(member: Member, template: AuditRequest, out: Path) -> AuditRequest:
    return replace(
        template,
        model=member.model,
        data=member.train_data,
        keys=member.keys or template.keys,
        out=out.resolve() / AUDITS / member.name,  # workers may stand elsewhere
        # What a lost or killed run began may still be running, and Dask gives the task of a worker
        # that leaves to another one before it is done: then it is waited for.
        wait=True,
        anyway=True,  # a table is of all networks, those that learned nothing among them
        needs_site=True,  # and has ζ and κ of each
    )


def _measured(member: Member, request: AuditRequest) -> tuple[str, AuditedNetwork | AnalyzerError]:
    """Audit one network, in a worker; bad input comes back as its error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries, in a process of its own
            result = run_audit(request)
        train = result.accuracy if member.train_accuracy is None else member.train_accuracy
        test = member.test_accuracy
        if test is None and member.test_data is not None:
            test = _test_accuracy(member, member.test_data, request)
    except AnalyzerError as error:
        return member.name, AnalyzerError(error.message)  # some subclasses cannot be pickled
    gap = member.gap
    if gap is None and test is not None:
        gap = train - test
    unknown = float("nan")
    values = {
        "train_accuracy": train,
        "test_accuracy": unknown if test is None else test,
        "gap": unknown if gap is None else gap,
    }
    return member.name, AuditedNetwork.of(result, {**feature_values(result), **values})


def _ending_with_us() -> dict[str, Any]:
    """Options by which joblib's own workers end when this process does, before a task or in one.

    Those of Dask belong to somebody else.
    """
    from joblib.parallel import get_active_backend

    backend, _ = get_active_backend()
    if type(backend).__name__ != "LokyBackend":
        return {}
    return {"initializer": _end_with, "initargs": (os.getpid(),)}


def _end_with(parent: int) -> None:
    """End this process soon after ``parent`` has, which may be killed and tell nobody."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _test_accuracy(member: Member, test_data: str, request: AuditRequest) -> float:
    network, extra_inputs = open_network(member.model, request)
    source = data.open_data(
        test_data,
        keys=member.test_keys or request.keys,
        classes=request.classes,
        budgets=request.budgets,
    )
    found = predict_test_data(
        network, extra_inputs, source, reading=request, run=request, output=request.output
    )
    return found.accuracy
