"""``onnx-gap audit``"""

import json
from pathlib import Path
from typing import Any

import click

from analyzer.cli.options import data_options, json_option, run_options, site_options
from analyzer.cli.requests import audit_request
from analyzer.cli.terminal import progress_bars, say, warn


@click.command("audit")
@click.argument("model")
@click.option("--data", metavar="DATA", help="The training data: a path, or zoo:NAME.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder that takes the result."
)
@site_options
@data_options
@run_options
@click.option("--chance", type=float, help="Accuracy of guessing. [default: 1 / classes]")
@click.option("--gap-model", metavar="FILE|zoo:NAME", help="Estimate the gap with this gap model.")
@click.option("--max-gap", type=float, help="Exit with 1 if the estimated gap is larger.")
@click.option("--min-accuracy", type=float, help="Exit with 1 if the accuracy is lower.")
@click.option(
    "--resume/--fresh",
    "resume",
    default=True,
    help="Go on with what the folder holds (default), or drop it and start anew.",
)
@json_option
def command(
    model: str,
    data: str | None,
    out: Path,
    max_gap: float | None,
    min_accuracy: float | None,
    resume: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Audit the network MODEL (an ONNX file, or zoo:NAME) on its training data.

    Masks the channels of the last convolution's activation one after the other, most active
    first and least active first, and counts what is still classified right, class by class.
    Leaves audit.json, curves.npz, samples.npz and report.html in the folder --out. Interrupted,
    the same command goes on where it was.

    \b
    Examples:
      onnx-gap audit zoo:digits-c40 --out audit-c40
      onnx-gap audit model.onnx --data train/ --preprocess imagenet --out audit
      onnx-gap audit model.onnx --data train.npz --keys x,y --gap-model gap_model.json --out audit
      onnx-gap audit model.onnx --data fashion-mnist/ --max-gap 0.2 --json --out audit
    """
    from analyzer.audit import run_audit, to_dict

    request = audit_request(model, data, out, fresh=not resume, **options)
    if max_gap is not None and request.gap_model is None:
        raise click.UsageError("--max-gap needs a gap model: name it with --gap-model")
    with progress_bars() as progress:
        result = run_audit(request, progress=progress, say=say)
    for sentence in (*result.warnings, *(result.gap.warnings if result.gap else ())):
        warn(sentence)
    for line in _summary(result, out):
        say(line)
    if as_json:
        click.echo(json.dumps(to_dict(result), indent=2, ensure_ascii=False))
    failed = _failed_limits(result, max_gap, min_accuracy)
    for sentence in failed:
        say(sentence)
    return 1 if failed else 0


def _summary(result: Any, out: Path) -> list[str]:
    lines = [
        f"{result.model.path} on {result.data.samples} samples of {result.data.source}: "
        f"accuracy {result.accuracy:.1%}, ζ {result.zeta:.4f}, κ {result.kappa:.4f}",
    ]
    if result.gap:
        gap = result.gap
        lines.append(
            f"estimated generalization gap {gap.estimate:.3f}, "
            f"{gap.coverage:.0%} interval {gap.low:.3f} to {gap.high:.3f} ({gap.gap_model_name})"
        )
    else:
        lines.append("no gap model, so no estimated gap (--gap-model FILE|zoo:NAME)")
    seconds, rows = result.seconds, result.rows
    lines.append(
        f"{seconds.total:.1f} s on {result.device.used}; {rows.run} of {rows.possible} rows run; "
        f"report: {out / 'report.html'}"
    )
    return lines


def _failed_limits(result: Any, max_gap: float | None, min_accuracy: float | None) -> list[str]:
    failed = []
    if max_gap is not None and result.gap.estimate > max_gap:
        failed.append(f"failed: the estimated gap {result.gap.estimate:.3f} is over {max_gap}")
    if min_accuracy is not None and result.accuracy < min_accuracy:
        failed.append(f"failed: the accuracy {result.accuracy:.3f} is under {min_accuracy}")
    return failed
