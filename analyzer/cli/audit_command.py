"""``onnx-gap audit``"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.options import (
    Number,
    data_options,
    json_option,
    measure_options,
    out_folder,
    request_options,
    run_options,
    site_options,
    wait_option,
)
from analyzer.cli.terminal import (
    complain,
    going_on_later,
    print_facts,
    print_json,
    progress_bars,
    say,
    show,
    warn,
)

if TYPE_CHECKING:
    from analyzer.audit_record import AuditRecord


@click.command("audit", short_help="Audit a network on its training data.")
@click.argument("model")
@click.option("--data", metavar="DATA", help="The training data: a path, or zoo:NAME.")
@out_folder("Folder that takes the result.")
@click.option("--gap-model", metavar="FILE|zoo:NAME", help="Estimate the gap with this gap model.")
@click.option(
    "--max-gap", type=Number(-1, 1), metavar="X", help="Exit with 1 if the estimated gap is larger."
)
@click.option(
    "--min-accuracy", type=Number(0, 1), metavar="X", help="Exit with 1 if the accuracy is lower."
)
@click.option(
    "--resume/--fresh",
    default=True,
    help="Resume what the folder holds (the default), or start again and replace it.",
)
@wait_option
@json_option
@data_options
@site_options
@run_options
@measure_options
def command(
    model: str,
    data: str | None,
    out: Path,
    gap_model: str | None,
    max_gap: float | None,
    min_accuracy: float | None,
    resume: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Audit the network MODEL (an ONNX file, or zoo:NAME) on its training data.

    Removes the channels of the last convolution's activation one after the other, most active
    first and least active first, and counts what is still classified right, class by class.
    Then mixes samples with others of their label, and looks for samples that the network sees as
    alike. Leaves audit.json, report.html and the files beside them in the folder --out.
    Interrupted, the same command resumes where it was. A bundled network brings its training data
    and gap model.

    \b
    Examples:
      onnx-gap audit zoo:digits-c40 --out audit-c40
      onnx-gap audit model.onnx --data train/ --preprocess imagenet --out audit
      onnx-gap audit model.onnx --data train.npz --keys x,y --out audit
      onnx-gap audit model.onnx --data train/ --gap-model gap.json --out audit
      onnx-gap audit zoo:digits-c40 --max-gap 0.2 --out audit-c40
      onnx-gap audit zoo:digits-c40 --rank random --out control
      onnx-gap audit zoo:digits-c40 --margins --out audit-c40
    """
    from analyzer.api import audit_request
    from analyzer.audit import run_audit, to_dict
    from analyzer.runtime import installation_warning

    request = audit_request(
        model, data, out, gap_model=gap_model, fresh=not resume, **request_options(options)
    )
    if max_gap is not None and request.gap_model is None:
        raise click.UsageError("--max-gap needs a gap model: name it with --gap-model.")
    if (confusion := installation_warning()) is not None:
        warn(confusion)
    with going_on_later(), progress_bars() as progress:
        result = run_audit(request, progress=progress, say=say)
    if as_json:
        print_json(to_dict(result))
    else:
        print_facts(list(_facts(result, out)))
        if result.gap:
            show(result.gap.warnings[0])  # the caution that belongs to every estimate
    for sentence in (*result.warnings, *(result.gap.warnings[1:] if result.gap else ())):
        warn(sentence)
    failures = list(_failures(result, max_gap, min_accuracy))
    for sentence in failures:
        complain(sentence, "Failed")
    return 1 if failures else 0


def _facts(result: "AuditRecord", out: Path) -> Iterator[tuple[str, str]]:
    from analyzer.measures import MEASURES

    data, gap, rows, device = result.data, result.gap, result.rows, result.device
    yield "network", result.model.path
    yield "data", f"{data.source}, {data.samples:,} samples of {len(result.classes):,} classes"
    yield "accuracy", f"{result.accuracy:.4f} with nothing removed"
    for measure in MEASURES:
        yield from measure.summary(result)
    if gap is None:
        yield "gap", "not estimated: no gap model (--gap-model FILE|zoo:NAME)"
    else:
        yield (
            "gap",
            f"{gap.estimate:z.3f} estimated, {gap.coverage:.0%} interval {gap.low:z.3f} "
            f"to {gap.high:z.3f} ({gap.gap_model_name})",
        )
    precision = "" if device.precision == "float32" else f" in {device.precision}"
    yield "time", f"{result.seconds.total:.1f} s on {device.used}{precision}, {rows.run:,} rows run"
    if result.suspects:
        yield "suspects", f"{result.suspects} samples to look at: {out / 'suspects.csv'}"
    yield "report", str(out / "report.html")


def _failures(
    result: "AuditRecord", max_gap: float | None, min_accuracy: float | None
) -> Iterator[str]:
    if max_gap is not None and result.gap is not None and result.gap.estimate > max_gap:
        yield f"The estimated gap {result.gap.estimate:.4f} is over --max-gap {max_gap}."
    if min_accuracy is not None and result.accuracy < min_accuracy:
        yield f"The accuracy {result.accuracy:.4f} is under --min-accuracy {min_accuracy}."
