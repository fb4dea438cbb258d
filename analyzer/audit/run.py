"""An audit from the ONNX file and the training data to the folder that people keep."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.audit.assemble_record import (
    make_record,
    make_stopped_record,
    with_sureness,
)
from analyzer.audit.finished_before import contradictions, finished_before, says_the_same
from analyzer.audit.first_look import LOOKED_AT, look_first
from analyzer.audit.folder import (
    REPORT,
    locked,
    read_record,
    refuse_foreign_files,
    write_record,
)
from analyzer.audit.inputs import AuditInputs, find_inputs
from analyzer.audit.report import html_of, page_of, write_class_table
from analyzer.audit.stopped_audit import keep_stopped
from analyzer.audit.suspects import (
    Evidence,
    evidence_of,
    find_suspects,
    pictures_of,
    write_suspects,
)
from analyzer.audit.unfinished_audit import UnfinishedAudit, contradiction
from analyzer.audit_options import AuditRequest
from analyzer.audit_record import AuditRecord
from analyzer.common_types import Progress
from analyzer.data import combine_digests
from analyzer.errors import (
    AnalyzerError,
    AuditFolderError,
    AuditStopped,
    DataError,
    ModelError,
    SiteError,
    parameter,
)
from analyzer.estimation import GapModel
from analyzer.files import folder_identity
from analyzer.measures.measure import FILES, Job, Measure, State, Subject
from analyzer.measures.registry import MEASURES
from analyzer.output_files import write_text
from analyzer.runtime.batch_size import OutOfMemory

__all__ = ["run_audit"]

_OF_STATES = (AuditFolderError, DataError)  # what numbers that an interrupted run left can lead to


def run_audit(
    request: AuditRequest,
    *,
    progress: Progress = lambda stage, done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> AuditRecord:
    """Audit a network and leave ``audit.json``, ``report.html`` and the files beside them.

    An interrupted audit resumes where it was when it is asked for again. What a finished one
    measured is used again, and it is returned as it is unless the chance level, the gap model or
    the number of suspects have changed, or a measure is asked for that it does not have, or of
    other samples.

    Args:
        request: what is asked for.
        progress: called with the stages "first look", "network", "sweep", "margins", "read",
            "interpolation" and "neighbors", in samples or, for "interpolation", in images.
        say: called with sentences for a person who is waiting.

    Raises:
        AuditStopped: a first look found that nothing would mean anything; the folder then says so,
            unless it holds a result, which stays.
        AnalyzerError: anything about the input, with the folder left as it was found.
    """
    began = time.perf_counter()
    inputs = find_inputs(request)
    with _folder(request, inputs.subject.key, say) as unfinished:
        try:
            return _audit(request, inputs, unfinished, began, progress, say)
        except AnalyzerError as error:
            # Nobody can pass what was passed already.
            if not (request.fresh or request.fresh_if_other) or not error.asks_for("fresh"):
                raise
        say("What an interrupted run left does not fit any more, so the audit starts again.")
        request = replace(request, fresh=True)
        inputs = find_inputs(request)
        unfinished.drop()
        unfinished.start_replacing(inputs.subject.key)
        return _audit(request, inputs, unfinished, began, progress, say)


def _audit(
    request: AuditRequest,
    inputs: AuditInputs,
    unfinished: UnfinishedAudit,
    began: float,
    progress: Progress,
    say: Callable[[str], None],
) -> AuditRecord:
    """Audit into a folder that is locked.

    Args:
        request: what is asked for.
        inputs: that it names.
        unfinished: what there is to resume; its folder.
        began: when the audit did.
        progress, say: as of :func:`run_audit`.
    """
    needed = _needed(request, inputs)
    for measure in needed:
        if measure.name == "ablation" and inputs.subject.site is None:
            raise SiteError(
                f"{inputs.subject.no_site} The gap model needs features of a site; take another "
                f"with {parameter('gap_model')}."
            )
        request = _with(request, measure, measure.asked_for_by())
    _refuse_idle_seed(request, inputs.subject)
    resuming = bool(unfinished)
    completed = unfinished.complete()
    replacing = request.fresh and not completed
    finished = None if replacing else finished_before(request, inputs.subject, progress, say)
    if finished is not None:
        for measure in MEASURES:
            if measure.measured(finished):
                request = _with(request, measure, measure.kept_by(finished))
        say(f"{request.out} holds the counts of this audit already; --fresh counts them again.")
    _refuse_limit_without_figure(request, inputs.gap_model)
    if finished is not None and says_the_same(finished, request, inputs):
        return finished
    work = _Work(request, inputs, finished, unfinished, progress, say)
    try:
        results, fields = work.measure(needed)
    except ModelError:
        inputs.subject.network.refuse_if_changed()  # of two networks nothing fits together
        raise
    except AuditStopped as stopped:
        inputs.subject.network.refuse_if_changed()
        inputs.subject.first_reading.confirm()
        stopped.record = make_stopped_record(request, inputs.subject, stopped)
        stopped.report = keep_stopped(stopped.record, request.out, unfinished)
        raise
    _check_data(inputs.subject, results["ablation"])
    site = inputs.subject.site
    evidence = evidence_of(results, 0 if site is None else site.channels)
    classes = with_sureness(fields["classes"], evidence.samples, evidence.votes, evidence.hold)
    fields = {**fields, "classes": classes, "doubtful_labels": evidence.doubtful}
    result = make_record(
        request, inputs, results["ablation"], fields, time.perf_counter() - began, finished
    )
    with unfinished.result() as folder:
        _write(folder, result, results, evidence, inputs.subject)
        if resuming and (wrong := contradictions(folder, result)):
            raise contradiction(request.out, wrong[0])
        inputs.subject.first_reading.confirm()
        work.confirm()
    return result


class _Work:
    """What an audit still has to measure, and what is known already."""

    def __init__(
        self,
        request: AuditRequest,
        inputs: AuditInputs,
        finished: AuditRecord | None,
        unfinished: UnfinishedAudit,
        progress: Progress,
        say: Callable[[str], None],
    ):
        self._request, self._finished, self._unfinished = request, finished, unfinished
        self._subject, self._progress = inputs.subject, progress
        self._results: dict[str, Any] = {}
        images = inputs.subject.opened_images(
            skip_bad=request.skip_bad, memory=request.memory // 2, progress=progress
        )
        key = inputs.subject.key

        def save(name: str, arrays: State) -> None:
            inputs.subject.network.refuse_if_changed()
            unfinished.write(key, {FILES: np.array(inputs.subject.files), **arrays}, name)

        def job(name: str) -> Job:
            return Job(
                request=request,
                subject=inputs.subject,
                scratch=unfinished.scratch,
                saved=lambda: unfinished.read(key, name),
                save=lambda arrays: save(name, arrays),
                progress=progress,
                say=say,
                images=images,
                found=self._results,
                finished=finished,
            )

        self._jobs = {m.name: job(m.name) for m in MEASURES if m.wanted(request)}

    def measure(
        self, needed: Sequence[Measure[Any]]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Measure what is missing, and read the rest.

        Args:
            needed: measures without which the gap model cannot estimate.

        Returns:
            The results by measure, and the fields of the record that follow from them.
        """
        wanted = [measure for measure in MEASURES if measure.name in self._jobs]
        missing = [measure for measure in wanted if self._is_missing(measure, needed)]
        if missing:
            self._unfinished.prepare()
        if missing and missing[0].name == "ablation" and not self._known_already():
            look_first(self._request, self._subject, self._unfinished.scratch, self._progress)
        for measure in missing:  # before the sweep: what is impossible is refused at once
            measure.prepare(self._jobs[measure.name])
        unmeasured: dict[str, str] = {}
        if self._subject.site is None:
            unmeasured["ablation"] = self._subject.no_site
        for measure in wanted:
            try:
                if measure in missing:
                    self._results[measure.name] = measure.measure(self._jobs[measure.name])
                elif self._finished is not None and measure.measured(self._finished):
                    self._results[measure.name] = measure.read(self._request.out, self._finished)
                elif self._finished is not None:
                    unmeasured[measure.name] = self._finished.unmeasured[measure.name]
            except (ModelError, OutOfMemory) as error:
                if not measure.optional or measure in needed:
                    raise
                unmeasured[measure.name] = self._request.told(error)
        self._subject.network.refuse_if_changed()
        return self._results, {**self._fields(), "unmeasured": unmeasured}

    def confirm(self) -> None:
        """Refuse a result of what has changed since a measure read it."""
        for measure in MEASURES:
            if measure.name in self._jobs:
                measure.confirm(self._jobs[measure.name])

    def _known_already(self) -> bool:
        """Whether the network need not be looked at before it is counted."""
        return self._request.anyway or self._jobs["ablation"].saved() is not None

    def _is_missing(self, measure: Measure[Any], needed: Sequence[Measure[Any]]) -> bool:
        finished = self._finished
        return (
            finished is None
            or not measure.settled(self._request, finished)
            or (measure in needed and not measure.measured(finished))
        )

    def _fields(self) -> dict[str, Any]:
        """The fields of the record that the measures give, their sections together."""
        fields: dict[str, Any] = {"sections": {}}
        for measure in MEASURES:
            if measure.name in self._results:
                own = measure.fields(self._results[measure.name], self._jobs[measure.name])
                fields["sections"].update(own.pop("sections", {}))
                fields.update(own)
        return fields


def _check_data(subject: Subject, counted: Any) -> None:
    """Refuse data that are not those that were counted, where all of them were read just now.

    Raises:
        DataError: a finished audit counted others, of the same names, sizes, times and inodes.
    """
    digests = subject.first_reading.digests(counted.samples.index)
    labels = counted.samples.label
    if digests is not None and combine_digests(digests, labels) != counted.data_sha256:
        raise DataError(
            f"{subject.source.source} has changed since this audit counted it; pass "
            f"{parameter('fresh', True)} to count it again, or name another {parameter('out')}."
        )


def _write(
    folder: Path,
    result: AuditRecord,
    results: Mapping[str, Any],
    evidence: Evidence,
    subject: Subject,
) -> None:
    """Write every file of the audit into an empty folder."""
    suspects = find_suspects(evidence, result.suspects, subject.source)
    write_class_table(folder, result)
    write_suspects(folder, suspects, pictures_of(suspects, evidence, result, subject))
    for measure in MEASURES:
        if measure.name in results:
            measure.write(folder, results[measure.name])
    write_record(folder, result)
    write_text(folder / REPORT, html_of(page_of(folder)))


def _needed(request: AuditRequest, inputs: AuditInputs) -> list[Measure[Any]]:
    """The measures whose features the gap model takes, which somebody named."""
    named = request.gap_model_named and inputs.gap_model
    taken = set(inputs.gap_model.features if inputs.gap_model and named else ())
    return [measure for measure in MEASURES if taken & set(measure.features)]


def _refuse_idle_seed(request: AuditRequest, subject: Subject) -> None:
    """Refuse a seed where nothing is drawn, before anything is counted.

    Raises:
        DataError: the sentence names it.
    """
    if (
        request.seed == AuditRequest.seed
        or request.limit_per_class is not None
        or (request.rank == "random" and subject.site is not None)
        or request.tolerance
        or request.precision != AuditRequest.precision  # its check draws masks
        or request.interpolation_samples != 0
        or request.neighbor_samples not in (0, "all")
        or (len(subject.indices) > LOOKED_AT and not request.anyway)
    ):
        return
    with contextlib.suppress(AuditFolderError):
        found = None if request.fresh else read_record(request.out)
        if found and found.settings.get("seed") == request.seed:
            return  # of measures that the finished audit has, and keeps
    raise DataError(
        f"{parameter('seed', request.seed)} does nothing here: with these options nothing is "
        "drawn. Leave it out."
    )


def _refuse_limit_without_figure(request: AuditRequest, gap_model: GapModel | None) -> None:
    """Refuse a limit of what these options leave unmeasured, before anything is counted.

    Args:
        request: with what a finished audit has, if there is one.
        gap_model: that estimates the gap, if there is one.

    Raises:
        DataError: the sentence names the option that is missing, or stands in the way.
    """
    if request.max_suspects is not None:
        for name in ("interpolation_samples", "neighbor_samples"):
            if getattr(request, name) == 0:
                raise DataError(
                    f"{parameter('max_suspects')} is held against what interpolation and neighbors "
                    f"tell together, and {parameter(name, 0)} leaves one of them out. Leave out "
                    "one of the two options."
                )
    if request.max_gap is None:
        return
    if request.gate == "measured" and request.test_data is None:
        raise DataError(
            f"{parameter('gate', 'measured')} holds {parameter('max_gap')} against the gap that "
            f"test data measure, and there are none: name them with {parameter('test_data')}."
        )
    if request.gate != "measured" and request.gap_model_named and request.gap_model is None:
        raise DataError(
            f"{parameter('max_gap')} is held against the estimated gap, and "
            f"{parameter('gap_model', 'none')} asks for no estimate. Leave one of them out, or "
            f"pass {parameter('gate', 'measured')} with {parameter('test_data')}."
        )
    taken = set(gap_model.features if gap_model else ())
    off = [one.name for one in MEASURES if taken & set(one.features) and not one.wanted(request)]
    if request.gate != "measured" and off:
        raise DataError(
            f"{parameter('max_gap')} is held against the estimated gap, and these options switch "
            f"off {' and '.join(off)}, of which the gap model is. Leave them out, or name another "
            f"with {parameter('gap_model')}."
        )


def _with(request: AuditRequest, measure: Measure[Any], options: Mapping[str, Any]) -> AuditRequest:
    """The request, with options that ask for a measure where it does not."""
    return request if measure.wanted(request) else replace(request, **options)


@contextlib.contextmanager
def _folder(
    request: AuditRequest, key: str, say: Callable[[str], None]
) -> Iterator[UnfinishedAudit]:
    """The unfinished part of the folder, which is locked and ready to be written.

    What is unfinished is dropped once the block ends well. After an error what was measured so far
    is kept for the next run, and a folder in which nothing was kept is left as it was found.
    """
    out = request.out
    missing = [place for place in (out, *out.parents) if not os.path.lexists(place)]
    made = dict[Path, tuple[int, int] | None]()
    try:
        with locked(out, wait=request.wait, parents=not request.within, say=say) as check_lock:
            made = {place: folder_identity(place) for place in missing}
            with _unfinished(request, key, check_lock) as unfinished:
                yield unfinished
    except BaseException:
        _remove_empty(missing, made)
        raise


@contextlib.contextmanager
def _unfinished(
    request: AuditRequest, key: str, check_lock: Callable[[], None]
) -> Iterator[UnfinishedAudit]:
    unfinished = UnfinishedAudit(request.out, check_lock)
    if not unfinished.folder.is_dir():
        refuse_foreign_files(request.out)
    if request.fresh:
        unfinished.start_replacing(key)
    resuming = bool(unfinished)
    try:
        yield unfinished
    except BaseException as error:
        if isinstance(error, Exception):
            unfinished.check()  # files that vanish make any sentence
        # Corrected data are other data: what was counted before they failed cannot be used then.
        if not unfinished or (isinstance(error, DataError) and not resuming):
            unfinished.drop()
        unfinished.tidy()
        if resuming and isinstance(error, _OF_STATES) and not error.asks_for("fresh"):
            raise type(error)(
                f"{error.message} If that is of what an interrupted run left, drop it with "
                f"{parameter('fresh', True)}."
            ) from error
        raise
    unfinished.drop()


def _remove_empty(folders: Sequence[Path], made: Mapping[Path, tuple[int, int] | None]) -> None:
    """Remove folders, unless they are not those that were made there, as far as that is known."""
    for place in folders:
        with contextlib.suppress(OSError, ValueError):  # not empty: somebody else's
            if place not in made or folder_identity(place) == made[place]:
                place.rmdir()
