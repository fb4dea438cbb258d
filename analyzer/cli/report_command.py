"""``onnx-gap report``"""

from pathlib import Path

import click

from analyzer.cli.terminal import say


@click.command("report")
@click.argument("folder", type=click.Path(path_type=Path))
def command(folder: Path) -> None:
    """Write report.html of the audit in FOLDER anew, from its other files.

    \b
    Example:
      onnx-gap report audit
    """
    from analyzer.audit import render_report

    say(f"{render_report(folder)}: written")
