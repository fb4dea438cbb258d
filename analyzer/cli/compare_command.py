"""``onnx-gap compare``"""

import json
from pathlib import Path

import click

from analyzer.cli.options import json_option
from analyzer.cli.terminal import say, warn


@click.command("compare")
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    default=0.01,
    show_default=True,
    help="By how much ζ and the estimated gap may rise, and κ may fall.",
)
@json_option
def command(before: Path, after: Path, tolerance: float, as_json: bool) -> int:
    """Compare the audit folder AFTER with the audit folder BEFORE.

    Exits with 1 if ζ or the estimated gap rose, or κ fell, by more than the tolerance.

    \b
    Examples:
      onnx-gap compare audit-v1 audit-v2
      onnx-gap compare audit-v1 audit-v2 --tolerance 0.02 --json
    """
    from analyzer.audit import compare

    found = compare(before, after, tolerance=tolerance)
    for sentence in found.warnings:
        warn(sentence)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        changes = {"accuracy": found.accuracy, "ζ": found.zeta, "κ": found.kappa}
        if found.gap is not None:
            changes["estimated gap"] = found.gap
        click.echo(f"{'':<14}{'before':>10}{'after':>10}{'difference':>12}")
        for name, change in changes.items():
            click.echo(
                f"{name:<14}{change.before:>10.4f}{change.after:>10.4f}{change.difference:>+12.4f}"
            )
        moved = sorted(found.classes, key=lambda change: -abs(change.zeta.difference))[:5]
        click.echo("\nclasses whose ζ moved most:")
        for item in moved:
            click.echo(
                f"  {item.index:>4} {item.name:<24} ζ {item.zeta.before:.4f} → "
                f"{item.zeta.after:.4f}   κ {item.kappa.before:.4f} → {item.kappa.after:.4f}"
            )
    for sentence in found.reasons:
        say(f"worse: {sentence}")
    return 1 if found.worse else 0
