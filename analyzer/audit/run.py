"""An audit from the ONNX file and the training data to the folder that people keep."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

from analyzer.audit import folder, record
from analyzer.audit.checkpoint import Checkpoint
from analyzer.audit.counting import count, counted_before
from analyzer.audit.margins import margin_graph, measure_margins
from analyzer.audit.report import render_report
from analyzer.audit.request import AuditRequest
from analyzer.audit.subject import Subject, find_subject
from analyzer.audit.summing import summed_up
from analyzer.audit.suspecting import find_suspects, pictures_of
from analyzer.audit.suspects import SUSPECTS, write_suspects
from analyzer.audit.versions import installed_versions
from analyzer.errors import AuditFolderError, DataError
from analyzer.records import Progress

__all__ = ["run_audit"]

# Settings that counts hang on, by option.
_IN_THE_KEY = {
    "--output": "output",
    "--input": "inputs",
    "--limit-per-class": "limit_per_class",
    "--seed": "seed",
    "--device": "device",
    "--precision": "precision",
    "--rank": "rank",
    "--tolerance": "tolerance",
}


def run_audit(
    request: AuditRequest,
    *,
    progress: Progress = lambda stage, done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> record.AuditRecord:
    """Audits a network and leaves ``audit.json``, ``report.html`` and the files beside them.

    An interrupted audit goes on where it was when it is asked for again. Of one that is finished
    counts and margins are used again, and it is returned as it is unless the chance level, the
    gap model or the number of suspects have changed, or margins are asked for that were not before.

    Args:
        progress: told of the stages "network", "sweep" and "margins", in samples.
        say: told in sentences what a person waiting would want to know.

    Raises:
        AnalyzerError: anything about the input, with the folder left as it was found.
    """
    began = time.perf_counter()
    subject = find_subject(request)
    if subject.gap_model is not None and subject.gap_model.takes_margins:
        request = replace(request, margins=True)
    checkpoint = Checkpoint(request.out)
    finished = None if request.fresh else _finished(request, subject)
    if finished is not None:
        request = replace(request, margins=request.margins or finished.margins is not None)
        say(f"{request.out} holds the counts of this audit already; --fresh counts anew")
        if _says_the_same(finished, request, subject):
            return finished
    going_on = bool(checkpoint) and not request.fresh
    made = [place for place in (request.out, *request.out.parents) if not place.exists()]
    try:
        folder.prepare_folder(request.out)
        if request.fresh:
            checkpoint.drop()
        margins = finished.margins if finished is not None else None
        measuring = request.margins and margins is None
        if finished is None or measuring:
            checkpoint.prepare()
        # Before the sweep: what has no gradient is refused at once.
        graph = margin_graph(request, subject, checkpoint.folder) if measuring else None
        if finished is not None:
            counted = counted_before(request.out, finished)
            if counted.samples.scores is None and request.suspects != 0:
                say("counted by an early version, so no suspects are listed; --fresh lists them")
        else:
            counted = count(request, subject, checkpoint, progress, say)
        if graph is not None:
            found = measure_margins(request, subject, checkpoint, graph, progress)
            folder.write_margins(request.out, found.distances, found.total_variation)
            margins = found.record
        result = summed_up(request, subject, counted, margins, time.perf_counter() - began)
        suspects = find_suspects(
            counted.samples, subject.site.channels, result.suspects, subject.source
        )
        write_suspects(request.out, suspects, pictures_of(suspects, subject.source))
        folder.write_curves(request.out, counted.curves)
        folder.write_samples(request.out, counted.samples, subject.site.channels)
        record.write_record(request.out, result)
        if margins is None:  # of another audit that --fresh replaces
            (request.out / folder.MARGINS).unlink(missing_ok=True)
        render_report(request.out)
        checkpoint.drop()
    except BaseException as error:
        # Mended data are other data: what was counted before they failed is of no use then.
        if not checkpoint or (isinstance(error, DataError) and not going_on):
            checkpoint.drop()
            for place in made:
                with contextlib.suppress(OSError):  # not empty: somebody else's
                    place.rmdir()
        raise
    return result


def _finished(request: AuditRequest, subject: Subject) -> record.AuditRecord | None:
    """The record of the same audit, finished.

    Raises:
        AuditFolderError: the folder holds the audit of something else.
    """
    if not (request.out / folder.AUDIT).exists():
        return None
    found = record.read_record(request.out)
    if found.key != subject.key:
        differences = _differences(found, request, subject)
        raise AuditFolderError(
            f"{request.out} holds an audit that differs in {differences}; "
            "pass --fresh to replace it, or name another --out"
        )
    return found


def _differences(found: record.AuditRecord, request: AuditRequest, subject: Subject) -> str:
    """In what the key of a finished audit is another, in words."""
    site = subject.site
    differs = {
        "the network": found.model.sha256 != subject.info.sha256,
        "the site": (found.site.tensor, found.site.axis) != (site.tensor, site.axis),
        "the preprocessing": found.data.preprocessing != subject.preprocessing.to_dict(),
    }
    settings = request.settings()
    with_chance = {"--chance": "chance"} if request.tolerance else {}
    for option, name in (_IN_THE_KEY | with_chance).items():
        differs[option] = found.settings.get(name, settings[name]) != settings[name]
    now = installed_versions()
    packages = dict.fromkeys([*now, *found.versions])
    packages.pop("onnx-ad", None)  # makes margins, no counts
    for package in packages:
        differs[f"the version of {package}"] = found.versions.get(package) != now.get(package)
    return ", ".join(name for name, other in differs.items() if other) or "the training data"


def _says_the_same(finished: record.AuditRecord, request: AuditRequest, subject: Subject) -> bool:
    """Whether nothing would be different if the counts were summed up once more."""
    classes = len(finished.classes) + len(finished.empty_classes)
    gap_model = subject.gap_model.sha256 if subject.gap_model else None
    return (
        (request.out / folder.REPORT).exists()
        and finished.features is not None
        and (finished.margins is not None or not request.margins)
        and finished.chance == request.chance_of(classes)
        and (finished.gap.gap_model if finished.gap else None) == gap_model
        and finished.settings.get("suspects", 0) == request.suspects
        and (request.out / SUSPECTS).exists() == (finished.suspects > 0)
    )
