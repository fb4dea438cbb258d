"""Audits of a population of networks, and the table that a gap model is fitted on."""

import contextlib
import math
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import replace
from pathlib import Path

from analyzer import data, estimation, surgery
from analyzer.audit.assemble_record import some_of
from analyzer.audit.folder import AUDIT, locked, read_record
from analyzer.audit.inputs import find_inputs, open_network
from analyzer.audit.population_manifest import Member
from analyzer.audit.population_page import write_page
from analyzer.audit.population_result import (
    AUDITS,
    FAILED,
    PAGE,
    TABLE,
    AuditedNetwork,
    AuditedPopulation,
    ReplacedNetworks,
    refuse_foreign_files,
    table_of,
    write_failures,
)
from analyzer.audit.run import run_audit
from analyzer.audit.shared_inputs import ReadInput, SharedInputs
from analyzer.audit.unfinished_audit import key_of
from analyzer.audit_options import AuditRequest
from analyzer.audit_record import AuditRecord
from analyzer.common_types import Progress
from analyzer.errors import AnalyzerError, DataError, GapModelError, ModelError, parameter
from analyzer.estimation.population_table import FILES, gap_contradiction
from analyzer.measures.registry import feature_values
from analyzer.measures.unmasked_predictions import predict_test_data
from analyzer.output_files import prepare_folder, remove_parts

__all__ = ["audit_population"]

_WATCH_SECONDS = 0.5
_OTHER_ACCURACY = 0.05  # that training accuracies may differ by: networks are also trained with
# dropout, or on images that are changed at random
_TEST_DATA_NOT_RUN = (
    "The test data are not run, because the manifest gives the test accuracy; leave that empty to "
    "have it measured."
)
_NOT_ASKED_FOR = "a row is of a network that the manifest names, audited as this run asks"
_TESTED_ON_TRAINING = "The test data are the training data: the gap that they give is none."


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
            A run that stops keeps those rows of an earlier table that are of networks that it has
            not come to, and that it would write again. One that has audited none leaves that table
            as it was, but for networks whose files are others by now.
        page: also write ``out/population.html``.
        progress: called with the stage "networks".
        say: told what is wrong with a network as it fails, and in the end what the audits warn of.

    Raises:
        AnalyzerError: what is wrong with the network that could not be audited, or that none
            could be.
        DataError: a file or data that networks share have changed meanwhile; an earlier table is
            left as it was.
        AuditFolderError: another run writes ``out``, and ``template`` is not to wait; or ``out``
            holds a file of somebody else's with a name of a population's.
    """
    if not isinstance(jobs, int) or jobs < 1:
        raise DataError(f"{parameter('jobs')} cannot be {jobs!r}; give a whole number from 1 on.")
    refuse_foreign_files(out)  # before a folder is made or locked
    with locked(out, wait=template.wait, say=say) as check_lock:
        replaced = ReplacedNetworks(out)
        remove_parts(out, (TABLE, FAILED, PAGE))
        earlier = _table_of_an_earlier_run(out)
        shared = SharedInputs(_shared_files(members, template))

        def check() -> None:
            check_lock()
            shared.hold_files()

        networks, failures = _audit_all(
            members, template, out, jobs, skip_failed, replaced, progress, say, check
        )
        for name, network in networks.items():
            shared.hold_network(name, network.read)
        if failures:  # before the table that lacks them
            write_failures(failures, out)
        if not networks:
            dropped = _drop_replaced(earlier, members, out) if earlier else []
            raise _none_done(failures, out, len(members), dropped)
        kept = {}
        if failures and not skip_failed and earlier:
            left = [one for one in members if one.name not in networks.keys() | failures.keys()]
            kept = _kept_rows(earlier, left, networks, template, out)
            shared.hold_files()
        tabled = networks | kept
        dropped = [name for name in (earlier.name if earlier else ()) if name not in tabled]
        (out / PAGE).unlink(missing_ok=True)  # it would show another table than the one below
        networks = {one.name: tabled[one.name] for one in members if one.name in tabled}
        done = [member for member in members if member.name in networks]
        found = AuditedPopulation(
            table=table_of(networks, [member.cells for member in done]),
            networks=networks,
            failures=failures,
        )
        estimation.write_population(found.table, out / TABLE)
        if not failures:  # after the table that lacked some
            write_failures({}, out)
        if page:
            write_page(found, out)
        for whose, sentence in found.shared_warnings():
            say(f"{whose}: {sentence}")
        for sentence in found.same_networks():
            say(sentence)
        if failures and not skip_failed:
            raise _stopped(
                failures, out, len(members), len(networks) - len(kept), list(kept), dropped
            )
        replaced.forget()
    return found


def _audit_all(
    members: Sequence[Member],
    template: AuditRequest,
    out: Path,
    jobs: int,
    skip_failed: bool,
    replaced: ReplacedNetworks,
    progress: Progress,
    say: Callable[[str], None],
    check: Callable[[], None],
) -> tuple[dict[str, AuditedNetwork], dict[str, AnalyzerError]]:
    """Networks and failures by name, each in the order of the manifest.

    Args:
        check: called after each; what it raises ends the run.
    """
    keys = {member.name: key_of({**template.settings(), **member.cells}) for member in members}
    tasks = {}
    for member in members:
        request = _request(member, template, out)
        if template.fresh and keys[member.name] in replaced:
            request = replace(request, fresh=False, fresh_if_other=True)
        tasks[member.name] = (member, request)
    networks: dict[str, AuditedNetwork] = {}
    failures: dict[str, AnalyzerError] = {}
    progress("networks", 0, len(members))
    with _folder_of_audits(out), contextlib.closing(_outcomes(tasks, jobs, say)) as outcomes:
        for number, (name, found) in enumerate(outcomes, 1):
            check()
            if isinstance(found, AuditedNetwork):
                networks[name] = found
                if template.fresh:
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


@contextlib.contextmanager
def _folder_of_audits(out: Path) -> Iterator[None]:
    """The folder in which workers make theirs; it is removed if none is left in it."""
    folder = prepare_folder(out / AUDITS, parents=False)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # not empty, or a link
            folder.rmdir()


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
    ours = workers > 1 and _are_ours()
    options = {"initializer": _prepare_worker, "initargs": (os.getpid(),)} if ours else {}
    run = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", **options)
    left = dict(tasks)
    try:
        with contextlib.ExitStack() as ending:
            ending.enter_context(_quiet_when_ended())
            with _away_from_signals() if ours else contextlib.nullcontext():
                outcomes = run(joblib.delayed(_measured)(*task) for task in tasks.values())
                ending.enter_context(contextlib.closing(outcomes))
            for name, found in outcomes:
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
            yield name, _SchedulerLost("The Dask scheduler was lost before it was audited.")
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


class _SchedulerLost(AnalyzerError):
    """Nothing is wrong with the network: what was to run it is gone."""


def _way_on(why: AnalyzerError, skip: str = "") -> str:
    """What to do about a network that has failed.

    Args:
        why: it did.
        skip: how the others are audited without it, where that is possible.
    """
    if isinstance(why, _SchedulerLost):
        return "Start a scheduler and workers again, and run the same command with its address."
    return f"Correct or remove its row and run the same command again{skip}."


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
    failures: Mapping[str, AnalyzerError],
    out: Path,
    members: int,
    done: int,
    kept: Sequence[str],
    dropped: Sequence[str],
) -> AnalyzerError:
    """Why the run ends at the first network that could not be audited.

    Args:
        failures: the one that could not.
        out: folder of the population.
        members, done: networks in all, and those that are done.
        kept: rows of an earlier table that this one still has.
        dropped: those that it does not have any more.
    """
    ((name, why),) = failures.items()
    skip = f", or pass {parameter('skip_failed', True)} to go on with the others"
    rows = [f"the {done} of {members} networks that are done"]
    rows += [f"{some_of(kept)} of an earlier run"] if kept else []
    gone = f" It has {some_of(dropped)} no more: {_NOT_ASKED_FOR}." if dropped else ""
    return AnalyzerError(
        f"The network {name!r} could not be audited: {why.message} {out / TABLE} holds "
        f"{', and '.join(rows)}.{gone} {_way_on(why, skip)}"
    )


def _none_done(
    failures: Mapping[str, AnalyzerError], out: Path, members: int, dropped: Sequence[str]
) -> AnalyzerError:
    """Why the run has no table to write; one of an earlier run stays, but for what was dropped."""
    name, why = next(iter(failures.items()))
    stays = f" {out / TABLE} stays as it was." if (out / TABLE).exists() else ""
    if dropped:
        stays = f" {out / TABLE} has {some_of(dropped)} no more: the files are others by now."
    if len(failures) == members > 1:
        return AnalyzerError(
            f"None of the {members} networks could be audited, {name!r} because: {why.message} "
            f"{out / FAILED} says why of each.{stays}"
        )
    return AnalyzerError(
        f"The network {name!r} could not be audited: {why.message}"
        f"{stays or f' There is no {out / TABLE} yet.'} {_way_on(why)}"
    )


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
        within=True,  # or a worker would make again what was moved away
        anyway=True,  # a table is of all networks, those that learned nothing among them
        needs_site=True,  # and has ζ and κ of each
    )


def _shared_files(members: Iterable[Member], template: AuditRequest) -> Iterator[str | Path]:
    """What options name that the audit of every network reads: files, and what may be none."""
    for path in (template.classes, template.gap_model, template.custom_ops):
        if path is not None:
            yield path
    if template.preprocess.preset is not None:
        yield template.preprocess.preset
    yield from (value for _, value in template.inputs)  # some are numbers
    if template.groups is not None:
        yield template.groups
        if not os.path.isfile(template.groups):  # but a column of the data's manifest
            yield from (member.train_data.partition("#")[0] for member in members)


def _measured(member: Member, request: AuditRequest) -> tuple[str, AuditedNetwork | AnalyzerError]:
    """Audit one network, in a worker; bad input comes back as its error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries, in a process of its own
            result = run_audit(request)
        test = member.test_accuracy
        warned: list[str] = []
        part = key_of({"keys": request.keys, "skipped": result.skipped})
        read = [ReadInput(member.train_data, part, result.data.sha256)]
        if result.gap is not None:
            read.append(ReadInput(str(request.gap_model), "", result.gap.gap_model))
        if member.test_data is not None:
            if test is None:
                test, ran, warned = _test_accuracy(member, member.test_data, request, result)
                read.append(ran)
            else:
                warned = [_TEST_DATA_NOT_RUN]
        values = _values(member, result, test)
    except AnalyzerError as error:
        return member.name, AnalyzerError(error.message)  # some subclasses cannot be pickled
    return member.name, AuditedNetwork.of(
        result, values, [*_other_accuracy(member, result), *warned], read
    )


def _values(member: Member, audited: AuditRecord, test: float | None) -> dict[str, float]:
    """What the table says of a network: its features, accuracies and gap; NaN where not known.

    Raises:
        AnalyzerError: the gap that the manifest gives is not the difference of the accuracies.
    """
    train = audited.accuracy if member.train_accuracy is None else member.train_accuracy
    if contradiction := gap_contradiction(train, test, member.gap):
        raise AnalyzerError(f"In the manifest, {contradiction}")
    unknown = float("nan")
    gap = unknown if test is None else train - test
    return {
        **feature_values(audited),
        "train_accuracy": train,
        "test_accuracy": unknown if test is None else test,
        "gap": gap if member.gap is None else member.gap,
    }


def _other_accuracy(member: Member, audited: AuditRecord) -> Iterator[str]:
    """That the training accuracy of the manifest is not that of the audit."""
    declared, measured = member.train_accuracy, audited.accuracy
    if declared is None:
        return
    error = math.sqrt(measured * (1 - measured) / audited.data.samples)
    if abs(declared - measured) > _OTHER_ACCURACY + 3 * error:
        yield (
            f"The manifest gives a training accuracy of {declared:.4g}, and the audit found "
            f"{measured:.4g}: the table has the first. Correct it, or look at the preprocessing."
        )


def _are_ours() -> bool:
    """Whether networks are audited by joblib's own processes; those of Dask are somebody else's."""
    from joblib.parallel import get_active_backend

    backend, _ = get_active_backend()
    return type(backend).__name__ == "LokyBackend"


@contextlib.contextmanager
def _away_from_signals() -> Iterator[None]:
    """Start worker processes that Ctrl-C does not reach, and none by halves.

    A terminal sends it to all processes of a command. The one that leads ends the others, which
    would print where they were. A blocked signal stays blocked in the threads that are started
    here, and in the processes that these start later in the place of others.
    """
    came: list[int] = []
    before = {}
    # Only the main thread handles signals, those that were sent to other threads among them.
    if threading.current_thread() is threading.main_thread():
        before = {which: signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM)}
    handled = [which for which, handler in before.items() if handler is not None]
    try:
        for which in handled:
            signal.signal(which, lambda number, _: came.append(number))
        if hasattr(signal, "pthread_sigmask"):  # not on Windows
            _start_trackers()
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                yield
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        else:
            yield
    finally:
        for which in handled:
            signal.signal(which, before[which])
        for number in came[:1]:
            signal.raise_signal(number)


@contextlib.contextmanager
def _quiet_when_ended() -> Iterator[None]:
    """Let joblib's thread say nothing where it is ended before it has passed every task on.

    Its workers are killed by then, and it looks for a task that it has dropped.
    """
    before = threading.excepthook

    def hook(raised: threading.ExceptHookArgs) -> None:
        whose = type(raised.thread).__module__
        if raised.exc_type is not KeyError or not whose.startswith("joblib."):
            before(raised)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def _start_trackers() -> None:
    """Start the processes that clean up after workers; as they start, they unblock signals here."""
    from multiprocessing import resource_tracker

    from joblib.externals.loky.backend import resource_tracker as loky_tracker

    resource_tracker.ensure_running()
    loky_tracker.ensure_running()


def _prepare_worker(parent: int) -> None:
    """Leave Ctrl-C to the process ``parent``, and end this one soon after that has.

    It may be killed and tell nobody, before a task or in one.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()


def _table_of_an_earlier_run(out: Path) -> estimation.PopulationTable | None:
    try:
        return estimation.read_population(out / TABLE)
    except GapModelError:  # there is none, or it is no table any more
        return None


def _kept_rows(
    table: estimation.PopulationTable,
    members: Iterable[Member],
    done: Mapping[str, AuditedNetwork],
    template: AuditRequest,
    out: Path,
) -> dict[str, AuditedNetwork]:
    """The networks of an earlier table whose rows this run would write again, by name.

    Accuracies that were measured on test data are those of the table, all else is what the audits
    and the manifest say.

    Args:
        table: of an earlier run.
        members: networks that this run has not come to.
        done: those that are done.
        template, out: as of :func:`audit_population`.
    """
    rows = {name: row for row, name in enumerate(table.name)}
    asked_for = {one.made_by: True for one in done.values()}
    found = {}
    for member in members:
        row = rows.get(member.name)
        if row is None or any(
            table.further.get(name, [""] * len(table))[row] != member.cells.get(name, "")
            for name in FILES
        ):
            continue
        with contextlib.suppress(AnalyzerError):
            record = read_record(out / AUDITS / member.name)
            test = member.test_accuracy
            if test is None and member.test_data is not None:
                measured = float(table.test_accuracy[row])
                test = None if math.isnan(measured) else measured
            kept = AuditedNetwork.of(record, _values(member, record, test))
            if not (member.model.is_file() and _is_of(table, row, record)):
                continue
            if _is_another(member, record):
                continue
            if kept.made_by not in asked_for:  # one network tells for all that were made like it
                asked_for[kept.made_by] = _is_asked_for(record, _request(member, template, out))
            if asked_for[kept.made_by]:
                found[member.name] = kept
    return found


def _is_another(member: Member, audited: AuditRecord) -> bool:
    """Whether a network is not the one that was audited; one whose file is gone is not another."""
    try:
        return surgery.sha256_of_network(member.model) != audited.model.sha256
    except ModelError:
        return member.model.is_file()


def _is_asked_for(audited: AuditRecord, request: AuditRequest) -> bool:
    """Whether an audit is what is asked for, as far as that is known without reading samples."""
    try:
        inputs = find_inputs(request)
    except AnalyzerError:
        return False
    subject, gap_model = inputs.subject, inputs.gap_model
    if audited.gap is not None and gap_model and audited.gap.gap_model != gap_model.sha256:
        return False
    return (audited.key, audited.data.files, key_of(audited.settings)) == (
        subject.key,
        subject.files,
        key_of(request.settings()),
    )


def _drop_replaced(
    table: estimation.PopulationTable, members: Iterable[Member], out: Path
) -> list[str]:
    """Take the networks that are others by now out of the table of an earlier run.

    Returns:
        Their names.
    """
    dropped = []
    for member in members:
        with contextlib.suppress(AnalyzerError):
            if member.name in table.name and _is_another(
                member, read_record(out / AUDITS / member.name)
            ):
                dropped.append(member.name)
    if dropped:
        (out / PAGE).unlink(missing_ok=True)
        left = [row for row, name in enumerate(table.name) if name not in dropped]
        if left:
            estimation.write_population(table.take(left), out / TABLE)
        else:
            (out / TABLE).unlink()
    return dropped


def _is_of(table: estimation.PopulationTable, row: int, audited: AuditRecord) -> bool:
    """Whether a row was made from an audit, and not from one that was there before it."""
    told = table.values(row)
    return all(
        math.isnan(value) if math.isnan(told.get(name, math.nan)) else value == told[name]
        for name, value in feature_values(audited).items()
    )


def _test_accuracy(
    member: Member, test_data: str, request: AuditRequest, audited: AuditRecord
) -> tuple[float, ReadInput, list[str]]:
    """The accuracy on test data, what was read of them, and what is to be said about them."""
    network, extra_inputs = open_network(member.model, request)
    test_keys = member.test_keys or request.keys
    try:
        source = data.open_data(
            test_data,
            keys=test_keys,
            classes=request.classes,
            budgets=request.budgets,
        )
    except DataError as error:
        raise error.renamed("keys", "the manifest's test_keys", is_parameter=False) from error
    data.check_class_names(source, audited.class_names, audited.data.source)
    preprocessing = data.preprocessing_of_test_data(
        source,
        network.info.inputs[0],
        data.preprocessing_of_record(audited.data.preprocessing, AUDIT),
        audited.data.source,
        request.preprocess,
    )
    found = predict_test_data(
        network,
        extra_inputs,
        source,
        preprocessing,
        data.FirstReading(source),
        reading=request,
        run=request,
        output=request.output,
    )
    part = key_of({"test_keys": test_keys, "skipped": found.skipped})
    read = ReadInput(test_data, part, data.combine_digests(found.digests, found.label))
    same = read.sha256 == audited.data.sha256
    same = same or (test_data, test_keys) == (member.train_data, request.keys)
    return found.accuracy, read, [_TESTED_ON_TRAINING] if same else []
