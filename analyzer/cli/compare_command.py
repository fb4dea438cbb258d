"""``onnx-gap compare``"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from analyzer.cli.options import PATH, Number, json_option
from analyzer.cli.terminal import complain, print_json, print_table, warn

if TYPE_CHECKING:
    from analyzer.audit import Comparison

_CLASSES_SHOWN = 5


@click.command("compare", short_help="Compare two audits.")
@click.argument("before", type=PATH)
@click.argument("after", type=PATH)
@click.option(
    "--tolerance",
    type=Number(0),
    default=0.01,
    show_default=True,
    metavar="X",
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
    from analyzer.audit import compare_audits

    found = compare_audits(before, after, tolerance=tolerance)
    if as_json:
        print_json(found.to_dict())
    else:
        _show(found)
    for sentence in found.warnings:
        warn(sentence)
    for sentence in found.reasons:
        complain(sentence, "Worse")
    return 1 if found.worse else 0


def _show(found: "Comparison") -> None:
    changes = {"accuracy": found.accuracy, "ζ": found.zeta, "κ": found.kappa}
    if found.gap is not None:
        changes["estimated gap"] = found.gap
    print_table(
        ("", "before", "after", "difference"),
        [
            (name, f"{change.before:z.4f}", f"{change.after:z.4f}", f"{change.difference:+z.4f}")
            for name, change in changes.items()
        ],
    )
    moved = sorted(found.classes, key=lambda change: -abs(change.zeta.difference))
    click.echo()
    print_table(
        ("class", "name", "ζ before", "after", "κ before", "after"),
        [
            (
                str(item.index),
                item.name,
                f"{item.zeta.before:.4f}",
                f"{item.zeta.after:.4f}",
                f"{item.kappa.before:.4f}",
                f"{item.kappa.after:.4f}",
            )
            for item in moved[:_CLASSES_SHOWN]
        ],
    )
    if len(moved) > _CLASSES_SHOWN:
        click.echo(f"… the {_CLASSES_SHOWN} of {len(moved)} classes whose ζ moved most")
