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
    has_class_gaps,
    lacks_gap_model,
    make_record,
    make_stopped_record,
    with_sureness,
)
from analyzer.audit.first_look import LOOKED_AT, look_first
from analyzer.audit.folder import (
    AUDIT,
    CLASSES,
    REPORT,
    RESULT_FILES,
    locked,
    read_record,
    refuse_foreign_files,
    write_record,
)
from analyzer.audit.inputs import AuditInputs, find_inputs
from analyzer.audit.provenance import installed_versions
from analyzer.audit.report import html_of, page_of, write_class_table
from analyzer.audit.result_manifest import find_faults
from analyzer.audit.stopped_audit import keep_stopped
from analyzer.audit.suspects import (
    SUSPECTS,
    THUMBNAILS,
    Evidence,
    evidence_of,
    find_suspects,
    pictures_of,
    write_suspects,
)
from analyzer.audit.unfinished_audit import UnfinishedAudit, contradiction
from analyzer.audit_options import AuditRequest, LimitOptions
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
from analyzer.measures.ablation.sample_scores import read_samples
from analyzer.measures.measure import FILES, Job, Measure, State, Subject
from analyzer.measures.registry import MEASURES
from analyzer.option_mechanism import identity_of, options_of
from analyzer.output_files import write_text
from analyzer.runtime.batch_size import OutOfMemory

__all__ = ["run_audit"]

_DERIVED = (CLASSES, REPORT, SUSPECTS, THUMBNAILS)
"""Files that are made from the others and the data, and made again where they do not match."""

_APPLIED = (
    "suspects",
    *(name for name, one in options_of(LimitOptions).items() if one.setting),
)
"""Options that change the record and none of the counts."""


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
    finished = None if replacing else _finished(request, inputs.subject, progress, say)
    if finished is not None:
        for measure in MEASURES:
            if measure.measured(finished):
                request = _with(request, measure, measure.kept_by(finished))
        say(f"{request.out} holds the counts of this audit already; --fresh counts them again.")
    _refuse_limit_without_figure(request)
    if finished is not None and _says_the_same(finished, request, inputs):
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
        if resuming and (wrong := _contradictions(folder, result)):
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


def _refuse_limit_without_figure(request: AuditRequest) -> None:
    """Refuse a limit of what these options leave unmeasured, before anything is counted.

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
    made = [place for place in (out, *out.parents) if not os.path.lexists(place)]
    try:
        with (
            locked(out, wait=request.wait, parents=not request.within, say=say) as check_lock,
            _unfinished(request, key, check_lock) as unfinished,
        ):
            yield unfinished
    except BaseException:
        _remove_empty(made)
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
        raise
    unfinished.drop()


def _remove_empty(folders: Sequence[Path]) -> None:
    for place in folders:
        with contextlib.suppress(OSError, ValueError):  # not empty: somebody else's
            place.rmdir()


def _finished(
    request: AuditRequest, subject: Subject, progress: Progress, say: Callable[[str], None]
) -> AuditRecord | None:
    """The record of the same audit, finished, with counts that are that audit's own.

    Raises:
        AuditFolderError: the folder holds the audit of something else, which is not to be dropped.
    """
    if not (request.out / AUDIT).exists():
        return None
    found = read_record(request.out)
    if found.key != subject.key or not _has_these_samples(found, request, subject, progress):
        if request.fresh_if_other:
            return None
        differences = _differences(found, request, subject)
        raise AuditFolderError(
            f"{request.out} holds an audit that differs in {differences}; "
            f"pass {parameter('fresh', True)} to replace it, or name another {parameter('out')}."
        )
    try:
        faults = find_faults(request.out, RESULT_FILES)
    except AuditFolderError as error:
        faults = {AUDIT: str(error)}
    for name, sentence in faults.items():
        if name not in _DERIVED:
            say(f"{sentence} Everything is measured again.")
            return None
    if wrong := _contradictions(request.out, found):  # also where the manifest was made to match
        say(f"{request.out} contradicts itself: {wrong[0]} Everything is measured again.")
        return None
    return found


def _contradictions(folder: Path, record: AuditRecord) -> list[str]:
    """Sentences of what does not follow from the files of the measures."""
    return [
        one.sentence
        for measure in MEASURES
        for one in measure.checks(folder, record)
        if not one.passed
    ]


def _has_these_samples(
    found: AuditRecord, request: AuditRequest, subject: Subject, progress: Progress
) -> bool:
    """Whether what a finished audit counted are the data as they are.

    They are not read where names, sizes, times and inodes of files are the same.
    """
    if found.data.files == subject.files:
        return True
    try:
        counted = read_samples(request.out)
    except AuditFolderError:
        return False
    if not np.isin(counted.index, subject.indices).all():
        return False
    unread = np.setdiff1d(subject.indices, counted.index)
    if any(len(batch) for batch in subject.samples(skip_bad=True).load(unread, 1)):
        return False
    digests = subject.first_reading.read(counted.index, progress)
    return digests is not None and combine_digests(digests, counted.label) == found.data.sha256


def _differences(found: AuditRecord, request: AuditRequest, subject: Subject) -> str:
    """In what the key of a finished audit is another, in words."""
    sites = [one and (one.tensor, one.axis) for one in (found.site, subject.site)]
    differs = {
        "the network": found.model.sha256 != subject.network.info.sha256,
        "the site": sites[0] != sites[1],
        "the preprocessing": found.data.preprocessing != subject.preprocessing.to_dict(),
    }
    settings = request.settings()
    names = [*identity_of(request), "groups", *(["chance"] if request.tolerance else [])]
    for name in names:
        differs[parameter(name)] = found.settings.get(name) != settings[name]
    now = installed_versions()
    packages = dict.fromkeys([*now, *found.versions])
    packages.pop("onnx-ad", None)  # makes margins, no counts
    for package in packages:
        differs[f"the version of {package}"] = found.versions.get(package) != now.get(package)
    if request.classes is not None or found.settings.get("classes") is not None:
        called = {index: subject.source.class_name(index) for index in found.class_names}
        differs[parameter("classes")] = called != found.class_names
    return (
        ", ".join(name for name, other in differs.items() if other)
        or _changed_files(found, request, subject)
        or "the training data or their labels"
    )


def _changed_files(found: AuditRecord, request: AuditRequest, subject: Subject) -> str:
    """Options whose files hold something else by now, where the data are the same; else ""."""
    taken = {
        "groups": request.groups is not None,
        "inputs": any(os.path.isfile(text) for _, text in request.inputs),
    }
    if found.data.files != subject.files or not any(taken.values()):
        return ""
    try:
        counted = read_samples(request.out)
    except AuditFolderError:
        return ""
    labels = dict(zip(subject.indices.tolist(), subject.labels.tolist(), strict=True))
    if [labels.get(index) for index in counted.index.tolist()] != counted.label.tolist():
        return ""
    return " or ".join(parameter(name) for name, is_one in taken.items() if is_one)


def _says_the_same(finished: AuditRecord, request: AuditRequest, inputs: AuditInputs) -> bool:
    """Whether the record would be the same if it were assembled again."""
    classes = len(finished.classes) + len(finished.empty_classes)
    settings = request.settings()
    return (
        not find_faults(request.out, RESULT_FILES)
        and finished.data.files == inputs.subject.files
        and (request.out / CLASSES).is_file()
        and all(m.settled(request, finished) for m in MEASURES if m.wanted(request))
        and finished.made.auditor == request.auditor
        and finished.chance == request.chance_of(classes)
        and _gap_is_settled(finished, request, inputs)
        and all(finished.settings.get(name) == settings[name] for name in _APPLIED)
    )


def _gap_is_settled(finished: AuditRecord, request: AuditRequest, inputs: AuditInputs) -> bool:
    if inputs.gap_model is not None and lacks_gap_model(finished):
        return False  # it is back
    if finished.no_gap or (inputs.gap_model is None and finished.gap is not None):
        return finished.settings.get("gap_model") == request.settings()["gap_model"]
    model = inputs.gap_model
    lacks_classes = model and model.class_line and finished.gap and not has_class_gaps(finished)
    return not lacks_classes and (finished.gap and finished.gap.gap_model) == (
        model and model.sha256
    )
