"""Audits of a population of networks, and the table that a gap model is fitted on."""

import csv
import functools
import io
import math
import os
import re
import tempfile
import threading
import time
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from analyzer import data, estimation, runtime, surgery
from analyzer.audit.assemble_record import some_of
from analyzer.audit.folder_lock import locked
from analyzer.audit.inputs import open_network
from analyzer.audit.run import run_audit
from analyzer.audit_options import AuditRequest
from analyzer.budgets import DEFAULT_BUDGETS
from analyzer.errors import AnalyzerError, DataError
from analyzer.measures.ablation.checked_network import in_precision
from analyzer.measures.registry import feature_values
from analyzer.records import Progress
from analyzer.whole_files import read_text

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


@dataclass(frozen=True, slots=True)
class _Row:
    """What an audit adds to a network's row of the table."""

    values: Mapping[str, float]
    circumstances: estimation.AuditConditions
    warnings: tuple[str, ...]


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
    missing = [name for name in _REQUIRED if name not in (reader.fieldnames or ())]
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
    progress: Progress = lambda stage, done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> estimation.PopulationTable:
    """Audits every network into ``out/audits/NAME`` and writes ``out/population.csv``.

    What is finished is not run again. A network that fails does not keep the others from being
    audited; the table is written once all of them are.

    Args:
        template: the options, the same for every network.
        jobs: networks audited at once, by joblib; the caller's ``joblib.parallel_config`` picks
            another backend than processes on this machine.
        progress: called with the stage "networks".
        say: told what is wrong with a network as it fails, and in the end what the audits warn of.

    Raises:
        AnalyzerError: what is wrong with the networks that could not be audited.
        AuditFolderError: another run writes ``out``, and ``template`` is not to wait.
    """
    with locked(out, wait=template.wait, say=say):
        return _audit_all(members, template, out, jobs, progress, say)


def _audit_all(
    members: Sequence[Member],
    template: AuditRequest,
    out: Path,
    jobs: int,
    progress: Progress,
    say: Callable[[str], None],
) -> estimation.PopulationTable:
    import joblib  # a quarter of a second that a single audit does not pay

    requests = [_request(member, template, out) for member in members]
    run = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    rows: dict[str, _Row] = {}
    failures: dict[str, str] = {}
    tasks = (
        joblib.delayed(_measured)(member, request, os.getpid())
        for member, request in zip(members, requests, strict=True)
    )
    for number, (name, found) in enumerate(run(tasks), 1):
        if isinstance(found, _Row):
            rows[name] = found
        else:
            failures[name] = found
            say(f"{name}: {found}")
        progress("networks", number, len(members))
    for sentence, names in _warnings(members, rows).items():
        whose = "all networks" if len(names) == len(members) else some_of(names)
        say(f"{whose}: {sentence}")
    if failures:
        raise AnalyzerError(
            f"{len(failures)} of {len(members)} networks could not be audited "
            f"({', '.join(failures)}); fix or remove their rows, then run the same command "
            "again: the audits that are done are kept."
        )
    population = _table(members, rows, template.rank)
    estimation.write_population(population, out / "population.csv")
    return population


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
    return number


def _request(member: Member, template: AuditRequest, out: Path) -> AuditRequest:
    return replace(
        template,
        model=member.model,
        data=member.train_data,
        keys=member.keys or template.keys,
        out=out.resolve() / "audits" / member.name,  # workers may stand elsewhere
    )


def _measured(member: Member, request: AuditRequest, parent: int) -> tuple[str, _Row | str]:
    """Audits one network, in a worker; an error comes back as a sentence.

    Args:
        member: the network.
        request: what is asked for.
        parent: the process that gave this one its work, which ends with it.
    """
    if os.getppid() == parent:  # not on Dask, whose workers belong to somebody else
        _end_with(parent)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries, in a process of its own
            result = run_audit(request)
        train = result.accuracy if member.train_accuracy is None else member.train_accuracy
        test = member.test_accuracy
        if test is None and member.test_data is not None:
            test = _test_accuracy(member, member.test_data, request)
    except AnalyzerError as error:
        return member.name, str(error)
    gap = member.gap
    if gap is None and test is not None:
        gap = train - test
    unknown = float("nan")
    values = {
        "train_accuracy": train,
        "test_accuracy": unknown if test is None else test,
        "gap": unknown if gap is None else gap,
    }
    return member.name, _Row(
        {**feature_values(result), **values}, estimation.conditions_of(result), result.warnings
    )


@functools.cache
def _end_with(parent: int) -> None:
    """End this process soon after ``parent`` has, which may be killed and tell nobody."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _warnings(members: Sequence[Member], rows: Mapping[str, _Row]) -> Mapping[str, list[str]]:
    """What audits warn of, each sentence once, with the networks that it is about."""
    found: dict[str, list[str]] = {}
    for member in members:
        for sentence in rows[member.name].warnings if member.name in rows else ():
            found.setdefault(sentence, []).append(member.name)
    return found


def _test_accuracy(member: Member, test_data: str, request: AuditRequest) -> float:
    network, extra_inputs = open_network(member.model, request, request)
    source = data.open_data(
        test_data,
        keys=member.test_keys or request.keys,
        classes=request.classes,
        budgets=request.budgets,
    )
    preprocessing = data.resolve_preprocessing(source, network.info.inputs[0], request.preprocess)
    samples = runtime.Samples(
        indices=np.arange(len(source)),
        labels=source.labels,
        load=lambda indices, batch_size: data.batches(
            source, preprocessing, indices, batch_size, skip_bad=request.skip_bad
        ),
    )
    device, *_ = runtime.named_devices(request.device)
    with tempfile.TemporaryDirectory() as scratch:
        converted = in_precision(network, request.precision, Path(scratch))
        whole = runtime.WholeNetwork(
            surgery.runnable_file(converted, Path(scratch)),
            network.info.inputs[0],
            surgery.find_answer(network, request.output),
            # In the converted file they are bound.
            extra_inputs=extra_inputs if converted is network else (),
            custom_ops=request.custom_ops,
        )
        return runtime.measure_accuracy(
            whole,
            samples,
            device=device,
            threads=request.threads,
            tf32=request.precision == "tf32",
        )


def _table(
    members: Sequence[Member], rows: Mapping[str, _Row], rank: str
) -> estimation.PopulationTable:
    measured = ("zeta", "kappa", "train_accuracy", "test_accuracy", "gap")
    found = dict.fromkeys(name for member in members for name in rows[member.name].values)
    features = [name for name in found if name not in measured]
    known = ("name", "keys", "test_keys", *measured, *features)
    further = [name for name in members[0].cells if name not in known]

    def column(name: str) -> np.ndarray:
        return np.array([rows[member.name].values.get(name, np.nan) for member in members])

    cells = {name: tuple(member.cells.get(name, "") for member in members) for name in further}
    audited = [rows[member.name].circumstances.to_cells() for member in members]
    # Last, because a table of another run may be the manifest.
    cells |= {estimation.RANK: (rank,) * len(members)}
    cells |= {name: tuple(row[name] for row in audited) for name in estimation.CONDITION_COLUMNS}
    return estimation.PopulationTable(
        name=tuple(member.name for member in members),
        further=cells,
        features={name: column(name) for name in features},
        **{name: column(name) for name in measured},
    )
