"""``onnx-gap report``"""

from pathlib import Path

import click

from analyzer.cli.options import PATH
from analyzer.cli.terminal import show


@click.command("report", short_help="Write the report of an audit folder again.")
@click.argument("folder", type=PATH)
def command(folder: Path) -> None:
    """Write report.html of the audit in FOLDER again, from its other files.

    \b
    Example:
      onnx-gap report audit
    """
    from analyzer.audit import render_report

    show(f"{render_report(folder)}: written")
