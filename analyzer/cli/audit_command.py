"""``onnx-gap audit``"""

import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.click_options import (
    FILE_OR_ZOO,
    Command,
    ResultFile,
    budget_options,
    data_options,
    exit_codes,
    json_option,
    limit_options,
    measure_options,
    out_folder,
    progress_option,
    request_options,
    resume_option,
    run_options,
    site_options,
    test_options,
    wait_option,
)
from analyzer.cli.terminal import (
    complain,
    interruptible,
    print_facts,
    print_json,
    say,
    show,
    show_progress,
    warn,
)
from analyzer.errors import AnalyzerError, AuditStopped, parameter

if TYPE_CHECKING:
    from analyzer.audit.report import Ending
    from analyzer.audit_record import AuditRecord, VerdictRecord

_EXIT_CODES = {"pass": 0, "fail": 1}
_WORST = 3  # classes that are named


@click.command(
    "audit",
    cls=Command,
    short_help="Audit a network on its training data.",
    epilog=exit_codes(
        {
            0: "done, and no limit failed",
            1: "a limit failed",
            4: "a limit cannot be judged, or a first look stopped the audit",
            130: "interrupted; the same command resumes",
        }
    ),
)
@click.argument("model", type=FILE_OR_ZOO)
@click.option(
    "--data",
    type=FILE_OR_ZOO,
    metavar="DATA",
    help="The training data: a path, or zoo:NAME.",
)
@out_folder("Folder that takes the result.")
@click.option(
    "--gap-model",
    type=FILE_OR_ZOO,
    metavar="FILE|zoo:NAME|none",
    help="Estimate the gap with this gap model.  [default: that of the estimate in the folder, or "
    "zoo:any]",
)
@test_options
@limit_options
@click.option(
    "--not-judgeable",
    type=click.Choice([*_EXIT_CODES]),
    help="Exit as if it had passed or failed where a limit cannot be judged, also where a first "
    "look stops the audit.  [default: exit with 4]",
)
@resume_option
@click.option("--auditor", default="", metavar="TEXT", help="Who makes this audit, for the record.")
@click.option(
    "--junit",
    type=ResultFile(parents=True),
    metavar="FILE",
    help="Also write the limits as JUnit XML, for CI servers.",
)
@click.option(
    "--markdown",
    type=ResultFile(parents=True, auto=True),
    metavar="FILE|auto",
    help="Also write a page in Markdown; auto adds it to the summary of a GitHub step.",
)
@wait_option
@progress_option
@json_option
@data_options
@site_options
@run_options
@measure_options
@budget_options
def command(
    model: str,
    data: str | None,
    out: Path,
    gap_model: str | None,
    not_judgeable: str | None,
    resume: bool,
    shown: str,
    junit: Path | None,
    markdown: Path | str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Audit the network MODEL (an ONNX file, or zoo:NAME) on its training data.

    Removes the channels of the last convolution's activation one after the other, most active
    first and least active first, and counts what is still classified correctly, class by class.
    Then mixes samples with others of their label, and looks for samples that the network sees as
    alike. Leaves audit.json, report.html and the files beside them in the folder --out.
    Interrupted, the same command resumes where it was. A bundled network brings its training data.

    \b
    Examples:
      onnx-gap audit zoo:digits-c40 --out audit-c40
      onnx-gap audit model.onnx --data train/ --preprocess imagenet --out audit
      onnx-gap audit model.onnx --data train.npz --keys x,y --out audit
      onnx-gap audit model.onnx --data train/ --max-gap 0.3 --out audit
      onnx-gap audit model.onnx --data train/ --test-data test/ --out audit
      onnx-gap audit zoo:digits-c40 --max-gap 0.3 --junit gap.xml --out audit
      onnx-gap audit model.onnx --data train/ --gap-model gap.json --out audit
      onnx-gap audit zoo:digits-c40 --rank random --out control
      onnx-gap audit zoo:digits-c40 --margins --out audit-c40
    """
    from analyzer.audit import (
        ending_of,
        ending_of_stop,
        refuse_to_replace,
        run_audit,
        step_summary,
    )
    from analyzer.audit.verdict import limits_of
    from analyzer.make_request import audit_request
    from analyzer.runtime import installation_warning

    if not_judgeable is not None and not limits_of(options):
        raise AnalyzerError(
            f"{parameter('not_judgeable')} does nothing without a limit: give "
            f"{parameter('max_gap')}, {parameter('min_accuracy')} or {parameter('max_suspects')}, "
            "or leave it out."
        )
    page = step_summary() if markdown == "auto" else markdown  # before hours of counting
    files = {"junit": junit, "markdown": page}
    refuse_to_replace(files, (model, data, gap_model, *options.values()), [out])
    request = audit_request(
        model,
        data,
        out,
        gap_model=gap_model,
        fresh=not resume,
        command=shlex.join(["onnx-gap", *sys.argv[1:]]),
        further_results={name: path for name, path in files.items() if isinstance(path, Path)},
        **request_options(options),
    )
    if (confusion := installation_warning()) is not None:
        warn(confusion)
    try:
        with interruptible(), show_progress(shown) as progress:
            result = run_audit(request, progress=progress, say=say)
    except AuditStopped as stopped:
        _hand_on(ending_of_stop(model, data or model, stopped), junit, markdown, not_judgeable)
        return _show_stop(stopped, as_json, not_judgeable)
    if junit or markdown:
        _hand_on(ending_of(out), junit, markdown, not_judgeable)
    _show_result(result, out, as_json)
    return _exit_code(result.verdict, not_judgeable)


def _hand_on(
    ending: "Ending",
    junit: Path | None,
    markdown: Path | str | None,
    not_judgeable: str | None,
) -> None:
    """Write what people and servers read who do not see this command."""
    from analyzer.audit import write_junit, write_summary

    if junit:
        write_junit(junit, ending, not_judgeable)
    if markdown:
        write_summary(markdown, ending)


def _show_result(result: "AuditRecord", out: Path, as_json: bool) -> None:
    """Print what was found, and what it warns of unless the verdict's sentences say it."""
    from analyzer.audit import to_dict

    if as_json:
        print_json(to_dict(result))
    else:
        print_facts(list(_facts(result, out)))
        if result.gap:
            show(result.gap.warnings[0])  # the caution that belongs to every estimate
    told = " ".join(result.verdict.reasons) if result.verdict else ""  # as the last lines
    for sentence in (*result.warnings, *(result.gap.warnings[1:] if result.gap else ())):
        if sentence not in told:
            warn(sentence)


def _show_stop(stopped: AuditStopped, as_json: bool, not_judgeable: str | None) -> int:
    """Print what a first look found, and why it stopped the audit; the exit code."""
    from analyzer.audit import stopped_dict

    if as_json:
        print_json(stopped_dict(stopped.record))
    else:
        print_facts(list(_facts_of_stop(stopped)))
    verdict = replace(stopped.verdict, reasons=(str(stopped),))
    return _exit_code(verdict, not_judgeable)


def _facts(result: "AuditRecord", out: Path) -> Iterator[tuple[str, str]]:
    from analyzer.audit.verdict import mark_of
    from analyzer.measures.registry import MEASURES

    data, gap, rows, device = result.data, result.gap, result.rows, result.device
    doubt = f"{mark}, see below" if (mark := mark_of(result)) else ""
    if result.verdict:
        yield "verdict", result.verdict.sentence
    yield "network", result.model.path
    yield "data", f"{data.source}, {data.samples:,} samples of {len(result.classes):,} classes"
    yield "accuracy", f"{result.accuracy:.4f} with nothing removed"
    for measure in MEASURES:
        yield from measure.summary(result)
    if gap is None:
        yield "gap", f"not estimated: {result.no_gap or 'no gap model (--gap-model)'}"
    else:
        yield (
            "gap",
            f"{gap.estimate:z.3f} estimated, {gap.coverage:.0%} interval {gap.low:z.3f} "
            f"to {gap.high:z.3f} ({gap.gap_model_name}){doubt}",
        )
    worst = [one for one in result.worst_first if one.gap is not None][:_WORST]
    if worst:
        said = ", ".join(f"{one.name} ({one.gap:z.2f})" for one in worst)
        yield "classes", f"largest estimated gaps: {said}{doubt}"
    precision = "" if device.precision == "float32" else f" in {device.precision}"
    took = f"{result.seconds.total:.1f} s on {device.used}{precision}"
    yield "time", f"{took}, {rows.run:,} evaluations"
    if result.suspects:
        from analyzer.audit.suspects import why_without_neighbors

        why, share = why_without_neighbors(result), result.doubtful_labels
        doubtful = "" if share is None else f"; {share:.1%} of all labels look wrong"
        yield (
            "suspects",
            f"{result.suspects:,} samples to look at: {out / 'suspects.csv'}{doubtful}"
            + (f" (sorted without neighbors and hold: {why})" if why else ""),
        )
    yield "report", str(out / "report.html")


def _facts_of_stop(stopped: AuditStopped) -> Iterator[tuple[str, str]]:
    record = stopped.record
    yield (
        "verdict",
        f"{record.verdict.outcome.capitalize()}, after a first look; nothing was counted",
    )
    yield "network", record.model.path
    classes = f"{len(record.classes):,} classes"
    yield "data", f"{record.data.source}, {record.data.samples:,} samples looked at of {classes}"
    yield "accuracy", f"{record.accuracy:.4f} with nothing removed"
    if stopped.report is not None:
        yield "report", str(stopped.report)


def _exit_code(verdict: "VerdictRecord | None", not_judgeable: str | None) -> int:
    """What the verdict ends the command with, and its sentence for whoever reads only errors."""
    from analyzer.audit.verdict import FAIL, PASS

    if verdict is None or verdict.outcome == PASS:
        return 0
    for sentence in verdict.reasons:
        complain(sentence, "Failed" if verdict.outcome == FAIL else "Not judgeable")
    return 1 if verdict.outcome == FAIL else _EXIT_CODES.get(not_judgeable or "", 4)
