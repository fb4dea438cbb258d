"""What a folder holds of the audit that is asked for, finished: whether it is kept as it is."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from analyzer.audit.assemble_record import has_class_gaps, lacks_gap_model
from analyzer.audit.folder import AUDIT, CLASSES, REPORT, RESULT_FILES, read_record
from analyzer.audit.inputs import AuditInputs
from analyzer.audit.provenance import installed_versions
from analyzer.audit.result_manifest import find_faults
from analyzer.audit.suspects import SUSPECTS, THUMBNAILS
from analyzer.audit_options import AuditRequest, LimitOptions
from analyzer.audit_record import AuditRecord
from analyzer.common_types import Progress
from analyzer.data import combine_digests
from analyzer.errors import AuditFolderError, parameter
from analyzer.files import RUN_AGAIN
from analyzer.measures.ablation.sample_scores import read_samples
from analyzer.measures.measure import Subject
from analyzer.measures.registry import MEASURES
from analyzer.option_mechanism import identity_of, options_of

__all__ = ["contradictions", "finished_before", "says_the_same"]

_DERIVED = (CLASSES, REPORT, SUSPECTS, THUMBNAILS)
"""Files that are made from the others and the data, and made again where they do not match."""

_APPLIED = (
    "suspects",
    *(name for name, one in options_of(LimitOptions).items() if one.setting),
)
"""Options that change the record and none of the counts."""


def finished_before(
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
        if edited := _faults(request.out).get(AUDIT):
            raise AuditFolderError(f"{edited} {RUN_AGAIN}")
        differences = _differences(found, request, subject)
        raise AuditFolderError(
            f"{request.out} holds an audit that differs in {differences}; "
            f"pass {parameter('fresh', True)} to replace it, or name another {parameter('out')}."
        )
    for name, sentence in _faults(request.out).items():
        if name not in _DERIVED:
            say(f"{sentence} Everything is measured again.")
            return None
    if wrong := contradictions(request.out, found):  # also where the manifest was made to match
        say(f"{request.out} contradicts itself: {wrong[0]} Everything is measured again.")
        return None
    return found


def _faults(out: Path) -> dict[str, str]:
    """Sentences of what does not match the manifest, by the names of files."""
    try:
        return find_faults(out, RESULT_FILES)
    except AuditFolderError as error:
        return {AUDIT: error.message}


def contradictions(folder: Path, record: AuditRecord) -> list[str]:
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


def says_the_same(finished: AuditRecord, request: AuditRequest, inputs: AuditInputs) -> bool:
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
