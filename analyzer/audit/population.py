"""Audits of a population of networks, and the table that a gap model is fitted on."""

import contextlib
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from analyzer import data, estimation
from analyzer.audit.assemble_record import some_of
from analyzer.audit.folder import AUDIT, locked
from analyzer.audit.inputs import find_inputs, open_network, refuse_in_class_folders
from analyzer.audit.population_earlier_table import (
    drop_replaced,
    kept_rows,
    table_of_an_earlier_run,
)
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
from analyzer.audit.population_workers import SchedulerLost, outcomes_of
from analyzer.audit.run import run_audit
from analyzer.audit.shared_inputs import ReadInput, SharedInputs
from analyzer.audit.unfinished_audit import key_of
from analyzer.audit_options import AuditRequest
from analyzer.audit_record import AuditRecord
from analyzer.common_types import Progress
from analyzer.errors import AnalyzerError, DataError, parameter
from analyzer.estimation.population_table import gap_contradiction
from analyzer.measures.registry import feature_values
from analyzer.measures.unmasked_predictions import predict_test_data
from analyzer.output_files import prepare_folder, remove_parts

__all__ = ["audit_population"]

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
    for where in {path for one in members for path in (one.train_data, one.test_data) if path}:
        refuse_in_class_folders(out, where, template.classes)
    with locked(out, wait=template.wait, say=say) as check_lock:
        replaced = ReplacedNetworks(out)
        remove_parts(out, (TABLE, FAILED, PAGE))
        earlier = table_of_an_earlier_run(out)
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
            dropped = drop_replaced(earlier, members, out) if earlier else []
            raise _none_done(failures, out, len(members), dropped)
        kept = {}
        if failures and not skip_failed and earlier:
            left = [one for one in members if one.name not in networks.keys() | failures.keys()]
            kept = kept_rows(
                earlier,
                left,
                networks,
                lambda member, record: _is_asked_for(record, _request(member, template, out)),
                _values,
                out,
            )
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
    with (
        _folder_of_audits(out),
        contextlib.closing(outcomes_of(tasks, _measured, jobs, say)) as outcomes,
    ):
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


def _way_on(why: AnalyzerError, skip: str = "") -> str:
    """What to do about a network that has failed.

    Args:
        why: it did.
        skip: how the others are audited without it, where that is possible.
    """
    if isinstance(why, SchedulerLost):
        return "Start a scheduler and workers again, and run the same command with its address."
    return f"Correct or remove its row and run the same command again{skip}."


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
        return member.name, error
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
            exif=request.preprocess.exif,
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
